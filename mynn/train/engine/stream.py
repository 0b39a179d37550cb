"""Steps on batches that come one after the other."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from math import isfinite
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mynn.base.dataclass import dataclass
from mynn.base.lazy import lazy
from mynn.base.structure import rebuild
from mynn.core.types import Array
from mynn.data.arrays import to_single
from mynn.errors import DataError, IndexRangeError, UsageError
from mynn.jit.compile import Compiled
from mynn.jit.known import Beside
from mynn.runtime.signals import uninterrupted
from mynn.tensor import Tensor
from mynn.train.engine.base import TURN_SECONDS, Executor
from mynn.train.engine.cursor import Cursor, Snapshot
from mynn.train.plan import Check, Run, Step, check_count, trains_single
from mynn.train.record import Recorder
from mynn.train.stream import Batch, Fetcher, Stream

if TYPE_CHECKING:
    from mynn.jit.lengths.calls import Ready

# Batches since the last snapshot are kept, to be repeated; where they take more bytes than this,
# and than two copies of the state, another snapshot is due.
_KEPT_BYTES = 1 << 18


@dataclass(frozen=True, eq=False)
class StreamRun(Run):
    """A run whose `arguments` and `arrays` are those of the first batch.

    - `length`: batches in an epoch, 0 where that is not known.
    - `keeps`: whether the results are rows that are kept, and nothing is added up.
    """

    length: int = 0
    keeps: bool = False

    @lazy
    def names(self) -> list[str]:
        """Names of the results that are added up."""
        return [] if self.keeps else self.staged.result_names

    @property
    def single_numbers(self) -> bool:
        """Whether each of them is one number."""
        return self.width == len(self.columns)

    @property
    def rows(self) -> int:
        """Rows of the first batch."""
        return self.whole.rows

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return self.length

    def step(self, batch: int) -> tuple[Step, slice]:
        """The step for the first batch."""
        return self.whole, slice(0, self.whole.rows)


def plan_stream(
    compiled: Compiled,
    stream: Stream,
    check: Check,
    options: Mapping[str, Any] | None = None,
) -> StreamExecutor:
    """What runs the steps: the first batch is fetched, and the step compiled for it."""
    fetcher = stream.begin(0)
    try:
        return _planned(compiled, stream, fetcher, check, options or {})
    except BaseException:
        fetcher.close()
        raise


def _planned(
    compiled: Compiled,
    stream: Stream,
    fetcher: Fetcher,
    check: Check,
    options: Mapping[str, Any],
) -> StreamExecutor:
    first = _first(fetcher, 0)
    check_count(compiled.function, first.arguments)
    if trains_single(compiled, first.arguments, check):
        stream.single = True
        arrays = to_single(first.arrays, stream.check_finite)
        kind = first.kind[0], *((array.shape, array.dtype) for array in arrays)
        arguments = rebuild(first.arguments, iter(arrays))
        nbytes = sum([array.nbytes for array in arrays])
        fixed_now = {"arguments": arguments, "arrays": arrays, "kind": kind, "nbytes": nbytes}
        first = first._replace(**fixed_now)
    whole = _step_for(compiled, first, check)
    fixed = compiled, first.arguments, tuple(first.arrays), check, whole, whole
    run = StreamRun(*fixed, length=stream.length, **options)
    return StreamExecutor(run, stream, fetcher, first)


def _step_for(compiled: Compiled, batch: Batch, check: Check) -> Step:
    found = compiled.lookup(batch.arguments, thoroughly=True, check=check, beside=Beside())
    return Step(*found, batch.rows)


def _first(fetcher: Fetcher, epoch: int) -> Batch:
    batch = fetcher.next()
    if batch is None:
        raise DataError(
            f"the data gave no batch in epoch {epoch}; "
            + ("give at least one" if not epoch else "its __iter__ must begin anew each time")
        )
    return batch


class Place(NamedTuple):
    """Where a run stands: one object, so that it changes at once where a signal comes in between.

    - `sums`: of every metric over the samples of the present epoch so far; `seen`: these samples.
    """

    epoch: int = 0
    batch: int = 0
    steps: int = 0
    stopped: bool = False
    sums: tuple[float, ...] = ()
    seen: int = 0


class _Notes:
    """What a call of a program notes."""

    __slots__ = ("begun", "results")

    def __init__(self) -> None:
        self.results: list[Array] | None = None
        self.begun = False


class StreamExecutor(Executor):
    """Calls the program of the step batch by batch.

    - `window`: by the number of its step, each batch that may be run again, and the next one.
    - `seen`: the samples of each epoch that is complete.
    - `kept`: results of each batch, where they are kept.
    - `kinds`: the step for each kind of batches; `sized`: for some, how they go into larger ones.
    """

    run: StreamRun

    def __init__(self, run: StreamRun, stream: Stream, fetcher: Fetcher, first: Batch) -> None:
        self.stream = stream
        self.fetcher: Fetcher | None = fetcher
        self.window = {0: first}
        self.window_bytes = first.nbytes
        self.seen = np.zeros(run.epochs + 1)
        self.kept: list[list[Array]] = []
        self.kinds: dict[Any, Step] = {}
        self.sized: dict[Any, Ready] = {}
        self.first = first.kind
        self.place = Place(sums=(0.0,) * run.width)
        super().__init__(run)

    def connect(self, run: Run) -> None:
        """Take the program for batches like the first one."""
        super().connect(run)
        assert isinstance(run, StreamRun)
        self.kinds = {self.first: run.whole}
        self.sized = {}
        self.numbers = run.single_numbers
        self.state_bytes = sum(array.nbytes for array in run.natives.values())

    def refresh(self) -> None:
        """Take other programs where what decided them was changed in between."""
        steps = all(step.staged.valid(thoroughly=True) for step in self.kinds.values())
        if steps and all(ready.holds() for ready in self.sized.values()):
            return
        run = self.run
        example = Batch(0, 0, run.arguments, list(run.arrays), self.first, run.whole.rows, 0)
        whole = self._named(_step_for(run.compiled, example, run.check))
        self.connect(replace(run, whole=whole, last=whole))

    def finish(self) -> None:
        """The thread that fetches leaves."""
        if self.fetcher is not None:
            self.fetcher.close()

    # -- where it is -------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Epochs that are complete."""
        return self.place.epoch

    @property
    def batch(self) -> int:
        """The next batch of the epoch."""
        return self.place.batch

    @property
    def steps(self) -> int:
        """Steps that have run."""
        return self.place.steps

    @property
    def stopped(self) -> bool:
        """Whether a loss was not finite."""
        return self.place.stopped

    @property
    def left(self) -> int:
        """Steps end with the epoch by themselves."""
        return sys.maxsize

    def means(self, epoch: int) -> dict[str, Any]:
        """Means of the results over an epoch, or over its part that has run, and measures."""
        place = self.place
        if epoch < place.epoch:
            sums, seen = self.sums[epoch], int(self.seen[epoch])
        else:
            sums, seen = np.array(place.sums), place.seen
        return self.run.measured(sums / max(seen, 1), seen)

    def samples_of(self, epoch: int) -> int:
        """Samples of an epoch that is complete."""
        return int(self.seen[epoch])

    def table(self) -> Array:
        """Means of the results over each epoch that is complete, [epochs, width]."""
        epochs = self.epoch
        return np.asarray(self.sums[:epochs] / np.maximum(self.seen[:epochs], 1)[:, None])

    def cursor(self) -> Cursor:
        """Where the run stands, as values that stay as they are."""
        self.sums[self.epoch] = self.place.sums
        return super().cursor()

    def snapshot(self, copies: Mapping[Tensor, Array] | None = None) -> Snapshot:
        """The cursor and the state; batches before are not needed any more."""
        taken = super().snapshot(copies)
        self.window = {n: batch for n, batch in self.window.items() if n >= self.steps}
        self.window_bytes = sum(batch.nbytes for batch in self.window.values())
        return taken

    @property
    def crowded(self) -> bool:
        """Whether many batches are kept since the last snapshot."""
        return self.window_bytes > max(_KEPT_BYTES, 2 * self.state_bytes)

    def _check_cursor(self, cursor: Cursor) -> None:
        missing = [n for n in range(cursor.steps, self.steps) if n not in self.window]
        if cursor.steps > self.steps or missing:
            raise UsageError(
                "the cursor is one of other batches than those that are kept: a run over an "
                "iterable goes back a few batches, and never forward"
            )

    def _go_to(self, cursor: Cursor) -> None:
        epoch, place = cursor.epoch, self.place
        undone = [self.window[number] for number in range(cursor.steps, place.steps)]
        seen = place.seen if epoch == place.epoch else int(self.seen[epoch])
        seen -= sum(batch.rows for batch in undone if batch.epoch == epoch)
        sums = tuple(map(float, cursor.sums[epoch]))
        self.place = Place(epoch, cursor.batch, cursor.steps, False, sums, seen)
        for tensor, key in zip(self.run.generators, cursor.generators, strict=True):
            tensor.to_native()[...] = key

    # -- steps -------------------------------------------------------------------------------------

    def ready(self) -> bool:
        """Whether there is another batch in this epoch; if not, the epoch is over."""
        place = self.place
        waiting = self.window.get(place.steps)
        if waiting is not None:
            if waiting.epoch == place.epoch:
                return True
            self._end_epoch()  # once more, after going back
            return False
        if self.fetcher is None:
            self.fetcher = self.stream.begin(place.epoch)
            batch: Batch | None = _first(self.fetcher, place.epoch)
        else:
            batch = self.fetcher.next()
        if batch is None:
            self.fetcher = None
            self._end_epoch()
            return False
        self.window[place.steps] = batch
        self.window_bytes += batch.nbytes
        return True

    def _end_epoch(self) -> None:
        epoch, _, steps, _, sums, seen = self.place
        self.sums[epoch], self.seen[epoch] = sums, seen
        self.place = Place(epoch + 1, 0, steps, False, (0.0,) * len(sums))

    def advance(self, budget: int) -> None:
        """Run as many steps, or fewer where an epoch ends, a loss is not finite, or time is over.

        The turns of several threads that train the same state are single steps.
        """
        until, end = self.steps + budget, perf_counter() + TURN_SECONDS
        while self.place.steps < until and not self.place.stopped and self.ready():
            batch = self.window[self.place.steps]
            step = self.kinds.get(batch.kind) or self._made(batch)
            notes = _Notes()
            try:
                self._run(step, batch, notes)
            finally:  # a signal that came after the run has let it count
                if notes.results is not None:
                    self.count_step(notes.results)
            if perf_counter() > end:
                return

    def _advance(self, budget: int) -> None:
        self.advance(budget)

    def _run(self, step: Step, batch: Batch, notes: _Notes) -> None:
        try:
            if step.program.backend == "native":
                ready = self.sized.get(batch.kind)
                arrays = batch.arrays if ready is None else ready.filled(batch.arrays)
                step.program.call_noting(arrays, notes)
                return
            with uninterrupted():
                notes.results = step.program(batch.arrays)
        except (DataError, IndexRangeError):
            self.explain_check(step.staged, batch.arrays)
            raise

    def _made(self, batch: Batch) -> Step:
        """The step for batches of another kind."""
        ready = self._sized(batch)
        if ready is None:
            step = self._named(_step_for(self.run.compiled, batch, self.run.check))
        else:
            step = self._named(Step(ready.staged, ready.program, batch.rows))
            self.sized[batch.kind] = ready
        self.compile_seconds += step.program.compile_seconds
        self.kinds[batch.kind] = step
        return step

    def _sized(self, batch: Batch) -> Ready | None:
        """What runs it in a program for batches of several sizes, where the step is `dynamic`."""
        run = self.run
        calls = run.compiled.calls
        if calls is None or run.keeps or run.whole.program.backend != "native":
            return None
        calls.note(run.arguments)
        ready = calls.ready(batch.arguments)
        if ready is not None:
            run.check(ready.staged)
        return ready

    def _named(self, step: Step) -> Step:
        names = [] if self.run.keeps else step.staged.result_names
        if names != self.run.names:
            raise UsageError(
                f"the step returned {self.run.names}, and now {names}, for another batch or after "
                "something was changed; it must return the same names each time"
            )
        return step

    def _shuffle(self, order: int, rows: int, random: int) -> None:
        """Batches come in the order of the iterable."""

    def batch_arguments(self, batch: int) -> tuple[Step, list[Array]]:
        """The step for the next batch, and its arrays."""
        found = self.window[self.steps]
        return self.kinds.get(found.kind) or self._made(found), found.arrays

    def count_step(self, results: list[Array]) -> None:
        """Add up and count the results of a step."""
        run, place = self.run, self.place
        batch = self.window[place.steps]
        rows = batch.rows
        sums, stopped = place.sums, False
        if run.keeps:
            self.kept.append(results)
        else:
            if len(sums) == 1:
                values = [results[0].item()]
            elif self.numbers:
                values = [value.item() for value in results[: len(sums)]]
            else:
                parts = results[: len(run.columns)]
                values = np.concatenate([part.reshape(-1) for part in parts]).tolist()
            sums = tuple([a + b * rows for a, b in zip(sums, values, strict=True)])
            stopped = run.check_finite and not isfinite(values[0])
        steps, seen = place.steps + 1, place.seen + rows
        self.place = Place(batch.epoch, batch.number + 1, steps, stopped, sums, seen)
        if not run.check_finite:
            del self.window[place.steps]
            self.window_bytes -= batch.nbytes

    def recorder(self, rows: int) -> tuple[Recorder, Any]:
        """The step that records, for batches like the next one."""
        batch, record = self.window[self.steps], self.run.record
        found: Any = self.recorders.get(batch.kind)
        if found is None:
            assert record is not None
            recorder = Recorder(record, self.run.compiled.function, batch.arguments)
            found = recorder, self.run.compiled.make(recorder.staged)
            self.recorders[batch.kind] = found
            self.compile_seconds += found[1].compile_seconds
        return found  # type: ignore[no-any-return]

    def where(self, row: int | None) -> str:
        """Where in the data a check of the next batch failed."""
        found = f", in batch {self.window[self.steps].number} of epoch {self.epoch}"
        return found if row is None else f"{found}, row {row} of the batch"
