"""`evaluate` and `predict`: a function over a data set, batch by batch in the loop of `fit`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from mynn import nn
from mynn.base import sharing
from mynn.base.arguments import explained, positive
from mynn.core.types import Array
from mynn.errors import MynnError, ShapeError, UsageError
from mynn.jit.compile import Compiled, compiled_of
from mynn.jit.ready import Ready
from mynn.jit.stage import Staged
from mynn.metrics.metric import Metric
from mynn.trace import tracing
from mynn.trace.modes import called_in_modes
from mynn.train.engine import executor_for
from mynn.train.engine.base import Executor
from mynn.train.engine.stream import StreamExecutor, plan_stream
from mynn.train.plan import (
    Check,
    Run,
    check_count,
    check_measures,
    check_outside,
    checked_metrics,
    load,
    plan,
)
from mynn.train.stream import Stream, is_stream

AnyExecutor = TypeVar("AnyExecutor", bound=Executor)


@explained
def evaluate(
    function: Callable[..., Any],
    data: Any,
    *,
    batch_size: int = 256,
    check_finite: bool = True,
    metrics: Any = None,
) -> dict[str, Any]:
    """Means of what `function` returns over a data set, weighted by the samples of each batch.

    Args:
        function: takes a batch, returns a number or a tuple or dict of numbers; it changes no
            state. A module is evaluated as by `eval()`; a function that calls one sets its mode
            itself.
        data, batch_size, check_finite, metrics: as for `fit`, iterables of batches too.

    Safe from several threads: they share no memory but state, of which each batch sees whole steps.
    The mode of modules is that of this call alone.

    Raises:
        DataError, ArgumentError, ShapeError, UsageError: what `fit` raises for such data; a result
            that is not a single number; a function that changes state (random keys may change).

    Example:
        >>> import numpy as np, mynn
        >>> mynn.evaluate(lambda x: {"mean": x.mean()}, np.arange(10, dtype=np.float32))
        {'mean': 4.5}
    """
    check_outside("evaluate")
    measures = checked_metrics(metrics)
    return Evaluation(function, data, batch_size, measures, check_finite).measure()


class Evaluation:
    """A function over a data set, planned once and measured any number of times.

    `modules` are taken as in evaluation mode, besides those that the function is.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        data: Any,
        batch_size: int,
        metrics: Mapping[str, Metric],
        check_finite: bool,
        modules: Iterable[Any] = (),
    ) -> None:
        compiled = compiled_of(function)
        self.modes = dict.fromkeys((*modules, *_evaluated(compiled)), False)
        check = partial(_check_measures, metrics=metrics)

        def planned() -> Run:
            run = _plan(compiled, data, batch_size, check, check_finite)
            return replace(run, metrics=metrics)

        def first() -> StreamExecutor:
            stream, options = Stream(data, 1, check_finite), {"metrics": metrics}
            return plan_stream(compiled, stream, check, options)

        self.again: Callable[[], StreamExecutor] = first
        self.run: Run | None = None
        self.executor: StreamExecutor | None = None
        if is_stream(data):
            self.executor = called_in_modes(self.modes, first)
        else:
            self.run = called_in_modes(self.modes, planned)

    def measure(self) -> dict[str, Any]:
        """The means now, and the measures."""
        return called_in_modes(self.modes, self._measure)

    def epochs(self, count: int) -> Executor | None:
        """What measures the data set in each of so many epochs; None where it is a stream."""
        run = self.run
        if run is None:
            return None
        return executor_for(called_in_modes(self.modes, lambda: run.for_epochs(count)))

    def _measure(self) -> dict[str, Any]:
        if self.run is None:
            # What was planned at first has the first batch; later ones begin anew.
            executor, self.executor = self.executor or self.again(), None
            return _run(executor).means(0)
        self.run = self.run.refreshed()
        return _run(executor_for(self.run)).means(0)


