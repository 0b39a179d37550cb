"""Reductions over axes: sum, prod, max, min, argmax. The reduced axes disappear."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.core.batching import further
from mynn.core.graph import Node, apply, constant
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Shape, Type
from mynn.errors import ShapeError
from mynn.ops import elementwise, movement
from mynn.ops.rules import NUMBER, Samples, require_kind, uniform

Axes = tuple[int, ...]


# What has a value over no values at all.
_OVER_NOTHING = ("sum", "prod")


def _infer(name: str) -> Callable[..., Type]:
    def infer(x: Type, axes: Axes, first: bool = False) -> Type:
        require_kind(name, x, NUMBER)
        if name not in _OVER_NOTHING and any(x.shape[axis] == 0 for axis in axes):
            raise ShapeError(
                f"{name}: the reduced axes {axes} of {x} hold no values; leave empty ones out"
            )
        return x.with_shape(n for axis, n in enumerate(x.shape) if axis not in axes)

    return infer


def _spread(value: Any, shape: Shape, axes: Axes) -> Any:
    """`value` of a reduction, repeated along the reduced axes again."""
    kept = tuple(1 if axis in axes else n for axis, n in enumerate(shape))
    return value.reshape(kept).broadcast_to(shape)


def _extremum_vjp(g: Any, y: Any, x: Any, axes: Axes, first: bool = False) -> tuple[Any]:
    """Values that tie share the gradient equally, or the first of them has all of it."""
    hits = x == _spread(y, x.shape, axes)
    if not first:
        share = hits.astype(x.dtype)
        count = share.sum(axes) if axes else share
        return (share * _spread(g / count, x.shape, axes),)
    extents = [n if axis in axes else 1 for axis, n in enumerate(x.shape)]
    order = np.arange(math.prod(extents), dtype=x.dtype).reshape(extents)
    # NaN is the largest and the smallest, and equal to nothing.
    places = (hits | (x != x)).choose(order, x.dtype.type(order.size))
    chosen = _spread(places.amin(axes), x.shape, axes) == order
    return (chosen.choose(_spread(g, x.shape, axes), x.dtype.type(0)),)


def _samples(low: float = -4, high: float = 4) -> Samples:
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
        return [Sample((uniform(rng, low, high, shape),), {"axes": axes}) for shape, axes in cases]

    return samples


sum = Primitive(
    "sum",
    _infer("sum"),
    lambda x, axes: np.add.reduce(x, axes, x.dtype),
    lambda g, y, x, axes: (_spread(g, x.shape, axes),),
    _samples(),
    batch={"axes": further},
    bound=lambda type, axes: functools.partial(np.add.reduce, axis=axes, dtype=type.dtype),
)


def _prod_vjp(g: Any, y: Any, x: Any, axes: Axes) -> tuple[Any]:
    """Each value gets g times the product of all others, without a quotient: x may be 0.

    Pairs are multiplied, and pairs of these, up to y. On the way back, each of a pair gets what
    arrives at their product, times the other.
    """
    if not math.prod(x.shape):
        return (x,)
    kept = tuple(axis for axis in range(len(x.shape)) if axis not in axes)
    order = (*kept, *axes)
    last = len(kept)
    level = x.permute(order).reshape((*(x.shape[axis] for axis in kept), -1))
    levels = []
    while (n := level.shape[last]) > 1:
        levels.append(level)
        half = n // 2
        pairs = level[..., :half] * level[..., half : 2 * half]
        level = pairs.concatenate([level[..., 2 * half :]], last) if n % 2 else pairs
    g = g.reshape(level.shape)
    for level in reversed(levels):
        half = level.shape[last] // 2
        each, unpaired = g[..., :half], [g[..., half:]] if level.shape[last] % 2 else []
        first, second = level[..., :half], level[..., half : 2 * half]
        g = (each * second).concatenate([each * first, *unpaired], last)
    g = g.reshape(tuple(x.shape[axis] for axis in order))
    return (g.permute(tuple(order.index(axis) for axis in range(len(order)))),)


prod = Primitive(
    "prod",
    _infer("prod"),
    lambda x, axes: np.multiply.reduce(x, axes, x.dtype),
    _prod_vjp,
    _samples(0.5, 1.6),
    batch={"axes": further},
)

# max and min: `first` gives the gradient to the first of equal values alone, in row-major order.
max = Primitive(
    "max",
    _infer("max"),
    lambda x, axes, first=False: np.maximum.reduce(x, axes),
    _extremum_vjp,
    _samples(),
    batch={"axes": further},
)

min = Primitive(
    "min",
    _infer("min"),
    lambda x, axes, first=False: np.minimum.reduce(x, axes),
    _extremum_vjp,
    _samples(),
    batch={"axes": further},
)


def _infer_argmax(x: Type, axis: int) -> Type:
    return _infer("argmax")(x, (axis,)).with_dtype(np.int64)


# From so many values on, argmax is two reductions, which run in vectors: element after element, the
# best so far waits for the comparison before it.
_LONG = 128


def _expand_argmax(x: Node, axis: int) -> Node | None:
    """The least place of a largest value: NaN is the largest, and equal to nothing."""
    extent = x.shape[axis]
    if extent < _LONG:
        return None
    kind = np.dtype(np.int32 if x.dtype.itemsize == 4 and extent < 2**31 else np.int64)
    kept = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    best = apply(movement.reshape, apply(max, x, axes=(axis,)), shape=kept)
    hit = apply(elementwise.equal, x, apply(movement.broadcast_to, best, shape=x.shape))
    if x.dtype.kind == "f":
        hit = apply(elementwise.bitwise_or, hit, apply(elementwise.not_equal, x, x))
    none = constant(np.full((1,) * len(x.shape), extent, kind))
    places = apply(movement.iota, shape=x.shape, axis=axis, dtype=kind)
    nowhere = apply(movement.broadcast_to, none, shape=x.shape)
    first = apply(min, apply(elementwise.where, hit, places, nowhere), axes=(axis,))
    return first if kind == np.int64 else apply(elementwise.cast, first, dtype=np.dtype(np.int64))


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
    _infer_argmax,
    lambda x, axis: np.argmax(x, axis=axis),
    None,
    _argmax_samples,
    _expand_argmax,
    batch={"axis": further},
)

PRIMITIVES = (sum, prod, max, min, argmax)
