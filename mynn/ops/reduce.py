"""Reductions over axes: sum, max, min, argmax. The reduced axes disappear."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.errors import ShapeError
from mynn.graph import Array, Primitive, Sample, Shape, Type
from mynn.ops.rules import NUMBER, Samples, require_kind, uniform

Axes = tuple[int, ...]


def _infer(name: str) -> Callable[..., Type]:
    def infer(x: Type, axes: Axes) -> Type:
        require_kind(name, x, NUMBER)
        if name != "sum" and any(x.shape[axis] == 0 for axis in axes):
            raise ShapeError(f"{name}: the reduced axes {axes} of {x} hold no values")
        return x.with_shape(n for axis, n in enumerate(x.shape) if axis not in axes)

    return infer


def _spread(value: Any, shape: Shape, axes: Axes) -> Any:
    """`value` of a reduction, repeated along the reduced axes again."""
    kept = tuple(1 if axis in axes else n for axis, n in enumerate(shape))
    return value.reshape(kept).broadcast_to(shape)


def _extremum_vjp(g: Any, y: Any, x: Any, axes: Axes) -> tuple[Any]:
    """Values that tie share the gradient equally."""
    hits = (x == _spread(y, x.shape, axes)).astype(x.dtype)
    count = hits.sum(axes) if axes else hits
    return (hits * _spread(g / count, x.shape, axes),)


def _samples(dtype: Any = np.float64) -> Samples:
    cases: tuple[tuple[Shape, Axes], ...] = (
        ((5,), (0,)),
        ((37,), (0,)),
        ((3, 5), (0,)),
        ((3, 5), (1,)),
        ((4, 21), (0, 1)),
        ((2, 3, 4), (0, 2)),
        ((2, 3, 4), (1,)),
        ((2, 3), ()),
    )

    def samples(rng: np.random.Generator) -> list[Sample]:
        return [
            Sample((uniform(rng, -4, 4, shape).astype(dtype),), {"axes": axes})
            for shape, axes in cases
        ]

    return samples


sum = Primitive(
    "sum",
    "reduce",
    _infer("sum"),
    lambda x, axes: np.sum(x, axis=axes, dtype=x.dtype),
    lambda g, y, x, axes: (_spread(g, x.shape, axes),),
    _samples(),
)

max = Primitive(
    "max",
    "reduce",
    _infer("max"),
    lambda x, axes: np.max(x, axis=axes),
    _extremum_vjp,
    _samples(),
)

min = Primitive(
    "min",
    "reduce",
    _infer("min"),
    lambda x, axes: np.min(x, axis=axes),
    _extremum_vjp,
    _samples(),
)


def _infer_argmax(x: Type, axis: int) -> Type:
    return _infer("argmax")(x, (axis,)).with_dtype(np.int64)


def _argmax_samples(rng: np.random.Generator) -> list[Sample]:
    cases: tuple[tuple[Shape, int], ...] = (((5,), 0), ((3, 18), 1), ((3, 5), 0), ((2, 3, 4), 1))
    ties: list[Array] = [np.zeros(shape, np.float32) for shape, _ in cases]
    drawn = [uniform(rng, -4, 4, shape) for shape, _ in cases]
    axes = [axis for _, axis in cases]
    return [
        Sample((array,), {"axis": axis})
        for array, axis in zip(drawn + ties, axes + axes, strict=True)
    ]


# The first index of the largest value; NaN counts as the largest.
argmax = Primitive(
    "argmax",
    "reduce",
    _infer_argmax,
    lambda x, axis: np.argmax(x, axis=axis),
    None,
    _argmax_samples,
)

PRIMITIVES = (sum, max, min, argmax)
