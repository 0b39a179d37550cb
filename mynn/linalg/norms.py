"""Norms of vectors and matrices, and cross products: at once, traced and compiled."""

from __future__ import annotations

import math
from typing import Any

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ShapeError
from mynn.linalg import primitives
from mynn.ops.rules import normalize_axes
from mynn.tensor import Tensor, apply, as_tensor, same_dtype


def _power_sum(x: Tensor, ord: float, axes: Any, keepdim: bool) -> Tensor:
    """(sum |x|^p)^(1/p), with the gradient 0 of what is 0."""
    if ord == 2:
        total = (x * x).sum(axes, keepdim)
    else:
        nothing = x == 0
        powers = nothing.choose(1, x).abs() ** ord
        total = nothing.choose(0.0 if ord > 0 else math.inf, powers).sum(axes, keepdim)
    some = (total != 0) & (total != math.inf)
    root = some.choose(total, 1) ** (0.5 if ord == 2 else 1 / ord)
    ends = (total == 0) if ord > 0 else (total != 0)
    return some.choose(root, ends.choose(0.0, math.inf))


@recorded
@explained
def vector_norm(
    x: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The p-norm (sum |x|^p)^(1/p) over `dim`, over all values without it.

    With ord=inf and -inf the largest and smallest |x|, with 0 how many are not 0.

    Example:
        >>> vector_norm([3.0, 4.0]).item()
        5.0
    """
    values = as_tensor(x).floating() if dtype is None else as_tensor(x).astype(dtype)
    axes = normalize_axes(None if dim in ((), []) else dim, values.ndim, "vector_norm")
    if not values.ndim:
        values, axes, keepdim = values.reshape(1), (0,), False
    if ord == math.inf:
        return values.abs().amax(axes, keepdim)
    if ord == -math.inf:
        return values.abs().amin(axes, keepdim)
    if ord == 0:
        return (values != 0).astype(values.dtype).sum(axes, keepdim)
    if ord == 1:
        return values.abs().sum(axes, keepdim)
    return _power_sum(values, float(ord), axes, keepdim)


@recorded
@explained
def matrix_norm(
    A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """A norm of matrices: "fro", "nuc", inf, -inf, 1, -1, 2, -2.

    "nuc", 2 and -2 come from singular values, which no traced function computes.
    """
    x = as_tensor(A).floating() if dtype is None else as_tensor(A).astype(dtype)
    if x.ndim < 2:
        raise ShapeError(f"matrix_norm: takes matrices [.., M, N], the shape is {x.shape}")
    if not isinstance(dim, tuple | list) or len(dim) != 2:
        raise ArgumentError(f"matrix_norm: dim must name two axes, it is {dim!r}")
    rows, columns = (normalize_axes(one, x.ndim, "matrix_norm")[0] for one in dim)
    if rows == columns:
        raise ArgumentError(f"matrix_norm: dim must name two axes, it is {dim!r}")
    if ord == "fro":
        return vector_norm(x, 2, (rows, columns), keepdim)
    if ord in (1, -1, math.inf, -math.inf):
        inner, outer = (rows, columns) if abs(ord) == 1 else (columns, rows)
        sums = x.abs().sum(inner, keepdim=True)
        best = sums.amax(outer, True) if ord > 0 else sums.amin(outer, True)
        return best if keepdim else best.squeeze((rows, columns))
    if ord not in ("nuc", 2, -2):
        raise ArgumentError(
            f"matrix_norm: ord must be 'fro', 'nuc', inf, -inf, 1, -1, 2 or -2, it is {ord!r}"
        )
    moved = x.movedim((rows, columns), (-2, -1))
    values = apply(primitives.svd, moved)[..., moved.shape[-2], :]
    value = values.sum(-1) if ord == "nuc" else values.amax(-1) if ord == 2 else values.amin(-1)
    kept = tuple(1 if axis in (rows, columns) else n for axis, n in enumerate(x.shape))
    result: Tensor = value.reshape(kept) if keepdim else value
    return result


@recorded
@explained
def norm(
    A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """`vector_norm` or `matrix_norm`, by how many axes `dim` names; of all values without both.

    Example:
        >>> norm([[3.0, 4.0], [0.0, 0.0]]).item()
        5.0
    """
    x = as_tensor(A)
    if dim is None and ord is not None and x.ndim == 2:
        dim = (-2, -1)
    if dim is None and ord is not None and x.ndim > 2:
        raise ShapeError(f"norm: ord={ord!r} of shape {x.shape} needs dim, one axis or two")
    if ord is None:
        return vector_norm(x, 2, dim, keepdim, dtype=dtype)
    if isinstance(dim, tuple | list) and len(dim) == 2:
        return matrix_norm(x, ord, dim, keepdim, dtype=dtype)
    if isinstance(ord, str):
        raise ArgumentError(f"norm: ord={ord!r} is for matrices; give dim two axes")
    return vector_norm(x, ord, dim, keepdim, dtype=dtype)


@recorded
@explained
def cross(input: Any, other: Any, *, dim: int = -1) -> Tensor:
    """The cross product of vectors of three values along `dim`."""
    a, b = same_dtype(input, other)
    if a.ndim != b.ndim:
        raise ShapeError(f"cross: {a.shape} and {b.shape} must have as many axes")
    axis = normalize_axes(dim, a.ndim, "cross")[0]
    if a.shape[axis] != 3 or b.shape[axis] != 3:
        raise ShapeError(f"cross: axis {axis} of {a.shape} and {b.shape} must have extent 3")
    return a.roll(-1, axis) * b.roll(-2, axis) - a.roll(-2, axis) * b.roll(-1, axis)


@recorded
@explained
def vecdot(x: Any, y: Any, *, dim: int = -1) -> Tensor:
    """The sum of the products of two tensors along `dim`."""
    a, b = same_dtype(x, y)
    product = a * b
    return product.sum(dim, dtype=product.dtype)
