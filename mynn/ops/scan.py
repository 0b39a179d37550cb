"""Scans: running totals, products and extrema along an axis."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.core.batching import further
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Shape, Type
from mynn.errors import ShapeError
from mynn.ops.rules import NUMBER, require_kind, uniform


def _infer(name: str) -> Callable[..., Type]:
    def infer(x: Type, axis: int) -> Type:
        require_kind(name, x, NUMBER)
        if not 0 <= axis < len(x.shape):
            raise ShapeError(f"{name}: axis {axis} is out of range for {x}")
        return x

    return infer


def _samples(rng: np.random.Generator) -> list[Sample]:
    cases: tuple[tuple[Shape, int], ...] = (
        ((5,), 0),
        ((37,), 0),
        ((3, 17), 0),
        ((3, 17), 1),
        ((2, 3, 4), 1),
        ((1, 5), 0),
    )
    return [Sample((uniform(rng, -4, 4, shape),), {"axis": axis}) for shape, axis in cases]


# y[.., i, ..] = sum over j <= i of x[.., j, ..], along one axis
cumsum = Primitive(
    "cumsum",
    _infer("cumsum"),
    lambda x, axis: np.cumsum(x, axis, dtype=x.dtype),
    lambda g, y, x, axis: (g.flip((axis,)).cumsum(axis).flip((axis,)),),
    _samples,
    batch={"axis": further},
)


def _shifted(x: Any, axis: int, by: int, fill: float) -> Any:
    """The value `by` places further on along the axis, `fill` where there is none."""
    lead = (slice(None),) * axis
    widths = [(0, by if one == axis else 0) for one in range(len(x.shape))]
    return x.pad(widths, fill)[(*lead, slice(by, None))]


def _cumprod_vjp(g: Any, y: Any, x: Any, axis: int) -> tuple[Any]:
    """The product of what comes before, times r; r[i] = g[i] + x[i + 1] r[i + 1].

    No quotient, so that x may be 0. Steps of the recurrence, r -> b + a r, are put together in
    pairs, pairs of these, and so on.
    """
    extent = x.shape[axis]
    if not math.prod(x.shape):
        return (g,)
    lead = (slice(None),) * axis
    widths = [(1 if one == axis else 0, 0) for one in range(len(x.shape))]
    before = y.pad(widths, 1)[(*lead, slice(0, extent))]
    a, b, by = _shifted(x, axis, 1, 0), g, 1
    while by < extent:
        b = b + a * _shifted(b, axis, by, 0)
        a = a * _shifted(a, axis, by, 0)
        by *= 2
    return (before * b,)


# y[.., i, ..] = the product over j <= i of x[.., j, ..], along one axis
cumprod = Primitive(
    "cumprod",
    _infer("cumprod"),
    lambda x, axis: np.cumprod(x, axis, dtype=x.dtype),
    _cumprod_vjp,
    lambda rng: [Sample((0.5 + 0.3 * np.abs(one.arrays[0]),), one.params) for one in _samples(rng)],
    batch={"axis": further},
)


def _extremum_vjp(g: Any, y: Any, x: Any, axis: int) -> tuple[Any]:
    """The gradient goes to the last of the values up to here that are y."""
    order = np.arange(x.shape[axis]).reshape((-1,) + (1,) * (len(x.shape) - axis - 1))
    hits = (x == y) | (x != x)
    places = hits.choose(order, 0).cummax_values(axis)
    return (x.filled(0).scatter_along(places, g, axis, "add"),)


# y[.., i, ..] = the largest of x[.., j, ..] for j <= i, along one axis; NaN is larger than all
cummax = Primitive(
    "cummax",
    _infer("cummax"),
    lambda x, axis: np.maximum.accumulate(x, axis),
    _extremum_vjp,
    _samples,
    batch={"axis": further},
)

cummin = Primitive(
    "cummin",
    _infer("cummin"),
    lambda x, axis: np.minimum.accumulate(x, axis),
    _extremum_vjp,
    _samples,
    batch={"axis": further},
)

PRIMITIVES = (cumsum, cumprod, cummax, cummin)
