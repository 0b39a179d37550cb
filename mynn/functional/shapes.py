"""Functions that join, repeat or combine several tensors: meshgrid, hstack, block_diag..."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn.base.arguments import explained, whole_number
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ShapeError
from mynn.functional.joining import concatenate, stack
from mynn.tensor import Tensor, as_tensor, promote, same_dtype


def _several(name: str, tensors: Any) -> list[Tensor]:
    """Tensors given one by one or as one sequence."""
    if len(tensors) == 1 and isinstance(tensors[0], Sequence):
        tensors = tensors[0]
    if not len(tensors):
        raise ArgumentError(f"{name}: the sequence of tensors is empty; give at least one")
    return [as_tensor(one) for one in tensors]


# -- at least so many axes -------------------------------------------------------------------------


def _lifted(x: Any, least: int) -> Tensor:
    tensor = as_tensor(x)
    if tensor.ndim >= least:
        return tensor
    if least == 3 and tensor.ndim:
        shape = (1, *tensor.shape, 1) if tensor.ndim == 1 else (*tensor.shape, 1)
        return tensor.reshape(shape)
    return tensor.reshape((1,) * (least - tensor.ndim) + tensor.shape)


def _each_lifted(tensors: Any, least: int) -> Any:
    if len(tensors) != 1:
        return tuple(_lifted(one, least) for one in tensors)
    (only,) = tensors
    if isinstance(only, tuple | list) and any(isinstance(one, Tensor) for one in only):
        return tuple(_lifted(one, least) for one in only)
    return _lifted(only, least)


@explained
def atleast_1d(*tensors: Any) -> Any:
    """A tensor with at least one axis; of several tensors a tuple.

    Example:
        >>> atleast_1d(3.0).shape
        (1,)
    """
    return _each_lifted(tensors, 1)


@explained
def atleast_2d(*tensors: Any) -> Any:
    """A tensor with at least two axes, new ones first; of several tensors a tuple."""
    return _each_lifted(tensors, 2)


@explained
def atleast_3d(*tensors: Any) -> Any:
    """A tensor with at least three axes; of several tensors a tuple."""
    return _each_lifted(tensors, 3)


# -- joining ---------------------------------------------------------------------------------------


@recorded
@explained
def hstack(tensors: Sequence[Any]) -> Tensor:
    """Tensors joined along their second axis, vectors along their only one.

    Example:
        >>> hstack([[1, 2], [3]]).tolist()
        [1, 2, 3]
    """
    parts = [_lifted(one, 1) for one in _several("hstack", (tensors,))]
    return concatenate(parts, 0 if parts[0].ndim == 1 else 1)


@recorded
@explained
def vstack(tensors: Sequence[Any]) -> Tensor:
    """Tensors joined along their first axis; vectors are rows."""
    return concatenate([_lifted(one, 2) for one in _several("vstack", (tensors,))], 0)


row_stack = vstack


@recorded
@explained
def dstack(tensors: Sequence[Any]) -> Tensor:
    """Tensors joined along their third axis."""
    return concatenate([_lifted(one, 3) for one in _several("dstack", (tensors,))], 2)


@recorded
@explained
def column_stack(tensors: Sequence[Any]) -> Tensor:
    """Tensors joined along their second axis; vectors are columns."""
    parts = _several("column_stack", (tensors,))
    return concatenate([x.reshape(x.numel(), 1) if x.ndim < 2 else x for x in parts], 1)


@recorded
@explained
def block_diag(*tensors: Any) -> Tensor:
    """A matrix with the given matrices along its diagonal, zeros elsewhere."""
    blocks = [_lifted(one, 2) for one in tensors] if tensors else [as_tensor(np.zeros((1, 0), "f"))]
    for number, block in enumerate(blocks):
        if block.ndim != 2:
            raise ShapeError(f"block_diag: tensor {number} has shape {block.shape}, no matrix")
    dtype = promote(*(block.dtype for block in blocks))
    width = sum(block.shape[1] for block in blocks)
    rows, start = [], 0
    for block in blocks:
        before, after = start, width - start - block.shape[1]
        rows.append(block.astype(dtype).pad(((0, 0), (before, after)), 0))
        start += block.shape[1]
    return concatenate(rows, 0)


# -- broadcasting ----------------------------------------------------------------------------------


@explained
def broadcast_tensors(*tensors: Any) -> tuple[Tensor, ...]:
    """All tensors expanded to the shape that they have in common."""
    given = _several("broadcast_tensors", tensors)
    try:
        shape = np.broadcast_shapes(*(x.shape for x in given))
    except ValueError:
        shapes = " and ".join(str(x.shape) for x in given)
        raise ShapeError(
            f"broadcast_tensors: shapes {shapes} do not fit together; extents must be equal or 1"
        ) from None
    return tuple(x.broadcast_to(shape) for x in given)


@explained
def broadcast_shapes(*shapes: Any) -> tuple[int, ...]:
    """The shape that tensors of these shapes are expanded to."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        raise ShapeError(f"broadcast_shapes: {shapes} do not fit together: {error}") from None


