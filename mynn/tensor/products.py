"""Products: sums of products over axes that two tensors share, as methods and functions."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from mynn.base.recording import recorded
from mynn.errors import ShapeError
from mynn.ops import contraction, convolution
from mynn.tensor.movement import Movement
from mynn.tensor.promotion import apply, as_tensor, same_dtype

T = TypeVar("T", bound="Products[Any]")


class Products(Movement[T]):
    """Matrix products and convolutions."""

    __slots__ = ()

    @recorded
    def __matmul__(self, y: Any) -> T:
        """The matrix product x @ y."""
        return matmul(self, y)

    @recorded
    def __rmatmul__(self, y: Any) -> T:
        """The matrix product y @ x."""
        return matmul(as_tensor(y, like=self), self)

    def contract(self, other: Any, batch: int, summed: int) -> T:
        """The product summed over several axes; see the function `contract`."""
        return contract(self, other, batch, summed)

    def conv(
        self,
        weight: Any,
        strides: tuple[int, ...],
        padding: tuple[tuple[int, int], ...],
        dilations: tuple[int, ...],
        groups: int = 1,
    ) -> T:
        """Convolution [N, C, spatial..] * [O, C / groups, kernel..] -> [N, O, spatial..].

        `padding` is one (before, after) a spatial axis.
        """
        x, w = same_dtype(self, weight, floating=True)
        params = {"strides": strides, "padding": padding, "dilations": dilations}
        return apply(convolution.conv, x, w, **params, groups=groups)


def matmul(x: Any, y: Any) -> Any:
    """Matrix product as in NumPy: vectors are a row or a column, leading axes broadcast."""
    a, b = same_dtype(x, y)
    if not a.ndim or not b.ndim:
        raise ShapeError("matmul: both operands need at least one axis")
    row, column = a.ndim == 1, b.ndim == 1
    a = a.unsqueeze(0) if row else a
    b = b.unsqueeze(1) if column else b
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul: {a.shape} @ {b.shape}: the inner extents {a.shape[-1]} and "
            f"{b.shape[-2]} differ; they must be equal (a transposed operand?)"
        )
    try:
        leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ShapeError(
            f"matmul: the leading axes of {a.shape} and {b.shape} do not fit"
        ) from None
    a = a.broadcast_to((*leading, *a.shape[-2:]))
    b = b.broadcast_to((*leading, *b.shape[-2:]))
    result = apply(contraction.matmul, a, b)
    result = result.squeeze(-1) if column else result
    return result.squeeze(-1 if column else -2) if row else result


def contract(a: Any, b: Any, batch: int, summed: int) -> Any:
    """The product of a [B.. | P.. | K..] and b [B.. | K.. | Q..], summed over K: [B.. | P.. | Q..].

    `batch` and `summed` are the numbers of axes B and K.
    """
    return apply(contraction.contract, *same_dtype(a, b, floating=True), batch=batch, summed=summed)
