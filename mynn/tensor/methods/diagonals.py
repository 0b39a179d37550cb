"""Diagonals and triangles of the last axes, as methods."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from mynn.base.arguments import explained, whole_number
from mynn.base.recording import recorded
from mynn.core.types import Shape
from mynn.errors import ShapeError
from mynn.ops import movement
from mynn.ops.rules import normalize_axes
from mynn.tensor.methods.shapes import Shapes, axis_of
from mynn.tensor.promotion import apply, as_tensor

T = TypeVar("T", bound="Diagonals[Any]")


class Diagonals(Shapes[T]):
    """Diagonals and triangles."""

    __slots__ = ()

    @recorded
    @explained
    def tril(self: T, diagonal: int = 0) -> T:
        """Zeros above a diagonal of the last two axes; `diagonal` counts upwards from the main."""
        return _triangle("tril", self, diagonal)

    @recorded
    @explained
    def triu(self: T, diagonal: int = 0) -> T:
        """Zeros below a diagonal of the last two axes."""
        return _triangle("triu", self, diagonal)

    @recorded
    @explained
    def diagonal(self: T, offset: int = 0, dim1: int = 0, dim2: int = 1) -> T:
        """The values where the indices of two axes are equal but for `offset`, as the last axis."""
        x, start, count, step = _diagonal("diagonal", self, offset, dim1, dim2)
        stop = start + (count - 1) * step + 1 if count else start
        return x[(..., slice(start, stop, step))]

    @recorded
    @explained
    def trace(self: T) -> T:
        """The sum of the diagonal of a matrix."""
        if self.ndim != 2:
            raise ShapeError(f"trace: takes a matrix, the tensor has shape {self.shape}")
        total: T = self.diagonal().sum()
        return total

    @recorded
    @explained
    def diag_embed(self: T, offset: int = 0, dim1: int = -2, dim2: int = -1) -> T:
        """The last axis as the diagonal of two new ones, zeros elsewhere."""
        a, b = (normalize_axes(one, self.ndim + 1, "diag_embed")[0] for one in (dim1, dim2))
        if a == b:
            raise ShapeError(f"diag_embed: dim1 and dim2 are both axis {a}")
        n, size = self.shape[-1], self.shape[-1] + abs(offset)
        start = max(-offset, 0) * size + max(offset, 0)
        last = start + max(n - 1, 0) * (size + 1) + (n > 0)
        plain = ((0, 0),) * (self.ndim - 1)
        low = (start, size * size - last, size) if n else (0, size * size, 0)
        square = self.pad((*plain, low), 0).reshape((*self.shape[:-1], size, size))
        return square.movedim((-2, -1), (a, b))

    @recorded
    @explained
    def diag(self: T, diagonal: int = 0) -> T:
        """The diagonal of a matrix; of a vector the matrix that has it as its diagonal."""
        if self.ndim not in (1, 2):
            raise ShapeError(f"diag: takes a vector or a matrix, the shape is {self.shape}")
        return self.diag_embed(diagonal) if self.ndim == 1 else self.diagonal(diagonal)

    @recorded
    @explained
    def diagflat(self: T, offset: int = 0) -> T:
        """The flattened values as a diagonal of a matrix."""
        return self.reshape(-1).diag_embed(offset)

    @recorded
    @explained
    def diagonal_scatter(self: T, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> T:
        """A copy with other values on a diagonal."""
        x, start, count, step = _diagonal("diagonal_scatter", self, offset, dim1, dim2)
        values = as_tensor(src, like=self)
        wanted = (*x.shape[:-1], count)
        if values.shape != wanted:
            raise ShapeError(f"diagonal_scatter: src has shape {values.shape}, must be {wanted}")
        lead = self.ndim - 2
        stop = start + (count - 1) * step + 1 if count else start
        flat = x.update_slice(
            values,
            (*(0,) * lead, start),
            (*x.shape[:-1], stop),
            (*(1,) * lead, step),
        )
        a, b = (axis_of("diagonal_scatter", self, one) for one in (dim1, dim2))
        square = flat.reshape((*x.shape[:-1], self.shape[a], self.shape[b]))
        return square.movedim((-2, -1), (a, b))


def _triangle(name: str, x: T, diagonal: int) -> T:
    if x.ndim < 2:
        raise ShapeError(f"{name}: needs two axes or more, the tensor has shape {x.shape}")
    kind = np.dtype(np.int64)
    shape: Shape = x.shape[-2:]
    row: Any = apply(movement.iota, shape=shape, axis=0, dtype=kind)
    column: Any = apply(movement.iota, shape=shape, axis=1, dtype=kind)
    shifted = row + whole_number(f"{name}: diagonal", diagonal)
    inside = column <= shifted if name == "tril" else column >= shifted
    chosen: T = inside.broadcast_to(x.shape).choose(x, np.zeros((), x.dtype))
    return chosen


def _diagonal(name: str, x: T, offset: int, dim1: int, dim2: int) -> tuple[T, int, int, int]:
    """x with two axes as one, the last, and the start, number and step of a diagonal in it."""
    a, b = axis_of(name, x, dim1), axis_of(name, x, dim2)
    if a == b:
        raise ShapeError(f"{name}: dim1 and dim2 are both axis {a}; name two")
    rows, columns = x.shape[a], x.shape[b]
    moved = x.movedim((a, b), (-2, -1))
    flat = moved.reshape((*moved.shape[:-2], rows * columns))
    count = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    start = max(-offset, 0) * columns + max(offset, 0)
    return flat, start if count else 0, count, columns + 1
