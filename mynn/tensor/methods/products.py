"""Products: sums of products over axes that two tensors share, as methods and functions."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from mynn.base.arguments import explained, whole_number
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, DTypeError, ShapeError
from mynn.ops import attention, contraction, convolution
from mynn.tensor.methods.movement import Movement
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

    # -- products of matrices and vectors ----------------------------------------------------------

    @recorded
    @explained
    def matmul(self: T, other: Any) -> T:
        """The matrix product x @ other; vectors are a row or a column, leading axes broadcast."""
        return matmul(self, as_tensor(other, like=self))

    @recorded
    @explained
    def mm(self: T, mat2: Any) -> T:
        """The product of two matrices."""
        return _product("mm", self, mat2, 2, 2)

    @recorded
    @explained
    def bmm(self: T, mat2: Any) -> T:
        """The products of matrices [B, N, K] and [B, K, M], pair by pair."""
        return _product("bmm", self, mat2, 3, 3)

    @recorded
    @explained
    def mv(self: T, vec: Any) -> T:
        """The product of a matrix and a vector."""
        return _product("mv", self, vec, 2, 1)

    @recorded
    @explained
    def dot(self: T, tensor: Any) -> T:
        """The sum of the products of two vectors."""
        other = as_tensor(tensor)
        if self.ndim != 1 or other.shape != self.shape:
            raise ShapeError(f"dot: takes vectors of one length, not {self.shape}, {other.shape}")
        return _product("dot", self, other, 1, 1)

    @recorded
    @explained
    def vdot(self: T, other: Any) -> T:
        """The sum of the products of two vectors."""
        return self.dot(other)

    @recorded
    @explained
    def inner(self: T, other: Any) -> T:
        """Products summed over the last axes of both; with a single value the plain product."""
        a, b = same_dtype(self, other)
        if not a.ndim or not b.ndim:
            product: T = a * b
            return product
        if a.shape[-1] != b.shape[-1]:
            raise ShapeError(f"inner: the last extents of {a.shape} and {b.shape} differ")
        rows, columns = a.shape[:-1], b.shape[:-1]
        inner = a.shape[-1]
        left = a.reshape((math.prod(rows), inner))
        right = b.reshape((math.prod(columns), inner)).transpose(0, 1)
        result: T = matmul(left, right).reshape((*rows, *columns))
        return result

    @recorded
    @explained
    def outer(self: T, vec2: Any) -> T:
        """The products of each value of one vector with each of another: [N], [M] -> [N, M]."""
        a, b = same_dtype(self, vec2)
        if a.ndim != 1 or b.ndim != 1:
            raise ShapeError(f"outer: takes two vectors, the shapes are {a.shape} and {b.shape}")
        product: T = a.unsqueeze(1) * b.unsqueeze(0)
        return product

    ger = outer

    @recorded
    @explained
    def addmm(self: T, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> T:
        """beta x + alpha mat1 @ mat2; with beta = 0 x counts for nothing, not even NaN."""
        return _added("addmm", self, _product("addmm", mat1, mat2, 2, 2), beta, alpha)

    @recorded
    @explained
    def addmv(self: T, mat: Any, vec: Any, *, beta: Any = 1, alpha: Any = 1) -> T:
        """beta x + alpha mat @ vec."""
        return _added("addmv", self, _product("addmv", mat, vec, 2, 1), beta, alpha)

    @recorded
    @explained
    def baddbmm(self: T, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> T:
        """beta x + alpha batch1 @ batch2, pair by pair."""
        return _added("baddbmm", self, _product("baddbmm", batch1, batch2, 3, 3), beta, alpha)

    @recorded
    @explained
    def addbmm(self: T, batch1: Any, batch2: Any, *, beta: Any = 1, alpha: Any = 1) -> T:
        """beta x + alpha times the sum of the products of all pairs."""
        total = _product("addbmm", batch1, batch2, 3, 3)
        kept = total.sum(0, dtype=total.dtype)
        return _added("addbmm", self, kept, beta, alpha)

    @recorded
    @explained
    def addr(self: T, vec1: Any, vec2: Any, *, beta: Any = 1, alpha: Any = 1) -> T:
        """beta x + alpha times the outer product of two vectors."""
        return _added("addr", self, as_tensor(vec1).outer(vec2), beta, alpha)

    @recorded
    @explained
    def matrix_power(self: T, n: int) -> T:
        """The n-th power of square matrices [.., N, N], by squaring; n is 0 or more."""
        power = whole_number("matrix_power: n", n)
        if self.ndim < 2 or self.shape[-1] != self.shape[-2]:
            raise ShapeError(f"matrix_power: takes square matrices, the shape is {self.shape}")
        if power < 0:
            raise ArgumentError(
                f"matrix_power: n must be 0 or more, it is {n}; give mynn.linalg.inv(x)"
            )
        one = as_tensor(np.eye(self.shape[-1], dtype=self.dtype))
        result: Any = None
        square: Any = self
        while power:
            if power & 1:
                result = square if result is None else matmul(result, square)
            power >>= 1
            square = matmul(square, square) if power else square
        return one.broadcast_to(self.shape) if result is None else result

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

    def attention(self, keys: Any, values: Any, *masks: Any, **params: Any) -> T:
        """Attention of queries [N, L, H, D]; see `mynn.ops.attention`."""
        return apply(attention.attention, self, keys, values, *masks, **params)

    def attention_gradient(self, *inputs: Any, **params: Any) -> T:
        """The cotangents of the inputs of `attention`, from that of its result."""
        return apply(attention.gradient, self, *inputs, **params)


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


def _product(name: str, x: Any, y: Any, axes: int, others: int) -> Any:
    """A product of operands with so many axes, whose dtypes are the same."""
    a, b = as_tensor(x), as_tensor(y)
    if a.ndim != axes or b.ndim != others:
        raise ShapeError(
            f"{name}: the operands must have {axes} and {others} axes, their shapes are {a.shape} "
            f"and {b.shape}; matmul takes others"
        )
    if a.dtype != b.dtype:
        raise DTypeError(f"{name}: dtypes {a.dtype} and {b.dtype} differ; convert one with .astype")
    if axes == 3 and a.shape[0] != b.shape[0]:
        raise ShapeError(f"{name}: {a.shape} and {b.shape} hold different numbers of matrices")
    return matmul(a, b)


def _added(name: str, x: Any, product: Any, beta: Any, alpha: Any) -> Any:
    """beta x + alpha product, in the shape of the product."""
    if product.dtype.kind == "b" and x.dtype.kind == "b":
        either: Any = x & bool(beta) | product & bool(alpha)
        return either.broadcast_to(product.shape)
    if product.dtype.kind != "f" and not (isinstance(beta, int) and isinstance(alpha, int)):
        raise DTypeError(
            f"{name}: alpha and beta must be whole numbers for {product.dtype}, they are {alpha} "
            f"and {beta}"
        )
    if product.dtype != x.dtype:
        raise DTypeError(f"{name}: dtypes {x.dtype} and {product.dtype} differ; convert one")
    try:
        fits = np.broadcast_shapes(x.shape, product.shape) == product.shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"{name}: {x.shape} cannot be broadcast to the shape {product.shape} of the product"
        )
    product = product if isinstance(alpha, int) and alpha == 1 else product * alpha
    if isinstance(beta, int | float) and beta == 0:
        return product
    return product + (x if isinstance(beta, int) and beta == 1 else x * beta)
