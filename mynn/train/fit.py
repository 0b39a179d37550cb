"""`fit`: what is given, checked, and made into a plan, before `Training` runs it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from mynn.base.arguments import explained, flag, in_range, positive, shown, whole_number
from mynn.errors import ArgumentError, UsageError
from mynn.jit.compile import Compiled, compiled_of
from mynn.jit.stage import Staged
from mynn.metrics.metric import Metric
from mynn.nn import Module
from mynn.train.callbacks.base import Callback
from mynn.train.checkpoint import Keeper, read, restore
from mynn.train.engine import executor_for
from mynn.train.engine.base import Executor
from mynn.train.engine.stream import plan_stream
from mynn.train.history import History
from mynn.train.loaders import from_loader
from mynn.train.plan import (
    check_count,
    check_measures,
    check_outside,
    checked_metrics,
    load,
    plan,
)
from mynn.train.record import Record
from mynn.train.stream import Stream, is_stream
from mynn.train.training import Training
from mynn.train.validation import Validation, split


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
    validate: Callable[..., Any] | None = None,
    validation_data: Any = None,
    validation_split: float = 0.0,
    metrics: Any = None,
    checkpoint: Any = None,
    resume: Any = None,
) -> History:
    """Run a training step over a data set, epoch after epoch, natively.

    Args:
        step: takes one batch of each data array; returns the loss, or a tuple or dict of numbers of
            which the loss is the first. It is compiled unless it is already.
        data: a tuple of arrays (samples along the first axis), one for each argument of the step;
            or a `DataLoader` of a `TensorDataset`, or of a `Subset` of one, which says batch_size,
            shuffle and drop_last itself: its orders are drawn natively, so they are others than
            those of a loop over the loader. Or any other iterable of batches, such as a generator
            or a `DataLoader`: a tuple for the arguments of the step, or one array or dict. Batches
            come as it gives them, fetched a few ahead, on a thread where that takes long.
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
        validate: a function of a batch, as for `evaluate`, that is measured after each epoch, in
            native code; its results are called "val_" and their names. The networks of the step are
            in evaluation mode meanwhile.
        validation_data: the arrays for it; or
        validation_split: the share of the data, from its end and before any shuffling, that is not
            trained on but measured.
        metrics: a dict of measures of `mynn.metrics` whose parts the step (and `validate`) returns.
        checkpoint: a path, or a `Checkpoint`: where all of the run is written, now and then.
        resume: the path of a checkpoint to go on from; True: that of `checkpoint`, if it is there.

    Safe from several threads: those that train the same state take turns every few hundredths of a
    second, and each step sees a whole one. Callbacks run in no turn; give each call its own ones.

    Returns:
        `History` with the mean of every result over the samples of each epoch, and measures.

    Raises:
        DataError, ArgumentError, ShapeError, UsageError: before anything is changed; for a batch of
            an iterable before its step, naming the batch, also where the iterable itself raises.
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
    measures = checked_metrics(metrics)
    keeper = None if checkpoint is None else Keeper(checkpoint)
    compiled = compiled_of(step)
    held = _held(validation_data, validation_split, validate)
    content = _content(resume, keeper)
    options = {
        "epochs": epochs,
        "check_finite": check_finite,
        "record": record,
        "metrics": measures,
    }
    check = partial(check_results, metrics=measures)
    loaded = from_loader(data)
    executor: Executor
    if loaded is None and is_stream(data):
        _check_stream(keeper, resume, held, validate)
        executor = plan_stream(compiled, Stream(data, epochs, check_finite), check, options)
    else:
        if loaded is not None:
            data, batch_size, shuffle, drop_last, drawn = loaded
            seed = drawn if seed is None else seed
        arguments, arrays = load(data, check_finite)
        if held is None and validate is not None:
            (arguments, arrays), held = split(arguments, arrays, validation_split)
        check_step(compiled, arguments)
        given = arguments, arrays, check, batch_size, check_finite, drop_last
        executor = executor_for(plan(compiled, *given, {**options, "shuffle": shuffle}))
    validated = None
    if validate is not None:
        validated = validate, held, max(batch_size, 256), measures, check_finite
    return _training(executor, validated, epochs, content, called, seed, verbose, keeper).go()


def _training(
    executor: Executor,
    validated: tuple[Any, Any, int, Any, bool] | None,
    epochs: int,
    content: Any,
    called: Any,
    seed: int | None,
    verbose: bool,
    keeper: Keeper | None,
) -> Training:
    """The training, with its validation, where a checkpoint left it: `content`. Nothing is left of
    either where that cannot be.
    """
    validation = None
    try:
        if validated is not None:
            modules = executor.run.staged.trace.observer.modules
            validation = Validation(*validated, modules, epochs)
            validation.go_inside(executor)
        training = Training(executor, called, seed, verbose, validation, keeper)
        if content is not None:
            restore(training, *content)
    except BaseException:
        executor.finish()
        if validation is not None:
            validation.finish()
        raise
    return training


def _held(data: Any, share: float, validate: Any) -> Any:
    """The validation data, None where it is to be split from the other data; checked."""
    if data is None and not in_range("validation_split", share, 0.0, 1.0):
        if validate is not None:
            raise UsageError("validate is given without validation_data or validation_split")
        return None
    if validate is None:
        raise UsageError(
            "validation data is given without a function that measures it; give validate=, a "
            "function of a batch that returns numbers, such as "
            "lambda x, t: {'loss': criterion(net(x), t)}"
        )
    return data


def _check_stream(keeper: Keeper | None, resume: Any, held: Any, validate: Any) -> None:
    """Raise where something is asked for that needs data which is there as a whole."""
    if keeper is not None or resume not in (None, False):
        raise UsageError(
            "checkpoint and resume need arrays: nobody can take up an iterable where it was; give "
            "arrays, or save the state_dicts in a callback, with mynn.save"
        )
    if validate is not None and held is None:
        raise UsageError(
            "validation_split needs arrays, an iterable cannot be split; give validation_data"
        )


def _content(resume: Any, keeper: Keeper | None) -> tuple[dict[str, Any], Any] | None:
    """What lies in the checkpoint to go on from, and its path; None to begin anew."""
    if resume is None or resume is False:
        return None
    if resume is True:
        if keeper is None:
            raise UsageError("resume=True goes on from checkpoint=, which is not given; give both")
        path: Any = keeper.given.path
        return (read(path), path) if os.path.exists(path) else None
    return read(resume), resume


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


def check_results(staged: Staged, metrics: Mapping[str, Metric]) -> None:
    """Raise where a step does not return what `fit` needs: the loss, then numbers or measures."""
    results = staged.graph.outputs[: staged.results]
    if not results:
        raise UsageError("the step returns nothing; return the loss, so that it can be measured")
    if results[0].type.size != 1:
        raise ArgumentError(
            f"the step returns {staged.result_names[0]} of shape {results[0].shape}; fit needs "
            "the loss first, a single number, reduce it with .mean() or .sum()"
        )
    check_measures("the step", staged, metrics, ArgumentError)


def check_step(compiled: Compiled, arguments: tuple[Any, ...]) -> None:
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
