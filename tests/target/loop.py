"""A training by the native loop as AArch64 code, beside the interpreter's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mynn.compiler import pipeline
from mynn.compiler.codegen.function import Module
from mynn.compiler.codegen.host import emit_functions
from mynn.compiler.host.argument_layout import ArgumentLayout, StepLayout
from mynn.compiler.host.control_block import Control, ControlBlock, Sync, SyncWords
from mynn.compiler.host.shuffle import SHUFFLE, shuffle
from mynn.compiler.host.train_loop import Loop, training_loop
from mynn.compiler.loop_ir.machine import Machine
from mynn.core import interpreter
from mynn.core.graph import Node
from mynn.core.types import Array
from mynn.jit import stage
from tests.compiler.harness import Case, Memory, result_place, view
from tests.target import foreign
from tests.target.foreign import Call, Job

# Rounds for which the leader waits for threads that have just been started.
PATIENCE = 1_000_000_000


@dataclass
class Training:
    """So many epochs of a step over data, in batches that divide it, from a state of the shuffle.

    The step gives its loss.
    """

    step: Callable[..., Any]
    data: list[Array]
    batch: int
    epochs: int
    seed: int = 1

    def __post_init__(self) -> None:
        staged = stage.stage(self.step, tuple(array[: self.batch] for array in self.data))
        self.state = [np.array(tensor.to_native()) for tensor in staged.state]
        layouts = {
            node: tuple(step // tensor.to_native().itemsize for step in tensor.to_native().strides)
            for node, tensor in zip(staged.state_nodes, staged.state, strict=True)
        }
        self.case = Case(staged.graph, dict(staged.writes), layouts, foreign.TARGET)
        self.rows = len(self.data[0])

    def interpreted(self) -> tuple[list[float], list[Array]]:
        """The mean loss of each epoch, and the state at the end."""
        graph, writes = self.case.graph, self.case.writes
        nodes = graph.inputs[len(self.data) :]
        state, losses = list(self.state), []
        order, random = np.arange(self.rows), np.array([self.seed])
        machine = Machine([shuffle()])
        machine.share(order)
        machine.share(random)
        for _ in range(self.epochs):
            machine.run(SHUFFLE, order.ctypes.data, self.rows, random.ctypes.data)
            total = 0.0
            for start in range(0, self.rows, self.batch):
                rows = order[start : start + self.batch]
                values = interpreter.evaluate(graph, [*(a[rows] for a in self.data), *state])
                state = [
                    values[writes[node]] if node in writes else value
                    for node, value in zip(nodes, state, strict=True)
                ]
                total += self.batch * float(values[0])
            losses.append(total / self.rows)
        return losses, state

    def run(self, folder: Path, workers: int = 0) -> tuple[list[float], list[Array], int]:
        """The same as AArch64 code, and by how many workers."""
        lowered = self.case.lowered
        empty = [np.zeros_like(array[: self.batch]) for array in self.data]
        memory = self.case.memory([*empty, *self.state])
        if lowered.plan.scratch is not None:
            size = lowered.plan.scratch.elements * max(workers, 1)
            memory.flat[lowered.plan.scratch] = memory.block("scratch", size)
        table = np.array([memory.flat[b].ctypes.data for b in lowered.table], np.uint64)
        order = np.arange(self.rows, dtype=np.int64)
        sums = np.zeros(self.epochs + 1)
        sync = SyncWords(max(workers, 1))
        control = self._control(table, order, sums, sync, workers)
        raw = [block for _, block, _, _ in memory.blocks]
        blocks = [*raw, table, order, sums, *self.data, sync.words, control.words]
        place, at = len(blocks) - 1, len(blocks) - 2
        words = [Control.TABLE, Control.ORDER, Control.METRICS, Control.SYNC]
        words = [*map(int, words), *range(Control.DATA, Control.DATA + len(self.data))]
        job = Job(
            (self._step_text(workers), self._loop_text(workers)),
            blocks,
            {len(raw): range(len(table)), at: [int(Sync.CONTROL)], place: words},
            [Call("mynn_fit", place, workers, at, "mynn_worker_main" if workers else "")],
            [(place, int(Control.STEP), "mynn_step_split" if workers else "mynn_step")],
        )
        foreign.run([job], folder)
        assert control.epoch == self.epochs
        return list(sums[: self.epochs] / self.rows), self._state(memory), control.acquired

    def _control(
        self, table: Array, order: Array, sums: Array, sync: SyncWords, workers: int
    ) -> ControlBlock:
        control = ControlBlock(len(self.data))
        control.epochs, control.rows, control.shuffle = self.epochs, self.rows, 1
        control.whole, control.random = self.rows // self.batch, self.seed
        control.workers, control.patience, control.budget = workers, PATIENCE, 2**40
        control.set_step(table.ctypes.data, 0)
        control.point(Control.ORDER, order)
        control.point(Control.METRICS, sums)
        for number, array in enumerate(self.data):
            control.point(Control.DATA + number, array)
        sync.set_control(control)
        return control

    def _step_text(self, workers: int) -> str:
        return pipeline.finish(self.case.lowered, split=workers > 0, check=True).text

    def _loop_text(self, workers: int) -> str:
        lowered = self.case.lowered
        plan, slots = lowered.plan, lowered.slots

        def layout(node: Node, place: Any) -> ArgumentLayout:
            strides = tuple(step * node.dtype.itemsize for step in place.strides)
            slot = slots.get(place.buffer)
            return ArgumentLayout(slot, place.buffer.type, node.dtype.itemsize, node.shape, strides)

        inputs = self.case.graph.inputs[: len(self.data)]
        arguments = tuple(layout(node, plan.places[node]) for node in inputs)
        metric = layout(self.case.graph.outputs[0], result_place(lowered, 0))
        status = None if plan.status is None else slots[plan.status]
        step = StepLayout(self.batch, arguments, (metric,), (), status, workers > 0)
        functions = training_loop(Loop(step), foreign.TARGET.is_posix)
        return emit_functions(Module(foreign.TARGET), functions).text()

    def _state(self, memory: Memory) -> list[Array]:
        memory.check_guards(foreign.SLACK)
        nodes = self.case.graph.inputs[len(self.data) :]
        places = self.case.lowered.plan.places
        return [np.array(view(memory, places[node], node.shape)) for node in nodes]
