"""Gather and scatter along one axis, by indices that have as many axes as the values.

Indices out of range are clipped, as in `mynn.ops.gather`; methods have them checked before.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn.core.batching import further
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Shape, Type
from mynn.errors import DTypeError, ShapeError
from mynn.ops.rules import ANY, NUMBER, require_kind, uniform

# How what is there and what arrives become one: the last one that arrives, or all combined.
MODES = ("set", "add", "mul", "max", "min")


def _require_index(name: str, x: Type, index: Type, axis: int) -> None:
    require_kind(name, index, "iu")
    fits = len(index.shape) == len(x.shape) and all(
        one == axis or n <= m for one, (n, m) in enumerate(zip(index.shape, x.shape, strict=True))
    )
    if not fits or (index.size and not x.shape[axis]):
        raise ShapeError(
            f"{name}: the indices {index} do not fit {x}; they must have as many axes, and reach "
            f"no further in the axes other than {axis}"
        )


def _positions(index: Array, shape: Shape, axis: int) -> Array:
    """Where the entries of `index` along an axis lie in the flattened array of `shape`."""
    result = np.clip(index.astype(np.int64), 0, max(shape[axis] - 1, 0))
    result *= math.prod(shape[axis + 1 :])
    for one in range(len(shape)):
        if one != axis and index.shape[one] > 1:
            trailing = (1,) * (len(shape) - one - 1)
            along = np.arange(index.shape[one]) * math.prod(shape[one + 1 :])
            result += along.reshape(-1, *trailing)
    return result


def _infer_take(x: Type, index: Type, axis: int) -> Type:
    _require_index("take_along", x, index, axis)
    return x.with_shape(index.shape)


def _numpy_take(x: Array, index: Array, axis: int) -> Array:
    if not index.size:
        return np.empty(index.shape, x.dtype)
    return np.asarray(x.reshape(-1).take(_positions(index, x.shape, axis)))


def _take_vjp(g: Any, y: Any, x: Any, index: Any, axis: int) -> Any:
    zeros = x.filled(0)
    return (zeros.scatter_along(index, g, axis, "add"), None)


_CASES: tuple[tuple[Shape, Shape, int], ...] = (
    ((5,), (4,), 0),
    ((6, 18), (3, 18), 0),
    ((3, 5), (3, 7), 1),
    ((3, 5), (2, 3), 1),
    ((2, 3, 4), (2, 2, 4), 1),
)


def _take_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample(
            (uniform(rng, -4, 4, shape), np.asarray(rng.integers(0, shape[axis], index))),
            {"axis": axis},
        )
        for shape, index, axis in _CASES
    ]


# y[.., k, ..] = x[.., index[.., k, ..], ..]
take_along = Primitive(
    "take_along",
    _infer_take,
    _numpy_take,
    _take_vjp,
    _take_samples,
    batch={"axis": further},
)


def _infer_scatter(x: Type, index: Type, updates: Type, axis: int, mode: str) -> Type:
    require_kind("scatter_along", x, ANY if mode == "set" else NUMBER)
    _require_index("scatter_along", x, index, axis)
    if updates.shape != index.shape:
        raise ShapeError(f"scatter_along: the updates {updates} do not fit the indices {index}")
    if updates.dtype != x.dtype:
        raise DTypeError(f"scatter_along: dtypes {x.dtype} and {updates.dtype} differ")
    if mode not in MODES:
        raise ShapeError(f"scatter_along: mode must be one of {MODES}, it is {mode!r}")
    return x


_COMBINE: dict[str, Any] = {
    "add": np.add,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


def _numpy_scatter(x: Array, index: Array, updates: Array, axis: int, mode: str) -> Array:
    y = np.array(x, order="C")
    flat, places = y.reshape(-1), _positions(index, x.shape, axis).reshape(-1)
    if mode == "set":
        flat[places] = updates.reshape(-1)
    else:
        _COMBINE[mode].at(flat, places, updates.reshape(-1))
    return y


def _scatter_vjp(
    g: Any, y: Any, x: Any, index: Any, updates: Any, axis: int, mode: str
) -> tuple[Any, ...]:
    if mode == "add":
        return (g, None, g.take_along(index, axis))
    if mode == "set":
        line = np.arange(index.shape[axis]).reshape(-1, *(1,) * (len(index.shape) - axis - 1))
        order = np.broadcast_to(line, index.shape)
        last = x.filled(-1, np.int64).scatter_along(index, order, axis, "set")
        holds = last.take_along(index, axis) == order
        gone = g.scatter_along(index, updates.filled(0), axis, "set")
        return (gone, None, holds.choose(g.take_along(index, axis), 0))
    if mode == "mul":
        return _product_vjp(g, x, index, updates, axis)
    # Values that tie share the gradient.
    keeps = (x == y).astype(x.dtype)
    wins = (updates == y.take_along(index, axis)).astype(x.dtype)
    share = g / keeps.scatter_along(index, wins, axis, "add")
    return (share * keeps, None, share.take_along(index, axis) * wins)


def _product_vjp(g: Any, x: Any, index: Any, updates: Any, axis: int) -> tuple[Any, ...]:
    """g times the product of the other factors, also where one or more of them are 0."""
    first, later = x == 0, updates == 0
    a, b = first.choose(1, x), later.choose(1, updates)
    product = g * a.scatter_along(index, b, axis, "mul")
    zeros = first.astype(x.dtype).scatter_along(index, later.astype(x.dtype), axis, "add")
    only, none = (zeros == 1).choose(product, 0), (zeros == 0).choose(product, 0)
    one, no = only.take_along(index, axis), none.take_along(index, axis)
    return (first.choose(only, none / a), None, later.choose(one, no / b))


def _scatter_samples(rng: np.random.Generator) -> list[Sample]:
    samples = []
    for mode in MODES:
        for shape, reach, axis in _CASES:
            index = np.asarray(rng.integers(0, shape[axis], reach))
            x, updates = uniform(rng, -2, 2, shape), uniform(rng, -2, 2, reach)
            samples.append(Sample((x, index, updates), {"axis": axis, "mode": mode}))
    return samples


# y = x; y[.., index[.., k, ..], ..] = updates[.., k, ..] one after the other, or with what is there
# added, multiplied, the larger or the smaller of both
scatter_along = Primitive(
    "scatter_along",
    _infer_scatter,
    _numpy_scatter,
    _scatter_vjp,
    _scatter_samples,
    batch={"axis": further},
)

PRIMITIVES = (take_along, scatter_along)
