"""What runs the steps of `fit`: the native loop, or the interpreter doing the same in Python."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from mynn import debug
from mynn.base import sharing
from mynn.compiler.codegen.values import memory_type
from mynn.compiler.graph.status import STOPS
from mynn.compiler.host.control_block import Control, ControlBlock
from mynn.compiler.host.step import SPLIT_STEP, STEP
from mynn.compiler.host.train_loop import (
    FIT,
    Loop,
    Metric,
    Source,
    loop_module,
    shuffle_python,
)
from mynn.compiler.host.workers import WORKER
from mynn.core import interpreter
from mynn.core.types import Array
from mynn.errors import ArgumentError, DataError, IndexRangeError, UsageError
from mynn.jit import stage
from mynn.jit.compile import Compiled, native_available
from mynn.jit.program import Instance, Program, explain
from mynn.jit.stage import Staged
from mynn.runtime.autotune import Pace
from mynn.runtime.llvm_jit import NativeModule, build
from mynn.runtime.store import STORE, Stored
from mynn.runtime.worker_pool import PATIENCE, WorkerPool, worker_function
from mynn.target.target import Target
from mynn.tensor import Tensor
from mynn.train.provenance import row_of
from mynn.train.record import Record, Recorded, Recorder

CHUNK_SECONDS = 0.04


class LoopCode(Stored):
    """The native code of a loop."""

    kind = "loop"

    def __init__(self, loop: Loop, target: Target) -> None:
        super().__init__()
        text = loop_module(loop, target)
        debug.show(5, "training loop, LLVM IR", lambda: text)
        self.native = build(text, target)
        self.signature = f"batches of {loop.batch}, {loop.rest} left"
        report = f"training loop for batches of {loop.batch}"
        debug.report(report, {"LLVM": self.native.seconds})

    @property
    def nbytes(self) -> int:
        """Bytes of machine code."""
        return self.native.nbytes


def loop_module_for(loop: Loop, target: Target) -> tuple[NativeModule, float]:
    """The native code of a loop, and the seconds that it took to make it now."""
    made: list[LoopCode] = []

    def make() -> LoopCode:
        made.append(LoopCode(loop, target))
        return made[0]

    code = STORE.fetch((loop, target), make)
    return code.native, made[0].native.seconds if made else 0.0


def next_budget(budget: int, seconds: float) -> int:
    """How many steps to run at once, where `budget` steps took so long."""
    factor = CHUNK_SECONDS / max(seconds, 1e-6)
    return max(1, int(budget * min(max(factor, 0.25), 8.0)))


class Engine:
    """The state of a training run over a data set: where it is, and the sums of its metrics.

    Args:
        compiled: the step.
        arguments: its arguments in their nested form, for which `arrays` hold all samples.
        batch, rest: rows in a batch, and left at the end of an epoch (0: none).
        record: what to record, if anything.
    """

    def __init__(
        self,
        compiled: Compiled,
        arguments: tuple[Any, ...],
        arrays: list[Array],
        batch: int,
        rest: int,
        record: Record | None,
    ) -> None:
        self.compiled = compiled
        self.arguments = arguments
        self.arrays = arrays
        self.batch_rows = batch
        self.rest_rows = rest
        self.rows = len(arrays[0])
        self.whole = self.rows // batch
        self.steps_per_epoch = self.whole + (1 if rest else 0)
        self.samples = self.whole * batch + rest
        self.record = record
        self.recorders: dict[int, tuple[Recorder, Any]] = {}
        self.compile_seconds = 0.0
        self.programs = self._lookup()
        self.names = self.staged.result_names
        self.outputs: list[Array] = []

    def _lookup(self) -> list[tuple[Staged, Any]]:
        """The programs for a whole batch and for the rest."""
        sizes = [rows for rows in (self.batch_rows, self.rest_rows) if rows]
        found = [self.compiled.lookup(self.example(rows), thoroughly=True) for rows in sizes]
        self.compile_seconds += sum(program.compile_seconds for _, program in found)
        return found

    def example(self, rows: int) -> tuple[Any, ...]:
        """The arguments of a step on so many rows."""
        leaves = (array[:rows] for array in self.arrays)
        batch: tuple[Any, ...] = stage.rebuild(self.arguments, leaves)
        return batch

    def recorder(self, rows: int) -> tuple[Recorder, Any]:
        """The step that records, for so many rows, and its program; made when first needed."""
        found = self.recorders.get(rows)
        if found is None:
            assert self.record is not None
            recorder = Recorder(self.record, self.compiled.function, self.example(rows))
            found = self.recorders[rows] = recorder, self.compiled.make(recorder.staged)
            self.compile_seconds += found[1].compile_seconds
        return found

    def refresh(self) -> bool:
        """Take other programs where a mode, an option or a part of the network was changed in
        between; returns whether there were any.
        """
        if all(staged.valid(thoroughly=True) for staged, _ in self.programs):
            return False
        self.programs = self._lookup()
        if self.staged.result_names != self.names:
            raise UsageError(
                f"the step returned {self.names}, and now that something was changed while it "
                f"trains, {self.staged.result_names}"
            )
        self.recorders.clear()
        self.connect()
        return True

    def connect(self) -> None:
        """Get ready to run the programs."""
        state = (tensor for staged, _ in self.programs for tensor in staged.state)
        self.access = sharing.join(list(dict.fromkeys(state)), self.changed())

    def close(self) -> None:
        """Let go of what running them needs; `run` takes it again."""

    def finish(self) -> None:
        """Let go of everything: the run is over."""
        self.close()

    @property
    def staged(self) -> Staged:
        """The traced step for a whole batch."""
        return self.programs[0][0]

    def keep_results(self) -> None:
        """Keep a row of the results for each sample, in `outputs`, instead of adding them up."""
        nodes = self.staged.graph.outputs[: self.staged.results]
        self.outputs = [np.empty((self.samples, *n.shape[1:]), n.dtype) for n in nodes]
        self.names = []

    def start(
        self, epochs: int = 1, shuffle: bool = False, seed: int = 0, check: bool = False
    ) -> None:
        """Set out for a run."""
        self.control = ControlBlock(len(self.arrays) + len(self.outputs))
        try:
            self.metrics = np.zeros((epochs + 1, len(self.names)), np.float64)
        except (MemoryError, ValueError):
            raise ArgumentError(
                f"epochs is {epochs}: there is no memory for a history with a row for each; give "
                "fewer, and call fit several times"
            ) from None
        self.order = np.arange(self.rows, dtype=np.int64) if shuffle else None
        control = self.control
        control.epochs = epochs
        control.rows = self.rows
        control.shuffle = int(shuffle)
        control.random = seed
        control.check = int(check)
        control.whole = self.whole
        self.connect()

    @property
    def epoch(self) -> int:
        """Epochs that are complete."""
        return self.control.epoch

    @property
    def batch(self) -> int:
        """The next batch of the epoch."""
        return self.control.batch

    @property
    def steps(self) -> int:
        """Steps that have run."""
        return self.control.steps

    @property
    def stopped(self) -> bool:
        """Whether a loss was not finite."""
        return bool(self.control.stopped)

    def explain_check(self, staged: Staged, arguments: list[Array]) -> None:
        """Raise what the check that fails on this batch has to say, and where in the data it is."""
        values = [*arguments, *(tensor.home() for tensor in staged.state)]
        known = interpreter.bound(staged.graph, values)
        for found in interpreter.failures(staged.graph, known):
            if found.warns:
                continue
            row = row_of(staged, known, found)
            where = f", in batch {self.batch} of epoch {self.epoch}"
            if row is not None:
                sample = self.batch * self.batch_rows + row
                sample = sample if self.order is None else int(self.order[sample])
                where += f", row {row} of the batch: sample {sample} of the data"
            raise found.error(f"{where}. The state is as it was before this step")

    def call(self, staged: Staged, program: Any, arguments: list[Array]) -> list[Array]:
        """Run a step by itself; where a check fails the error says where in the data."""
        try:
            results: list[Array] = program(arguments)
        except (DataError, IndexRangeError):
            self.explain_check(staged, arguments)
            raise
        return results

    def means(self, epoch: int) -> dict[str, float]:
        """Means of the metrics over an epoch, or over its part that has run."""
        whole = epoch < self.epoch
        rows = self.samples if whole else min(self.batch * self.batch_rows, self.samples)
        sums = self.metrics[epoch] / max(rows, 1)
        return dict(zip(self.names, map(float, sums), strict=True))

    def changed(self) -> list[Tensor]:
        """The state that steps change."""
        return list(
            dict.fromkeys(
                tensor
                for staged, _ in self.programs
                for tensor, node in zip(staged.state, staged.state_nodes, strict=True)
                if node in staged.writes
            )
        )

    def begin_epoch(self) -> None:
        """Shuffle, where a new epoch begins."""
        if self.order is not None and self.batch == 0:
            order = self.order.tolist()
            state = shuffle_python(order, self.control.random)
            self.order[:] = order
            self.control.random = state

    def batch_arguments(self, batch: int | None = None) -> tuple[Staged, Any, list[Array]]:
        """The program for a batch of this epoch (the next one), and its rows of every array."""
        batch = self.batch if batch is None else batch
        whole = batch < self.whole
        staged, program = self.programs[0 if whole else -1]
        start = batch * self.batch_rows
        rows: Any = slice(start, start + (self.batch_rows if whole else self.rest_rows))
        if self.order is not None:
            rows = self.order[rows]
        return staged, program, [array[rows] for array in self.arrays]

    def advance(self, results: list[Array], rows: int) -> None:
        """Count a step that Python ran."""
        control = self.control
        for output, value in zip(self.outputs, results, strict=False):
            start = self.batch * self.batch_rows
            output[start : start + rows] = value
        measured = results[: len(self.names)]
        self.metrics[self.epoch] += [float(value.reshape(-1)[0]) * rows for value in measured]
        if control.check and not np.isfinite(results[0]).all():
            control.stopped = 1
        control.steps += 1
        control.batch += 1
        if self.batch == self.steps_per_epoch:
            control.batch = 0
            control.epoch += 1

    def run(self, budget: int) -> None:
        """Run as many steps, or fewer where the last epoch ends or a loss is not finite.

        No other thread writes the state that they read in the meantime.
        """
        if self.access.written or self.order is not None:
            self.access.alone(lambda: self._run_steps(budget))
            return
        epoch, control, row = self.epoch, self.control.words.copy(), self.metrics[self.epoch].copy()

        def run() -> None:  # once more, where another thread wrote the state
            self.control.words[:] = control
            self.metrics[epoch:] = 0
            self.metrics[epoch] = row
            self._run_steps(budget)

        self.access.run(run)

    def _run_steps(self, budget: int) -> None:
        raise NotImplementedError

    def run_recorded(self) -> Recorded:
        """Run one step that records."""
        return self.access.alone(self._run_recorded)

    def _run_recorded(self) -> Recorded:
        step, epoch = self.steps, self.epoch
        self.begin_epoch()
        _, _, arguments = self.batch_arguments()
        rows = len(arguments[0])
        recorder, program = self.recorder(rows)
        results = self.call(recorder.staged, program, arguments)
        self.advance(results[: recorder.results], rows)
        return recorder.collect(step, epoch, results)


class InterpretedEngine(Engine):
    """Steps in Python, one after the other."""

    def _run_steps(self, budget: int) -> None:
        """Run steps through the interpreter."""
        for _ in range(budget):
            if self.epoch >= self.control.epochs or self.stopped:
                return
            self.begin_epoch()
            staged, program, arguments = self.batch_arguments()
            self.advance(self.call(staged, program, arguments), len(arguments[0]))


def _rows(array: Array, place: Array, slot: int | None, slot_rest: int | None) -> Source:
    """How the rows of an array lie in `place`, the buffer of a program."""
    inner = array.shape[-1] if array.ndim > 1 else 1
    blocks = int(np.prod(array.shape[1:-1], dtype=np.int64))
    pitch = place.strides[-2] if array.ndim > 1 else array.itemsize
    return Source(blocks, inner * array.itemsize, pitch, slot, slot_rest)


class NativeEngine(Engine):
    """Steps inside the native loop; threads for its other workers live from `run` to `close`."""

    pool: WorkerPool | None = None
    pace: Pace | None = None
    instances: tuple[tuple[Program, Instance], ...] = ()

    def connect(self) -> None:
        """Fill the control block with addresses."""
        self.finish()
        super().connect()
        first, last = self.programs[0][1], self.programs[-1][1]
        one = first.take()
        self.instances = ((first, one), (last, one if last is first else last.take()))
        splits = first.threads > 1, last.threads > 1
        sources, metrics = self._sources(first, last), self._metrics(first, last)
        outputs = self._outputs(first, last)
        shape = self.batch_rows, self.rest_rows, tuple(sources), tuple(metrics)
        status = first.status_slot, last.status_slot
        loop = Loop(*shape, *splits, tuple(outputs), *status)
        module, seconds = loop_module_for(loop, first.target)
        self.compile_seconds += seconds
        self.function = module.function(FIT, ctypes.c_void_p)
        self.most = workers = max(first.threads, last.threads)
        adaptive = first.adaptive or last.adaptive
        if not adaptive:
            self.pace = None
        elif self.pace is None or self.pace.counts[-1] != workers:
            self.pace = Pace(workers)
        control = self.control
        if self.order is not None:
            control.point(Control.ORDER, self.order)
        control.point(Control.METRICS, self.metrics)
        steps = [SPLIT_STEP if split else STEP for split in splits]
        for number, (program, instance) in enumerate(self.instances):
            step = program.native.address(steps[number])
            control.set_step(instance.address, step, remainder=number == 1)
        control.workers = workers
        self.worker = worker_function(module, WORKER) if loop.has_workers else None
        for number, array in enumerate([*self.arrays, *self.outputs]):
            control.point(Control.DATA + number, array)

    def _sources(self, first: Program, last: Program) -> list[Source]:
        return [
            _rows(
                array,
                self.instances[0][1].arguments[number],
                first.argument_slot(number),
                last.argument_slot(number),
            )
            for number, array in enumerate(self.arrays)
        ]

    def _outputs(self, first: Program, last: Program) -> list[Source]:
        return [
            _rows(
                array,
                self.instances[0][1].outputs[number],
                first.image.slot("result", number),
                last.image.slot("result", number),
            )
            for number, array in enumerate(self.outputs)
        ]

    def _metrics(self, first: Program, last: Program) -> list[Metric]:
        metrics = []
        for number in range(len(self.names)):
            slot, type = first.result_slot(number)
            rest = last.result_slot(number)[0]
            metrics.append(Metric(slot, rest, memory_type(type), type[0] == "i"))
        return metrics

    @property
    def workers(self) -> int:
        """Workers that shall share the steps."""
        return self.control.workers

    def _run_steps(self, budget: int) -> None:
        """Run steps natively; where the number of workers is left open, the fastest is found."""
        if self.pace is None:
            self._run(self.workers, budget)
        else:
            self.pace.run(budget, self._run)

    def _run(self, workers: int, budget: int) -> int:
        """Run steps with so many workers, or fewer where threads are missing; how many ran."""
        started = self.worker is not None and self._pool().start(workers)
        before = self.steps
        if not self.stopped:
            self.control.workers = workers
            self.control.patience = PATIENCE if started else 0
            self.control.budget = budget
            self.control.status = 0
            self.function(self.control.address)
        status = self.control.status
        if status:
            self._explain_status(status)
        return self.steps - before

    def _explain_status(self, status: int) -> None:
        """Raise what a check that failed has to say; warn of one that warns, in the step before."""
        self.control.muted |= status & ~STOPS
        last = (self.batch or self.steps_per_epoch) - 1
        staged, _, arguments = self.batch_arguments(self.batch if status & STOPS else last)
        if status & STOPS:
            self.explain_check(staged, arguments)
        values = [*arguments, *(tensor.home() for tensor in staged.state)]
        explain(staged.graph, values, status)

    def _pool(self) -> WorkerPool:
        """The threads; what they hold is what the loop is connected to."""
        if self.pool is None:
            pool = WorkerPool(self.worker, self.most, self.control, self.instances)
            pool.sync.set_control(self.control)
            self.pool = pool
        return self.pool

    def close(self) -> None:
        """Let the threads go."""
        if self.pool is not None:
            self.pool.close()
            self.pool = None

    def finish(self) -> None:
        """Send the threads home, give the memory back."""
        super().finish()
        instances, self.instances = dict(self.instances), ()
        for program, instance in instances.items():
            program.give_back(instance)


def make_engine(
    compiled: Compiled,
    arguments: tuple[Any, ...],
    arrays: list[Array],
    batch_size: int,
    drop_last: bool = False,
    record: Record | None = None,
) -> Engine:
    """The engine for data that was checked."""
    rows = len(arrays[0])
    size = min(batch_size, rows)
    rest = 0 if drop_last else rows % size
    native = compiled.backend == "native" and native_available()
    kind = NativeEngine if native else InterpretedEngine
    return kind(compiled, arguments, arrays, size, rest, record)
