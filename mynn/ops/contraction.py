"""Contractions: products summed over axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn.core.graph import Node, apply
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Shape, Type
from mynn.errors import DTypeError, ShapeError
from mynn.ops import elementwise, reduce
from mynn.ops.batches import all_in_front, moved, shaped
from mynn.ops.movement import broadcast_to, reshape
from mynn.ops.rules import FLOAT, NUMBER, require_kind, uniform


def _infer_matmul(a: Type, b: Type) -> Type:
    require_kind("matmul", a, NUMBER)
    if a.dtype != b.dtype:
        raise DTypeError(f"matmul: dtypes {a.dtype} and {b.dtype} differ")
    if len(a.shape) != len(b.shape) or len(a.shape) < 2 or a.shape[:-2] != b.shape[:-2]:
        raise ShapeError(f"matmul: {a.shape} @ {b.shape} do not have the same leading axes")
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul: {a.shape} @ {b.shape}: the inner extents {a.shape[-1]} and "
            f"{b.shape[-2]} differ; they must be equal (a transposed operand?)"
        )
    return a.with_shape((*a.shape[:-1], b.shape[-1]))


def _swap(x: Any) -> Any:
    ndim = len(x.shape)
    return x.permute((*range(ndim - 2), ndim - 1, ndim - 2))


def _matmul_samples(rng: np.random.Generator) -> list[Sample]:
    shapes = (
        ((3, 4), (4, 5)),
        ((1, 25), (25, 2)),
        ((17, 3), (3, 33)),
        ((2, 3, 4), (2, 4, 2)),
        ((5, 1), (1, 1)),
    )
    return [Sample((uniform(rng, -2, 2, a), uniform(rng, -2, 2, b))) for a, b in shapes]


def _expand_matmul(a: Node, b: Node) -> Node | None:
    """Integers are multiplied and added up one by one; floats have kernels of their own."""
    if a.dtype.kind == "f":
        return None
    *leading, m, k = a.shape
    n = b.shape[-1]
    shape = (*leading, m, k, n)
    left = apply(broadcast_to, apply(reshape, a, shape=(*leading, m, k, 1)), shape=shape)
    right = apply(broadcast_to, apply(reshape, b, shape=(*leading, 1, k, n)), shape=shape)
    return apply(reduce.sum, apply(elementwise.mul, left, right), axes=(len(shape) - 2,))


def _batch_matmul(size: int, mapped: tuple[bool, bool], a: Node, b: Node) -> Node:
    """One matrix for all examples is multiplied with all of their rows, or columns, at once."""
    if mapped == (True, False) and len(b.shape) == 2:
        rows = shaped(a, size * a.shape[1], a.shape[2])
        return shaped(apply(matmul, rows, b), *a.shape[:2], b.shape[1])
    if mapped == (False, True) and len(a.shape) == 2:
        columns = shaped(moved(b, 0, 1), b.shape[1], size * b.shape[2])
        return moved(shaped(apply(matmul, a, columns), a.shape[0], size, b.shape[2]), 1, 0)
    return apply(matmul, *all_in_front(size, mapped, a, b))


# Sums of integers wrap around, as their dtype does.
# y[..., m, n] = sum over k of a[..., m, k] b[..., k, n]
matmul = Primitive(
    "matmul",
    _infer_matmul,
    np.matmul,
    lambda g, y, a, b: (g @ _swap(b), _swap(a) @ g),
    _matmul_samples,
    _expand_matmul,
    batch=_batch_matmul,
)


def _infer_contract(a: Type, b: Type, batch: int, summed: int) -> Type:
    require_kind("contract", a, FLOAT)
    if a.dtype != b.dtype:
        raise DTypeError(f"contract: dtypes {a.dtype} and {b.dtype} differ")
    if min(batch, summed) < 0 or batch + summed > min(len(a.shape), len(b.shape)):
        raise ShapeError(
            f"contract: {a.shape} and {b.shape} do not both have {batch} batch and {summed} "
            "summed axes"
        )
    if a.shape[:batch] != b.shape[:batch]:
        raise ShapeError(
            f"contract: the first {batch} axes (batch) of {a.shape} and {b.shape} differ"
        )
    last = len(a.shape) - summed
    if a.shape[last:] != b.shape[batch : batch + summed]:
        raise ShapeError(
            f"contract: the summed axes {a.shape[last:]} at the end of {a.shape} are not "
            f"{b.shape[batch : batch + summed]}, which follow {batch} batch axes in {b.shape}"
        )
    return a.with_shape((*a.shape[:last], *b.shape[batch + summed :]))


def _numpy_contract(a: Array, b: Array, batch: int, summed: int) -> Array:
    last = a.ndim - summed
    leading = a.shape[:batch]
    rows, inner, columns = a.shape[batch:last], a.shape[last:], b.shape[batch + summed :]
    left = a.reshape((*leading, math.prod(rows), math.prod(inner)))
    right = b.reshape((*leading, math.prod(inner), math.prod(columns)))
    y: Array = np.matmul(left, right)
    return y.reshape((*leading, *rows, *columns))


def _contract_vjp(g: Any, y: Any, a: Any, b: Any, batch: int, summed: int) -> tuple[Any, Any]:
    last = len(a.shape) - summed
    rows, columns = last - batch, len(b.shape) - batch - summed
    return (
        g.contract(_exchange(b, batch, summed), batch, columns),
        _exchange(a, batch, rows).contract(g, batch, rows),
    )


def _exchange(x: Any, batch: int, first: int) -> Any:
    """[B.. | first axes | rest] -> [B.. | rest | first axes]."""
    middle, ndim = batch + first, len(x.shape)
    order = (*range(batch), *range(middle, ndim), *range(batch, middle))
    return x if order == tuple(range(ndim)) else x.permute(order)


def _contract_samples(rng: np.random.Generator) -> list[Sample]:
    cases: tuple[tuple[Shape, Shape, int, int], ...] = (
        ((3, 4), (4, 5), 0, 1),
        ((2, 3, 4, 5), (4, 5, 6), 0, 2),
        ((2, 3, 4), (2, 4, 5), 1, 1),
        ((2, 7, 2, 3), (2, 2, 3, 2, 2), 1, 2),
        ((3, 4), (3, 4), 0, 2),
        ((3, 2), (4,), 0, 0),
        ((2, 3), (2, 3, 17), 1, 1),
        ((5, 3, 2, 2, 2), (2, 2, 2, 18), 0, 3),
        ((2, 3, 4), (2, 3, 4), 2, 1),
    )
    return [
        Sample((uniform(rng, -2, 2, a), uniform(rng, -2, 2, b)), {"batch": batch, "summed": summed})
        for a, b, batch, summed in cases
    ]


def _batch_contract(
    size: int, mapped: tuple[bool, bool], a: Node, b: Node, batch: int, summed: int
) -> Node:
    """The examples are one more batch axis, or rows or columns where one operand has none."""
    if all(mapped):
        return apply(contract, a, b, batch=batch + 1, summed=summed)
    if mapped[0]:
        y = apply(contract, moved(a, 0, batch), b, batch=batch, summed=summed)
        return moved(y, batch, 0)
    columns = moved(b, 0, len(b.shape) - 1)
    y = apply(contract, a, columns, batch=batch, summed=summed)
    return moved(y, len(y.shape) - 1, 0)


# a [B.. | P.. | K..], b [B.. | K.. | Q..] -> y [B.. | P.. | Q..], with `batch` axes B and `summed`
# axes K:  y[b, p, q] = sum over k of a[b, p, k] b[b, k, q]
contract = Primitive(
    "contract",
    _infer_contract,
    _numpy_contract,
    _contract_vjp,
    _contract_samples,
    batch=_batch_contract,
)

PRIMITIVES = (matmul, contract)
