"""Gather and scatter along one axis by integer indices.

Indices out of range are clipped to the nearest valid one, in the interpreter as in native code, so
that no index can reach memory outside a buffer; `Tensor.gather_rows` has them checked before
(`mynn.ops.checks`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Shape, Type
from mynn.errors import ShapeError
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


# y[..., i, ...] = x[..., index[i], ...]
take = Primitive(
    "take",
    _infer_take,
    lambda x, index, axis: np.take(x, index, axis, mode="clip"),
    lambda g, y, x, index, axis: (g.scatter_rows(index, axis, x.shape[axis], clip=True), None),
    _take_samples,
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


# y = 0; y[..., index[i], ...] += updates[..., i, ...], in the order of i
scatter_add = Primitive(
    "scatter_add",
    _infer_scatter,
    _numpy_scatter,
    _scatter_vjp,
    _scatter_samples,
)

PRIMITIVES = (take, scatter_add)