@explained
def predict(function: Callable[..., Any], data: Any, *, batch_size: int = 256) -> Any:
    """The outputs of `function` for every sample, computed in batches.

    Args:
        function: a module, or a function of a batch; it gives an array with a row for each sample,
            or a tuple or dict of such arrays. A module predicts as by `eval()`; a function that
            calls one sets its mode itself.
        data: as for `fit`, iterables of batches too.
        batch_size: samples that are computed at once.

    Returns:
        An array [samples, ...], in the structure that the function returns.

    Safe from several threads, as `evaluate` is.

    Raises:
        DataError, ArgumentError, ShapeError, UsageError: what `fit` raises for such data; a result
            without a row for each sample; a function that changes state, as for `evaluate`.

    Example:
        >>> import numpy as np, mynn
        >>> mynn.predict(lambda x: x * 2, np.arange(3, dtype=np.float32))
        array([0., 2., 4.], dtype=float32)
    """
    compiled = compiled_of(function)
    ready = compiled.prediction
    if (
        ready is not None
        and ready.fits(data)
        and type(batch_size) is int
        and batch_size >= len(data)
    ):
        try:
            return ready.run(data)
        except MynnError:  # as it is planned, the error says where
            pass
    check_outside("predict")
    edits = tracing.activity.edits()
    modules = _evaluated(compiled)

    def computed() -> Any:
        if is_stream(data):
            kept = {"keeps": True}
            executor = plan_stream(compiled, Stream(data, 1, False), _check_rows, kept)
            columns = zip(*_run(executor).kept, strict=True)
            return executor.run.staged.bundle([np.concatenate(column) for column in columns])
        run = _plan(compiled, data, batch_size, _check_rows, check_finite=False)
        outputs = _one_batch(run) if run.batches == 1 else None
        if outputs is None:
            nodes = run.staged.graph.outputs[: run.staged.results]
            outputs = [np.empty((run.samples, *node.shape[1:]), node.dtype) for node in nodes]
            _run(executor_for(replace(run, outputs=tuple(outputs))))
        elif run.arrays[0] is data:
            _keep_ready(run, modules, edits)
        return run.staged.bundle(outputs)

    return called_in_modes(dict.fromkeys(modules, False), computed)


def _keep_ready(run: Run, modules: frozenset[nn.Module], edits: int) -> None:
    """Have the program of a run of one batch ready, for data of this shape."""
    staged, program, array = run.staged, run.whole.program, run.arrays[0]
    if program.code.dropped or staged.arguments[0].dtype != array.dtype or not staged.valid():
        return

    def bundled(array: Array) -> Any:
        return staged.bundle(program((array,))[: staged.results])

    native = staged.structure == 0 and program.backend == "native"
    direct = program.direct() if native else bundled
    same = staged.trace.guards.comparison({(module, "_mode") for module in modules})
    fixed = array.shape, array.dtype, edits, same, direct, program.code
    run.compiled.prediction = Ready(*fixed)


def _one_batch(run: Run) -> list[Array] | None:
    """What a single batch gives, without the loop; None where the loop has to say what is wrong."""
    try:
        results: list[Array] = run.whole.program(run.arrays)
    except MynnError:
        return None
    return results[: run.staged.results]


def _check_measures(staged: Staged, metrics: Mapping[str, Metric]) -> None:
    """Refuse what `evaluate` cannot take the means of."""
    _check_changes("evaluate", staged)
    if not staged.results:
        raise UsageError("evaluate: the function returns nothing; return what is to be measured")
    check_measures("evaluate: the function", staged, metrics)


def _check_rows(staged: Staged) -> None:
    """Refuse results without a row for each sample."""
    _check_changes("predict", staged)
    if not staged.results:
        raise UsageError("predict: the function returns nothing")
    rows = staged.arguments[0].shape[0]
    for node in staged.graph.outputs[: staged.results]:
        if node.shape[:1] != (rows,):
            raise ShapeError(
                f"predict: the function gives shape {node.shape} for a batch of {rows} "
                "samples; it must give one row for each sample"
            )


def _check_changes(name: str, staged: Staged) -> None:
    """Refuse a function that changes state; drawing random numbers is no change."""
    changed = [
        tensor.name or f"a tensor of shape {tensor.shape}"
        for tensor in staged.written
        if not sharing.is_drawn(tensor)
    ]
    if changed:
        shown = ", ".join(changed[:4]) + (", ..." if len(changed) > 4 else "")
        raise UsageError(
            f"{name}: the function changes {shown}, as layers in training mode and optimisers do. "
            f"Call .eval() on the network first, or hand over the network itself, which {name} "
            "takes as in eval(); for a step that is meant to change state use mynn.fit"
        )


def _plan(compiled: Compiled, data: Any, batch_size: int, check: Check, check_finite: bool) -> Run:
    """One pass over the data."""
    size = positive("batch_size", batch_size)
    arguments, arrays = load(data, check_finite)
    check_count(compiled.function, arguments)
    return plan(compiled, arguments, arrays, check, size, check_finite)


def _run(executor: AnyExecutor) -> AnyExecutor:
    """Run one epoch; between two budgets, Python handles Ctrl-C."""
    budget = 1
    try:
        while not executor.over:
            budget = executor.advance_for_a_turn(budget)
    finally:
        executor.finish()
    return executor


def _evaluated(compiled: Compiled) -> frozenset[nn.Module]:
    """The modules that `evaluate` and `predict` take as in evaluation mode, this thread alone."""
    inner = compiled.function
    return frozenset(inner.modules() if isinstance(inner, nn.Module) else ())
