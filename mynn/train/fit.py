"""`fit`: whole epochs inside native code.

Python hands the native loop a budget of steps, about 1/25 of a second's worth, and gets control
back when it is spent: to move the progress bar, call callbacks and notice Ctrl-C. Between two
returns the state is always that of whole steps.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mynn import random
from mynn.base import notices
from mynn.base.arguments import explained, flag, positive, shown, whole_number
from mynn.errors import ArgumentError, UsageError
from mynn.jit.compile import Compiled, compiled_of
from mynn.jit.stage import Staged
from mynn.nn import Module
from mynn.tensor import Parameter
from mynn.train.callbacks.base import Callback
from mynn.train.callbacks.progress import progress_bar
from mynn.train.engine import executor_for
from mynn.train.finite import NanGuard
from mynn.train.history import History
from mynn.train.loaders import from_loader
from mynn.train.plan import Run, check_count, check_outside, load, plan
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
        data: a tuple of arrays (samples along the first axis), one for each argument of the step;
            or a `DataLoader` of a `TensorDataset`, or of a `Subset` of one, which says batch_size,
            shuffle and drop_last itself. Orders are drawn natively, so they are others than those
            of a loop over the loader.
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
    check_outside("fit")
    _refuse_others(step)
    epochs = positive("epochs", epochs)
    batch_size = positive("batch_size", batch_size)
    shuffle = flag("shuffle", shuffle)
    drop_last = flag("drop_last", drop_last)
    check_finite = flag("check_finite", check_finite)
    seed = None if seed is None else whole_number("seed", seed)
    called = _checked_callbacks(callbacks)
    record = _checked_record(record)
    compiled = compiled_of(step)
    if hasattr(data, "batch_sampler"):
        data, batch_size, shuffle, drop_last, drawn = from_loader(data)
        seed = drawn if seed is None else seed
    arguments, arrays = load(data, check_finite)
    _check_step(compiled, arguments)
    options = {
        "epochs": epochs,
        "shuffle": shuffle,
        "check_finite": check_finite,
        "record": record,
    }
    given = arguments, arrays, _check_results, batch_size, check_finite, drop_last
    run = plan(compiled, *given, options)
    return Training(run, called, seed, verbose).go()


def _drawn_seed() -> int:
    """64 bits from the default generator."""
    high, low = random.default_generator().words(2)
    return high << 32 | low


def _checked_record(record: Any) -> Record | None:
    if record is not None and not isinstance(record, Record):
        raise ArgumentError(
            f"record must be a mynn.Record, it is {shown(record)}; write for example "
            "mynn.Record(every=10)"
        )
    return record


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


def _check_training(staged: Staged) -> None:
    """Say where the step reads parameters and changes none."""
    parameters = [t for t in staged.state if t.requires_grad or isinstance(t, Parameter)]
    updated = any(name == "signature" for _, name in staged.trace.guards.properties)
    trainable = any(t.requires_grad for t in parameters)
    if any(t.requires_grad or isinstance(t, Parameter) for t in staged.written):
        return
    if trainable or (parameters and updated):
        remedy = "is loss.backward() or optimizer.step() missing, or the optimizer another net's?"
        if not trainable:
            remedy = "all of them are frozen; net.requires_grad_() releases them"
        notices.warn("untrained", f"the step changes no parameter, so nothing is trained; {remedy}")


def _check_results(staged: Staged) -> None:
    results = staged.graph.outputs[: staged.results]
    if not results:
        raise UsageError("the step returns nothing; return the loss, so that it can be measured")
    for name, node in zip(staged.result_names, results, strict=True):
        if node.type.size != 1:
            raise ArgumentError(
                f"the step returns {name} of shape {node.shape}; fit needs single numbers, "
                "reduce it with .mean() or .sum()"
            )


class Training:
    """One call of `fit`: the executor, and what happens between its turns."""

    def __init__(
        self, run: Run, callbacks: list[Callback], seed: int | None, verbose: bool
    ) -> None:
        self.executor = executor_for(run)
        if run.record is not None:
            self.executor.recorder(run.whole.rows)
        _check_training(run.staged)
        if run.shuffle:
            self.executor.seed(_drawn_seed() if seed is None else seed)
        self.by_epoch = bool(callbacks)
        self.by_progress = any(type(c).on_progress is not Callback.on_progress for c in callbacks)
        self.callbacks = callbacks + (progress_bar() if verbose else [])
        self.guard = NanGuard(self.executor) if run.check_finite else None
        self.history = History()
        self.reported = 0

    def go(self) -> History:
        """Train until the last epoch, an error, or Ctrl-C."""
        executor = self.executor
        for callback in self.callbacks:
            callback.stop = False
            callback.on_train_begin(executor.run.epochs, executor.run.batches)
        start = time.perf_counter()
        try:
            budget = executor.first_budget()
            while not executor.over:
                budget = self.turn(budget)
                self.report()
                if executor.batch == 0 and any(c.stop for c in self.callbacks):
                    break
            if self.guard is not None:
                # After callbacks that are told of epochs, its steps have been looked at.
                self.guard.check_outside() if self.by_epoch else self.guard.check()
        finally:
            self.history.seconds = time.perf_counter() - start
            try:
                self.finish()
            finally:
                executor.finish()
                if self.guard is not None:
                    self.guard.finish()
        return self.history

    def turn(self, budget: int) -> int:
        """Run steps until Python is to have control again; returns a budget for the next turn."""
        executor, record = self.executor, self.executor.run.record
        at_epoch = self.by_epoch and executor.batch == 0
        if at_epoch:
            executor.refresh()
        if self.guard is not None:
            self.guard.keep(at_epoch or self.by_progress)
        due = None if record is None else record.next_due(executor.steps)
        most = [] if due is None else [due - executor.steps]
        if self.by_epoch:
            most.append(executor.run.batches - executor.batch)
        if due == executor.steps:
            self.history.records.append(executor.record_step())
        else:
            budget = executor.advance_for_a_turn(budget, min(most, default=None))
        if self.guard is not None:
            if executor.stopped:
                self.guard.explain()
            if self.by_progress or (self.by_epoch and executor.batch == 0):
                self.guard.check()
        return budget

    def report(self) -> None:
        """Tell the callbacks what happened since the last return."""
        if not self.callbacks:
            return
        executor = self.executor
        while self.reported < executor.epoch:
            logs = executor.means(self.reported)
            for callback in self.callbacks:
                callback.on_epoch_end(self.reported, logs)
            self.reported += 1
        logs = {} if executor.over else executor.means(executor.epoch)
        for callback in self.callbacks:
            callback.on_progress(executor.epoch, executor.batch, logs)

    def finish(self) -> None:
        """Fill in the history, and tell every callback that training is over."""
        executor, history = self.executor, self.history
        history.epochs = executor.epoch
        history.steps = executor.steps
        history.compile_seconds = executor.compile_seconds
        table = executor.sums[: history.epochs] / executor.run.samples
        history.metrics = {name: table[:, i].copy() for i, name in enumerate(executor.run.names)}
        _end(self.callbacks, history)


def _end(callbacks: Sequence[Callback], history: History) -> None:
    """Call `on_train_end` of all, of the others too where one of them raises."""
    if callbacks:
        try:
            callbacks[0].on_train_end(history)
        finally:
            _end(callbacks[1:], history)


def _check_step(compiled: Compiled, arguments: tuple[Any, ...]) -> None:
    """Raise where the data does not fit the step, and where a network is given instead of one."""
    inner = compiled.function
    try:
        check_count(getattr(inner, "forward", inner), arguments)
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
