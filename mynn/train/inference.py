"""`evaluate` and `predict`: a function over a data set, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from mynn import nn, staging
from mynn.compiled import Compiled
from mynn.errors import ShapeError, UsageError
from mynn.graph import Array
from mynn.train import dataset


def evaluate(
    function: Callable[..., Any], data: Any, *, batch_size: int = 256, check_finite: bool = True
) -> dict[str, float]:
    """Means of what `function` returns over a data set, weighted by the samples of each batch.

    Args:
        function: takes a batch, returns a number or a tuple or dict of numbers; it should change no
            state. A module is evaluated as by `eval()`; a function that calls one sets its mode
            itself.
        data, batch_size, check_finite: as for `fit`.

    Raises:
        DataError, ArgumentError, ShapeError, UsageError: what `fit` raises for such data; a result
            that is not a single number.

    Example:
        >>> import numpy as np, mynn
        >>> mynn.evaluate(lambda x: {"mean": x.mean()}, np.arange(10, dtype=np.float32))
        {'mean': 4.5}
    """
    totals: dict[str, float] = {}
    count = 0
    for results, rows in _run(function, data, batch_size, check_finite):
        names = staging.leaf_names(results, "loss")
        if not names:
            raise UsageError(
                "evaluate: the function returns nothing; return what is to be measured"
            )
        for name, value in zip(names, staging.flatten(results), strict=True):
            if value.size != 1:
                raise ShapeError(
                    f"evaluate: the function returns {name} of shape {value.shape}; reduce it to a "
                    "single number with .mean() or .sum()"
                )
            totals[name] = totals.get(name, 0.0) + float(value.reshape(-1)[0]) * rows
        count += rows
    return {name: total / count for name, total in totals.items()}


def predict(function: Callable[..., Any], data: Any, *, batch_size: int = 256) -> Any:
    """The outputs of `function` for every sample, computed in batches.

    Args:
        function: a module, or a function of a batch; it gives an array with a row for each sample,
            or a tuple or dict of such arrays. A module predicts as by `eval()`; a function that
            calls one sets its mode itself.
        data: as for `fit`.
        batch_size: samples that are computed at once.

    Returns:
        An array [samples, ...], in the structure that the function returns.

    Raises:
        DataError, ArgumentError, ShapeError, UsageError: what `fit` raises for such data; a result
            without a row for each sample.

    Example:
        >>> import numpy as np, mynn
        >>> mynn.predict(lambda x: x * 2, np.arange(3, dtype=np.float32))
        array([0., 2., 4.], dtype=float32)
    """
    parts: list[list[Any]] = []
    structure: Any = None
    with _evaluating(function):
        for results, rows in _run(function, data, batch_size, check_finite=False):
            leaves = list(staging.flatten(results))
            if not leaves:
                raise UsageError("predict: the function returns nothing")
            for value in leaves:
                if value.ndim == 0 or len(value) != rows:
                    raise ShapeError(
                        f"predict: the function gives shape {value.shape} for a batch of {rows} "
                        "samples; it must give one row for each sample"
                    )
            parts.append(leaves)
            structure = results
    columns = zip(*parts, strict=True)
    return staging.rebuild(structure, (np.concatenate(column) for column in columns))


def _run(
    function: Callable[..., Any], data: Any, batch_size: int, check_finite: bool
) -> Iterator[tuple[Any, int]]:
    """The results for each batch, and its number of samples."""
    size = dataset.positive("batch_size", batch_size)
    compiled = function if isinstance(function, Compiled) else Compiled(function)
    arguments, arrays = dataset.load(data, check_finite)
    dataset.check_count(compiled.function, arguments)

    def batch(arrays: list[Array], start: int) -> tuple[Any, ...]:
        leaves = (array[start : start + size] for array in arrays)
        part: tuple[Any, ...] = staging.rebuild(arguments, leaves)
        return part

    arrays = dataset.match_precision(
        lambda single: staging.stage(compiled.function, batch(single, 0)), arrays, check_finite
    )
    rows = len(arrays[0])
    for start in range(0, rows, size):
        yield compiled(*batch(arrays, start)), min(size, rows - start)


@contextmanager
def _evaluating(function: Any) -> Iterator[None]:
    """A module, and all below it, in evaluation mode for a while."""
    inner = function.function if isinstance(function, Compiled) else function
    modules = list(inner.modules()) if isinstance(inner, nn.Module) else []
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True
