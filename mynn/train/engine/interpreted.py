"""The training loop in the loop IR's evaluator, and its steps in the graph's interpreter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mynn.compiler.host.argument_layout import ArgumentLayout, StepLayout
from mynn.compiler.host.control_block import Control
from mynn.compiler.host.shuffle import SHUFFLE
from mynn.compiler.host.train_loop import FIT, Loop, training_loop
from mynn.compiler.loop_ir.machine import Machine
from mynn.core.types import Type
from mynn.runtime.signals import uninterrupted
from mynn.train.engine.base import Executor
from mynn.train.plan import Run, Step


class InterpretedExecutor(Executor):
    """Does what the native executor does, slowly, where every step can be looked at."""

    def connect(self, run: Run) -> None:
        """Make memory for the steps, and let the machine see it."""
        super().connect(run)
        steps = [_StepMemory(step, run) for step in run.steps]
        loop = Loop(*(step.layout for step in steps))
        calls = {f"step{n}": self._calling(step) for n, step in enumerate(steps)}
        self.machine = Machine(training_loop(loop, sleeps=False), calls)
        # The machine knows memory by the array that it belongs to: rows lie side by side here.
        arrays = [np.ascontiguousarray(array) for array in run.arrays]
        for number, array in enumerate(arrays):
            self.control.point(Control.DATA + number, array)
        shared = [self.control.words, self.sums, *arrays, *run.outputs]
        shared += [] if self.order is None else [self.order]
        for array in (*shared, *(array for step in steps for array in step.memory)):
            self.machine.share(array)
        for number, step in enumerate(steps):
            address = self.machine.addresses[f"step{number}"]
            self.control.set_step(step.table.ctypes.data, address, remainder=number == 1)

    def _calling(self, memory: _StepMemory) -> Callable[[int], None]:
        """A step as a function of its table."""

        def call(table: int) -> None:
            staged, program = memory.step[:2]
            arguments = [
                self.machine.memory.bytes_at(int(address), type.nbytes)
                .view(type.dtype)
                .reshape(type.shape)
                for address, type in zip(memory.table, memory.types, strict=False)
            ]
            for buffer, value in zip(
                memory.results, self.call(staged, program, arguments), strict=True
            ):
                buffer[...] = value

        return call

    def finish(self) -> None:
        """Nothing is held but memory."""

    def _advance(self, budget: int) -> None:
        until = self.steps + budget
        while self.steps < until and not (self.stopped or self.over):
            self.control.budget = 1
            with uninterrupted():  # a step, and what counts it
                self.machine.run(FIT, self.control.address)

    def _shuffle(self, order: int, rows: int, random: int) -> None:
        self.machine.run(SHUFFLE, order, rows, random)


class _StepMemory:
    """The buffers of a step, and the table that names them: its arguments, then its results."""

    def __init__(self, step: Step, run: Run) -> None:
        graph, count = step.staged.graph, len(step.staged.arguments)
        nodes = (*step.staged.arguments, *graph.outputs[: step.staged.results])
        self.step = step
        self.types = [node.type for node in step.staged.arguments]
        buffers = [np.empty(node.shape, node.dtype) for node in nodes]
        self.results = buffers[count:]
        self.table = np.array([buffer.ctypes.data for buffer in buffers], np.uint64)
        self.memory = [self.table, *buffers]
        layouts = [
            ArgumentLayout(slot, Type.of(b).short, b.itemsize, b.shape, b.strides)
            for slot, b in enumerate(buffers)
        ]
        results = layouts[count:]
        self.layout = StepLayout(
            step.rows,
            tuple(layouts[:count]),
            tuple(results[: len(run.names)]),
            tuple(results[: len(run.outputs)]),
        )
