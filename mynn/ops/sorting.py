"""The order of values along an axis, and the first few of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.core.batching import further
from mynn.core.graph import Graph, Node, apply, constant, input_node
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Shape, Type
from mynn.errors import ShapeError
from mynn.ops import control, elementwise, movement, reduce
from mynn.ops.rules import ANY, require_kind, uniform


def _infer_argsort(x: Type, axis: int, descending: bool) -> Type:
    require_kind("argsort", x, ANY)
    if not 0 <= axis < len(x.shape):
        raise ShapeError(f"argsort: axis {axis} is out of range for {x}")
    return x.with_dtype(np.int64)


def _numpy_argsort(x: Array, axis: int, descending: bool) -> Array:
    """Descending is ascending from the other end, so that equal values stay in their order."""
    if not descending:
        return np.argsort(x, axis, kind="stable")
    turned = np.flip(np.argsort(np.flip(x, axis), axis, kind="stable"), axis)
    return np.asarray(x.shape[axis] - 1 - turned)


def _argsort_samples(rng: np.random.Generator) -> list[Sample]:
    cases: tuple[tuple[Shape, int], ...] = (
        ((5,), 0),
        ((37,), 0),
        ((3, 17), 0),
        ((3, 17), 1),
        ((2, 3, 4), 1),
        ((1, 5), 0),
        ((300,), 0),
    )
    drawn = [(uniform(rng, -4, 4, shape), axis) for shape, axis in cases]
    drawn.append((np.round(uniform(rng, -4, 4, (2, 40))), 1))
    return [
        Sample((x,), {"axis": axis, "descending": descending})
        for x, axis in drawn
        for descending in (False, True)
    ]


# The indices that put the values along an axis in order. Equal values stay in their order, of which
# 0 and -0 are a case; NaN counts as the largest.
argsort = Primitive(
    "argsort",
    _infer_argsort,
    _numpy_argsort,
    None,
    _argsort_samples,
    batch={"axis": further},
)

# So many values are picked one after the other; more of them come from a sort of all, whose time is
# that of some hundred looks for the largest one.
_PICKED = 64
_INT64 = np.dtype(np.int64)


def _infer_top(x: Type, axis: int, k: int, descending: bool) -> Type:
    order = _infer_argsort(x, axis, descending)
    if not 0 <= k <= x.shape[axis]:
        raise ShapeError(f"top: k must lie in 0..{x.shape[axis]}, it is {k}")
    return order.with_shape((*x.shape[:axis], k, *x.shape[axis + 1 :]))


def _numpy_top(x: Array, axis: int, k: int, descending: bool) -> Array:
    return _numpy_argsort(x, axis, descending)[(slice(None),) * axis + (slice(k),)]


def _first(x: Node, axis: int, k: int) -> Node:
    shape = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    zeros, ones = (0,) * len(shape), (1,) * len(shape)
    return apply(movement.slice_, x, starts=zeros, stops=shape, steps=ones)


def _full(x: Node, value: float) -> Node:
    one = constant(np.full((1,) * len(x.shape), value, x.dtype))
    return apply(movement.broadcast_to, one, shape=x.shape)


def _swap(x: Node, old: float, new: float) -> Node:
    return apply(elementwise.where, apply(elementwise.equal, x, _full(x, old)), _full(x, new), x)


def _keys(x: Node, descending: bool) -> Node:
    """Numbers in the order of the values, the largest the first; infinity is NaN's, -infinity
    nobody's.

    Values at the ends move to their neighbours, of which the last is a number that nothing has.
    """
    top = np.finfo(x.dtype).max
    second, third = (float(one) for one in _below(top, 2))
    most = float(top)
    nan = apply(elementwise.not_equal, x, x)
    if descending:
        keys = _swap(_swap(x, most, second), np.inf, most)
        keys = _swap(_swap(keys, -most, -second), -np.inf, -most)
        return apply(elementwise.where, nan, _full(x, np.inf), keys)
    keys = _swap(_swap(apply(elementwise.neg, x), -most, -third), -np.inf, -second)
    return apply(elementwise.where, nan, _full(x, -most), keys)


def _below(number: Any, count: int) -> list[Any]:
    found = [number]
    for _ in range(count):
        found.append(np.nextafter(found[-1], type(number)(0)))
    return found[1:]


def _expand_top(x: Node, axis: int, k: int, descending: bool) -> Node:
    """Again and again the first of the largest values that stand behind the last one in the order:
    those that are less, or equal and further on.
    """
    if x.dtype.kind != "f" or k > _PICKED or not x.type.size:
        return _first(apply(argsort, x, axis=axis, descending=descending), axis, k)
    kind = np.dtype(np.int32 if x.dtype.itemsize == 4 else np.int64)
    kept = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    last, place = input_node(Type(kept, x.dtype)), input_node(Type(kept, kind))
    keys = input_node(x.type)

    def wide(node: Node) -> Node:
        return apply(movement.broadcast_to, node, shape=x.shape)

    def reduced(primitive: Primitive, node: Node) -> Node:
        return apply(movement.reshape, apply(primitive, node, axes=(axis,)), shape=kept)

    numbers = apply(movement.iota, shape=x.shape, axis=axis, dtype=kind)
    same = apply(elementwise.equal, keys, wide(last))
    later = apply(elementwise.bitwise_and, same, apply(elementwise.less, wide(place), numbers))
    left = apply(elementwise.bitwise_or, apply(elementwise.less, keys, wide(last)), later)
    best = reduced(reduce.max, apply(elementwise.where, left, keys, _full(keys, -np.inf)))
    again = apply(elementwise.equal, best, last)
    behind = apply(elementwise.where, again, place, _full(place, -1))
    after = apply(elementwise.less, wide(behind), numbers)
    hit = apply(elementwise.bitwise_and, apply(elementwise.equal, keys, wide(best)), after)
    first = reduced(
        reduce.min, apply(elementwise.where, hit, numbers, _full(numbers, x.shape[axis]))
    )
    body = Graph((last, place, keys), (best, first, first))
    starts = [_full(one, value) for one, value in ((last, np.inf), (place, -1))]
    params: dict[str, Any] = {
        "body": body,
        "carry": 2,
        "sequences": 0,
        "length": k,
        "reverse": False,
    }
    several = apply(control.scan, *starts, _keys(x, descending), **params)
    found = apply(control.part, several, number=2)
    axes = (*range(1, axis + 1), 0, axis + 1, *range(axis + 2, len(kept) + 1))
    stacked = apply(elementwise.cast, apply(movement.transpose, found, axes=axes), dtype=_INT64)
    return apply(movement.reshape, stacked, shape=(*x.shape[:axis], k, *x.shape[axis + 1 :]))


def _top_samples(rng: np.random.Generator) -> list[Sample]:
    edges = [1.5, np.nan, -np.inf, np.inf, -1.5, np.finfo(np.float32).min, 0.0, np.nan, np.inf]
    drawn: list[tuple[Any, int, int]] = [
        (uniform(rng, -4, 4, (5,)), 0, 5),
        (uniform(rng, -4, 4, (37,)), 0, 3),
        (np.round(uniform(rng, -4, 4, (3, 17))), 1, 4),
        (uniform(rng, -4, 4, (6, 9)), 0, 2),
        (uniform(rng, -4, 4, (2, 5, 4)), 1, 3),
        (uniform(rng, -4, 4, (90,)), 0, 70),
        (np.array(edges), 0, 9),
    ]
    return [
        Sample((x,), {"axis": axis, "k": k, "descending": descending})
        for x, axis, k in drawn
        for descending in (False, True)
    ]


# The first k of `argsort`.
top = Primitive(
    "top",
    _infer_top,
    _numpy_top,
    None,
    _top_samples,
    _expand_top,
    batch={"axis": further},
)

PRIMITIVES = (argsort, top)
