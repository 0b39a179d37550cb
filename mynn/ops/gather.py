"""Gather and scatter along one axis by integer indices.

Indices out of range are clipped to the nearest valid one, in the interpreter as in native code, so
that no index can reach memory outside a buffer; `Tensor.gather_rows` has them checked before
(`mynn.ops.checks`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.core.graph import Node, apply, constant
from mynn.core.primitive import Primitive, Sample
from mynn.core.rows import Rows
from mynn.core.types import Array, Shape, Type
from mynn.errors import ShapeError
from mynn.ops.batches import moved, numbered, shaped, spread
from mynn.ops.elementwise import sub
from mynn.ops.movement import broadcast_to
from mynn.ops.rules import require_kind, uniform


def _infer_take(x: Type, index: Type, axis: int) -> Type:
    require_kind("take", index, "iu")
    if x.shape[axis] == 0 and index.size:
        raise ShapeError(f"take: axis {axis} of {x} is empty")
    return x.with_shape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def _take_samples(rng: np.random.Generator) -> list[Sample]:
    cases: tuple[tuple[Shape, Shape, int], ...] = (
        ((5,), (4,), 0),
        ((6, 18), (3,), 0),
        ((3, 5), (2, 2), 1),
        ((3, 5), (), 0),
    )
    return [
        Sample(
            (uniform(rng, -4, 4, shape), np.asarray(rng.integers(0, shape[axis], index))),
            {"axis": axis},
        )
        for shape, index, axis in cases
    ]


def _batch_take(size: int, mapped: tuple[bool, bool], x: Node, index: Node, axis: int) -> Node:
    """Each example has indices of its own into its own part of one long axis, if x has parts."""
    if not mapped[1]:
        return apply(take, x, index, axis=axis + 1)
    if mapped[0]:
        extent = x.shape[axis + 1]
        x, index = moved(x, axis + 1, 1), numbered(index, extent)
        joined = shaped(x, size * extent, *x.shape[2:])
        found = apply(take, joined, index, axis=0)
        for before in range(axis):
            # What stood before the axis goes to where it was, behind the examples.
            found = moved(found, len(index.shape) + before, 1 + before)
        return found
    return moved(apply(take, x, index, axis=axis), axis, 0)


# y[..., i, ...] = x[..., index[i], ...]
take = Primitive(
    "take",
    _infer_take,
    lambda x, index, axis: np.take(x, index, axis, mode="clip"),
    lambda g, y, x, index, axis: (g.scatter_rows(index, axis, x.shape[axis], clip=True), None),
    _take_samples,
    batch=_batch_take,
)


def _rows_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample((uniform(rng, -4, 4, shape), np.asarray(rng.integers(0, shape[0], count))), {})
        for shape, count in (((6, 3), (4,)), ((5,), (3,)), ((3, 2), (2, 2)))
    ]


def _rows_vjp(g: Any, y: Any, x: Any, index: Any) -> tuple[Any, None]:
    return (Rows(index.reshape(-1), g.reshape((-1, *x.shape[1:])), x.shape[0]), None)


# y[i] = x[index[i]], as `take` along the first axis has it. The gradient of a table is kept as the
# rows that were read, where whoever asks for it can do with them.
take_rows = Primitive(
    "take_rows",
    lambda x, index: _infer_take(x, index, 0),
    lambda x, index: np.take(x, index, 0, mode="clip"),
    _rows_vjp,
    _rows_samples,
    expand=lambda x, index: apply(take, x, index, axis=0),
    batch=lambda size, mapped, x, index: _batch_take(size, mapped, x, index, 0),
)


def _infer_scatter(updates: Type, index: Type, axis: int, extent: int) -> Type:
    require_kind("scatter_add", updates, "fiu")
    require_kind("scatter_add", index, "iu")
    span = len(index.shape)
    if updates.shape[axis : axis + span] != index.shape or extent < 1:
        raise ShapeError(
            f"scatter_add: updates {updates} do not fit indices {index} at axis {axis}"
        )
    return updates.with_shape((*updates.shape[:axis], extent, *updates.shape[axis + span :]))


def _numpy_scatter(updates: Array, index: Array, axis: int, extent: int) -> Array:
    flat = np.clip(index.reshape(-1).astype(np.int64), 0, extent - 1)
    span = index.ndim
    rows = updates.reshape((*updates.shape[:axis], flat.size, *updates.shape[axis + span :]))
    y = np.zeros((*updates.shape[:axis], extent, *updates.shape[axis + span :]), updates.dtype)
    np.add.at(np.moveaxis(y, axis, 0), flat, np.moveaxis(rows, axis, 0))
    return y


def _scatter_vjp(g: Any, y: Any, updates: Any, index: Any, axis: int, extent: int) -> Any:
    return (g.gather_rows(index, axis, clip=True), None)


def _scatter_samples(rng: np.random.Generator) -> list[Sample]:
    cases: tuple[tuple[Shape, Shape, int, int], ...] = (
        ((4,), (4,), 0, 5),
        ((3, 18), (3,), 0, 2),
        ((3, 2, 2), (2, 2), 1, 5),
        ((5,), (), 0, 3),
    )
    return [
        Sample(
            (uniform(rng, -4, 4, shape), np.asarray(rng.integers(0, extent, index))),
            {"axis": axis, "extent": extent},
        )
        for shape, index, axis, extent in cases
    ]


def _batch_scatter(
    size: int, mapped: tuple[bool, bool], updates: Node, index: Node, axis: int, extent: int
) -> Node:
    """Each example adds to its own part of one long axis."""
    if not mapped[1]:
        return apply(scatter_add, updates, index, axis=axis + 1, extent=extent)
    updates = updates if mapped[0] else spread(updates, size)
    span = len(index.shape) - 1
    for number in range(span):
        updates = moved(updates, 1 + axis + number, 1 + number)
    added = apply(
        scatter_add, updates, numbered(index, extent), axis=0, extent=max(size * extent, 1)
    )
    parts = shaped(added, size, extent, *added.shape[1:])
    return moved(parts, 1, 1 + axis)


# y = 0; y[..., index[i], ...] += updates[..., i, ...], in the order of i
scatter_add = Primitive(
    "scatter_add",
    _infer_scatter,
    _numpy_scatter,
    _scatter_vjp,
    _scatter_samples,
    batch=_batch_scatter,
)


def _infer_first(index: Type, extent: int) -> Type:
    require_kind("first_equal", index, "iu")
    if len(index.shape) != 1 or extent < 1:
        raise ShapeError(f"first_equal: the indices {index} must be [N], the extent at least 1")
    return index.with_dtype(np.int64)


def _numpy_first(index: Array, extent: int) -> Array:
    clipped = np.clip(index.astype(np.int64), 0, extent - 1)
    _, first, which = np.unique(clipped, return_index=True, return_inverse=True)
    return first.astype(np.int64)[which]


def _first_samples(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample((np.asarray(rng.integers(0, extent, count)),), {"extent": extent})
        for count, extent in ((6, 3), (5, 40), (1, 3))
    ]


def _batch_first(size: int, mapped: tuple[bool], index: Node, extent: int) -> Node:
    """Each example has numbers of its own; of the places found, how many stand before it."""
    count = index.shape[1]
    flat = shaped(numbered(index, extent), size * count)
    found = shaped(apply(first_equal, flat, extent=max(size * extent, 1)), size, count)
    before = constant(np.arange(size).reshape(size, 1) * count)
    return apply(sub, found, apply(broadcast_to, before, shape=found.shape))


# y[i] = the least j for which index[j] = index[i], of indices into an axis of this extent
first_equal = Primitive(
    "first_equal", _infer_first, _numpy_first, None, _first_samples, batch=_batch_first
)

PRIMITIVES = (take, take_rows, scatter_add, first_equal)
