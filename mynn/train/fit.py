"""`fit`: whole epochs inside native code.

Python hands the native loop a budget of steps, about 1/25 of a second's worth, and gets control
back when it is spent: to move the progress bar, call callbacks and notice Ctrl-C. Between two
returns the state is always that of whole steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from mynn import random
from mynn.base import notices
from mynn.base.arguments import explained, flag, positive, shown, whole_number
from mynn.core.types import Array
from mynn.data import arrays as dataset
from mynn.errors import ArgumentError, UsageError
from mynn.jit import stage
from mynn.jit.compile import Compiled
from mynn.nn import Module
from mynn.tensor import Parameter
from mynn.train.callbacks.base import Callback
from mynn.train.callbacks.progress import progress_bar
from mynn.train.engine.native import Engine, make_engine, next_budget
from mynn.train.finite import Guard
from mynn.train.history import History
from mynn.train.record import Record


@explained
def fit(
    step: Callable[..., Any],
    data: Any,
    *,
    epochs: int = 1,
    batch_size: int = 32,
    shuffle: bool = True,
    seed: int | None = None,
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
        shuffle: True or False: a new order of the samples in every epoch.
        seed: a whole number, from which the orders come: each call with it has the same ones. Left
            out, it is drawn from the default generator (`mynn.manual_seed`), as in PyTorch, so that
            each call goes on with new orders.
        drop_last: leave out a last batch that is smaller.
        callbacks: see `Callback`. What they change in `on_epoch_end` (a learning rate, a mode,
            frozen parameters) holds from then on.
        record: see `Record`.
        check_finite: look for NaN and infinity in the data at the start, in the loss at every step,
            and in the parameters about every second and at the end; the error names the step and
            the first layer, and the state is left as it was before that step.
        verbose: show a progress bar, where standard error is a terminal.

    Safe from several threads: those that train the same state take turns every few hundredths of a
    second, and each step sees a whole one. Callbacks run in no turn; give each call its own ones.

    Returns:
        `History` with the mean of every result over the samples of each epoch.

    Raises:
        DataError, ArgumentError, ShapeError, UsageError: before anything is changed.
        DataError, IndexRangeError: a label or an index out of range; the state is that before the
            step, and the error names the sample.
        NotFiniteError: a loss or a parameter is not finite; the state is that before the step.
        KeyboardInterrupt: Ctrl-C; the state is that of a whole number of steps.

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
    dataset.check_outside("fit")
    _refuse_others(step)
    epochs = positive("epochs", epochs)
    batch_size = positive("batch_size", batch_size)
    shuffle = flag("shuffle", shuffle)
    drop_last = flag("drop_last", drop_last)
    check_finite = flag("check_finite", check_finite)
    seed = None if seed is None else whole_number("seed", seed)
    called = _checked_callbacks(callbacks)
    if record is not None and not isinstance(record, Record):
        raise ArgumentError(
            f"record must be a mynn.Record, it is {shown(record)}; write for example "
            "mynn.Record(every=10)"
        )
    compiled = step if isinstance(step, Compiled) else Compiled(step)
    arguments, arrays = dataset.load(data, check_finite)
    _check_step(compiled, arguments)

    def trace(single: list[Array]) -> stage.Staged:
        batch = stage.rebuild(arguments, (array[:batch_size] for array in single))
        return stage.stage(compiled.function, batch)

    arrays = dataset.match_precision(trace, arrays, check_finite)
    engine = _make_engine(compiled, arguments, arrays, batch_size, drop_last, record)
    if seed is None:
        seed = _drawn_seed() if shuffle else 0
    engine.start(epochs, shuffle, seed, check_finite)
    run = _Run(engine, epochs, called, record, check_finite)
    if verbose:
        run.callbacks += progress_bar()
    return run.go()


def _drawn_seed() -> int:
    """64 bits from the default generator."""
    high, low = random.bits((2,)).tolist()
    return int(high) << 32 | int(low)


def _checked_callbacks(callbacks: Any) -> list[Callback]:
    found = [callbacks] if isinstance(callbacks, Callback) else callbacks
    if not isinstance(found, Iterable):
        raise ArgumentError(f"callbacks must be a list of mynn.Callback, it is {callbacks!r}")
    found = list(found)
    for callback in found:
        if not isinstance(callback, Callback):
            raise ArgumentError(
                f"callbacks must be instances of mynn.Callback, not {callback!r}: subclass it, and "
                "define the methods that are to be called"
            )
    return found


def _make_engine(
    compiled: Compiled,
    arguments: tuple[Any, ...],
    arrays: list[Array],
    batch_size: int,
    drop_last: bool,
    record: Record | None,
) -> Engine:
    """The engine for data that was checked, its programs checked too."""
    rows = len(arrays[0])
    if drop_last and rows < batch_size:
        raise ArgumentError(
            f"drop_last leaves nothing to train on: there are {rows} samples, "
            f"batch_size is {batch_size}"
        )
    engine = make_engine(compiled, arguments, arrays, batch_size, drop_last, record)
    for staged, _ in engine.programs:
        _check_results(staged)
    if record is not None:
        engine.recorder(engine.batch_rows)
    _check_training(engine.staged)
    return engine


def _check_training(staged: stage.Staged) -> None:
    """Say where the step reads parameters and changes none."""
    nodes = zip(staged.state, staged.state_nodes, strict=True)
    written = [tensor for tensor, node in nodes if node in staged.writes]
    parameters = [t for t in staged.state if t.requires_grad or isinstance(t, Parameter)]
    updated = any(name == "signature" for _, name in staged.tracer.guards)
    trainable = any(t.requires_grad for t in parameters)
    if any(t.requires_grad or isinstance(t, Parameter) for t in written):
        return
    if trainable or (parameters and updated):
        remedy = "is loss.backward() or optimizer.step() missing, or the optimizer another net's?"
        if not trainable:
            remedy = "all of them are frozen; net.requires_grad_() releases them"
        notices.warn("untrained", f"the step changes no parameter, so nothing is trained; {remedy}")


def _check_results(staged: stage.Staged) -> None:
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
        self.by_progress = any(type(c).on_progress is not Callback.on_progress for c in callbacks)
        self.record = record
        self.guard = Guard(engine) if check_finite else None
        self.history = History()
        self.reported = 0

    def go(self) -> History:
        """Train until the last epoch, an error, or Ctrl-C."""
        for callback in self.callbacks:
            callback.stop = False
            callback.on_train_begin(self.epochs, self.engine.steps_per_epoch)
        start = time.perf_counter()
        try:
            for _ in self.chunks():
                self.report()
                if any(c.stop for c in self.callbacks) and self.engine.batch == 0:
                    break
            if self.guard is not None and self.by_epoch:  # its steps were looked at before
                self.guard.check_outside()
            elif self.guard is not None:
                self.guard.check()
        finally:
            self.history.seconds = time.perf_counter() - start
            try:
                self.finish()
            finally:
                self.engine.finish()
                if self.guard is not None:
                    self.guard.finish()
        return self.history

    def chunks(self) -> Iterator[None]:
        """Run the engine in pieces; each yield is a return to Python."""
        engine = self.engine
        budget = 1
        while engine.epoch < self.epochs:
            touched = self.by_epoch and engine.batch == 0
            if touched:
                engine.refresh()
            if self.guard is not None:
                self.guard.keep(touched or self.by_progress)
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
            if self.guard is not None and (
                self.by_progress or (self.by_epoch and engine.batch == 0)
            ):
                self.guard.check()
            if count == budget:
                budget = next_budget(budget, elapsed)
            yield

    def report(self) -> None:
        """Tell the callbacks what happened since the last return."""
        if not self.callbacks:
            return
        engine = self.engine
        while self.reported < min(engine.epoch, self.epochs):
            logs = engine.means(self.reported)
            for callback in self.callbacks:
                callback.on_epoch_end(self.reported, logs)
            self.reported += 1
        logs = engine.means(engine.epoch) if engine.epoch < self.epochs else {}
        for callback in self.callbacks:
            callback.on_progress(engine.epoch, engine.batch, logs)

    def finish(self) -> None:
        """Fill in the history."""
        done = min(self.engine.epoch, self.epochs)
        self.history.epochs = done
        self.history.steps = self.engine.steps
        self.history.compile_seconds = self.engine.compile_seconds
        table = self.engine.metrics[:done] / self.engine.samples
        self.history.metrics = {
            name: table[:, i].copy() for i, name in enumerate(self.engine.names)
        }
        self.say_goodbye(self.callbacks)

    def say_goodbye(self, callbacks: Sequence[Callback]) -> None:
        """Tell every callback that training is over, the others too where one of them raises."""
        if callbacks:
            try:
                callbacks[0].on_train_end(self.history)
            finally:
                self.say_goodbye(callbacks[1:])


def _check_step(compiled: Compiled, arguments: tuple[Any, ...]) -> None:
    """Raise where the data does not fit the step, and where a network is given instead of one."""
    inner = compiled.function
    try:
        dataset.check_count(getattr(inner, "forward", inner), arguments)
    except ArgumentError as error:
        if not isinstance(inner, Module):
            raise
        raise UsageError(
            f"fit takes a training step, it was given the network {type(inner).__name__}; write "
            "def step(x, t): loss = criterion(net(x), t); loss.backward(); optimizer.step(); "
            "return loss  and call fit(step, data)"
        ) from error


def _refuse_others(step: Any) -> None:
    """Raise where a layer of PyTorch is given as the step."""
    if type(step).__module__.partition(".")[0] == "torch":
        raise UsageError(
            f"fit takes a step made of mynn's layers, it was given {shown(step)} of PyTorch; build "
            "the network with mynn.nn and load its weights with net.load_state_dict"
        )
