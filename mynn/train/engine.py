"""What runs the steps of `fit`: the native loop, or the interpreter doing the same in Python."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn.compiled import Compiled
from mynn.compiler.driver import (
    FIT,
    Control,
    Loop,
    Metric,
    Source,
    control_words,
    loop_module,
    shuffle_python,
)
from mynn.compiler.instructions import memory_type
from mynn.compiler.pipeline import STEP
from mynn.compiler.workers import SPLIT_STEP, WORKER, Sync
from mynn.graph import Array
from mynn.runtime.buffers import aligned_bytes
from mynn.runtime.machine import host
from mynn.runtime.native import NativeModule, build
from mynn.runtime.program import Program
from mynn.staging import Staged
from mynn.train.record import Recorded, Recorder

_loops: dict[Loop, NativeModule] = {}


class Engine:
    """The state of a training run over a data set: where it is, and the sums of its metrics."""

    def __init__(
        self,
        programs: Sequence[tuple[Staged, Any]],
        arrays: list[Array],
        batch: int,
        rest: int,
        recorder: Recorder | None,
        compiled: Compiled,
    ) -> None:
        self.programs = list(programs)
        self.arrays = arrays
        self.batch_rows = batch
        self.rest_rows = rest
        self.rows = len(arrays[0])
        self.whole = self.rows // batch
        self.steps_per_epoch = self.whole + (1 if rest else 0)
        self.samples = self.whole * batch + rest
        self.names = self.staged.result_names
        self.recorder = recorder
        self.compile_seconds = sum(program.compile_seconds for _, program in self.programs)
        self.recording = compiled.make(recorder.staged) if recorder is not None else None
        self.control = np.zeros(control_words(len(arrays)), np.int64)

    @property
    def staged(self) -> Staged:
        """The traced step for a whole batch."""
        return self.programs[0][0]

    def start(self, epochs: int, shuffle: bool, seed: int, check: bool) -> None:
        """Set out for a run."""
        self.metrics = np.zeros((epochs + 1, len(self.names)), np.float64)
        self.order = np.arange(self.rows, dtype=np.int64) if shuffle else None
        control = self.control
        control[Control.EPOCHS] = epochs
        control[Control.ROWS] = self.rows
        control[Control.SHUFFLE] = int(shuffle)
        control[Control.RANDOM] = np.uint64(seed % 2**64).astype(np.int64)
        control[Control.CHECK] = int(check)
        control[Control.WHOLE] = self.whole

    @property
    def epoch(self) -> int:
        """Epochs that are complete."""
        return int(self.control[Control.EPOCH])

    @property
    def batch(self) -> int:
        """The next batch of the epoch."""
        return int(self.control[Control.BATCH])

    @property
    def steps(self) -> int:
        """Steps that have run."""
        return int(self.control[Control.STEPS])

    @property
    def stopped(self) -> bool:
        """Whether a loss was not finite."""
        return bool(self.control[Control.STOPPED])

    def means(self, epoch: int) -> dict[str, float]:
        """Means of the metrics over an epoch, or over its part that has run."""
        whole = epoch < self.epoch
        rows = self.samples if whole else min(self.batch * self.batch_rows, self.samples)
        sums = self.metrics[epoch] / max(rows, 1)
        return dict(zip(self.names, map(float, sums), strict=True))

    def state_arrays(self) -> list[Array]:
        """The arrays that steps change."""
        return [tensor.home() for tensor in self.staged.state]

    def begin_epoch(self) -> None:
        """Shuffle, where a new epoch begins."""
        if self.order is not None and self.batch == 0:
            order = self.order.tolist()
            state = shuffle_python(order, int(self.control[Control.RANDOM]) % 2**64)
            self.order[:] = order
            self.control[Control.RANDOM] = np.uint64(state).astype(np.int64)

    def batch_arguments(self) -> tuple[Staged, Any, list[Array]]:
        """The program for the next batch, and its rows of every array."""
        whole = self.batch < self.whole
        staged, program = self.programs[0 if whole else -1]
        start = self.batch * self.batch_rows
        rows: Any = slice(start, start + (self.batch_rows if whole else self.rest_rows))
        if self.order is not None:
            rows = self.order[rows]
        return staged, program, [array[rows] for array in self.arrays]

    def advance(self, results: list[Array], rows: int) -> None:
        """Count a step that Python ran."""
        control = self.control
        self.metrics[self.epoch] += [float(value.reshape(-1)[0]) * rows for value in results]
        if control[Control.CHECK] and not np.isfinite(results[0]).all():
            control[Control.STOPPED] = 1
        control[Control.STEPS] += 1
        control[Control.BATCH] += 1
        if self.batch == self.steps_per_epoch:
            control[Control.BATCH] = 0
            control[Control.EPOCH] += 1

    def run(self, budget: int) -> None:
        """Run as many steps, or fewer where the last epoch ends or a loss is not finite."""
        raise NotImplementedError

    def run_recorded(self) -> Recorded:
        """Run one step that records."""
        assert self.recorder is not None
        assert self.recording is not None
        step, epoch = self.steps, self.epoch
        self.begin_epoch()
        _, program, arguments = self.batch_arguments()
        if len(arguments[0]) != self.batch_rows:
            results = program(arguments)
            self.advance(results, len(arguments[0]))
            return Recorded(step, epoch)
        results = self.recording(arguments)
        count = self.recorder.results
        self.advance(results[:count], len(arguments[0]))
        return self.recorder.collect(step, epoch, results)


class InterpretedEngine(Engine):
    """Steps in Python, one after the other."""

    def run(self, budget: int) -> None:
        """Run steps through the interpreter."""
        for _ in range(budget):
            if self.epoch >= int(self.control[Control.EPOCHS]) or self.stopped:
                return
            self.begin_epoch()
            _, program, arguments = self.batch_arguments()
            self.advance(program(arguments), len(arguments[0]))


class NativeEngine(Engine):
    """Steps inside the native loop."""

    def start(self, epochs: int, shuffle: bool, seed: int, check: bool) -> None:
        """Set out for a run: fill the control block with addresses."""
        super().start(epochs, shuffle, seed, check)
        first, last = self.programs[0][1], self.programs[-1][1]
        loop = Loop(
            self.batch_rows,
            self.rest_rows,
            tuple(self._sources(first, last)),
            tuple(self._metrics(first, last)),
            first.threads > 1,
        )
        if loop not in _loops:
            _loops[loop] = build(loop_module(loop, host().is_x86))
            self.compile_seconds += _loops[loop].seconds
        self.function = _loops[loop].function(FIT, ctypes.c_void_p)
        control = self.control
        if self.order is not None:
            control[Control.ORDER] = self.order.ctypes.data
        control[Control.METRICS] = self.metrics.ctypes.data
        control[Control.TABLE] = first.table.ctypes.data
        self.workers = first.threads
        step = SPLIT_STEP if loop.split else STEP
        control[Control.STEP] = first.native.address(step)
        control[Control.TABLE_REST] = last.table.ctypes.data
        control[Control.STEP_REST] = last.native.address(step)
        control[Control.WORKERS] = self.workers
        self.sync = aligned_bytes(8 * Sync.WORDS).view(np.int64)
        control[Control.SYNC] = self.sync.ctypes.data
        if loop.split:
            kinds = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
            self.worker = _loops[loop].function(WORKER, *kinds)
        for number, array in enumerate(self.arrays):
            control[Control.DATA + number] = array.ctypes.data

    def _sources(self, first: Program, last: Program) -> list[Source]:
        sources = []
        for number, array in enumerate(self.arrays):
            place = first.arguments[number]
            inner = array.shape[-1] if array.ndim > 1 else 1
            blocks = int(np.prod(array.shape[1:-1], dtype=np.int64))
            pitch = place.strides[-2] if array.ndim > 1 else array.itemsize
            slots = [program.argument_slot(number) for program in (first, last)]
            sources.append(Source(blocks, inner * array.itemsize, pitch, slots[0], slots[1]))
        return sources

    def _metrics(self, first: Program, last: Program) -> list[Metric]:
        metrics = []
        for number in range(len(self.names)):
            slot, type = first.result_slot(number)
            metrics.append(Metric(slot, last.result_slot(number)[0], memory_type(type)))
        return metrics

    def run(self, budget: int) -> None:
        """Run steps natively, with a thread for every other worker."""
        self.control[Control.BUDGET] = budget
        if self.workers == 1:
            self.function(self.control.ctypes.data)
            return
        self.sync[:] = 0
        sync = self.sync.ctypes.data
        others = [
            threading.Thread(target=self.worker, args=(sync, number, self.workers), daemon=True)
            for number in range(1, self.workers)
        ]
        for thread in others:
            thread.start()
        try:
            self.function(self.control.ctypes.data)
        finally:
            for thread in others:
                thread.join()
