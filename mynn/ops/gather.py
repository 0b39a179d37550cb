"""Gather and scatter along one axis by integer indices.

Indices out of range are clipped to the nearest valid one, in the interpreter as in native code, so
that no index can reach memory outside a buffer; `Tensor.gather_rows` has them checked before
(`mynn.ops.checks`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.core.graph import Node, apply
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Shape, Type
from mynn.errors import ShapeError
from mynn.ops.batches import moved, numbered, shaped, spread
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

PRIMITIVES = (take, scatter_add)