@explained
def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple[Tensor, ...]:
    """Coordinates of a grid: each vector along an axis of its own, repeated along the others.

    With indexing="xy" the first two axes are exchanged.

    Example:
        >>> [one.tolist() for one in meshgrid([1, 2], [3, 4, 5])]
        [[[1, 1, 1], [2, 2, 2]], [[3, 4, 5], [3, 4, 5]]]
    """
    given = [_lifted(one, 1) for one in _several("meshgrid", tensors)]
    if indexing not in ("ij", "xy"):
        raise ArgumentError(f"meshgrid: indexing must be 'ij' or 'xy', it is {indexing!r}")
    for number, x in enumerate(given):
        if x.ndim > 1:
            raise ShapeError(f"meshgrid: tensor {number} has shape {x.shape}, it must be a vector")
        if x.dtype != given[0].dtype:
            raise ArgumentError(f"meshgrid: dtypes {given[0].dtype} and {x.dtype} differ")
    turned = indexing == "xy" and len(given) > 1
    order = [given[1], given[0], *given[2:]] if turned else given
    shape = tuple(x.numel() for x in order)
    grids = [
        x.reshape((1,) * axis + (-1,) + (1,) * (len(order) - axis - 1)).broadcast_to(shape)
        for axis, x in enumerate(order)
    ]
    if turned:
        grids[:2] = grids[1], grids[0]
    return tuple(grids)


@recorded
@explained
def cartesian_prod(*tensors: Any) -> Tensor:
    """All combinations of one value of each vector, a row each; of one vector itself."""
    given = [as_tensor(one) for one in tensors]
    if any(x.ndim != 1 for x in given):
        raise ShapeError("cartesian_prod: takes vectors; flatten the tensors first")
    if len(given) == 1:
        return given[0]
    return stack([grid.reshape(-1) for grid in meshgrid(*given)], -1)


@recorded
@explained
def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Tensor:
    """All choices of r of the values of a vector, in order, a row each."""
    x = as_tensor(input)
    if x.ndim != 1:
        raise ShapeError(f"combinations: takes a vector, the tensor has shape {x.shape}")
    if whole_number("combinations: r", r) < 0:
        raise ArgumentError(f"combinations: r must be 0 or more, it is {r}")
    if not r:
        return x[:0]
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    places = np.array(list(choose(range(x.numel()), r)), np.int64).reshape(-1, r)
    return x.gather_rows(places, 0, clip=True)


# -- indices of triangles --------------------------------------------------------------------------


def _triangle(name: str, row: int, col: int, offset: int, dtype: Any) -> Tensor:
    if min(row, col) < 0:
        raise ArgumentError(f"{name}: row and col must be 0 or more, they are {row} and {col}")
    full = np.ones((row, col), bool)
    inside = np.tril(full, offset) if name == "tril_indices" else np.triu(full, offset)
    kind = np.dtype(np.int64) if dtype is None else np.dtype(dtype)
    return as_tensor(np.stack(np.nonzero(inside)).astype(kind))


@explained
def tril_indices(
    row: int,
    col: int,
    offset: int = 0,
    *,
    dtype: Any = None,
    device: Any = None,
    layout: Any = None,
) -> Tensor:
    """The indices [2, count] of the places on and below a diagonal of a matrix, row by row."""
    return _triangle("tril_indices", row, col, offset, dtype)


@explained
def triu_indices(
    row: int,
    col: int,
    offset: int = 0,
    *,
    dtype: Any = None,
    device: Any = None,
    layout: Any = None,
) -> Tensor:
    """The indices [2, count] of the places on and above a diagonal of a matrix, row by row."""
    return _triangle("triu_indices", row, col, offset, dtype)


@recorded
@explained
def _digits(indices: Any, stride: int, extent: int) -> Tensor:
    x = as_tensor(indices)
    return (x.astype(np.float64) / stride).floor().astype(np.int64) % extent


@explained
def unravel_index(indices: Any, shape: Any) -> tuple[Tensor, ...]:
    """The indices along each axis of positions in a flattened tensor of `shape`.

    Example:
        >>> [one.tolist() for one in unravel_index([5, 1], (2, 3))]
        [[1, 0], [2, 1]]
    """
    extents = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    if as_tensor(indices).dtype.kind not in "iu":
        raise ArgumentError("unravel_index: indices must be integers; convert with .long()")
    if min(extents, default=0) < 0:
        raise ShapeError(f"unravel_index: shape {extents} must not be negative")
    if math.prod(extents) > 2**53:
        raise ShapeError(f"unravel_index: {extents} holds more than 2^53 positions")
    strides = [math.prod(extents[i + 1 :]) for i in range(len(extents))]
    return tuple(_digits(indices, s, n) for s, n in zip(strides, extents, strict=True))


# -- distances -------------------------------------------------------------------------------------


@recorded
@explained
def cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    """The p-norm of the difference of each row of x1 [.., P, M] and each of x2 [.., R, M].

    The gradient is 0 where two rows are equal.

    Example:
        >>> cdist([[0.0, 0.0]], [[3.0, 4.0]]).tolist()
        [[5.0]]
    """
    a, b = same_dtype(x1, x2, floating=True)
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-1]:
        raise ShapeError(f"cdist: {a.shape} and {b.shape} must be rows of one length")
    if p < 0:
        raise ArgumentError(f"cdist: p must be 0 or more, it is {p}")
    difference = (a.unsqueeze(-2) - b.unsqueeze(-3)).abs()
    if not a.shape[-1] or p == 0:
        return (difference != 0).astype(a.dtype).sum(-1)
    if p == float("inf"):
        return difference.amax(-1)
    if p == 1:
        return difference.sum(-1)
    total = (difference * difference if p == 2 else difference**p).sum(-1)
    far = total != 0
    root = far.choose(total, 1) ** (0.5 if p == 2 else 1 / p)
    return far.choose(root, 0)


__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "block_diag",
    "broadcast_shapes",
    "broadcast_tensors",
    "cartesian_prod",
    "cdist",
    "column_stack",
    "combinations",
    "dstack",
    "hstack",
    "meshgrid",
    "row_stack",
    "tril_indices",
    "triu_indices",
    "unravel_index",
    "vstack",
]
