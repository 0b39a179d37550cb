"""`fit`: whole epochs inside native code.

Python hands the native loop a budget of steps, about 1/25 of a second's worth, and gets control
back when it is spent: to move the progress bar, call callbacks and notice Ctrl-C. Between two
returns the state is always that of whole steps.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from mynn import staging
from mynn.compiled import Compiled, check_ranges
from mynn.errors import ArgumentError, DTypeError, UsageError
from mynn.graph import Array
from mynn.train import dataset
from mynn.train.callback import Callback
from mynn.train.engine import Engine, InterpretedEngine, NativeEngine
from mynn.train.finite import Guard
from mynn.train.history import History
from mynn.train.progress import progress_bar
from mynn.train.record import Record, Recorder

CHUNK_SECONDS = 0.04


def fit(
    step: Callable[..., Any],
    data: Any,
    *,
    epochs: int = 1,
    batch_size: int = 32,
    shuffle: bool = True,
    seed: int = 0,
    drop_last: bool = False,
    callbacks: Sequence[Callback] = (),
    record: Record | None = None,
    check_finite: bool = True,
    verbose: bool = True,
) -> History:
    """Run a training step over a data set, epoch after epoch, natively.

    Args:
        step: takes one batch of each data array; returns the loss, or a tuple or dict of numbers of
            which the loss is the first. It is compiled unless it is already.
        data: a tuple of arrays (samples along the first axis), one for each argument of the step.
        epochs: passes over the data.
        batch_size: samples in a step; the last batch of an epoch may be smaller.
        shuffle: a new order of the samples in every epoch, reproducible from `seed`.
        drop_last: leave out a last batch that is smaller.
        callbacks: see `Callback`.
        record: see `Record`.
        check_finite: look for NaN and infinity in the data at the start and in the loss at every
            step; the error names the step and the first layer, and the state is left as it was
            before that step.
        verbose: show a progress bar, where standard error is a terminal.

    Returns:
        `History` with the mean of every result over the samples of each epoch.

    Raises:
        DataError, ArgumentError, ShapeError, UsageError: before anything is changed.
        NotFiniteError: a loss is not finite; the state is that before its step.

    Example:
        >>> import numpy as np, mynn
        >>> from mynn import nn, optim
        >>> net = nn.Linear(2, 1)
        >>> optimizer = optim.SGD(net.parameters(), lr=0.1)
        >>> @mynn.compile
        ... def step(x, t):
        ...     loss = ((net(x) - t) ** 2).mean()
        ...     loss.backward()
        ...     optimizer.step()
        ...     return loss
        >>> x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
        >>> history = mynn.fit(step, (x, x[:, :1] + 1), epochs=50, batch_size=8)
        >>> bool(history["loss"][-1] < 0.01)
        True
    """
    epochs = dataset.positive("epochs", epochs)
    batch_size = dataset.positive("batch_size", batch_size)
    compiled = step if isinstance(step, Compiled) else Compiled(step)
    arguments, arrays = dataset.load(data, check_finite)
    arrays = _match_precision(compiled, arguments, arrays, batch_size)
    engine = _make_engine(compiled, arguments, arrays, batch_size, drop_last, record)
    engine.start(epochs, shuffle, seed, check_finite)
    run = _Run(engine, epochs, list(callbacks), record, check_finite)
    if verbose:
        run.callbacks += progress_bar()
    return run.go()


def _batch(arguments: tuple[Any, ...], arrays: list[Array], rows: int) -> tuple[Any, ...]:
    batch: tuple[Any, ...] = staging.rebuild(arguments, (array[:rows] for array in arrays))
    return batch


def _match_precision(
    compiled: Compiled, arguments: tuple[Any, ...], arrays: list[Array], batch_size: int
) -> list[Array]:
    """Float64 data is rounded to float32 where the step trains float32 parameters alone."""
    if not any(array.dtype == np.float64 for array in arrays):
        return arrays
    single = [a.astype(np.float32) if a.dtype == np.float64 else a for a in arrays]
    try:
        staged = staging.stage(compiled.function, _batch(arguments, single, batch_size))
    except DTypeError:
        return arrays
    kinds = {t.dtype for t in staged.state if t.requires_grad}
    return single if kinds == {np.dtype(np.float32)} else arrays


def _make_engine(
    compiled: Compiled,
    arguments: tuple[Any, ...],
    arrays: list[Array],
    batch_size: int,
    drop_last: bool,
    record: Record | None,
) -> Engine:
    rows = len(arrays[0])
    size = min(batch_size, rows)
    rest = 0 if drop_last else rows % size
    programs = []
    for count in (size, rest):
        if count:
            staged, program = compiled.lookup(_batch(arguments, arrays, count))
            _check_results(staged)
            check_ranges(staged, [array[:] for array in arrays])
            programs.append((staged, program))
    recorder = None
    if record is not None:
        recorder = Recorder(record, compiled.function, _batch(arguments, arrays, size))
    native = programs[0][1].backend == "native"
    kind = NativeEngine if native else InterpretedEngine
    return kind(programs, arrays, size, rest, recorder, compiled)


def _check_results(staged: staging.Staged) -> None:
    results = staged.graph.outputs[: staged.results]
    if not results:
        raise UsageError("the step returns nothing; return the loss, so that it can be measured")
    for name, node in zip(staged.result_names, results, strict=True):
        if node.type.size != 1:
            raise ArgumentError(
                f"the step returns {name} of shape {node.shape}; fit needs single numbers, "
                "reduce it with .mean() or .sum()"
            )


class _Run:
    """One call of `fit`."""

    def __init__(
        self,
        engine: Engine,
        epochs: int,
        callbacks: list[Callback],
        record: Record | None,
        check_finite: bool,
    ) -> None:
        self.engine = engine
        self.epochs = epochs
        self.callbacks = callbacks
        self.by_epoch = bool(callbacks)
        self.record = record
        self.guard = Guard(engine) if check_finite else None
        self.history = History(compile_seconds=engine.compile_seconds)
        self.reported = 0

    def go(self) -> History:
        """Train until the last epoch, an error, or Ctrl-C."""
        for callback in self.callbacks:
            callback.on_train_begin(self.epochs, self.engine.steps_per_epoch)
        start = time.perf_counter()
        try:
            for _ in self.chunks():
                self.report()
                if any(c.stop for c in self.callbacks) and self.engine.batch == 0:
                    break
        finally:
            self.history.seconds = time.perf_counter() - start
            self.finish()
        return self.history

    def chunks(self) -> Iterator[None]:
        """Run the engine in pieces; each yield is a return to Python."""
        engine = self.engine
        budget = 1
        while engine.epoch < self.epochs:
            if self.guard is not None:
                self.guard.keep()
            recorded = self.record.next_due(engine.steps) if self.record is not None else None
            count = budget
            if recorded is not None:
                count = min(count, recorded - engine.steps)
            if self.by_epoch:
                count = min(count, engine.steps_per_epoch - engine.batch)
            began = time.perf_counter()
            if count:
                engine.run(count)
            else:
                self.history.records.append(engine.run_recorded())
            elapsed = time.perf_counter() - began
            if engine.stopped and self.guard is not None:
                self.guard.explain()
            if count == budget:
                factor = CHUNK_SECONDS / max(elapsed, 1e-6)
                budget = max(1, int(budget * min(max(factor, 0.25), 8.0)))
            yield

    def report(self) -> None:
        """Tell the callbacks what happened since the last return."""
        engine = self.engine
        while self.reported < min(engine.epoch, self.epochs):
            logs = engine.means(self.reported)
            for callback in self.callbacks:
                callback.on_epoch_end(self.reported, logs)
            self.reported += 1
        if self.callbacks:
            logs = engine.means(engine.epoch) if engine.epoch < self.epochs else {}
            for callback in self.callbacks:
                callback.on_progress(engine.epoch, engine.batch, logs)

    def finish(self) -> None:
        """Fill in the history."""
        done = min(self.engine.epoch, self.epochs)
        self.history.epochs = done
        self.history.steps = self.engine.steps
        table = self.engine.metrics[:done] / self.engine.samples
        self.history.metrics = {
            name: table[:, i].copy() for i, name in enumerate(self.engine.names)
        }
        for callback in self.callbacks:
            with contextlib.suppress(KeyboardInterrupt):
                callback.on_train_end(self.history)


def evaluate(
    function: Callable[..., Any], data: Any, *, batch_size: int = 256, check_finite: bool = True
) -> dict[str, float]:
    """Means of what `function` returns over a data set, weighted by the samples of each batch.

    Args:
        function: takes a batch, returns a number or a dict of numbers; it should change no state.
        data, batch_size, check_finite: as for `fit`.

    Example:
        >>> import numpy as np, mynn
        >>> mynn.evaluate(lambda x: {"mean": x.mean()}, np.arange(10, dtype=np.float32))
        {'mean': 4.5}
    """
    batch_size = dataset.positive("batch_size", batch_size)
    compiled = function if isinstance(function, Compiled) else Compiled(function)
    arguments, arrays = dataset.load(data, check_finite)
    arrays = _match_precision(compiled, arguments, arrays, batch_size)
    rows = len(arrays[0])
    totals: dict[str, float] = {}
    for start in range(0, rows, batch_size):
        part = [array[start : start + batch_size] for array in arrays]
        batch = staging.rebuild(arguments, iter(part))
        results = compiled(*batch)
        names = staging.leaf_names(results, "loss")
        for name, value in zip(names, staging.flatten(results), strict=True):
            totals[name] = totals.get(name, 0.0) + float(value) * len(part[0])
    return {name: total / rows for name, total in totals.items()}


def predict(function: Callable[..., Any], data: Any, *, batch_size: int = 256) -> Array:
    """The outputs of `function` (a module, say) for every sample, in batches, as one array.

    Example:
        >>> import numpy as np, mynn
        >>> mynn.predict(lambda x: x * 2, np.arange(3, dtype=np.float32))
        array([0., 2., 4.], dtype=float32)
    """
    batch_size = dataset.positive("batch_size", batch_size)
    compiled = function if isinstance(function, Compiled) else Compiled(function)
    arguments, arrays = dataset.load(data, check_finite=False)
    arrays = _match_precision(compiled, arguments, arrays, batch_size)
    rows = len(arrays[0])
    parts = [
        compiled(*staging.rebuild(arguments, (array[i : i + batch_size] for array in arrays)))
        for i in range(0, rows, batch_size)
    ]
    return np.concatenate(parts)
