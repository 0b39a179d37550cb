"""What executors share: where the run is, what it has added up, what it says of a failed step."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from mynn.base import sharing
from mynn.compiler.host.control_block import Control, ControlBlock
from mynn.core import interpreter
from mynn.core.types import Array
from mynn.errors import ArgumentError, DataError, IndexRangeError, UsageError
from mynn.jit.stage import Staged
from mynn.runtime.signals import uninterrupted
from mynn.tensor import Tensor
from mynn.train.engine.cursor import Cursor, Snapshot
from mynn.train.plan import Run, Step
from mynn.train.provenance import row_of
from mynn.train.record import Recorded, Recorder

# Python gets control back after about so long.
TURN_SECONDS = 0.04
# Steps of a turn at most.
_MOST = 2**40


class Executor(ABC):
    """Runs the steps of a `Run`, from wherever it stands.

    - `control`: the control block: epoch, batch, steps, random state of the shuffle.
    - `sums`: float64 [epochs + 1, width]: of every result over the samples of each epoch.
    - `order`: the order of the rows in this epoch, None where they lie in order.
    - `validation`: what runs an epoch of its own after each of this one's, in the same loop.
    - `watches`: what the loop knows of numbers that it compares after each epoch.
    """

    def __init__(self, run: Run) -> None:
        self.control = control = ControlBlock(len(run.arrays) + len(run.outputs))
        control.epochs = run.epochs
        control.rows = run.rows
        control.shuffle = int(run.shuffle)
        control.check = int(run.check_finite)
        control.whole = run.whole_batches
        self.sums = _zeros(run.epochs + 1, run.width)
        self.order = np.arange(run.rows, dtype=np.int64) if run.shuffle else None
        self.compile_seconds = 0.0
        self.validation: Executor | None = None
        self.watches: Array | None = None
        self.connect(run)

    def connect(self, run: Run) -> None:
        """Get ready to run its programs."""
        self.run = run
        self.recorders: dict[int, tuple[Recorder, Any]] = {}
        self.compile_seconds += run.compile_seconds
        self.access = run.access
        if self.order is not None:
            self.control.point(Control.ORDER, self.order)
        self.control.point(Control.METRICS, self.sums)
        for number, array in enumerate([*run.arrays, *run.outputs]):
            self.control.point(Control.DATA + number, array)

    def refresh(self) -> None:
        """Take other programs where what decided them was changed in between."""
        run = self.run.refreshed()
        if run is not self.run:
            self.connect(run)

    def validate_with(self, other: Executor) -> bool:
        """Have the loop run an epoch of another run after each of its own; whether it can."""
        return False

    def watch(self, words: Array) -> bool:
        """Have the loop compare numbers after each epoch, and come back where Python has to look;
        whether it can. `words` are those of `Watch` for each number.
        """
        return False

    def run_epoch(self, epoch: int) -> None:
        """Run the epoch of this number, whichever has run; between two budgets Python handles
        Ctrl-C.
        """
        self.sums[epoch] = 0
        self.control.epoch, self.control.batch = epoch, 0
        self.finish_epoch()

    def finish_epoch(self) -> None:
        """Run what is left of the epoch."""
        epoch, budget = self.epoch, self.first_budget()
        while self.epoch == epoch:
            budget = self.advance_for_a_turn(budget, self.left)

    def seed(self, seed: int) -> None:
        """Let the orders of the rows come from 64 bits."""
        self.control.random = seed

    @abstractmethod
    def finish(self) -> None:
        """Let go of threads and memory: the run is over."""

    # -- where it is -------------------------------------------------------------------------------

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

    def stopped_by_check(self) -> bool:
        """Whether a check has ended an epoch that another loop had run."""
        return False

    @property
    def over(self) -> bool:
        """Whether the last epoch is complete."""
        return self.epoch >= self.run.epochs

    @property
    def left(self) -> int:
        """Batches of the epoch that have not run."""
        return self.run.batches - self.batch

    def means(self, epoch: int) -> dict[str, Any]:
        """Means of the results over an epoch, or over its part that has run, and measures."""
        run = self.run
        samples = run.samples
        if epoch >= self.epoch:
            samples = min(self.batch * run.whole.rows, samples)
        return run.measured(self.sums[epoch] / max(samples, 1), samples)

    def samples_of(self, epoch: int) -> int:
        """Samples of an epoch that is complete."""
        return self.run.samples

    def table(self) -> Array:
        """Means of the results over each epoch that is complete, [epochs, width]."""
        return np.asarray(self.sums[: self.epoch] / self.run.samples)

    def columns(self, first: int = 0) -> dict[str, Array]:
        """Every result, and every measure, over the epochs from `first` on that are complete."""
        run, table = self.run, self.table()
        if not run.metrics:
            return {name: table[first:, at.start].copy() for name, at in run.columns.items()}
        rows = [run.measured(row, self.samples_of(n)) for n, row in enumerate(table) if n >= first]
        names = run.measured(np.zeros(run.width), 1) if not rows else rows[0]
        return {name: np.array([row[name] for row in rows]) for name in names}

    def cursor(self) -> Cursor:
        """Where the run stands, as values that stay as they are."""
        control, epoch = self.control, self.epoch
        keys = [tensor.numpy() for tensor in self.run.generators]
        return Cursor(
            epoch,
            self.batch,
            self.steps,
            control.random,
            np.zeros(0, np.int64) if self.order is None else self.order.copy(),
            self.sums[: epoch + 1].copy(),
            np.array(keys, np.uint32).reshape(-1, 2),
        )

    def go_to(self, cursor: Cursor) -> None:
        """Go on from a cursor of this run, or of another one with the same plan.

        Raises:
            UsageError: it is one of a run with other data, batches, metrics or generators.
        """
        self._check_cursor(cursor)
        with uninterrupted():
            sharing.run_whole(lambda: self._go_to(cursor), self.run.generators, write=True)

    def _go_to(self, cursor: Cursor) -> None:
        control, run = self.control, self.run
        self.sums[cursor.epoch : max(cursor.epoch, self.epoch) + 1] = 0
        if self.validation is not None:
            self.validation.sums[cursor.epoch :] = 0
        self.sums[: cursor.epoch + 1] = cursor.sums
        if self.order is not None:
            self.order[:] = cursor.order
        control.epoch, control.batch, control.steps = cursor.epoch, cursor.batch, cursor.steps
        control.random = cursor.random
        control.stopped = 0
        for tensor, key in zip(run.generators, cursor.generators, strict=True):
            tensor.to_native()[...] = key

    def _check_cursor(self, cursor: Cursor) -> None:
        run, rows = self.run, 0 if self.order is None else len(self.order)
        sums, keys = (cursor.epoch + 1, run.width), len(run.generators)
        facts = (
            ("epochs", cursor.epoch <= run.epochs, cursor.epoch, f"at most {run.epochs}"),
            ("batches", cursor.batch < run.batches, cursor.batch, f"fewer than {run.batches}"),
            ("rows in its order", len(cursor.order) == rows, len(cursor.order), rows),
            ("sums", cursor.sums.shape == sums, cursor.sums.shape, sums),
            ("generators", len(cursor.generators) == keys, len(cursor.generators), keys),
        )
        for what, right, given, wanted in facts:
            if not right:
                raise UsageError(
                    f"the cursor is one of another run: it has {given} {what}, this run has "
                    f"{wanted}; go on with the same data, batch_size, shuffle and step"
                )

    def copies(self) -> Mapping[Tensor, Array]:
        """Memory for copies of the state that steps change."""
        natives = self.run.natives
        return {tensor: np.empty_like(natives[tensor]) for tensor in self.run.values}

    def is_finite(self) -> bool:
        """Whether all state that steps change is, where that is quickly told; False otherwise."""
        return False

    def snapshot(self, copies: Mapping[Tensor, Array] | None = None) -> Snapshot:
        """The cursor and the state; values are copied to `copies`, memory of `copies()`."""
        values = self.copies() if copies is None else copies

        def taken() -> Snapshot:
            self._copy(values)
            return Snapshot(self.cursor(), values)

        return sharing.run_whole(taken, self.run.written)

    def _copy(self, copies: Mapping[Tensor, Array]) -> None:
        natives = self.run.natives
        for tensor, copy in copies.items():
            copy[...] = natives[tensor]

    def restore(self, snapshot: Snapshot) -> None:
        """Go back to a snapshot."""

        natives = self.run.natives

        def put() -> None:
            for tensor, copy in snapshot.values.items():
                natives[tensor][...] = copy
            self._go_to(snapshot.cursor)

        self._check_cursor(snapshot.cursor)
        with uninterrupted():
            sharing.run_whole(put, self.run.written, write=True)

    # -- steps -------------------------------------------------------------------------------------

    def advance(self, budget: int) -> None:
        """Run as many steps, or fewer where the last epoch ends or a loss is not finite.

        No other thread writes the state that they read in the meantime.
        """
        if self.access.written or self.order is not None:
            self.access.alone(lambda: self._advance(budget))
            return
        begin = self.cursor()

        def attempt() -> None:  # once more, where another thread wrote the state
            if self.steps != begin.steps:
                self.go_to(begin)
            self._advance(budget)

        self.access.run(attempt)

    @abstractmethod
    def _advance(self, budget: int) -> None:
        """Run `budget` steps, fewer where the run ends or a loss is not finite."""

    def first_budget(self) -> int:
        """Steps for the first turn: one, where nobody knows how long they take."""
        return 1

    def advance_for_a_turn(self, budget: int, most: int | None = None) -> int:
        """Run `budget` steps, `most` at most; returns a budget for the next turn."""
        began = time.perf_counter()
        self.advance(budget if most is None else min(budget, most))
        if most is not None and most < budget:
            return budget
        factor = TURN_SECONDS / max(time.perf_counter() - began, 1e-6)
        return max(1, min(int(budget * min(max(factor, 0.25), 8.0)), _MOST))

    def ready(self) -> bool:
        """Whether there is another batch in this epoch, where that shows no sooner; if not, the
        epoch is over.
        """
        return True

    @property
    def crowded(self) -> bool:
        """Whether another snapshot is due, since much is kept for going back to the last one."""
        return False

    def begin_epoch(self) -> None:
        """Shuffle, where a new epoch begins."""
        if self.order is not None and self.batch == 0:
            address = self.control.address_of(Control.RANDOM)
            self._shuffle(self.order.ctypes.data, len(self.order), address)

    @abstractmethod
    def _shuffle(self, order: int, rows: int, random: int) -> None:
        """Run the shuffle of the loop on what lies at two addresses."""

    def batch_arguments(self, batch: int) -> tuple[Step, list[Array]]:
        """The step for a batch of this epoch, and its rows of every array."""
        step, rows = self.run.step(batch)
        index = rows if self.order is None else self.order[rows]
        return step, [array[index] for array in self.run.arrays]

    def call(self, staged: Staged, program: Any, arguments: list[Array]) -> list[Array]:
        """Run a step by itself; where a check fails the error says where in the data."""
        try:
            results: list[Array] = program(arguments)
        except (DataError, IndexRangeError):
            self.explain_check(staged, arguments)
            raise
        return results

    def count_step(self, results: list[Array]) -> None:
        """Keep, add up and count the results of a step that Python ran."""
        control, run = self.control, self.run
        step, rows = run.step(self.batch)
        for output, value in zip(run.outputs, results, strict=False):
            output[rows] = value
        for column, value in zip(run.columns.values(), results, strict=False):
            self.sums[self.epoch, column] += value.reshape(-1).astype(np.float64) * step.rows
        if control.check and not np.isfinite(results[0]).all():
            control.stopped = 1
        control.steps += 1
        control.batch += 1
        if control.batch == run.batches:
            control.batch = 0
            control.epoch += 1

    def recorder(self, rows: int) -> tuple[Recorder, Any]:
        """The step that records, for so many rows, and its program; made when first needed."""
        found = self.recorders.get(rows)
        if found is None:
            found = self.recorders[rows] = self.run.recorder(rows)
            self.compile_seconds += found[1].compile_seconds
        return found

    def record_step(self) -> Recorded:
        """Run one step that records."""
        return self.access.alone(self._record_step)

    def _record_step(self) -> Recorded:
        number, epoch = self.steps, self.epoch
        self.begin_epoch()
        step, arguments = self.batch_arguments(self.batch)
        recorder, program = self.recorder(step.rows)
        results = self.call(recorder.staged, program, arguments)
        self.count_step(results[: recorder.results])
        return recorder.collect(number, epoch, results)

    def explain_check(self, staged: Staged, arguments: list[Array]) -> None:
        """Raise what the check that fails on this batch has to say, and where in the data it is."""
        values = [*arguments, *(tensor.to_native() for tensor in staged.state)]
        known = interpreter.bound(staged.graph, values)
        for found in interpreter.failures(staged.graph, known):
            if found.warns:
                continue
            where = self.where(row_of(staged, known, found))
            raise found.error(f"{where}. The state is as it was before this step")

    def where(self, row: int | None) -> str:
        """Where in the data a row of the next batch stands."""
        found = f", in batch {self.batch} of epoch {self.epoch}"
        if row is None:
            return found
        sample = self.batch * self.run.whole.rows + row
        sample = sample if self.order is None else int(self.order[sample])
        return f"{found}, row {row} of the batch: sample {sample} of the data"


def _zeros(epochs: int, metrics: int) -> Array:
    """Room for the sums of so many epochs."""
    try:
        return np.zeros((epochs, metrics), np.float64)
    except (MemoryError, ValueError):
        raise ArgumentError(
            f"epochs is {epochs - 1}: there is no memory for a history with a row for each; give "
            "fewer, and call fit several times"
        ) from None
