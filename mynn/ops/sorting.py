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
from mynn.ops.gather import take
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


def _infer_kth(x: Type, k: Type, axis: int) -> Type:
    order = _infer_argsort(x, axis, False)
    kept = order.with_shape((*x.shape[:axis], 1, *x.shape[axis + 1 :]))
    if not x.shape[axis]:
        raise ShapeError(f"kth: axis {axis} of {x} holds no values")
    if k != kept:
        raise ShapeError(f"kth: k must be {kept}, it is {k}")
    return kept


def _numpy_kth(x: Array, k: Array, axis: int) -> Array:
    order = np.argsort(x, axis, kind="stable")
    return np.take_along_axis(order, np.clip(k, 0, x.shape[axis] - 1), axis)


def _kth_samples(rng: np.random.Generator) -> list[Sample]:
    samples = []
    for sample in _argsort_samples(rng):
        (x,), axis = sample.arrays, sample.params["axis"]
        if not sample.params["descending"]:
            kept = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
            k = np.asarray(rng.integers(0, x.shape[axis], kept))
            samples.append(Sample((x, k), {"axis": axis}))
    return samples


# The entry k of `argsort`, ascending, for one k in each row; k is held to 0..n - 1.
kth = Primitive("kth", _infer_kth, _numpy_kth, None, _kth_samples, batch={"axis": further})

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
    """The largest one after the other: of all values, or of those in the blocks that matter."""
    if x.dtype.kind != "f" or k > _PICKED or not x.type.size:
        return _first(apply(argsort, x, axis=axis, descending=descending), axis, k)
    extent = x.shape[axis]
    keys = _keys(x, descending)
    kind = np.dtype(np.int32 if x.dtype.itemsize == 4 else np.int64)
    block = _block_extent(extent, k)
    if not block:
        found = _picked(keys, kind, axis, k, extent)
        return apply(elementwise.cast, found, dtype=_INT64)
    others = [a for a in range(len(x.shape)) if a != axis]
    rows = apply(movement.transpose, keys, axes=(*others, axis)) if others else keys
    rows = apply(movement.reshape, rows, shape=(x.type.size // extent, extent))
    found = apply(elementwise.cast, _picked_in_blocks(rows, kind, k, block), dtype=_INT64)
    found = apply(movement.reshape, found, shape=(*(x.shape[a] for a in others), k))
    back = (*range(axis), len(others), *range(axis, len(others)))
    return apply(movement.transpose, found, axes=back) if others else found


def _block_extent(extent: int, k: int) -> int:
    """Values in a block, where looking at the blocks first is worth it; 0 where it is not.

    All are read once then, and k times the largest of the B blocks and the k m values in k of them.
    """
    lanes = 16
    block = max(round((extent / max(k, 1)) ** 0.5 / lanes), 1) * lanes
    blocks = extent // block
    few = 2 * extent + 2 * k * (blocks + k * block) < k * extent
    return block if few and blocks >= k else 0


def _picked_in_blocks(keys: Node, kind: np.dtype[Any], k: int, block: int) -> Node:
    """The k first of the order in each row of keys [R, N].

    They lie in the k blocks whose largest keys are first, of equal ones those in front, or in the
    rest behind the last block: before a key of another block come the largest of each of these.
    """
    rows, extent = keys.shape
    blocks = extent // block
    whole = _part(keys, 0, blocks * block)
    each = apply(movement.reshape, whole, shape=(rows, blocks, block))
    best = apply(reduce.max, each, axes=(2,))
    chosen = _picked(best, kind, 1, k, blocks)
    row = apply(movement.iota, shape=chosen.shape, axis=0, dtype=kind)
    line = apply(elementwise.add, apply(elementwise.mul, row, _full(row, blocks)), chosen)
    table = apply(movement.reshape, whole, shape=(rows * blocks, block))
    found = apply(take, table, apply(movement.reshape, line, shape=(rows * k,)), axis=0)
    several = apply(movement.reshape, found, shape=(rows, k * block))
    first = apply(movement.reshape, chosen, shape=(rows, k, 1))
    first = apply(movement.broadcast_to, first, shape=(rows, k, block))
    within = apply(movement.iota, shape=first.shape, axis=2, dtype=kind)
    place = apply(elementwise.add, apply(elementwise.mul, first, _full(first, block)), within)
    numbers = apply(movement.reshape, place, shape=several.shape)
    if blocks * block < extent:
        rest = _part(keys, blocks * block, extent)
        behind = apply(movement.iota, shape=rest.shape, axis=1, dtype=kind)
        behind = apply(elementwise.add, behind, _full(behind, blocks * block))
        several = apply(movement.concatenate, several, rest, axis=1)
        numbers = apply(movement.concatenate, numbers, behind, axis=1)
    return _picked(several, kind, 1, k, extent, numbers)


def _part(x: Node, start: int, stop: int) -> Node:
    """Some columns of [R, N]."""
    starts, stops = (0, start), (x.shape[0], stop)
    return apply(movement.slice_, x, starts=starts, stops=stops, steps=(1, 1))


def _picked(
    keys: Node, kind: np.dtype[Any], axis: int, k: int, behind: int, numbers: Node | None = None
) -> Node:
    """The numbers of the k first of the order along an axis: their places there, or other ones. All
    are less than `behind`.

    Again and again the first of the largest keys that stand behind the last one in the order: those
    that are less, or equal and of a larger number.
    """
    shape = keys.shape
    kept = (*shape[:axis], 1, *shape[axis + 1 :])
    last, place = input_node(Type(kept, keys.dtype)), input_node(Type(kept, kind))
    each = input_node(keys.type)
    if numbers is None:
        number, given = apply(movement.iota, shape=shape, axis=axis, dtype=kind), []
    else:
        number = input_node(numbers.type)
        given = [number]

    def wide(node: Node) -> Node:
        return apply(movement.broadcast_to, node, shape=shape)

    def reduced(primitive: Primitive, node: Node) -> Node:
        return apply(movement.reshape, apply(primitive, node, axes=(axis,)), shape=kept)

    same = apply(elementwise.equal, each, wide(last))
    later = apply(elementwise.bitwise_and, same, apply(elementwise.less, wide(place), number))
    left = apply(elementwise.bitwise_or, apply(elementwise.less, each, wide(last)), later)
    best = reduced(reduce.max, apply(elementwise.where, left, each, _full(each, -np.inf)))
    again = apply(elementwise.equal, best, last)
    before = apply(elementwise.where, again, place, _full(place, -1))
    after = apply(elementwise.less, wide(before), number)
    hit = apply(elementwise.bitwise_and, apply(elementwise.equal, each, wide(best)), after)
    first = reduced(reduce.min, apply(elementwise.where, hit, number, _full(number, behind)))
    body = Graph((last, place, each, *given), (best, first, first))
    starts = [_full(one, value) for one, value in ((last, np.inf), (place, -1))]
    params: dict[str, Any] = {
        "body": body,
        "carry": 2,
        "sequences": 0,
        "length": k,
        "reverse": False,
    }
    held = [keys] if numbers is None else [keys, numbers]
    several = apply(control.scan, *starts, *held, **params)
    found = apply(control.part, several, number=2)
    axes = (*range(1, axis + 1), 0, axis + 1, *range(axis + 2, len(kept) + 1))
    stacked = apply(movement.transpose, found, axes=axes)
    return apply(movement.reshape, stacked, shape=(*shape[:axis], k, *shape[axis + 1 :]))


def _top_samples(rng: np.random.Generator) -> list[Sample]:
    edges = [1.5, np.nan, -np.inf, np.inf, -1.5, np.finfo(np.float32).min, 0.0, np.nan, np.inf]
    drawn: list[tuple[Any, int, int]] = [
        (uniform(rng, -4, 4, (5,)), 0, 5),
        (uniform(rng, -4, 4, (37,)), 0, 3),
        (np.round(uniform(rng, -4, 4, (3, 17))), 1, 4),
        (uniform(rng, -4, 4, (6, 9)), 0, 2),
        (uniform(rng, -4, 4, (2, 5, 4)), 1, 3),
        (uniform(rng, -4, 4, (90,)), 0, 70),
        (np.round(uniform(rng, -400, 400, (905,))), 0, 12),
        (np.round(uniform(rng, -40, 40, (2, 800))), 1, 10),
        (np.resize(np.array(edges, np.float32), (901, 2)), 0, 10),
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

PRIMITIVES = (argsort, kth, top)
