"""Operators, elementwise functions and products.

Each takes the tensor first, and is a method of `Tensor`; the operators under Python's names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, Union, overload

import numpy as np

from mynn.core.types import Array, supported
from mynn.errors import ArgumentError, ShapeError
from mynn.ops import contraction, convolution, elementwise
from mynn.tensor.promotion import apply, as_tensor, binary, broadcast, same_dtype

if TYPE_CHECKING:
    from mynn.tensor.tensor import Tensor

# What stands beside a tensor in an operation.
Operand: TypeAlias = Union["Tensor", Array, float]

# -- operators -------------------------------------------------------------------------------------


def neg(x: Tensor) -> Tensor:
    """-x."""
    return apply(elementwise.neg, x)


def pos(x: Tensor) -> Tensor:
    """x itself."""
    return x


def add(x: Tensor, y: Any) -> Tensor:
    """x + y, elementwise."""
    return binary(elementwise.add, x, y)


def sub(x: Tensor, y: Any) -> Tensor:
    """x - y."""
    return binary(elementwise.sub, x, y)


def rsub(x: Tensor, y: Any) -> Tensor:
    """y - x."""
    return binary(elementwise.sub, y, x)


def mul(x: Tensor, y: Any) -> Tensor:
    """x * y, elementwise."""
    return binary(elementwise.mul, x, y)


def div(x: Tensor, y: Any) -> Tensor:
    """x / y; integers and bools become floats."""
    return binary(elementwise.div, x, y, floating=True)


def rdiv(x: Tensor, y: Any) -> Tensor:
    """y / x; integers and bools become floats."""
    return binary(elementwise.div, y, x, floating=True)


def mod(x: Tensor, y: Any) -> Tensor:
    """The remainder of x / y, with the sign of y."""
    return binary(elementwise.mod, x, y)


def power(x: Tensor, y: Any) -> Tensor:
    """x ** y; powers that are products, roots or quotients are written so.

    Integers to the power of integers stay integers, and wrap around as their products do.
    """
    if isinstance(y, int | float):
        if isinstance(y, float):
            x = x.floating()
        elif x.dtype.kind != "f":
            return _whole_power(x, y)
        if y in (1, 2, 3, 0.5, -1):
            return _small_power(x, y)
    return binary(elementwise.pow, x, y)


def rpower(x: Tensor, y: Any) -> Tensor:
    """y ** x."""
    return binary(elementwise.pow, y, x)


def _comparable(x: Tensor, y: Any) -> tuple[Any, Any]:
    """Both, where a number that the integers of x cannot hold is compared as an int64."""
    if isinstance(y, int) and x.dtype.kind in "iu":
        bounds = np.iinfo(x.dtype)
        if not bounds.min <= y <= bounds.max:
            return x.astype(np.int64), y
    return x, y


def less(x: Tensor, y: Any) -> Tensor:
    """x < y."""
    return binary(elementwise.less, *_comparable(x, y))


def less_equal(x: Tensor, y: Any) -> Tensor:
    """x <= y."""
    return binary(elementwise.less_equal, *_comparable(x, y))


def greater(x: Tensor, y: Any) -> Tensor:
    """x > y."""
    return binary(elementwise.less, *reversed(_comparable(x, y)))


def greater_equal(x: Tensor, y: Any) -> Tensor:
    """x >= y."""
    return binary(elementwise.less_equal, *reversed(_comparable(x, y)))


# Comparing anything with == promises a bool; tensors and numbers compare by element.
@overload
def equal(x: Tensor, y: Operand) -> Tensor: ...


@overload
def equal(x: Tensor, y: object) -> Any: ...


def equal(x: Tensor, y: object) -> Any:
    """Whether x and y are equal, by element."""
    return binary(elementwise.equal, *_comparable(x, y))


@overload
def not_equal(x: Tensor, y: Operand) -> Tensor: ...


@overload
def not_equal(x: Tensor, y: object) -> Any: ...


def not_equal(x: Tensor, y: object) -> Any:
    """Whether x and y differ, by element."""
    return binary(elementwise.not_equal, *_comparable(x, y))


def bitwise_and(x: Tensor, y: Any) -> Tensor:
    """x & y."""
    return binary(elementwise.bitwise_and, x, y)


def bitwise_or(x: Tensor, y: Any) -> Tensor:
    """x | y."""
    return binary(elementwise.bitwise_or, x, y)


def bitwise_xor(x: Tensor, y: Any) -> Tensor:
    """x ^ y."""
    return binary(elementwise.bitwise_xor, x, y)


def logical_not(x: Tensor) -> Tensor:
    """Whether x is false, by element; of integers the complement, -1 - x."""
    if x.dtype.kind in "iu":
        return x ^ np.array(-1).astype(x.dtype)
    return apply(elementwise.logical_not, x)


def shift_right(x: Tensor, bits: int) -> Tensor:
    """The bits of integers moved down by `bits` places; zeros come in."""
    return apply(elementwise.shift_right, x, bits=bits)


def _whole_power(x: Tensor, exponent: int) -> Tensor:
    """Integers to the power of a number, by squaring."""
    if exponent < 0:
        raise ArgumentError(
            f"integers have no negative powers, this is {x.dtype} ** {exponent}; "
            "make floats of them with .astype(numpy.float32)"
        )
    x = x.astype(np.int64) if x.dtype.kind == "b" else x
    result = None
    while exponent:
        if exponent & 1:
            result = x if result is None else result * x
        exponent >>= 1
        x = x * x if exponent else x
    return x * 0 + 1 if result is None else result


def _small_power(x: Tensor, exponent: float) -> Tensor:
    if exponent == 1:
        return x
    if exponent == 2:
        return x * x
    if exponent == 3:
        return x * x * x
    return x.sqrt() if exponent == 0.5 else 1 / x


# -- elementwise functions -------------------------------------------------------------------------


def abs(x: Tensor) -> Tensor:
    """|x|; the gradient at 0 is 0."""
    return apply(elementwise.abs, x)


def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1; its gradient is 0."""
    return apply(elementwise.sign, x)


def exp(x: Tensor) -> Tensor:
    """e^x."""
    return apply(elementwise.exp, x.floating())


def expm1(x: Tensor) -> Tensor:
    """e^x - 1, exact for small x."""
    return apply(elementwise.expm1, x.floating())


def log(x: Tensor) -> Tensor:
    """Natural logarithm."""
    return apply(elementwise.log, x.floating())


def log1p(x: Tensor) -> Tensor:
    """log(1 + x), exact for small x."""
    return apply(elementwise.log1p, x.floating())


def sqrt(x: Tensor) -> Tensor:
    """Square root."""
    return apply(elementwise.sqrt, x.floating())


def sin(x: Tensor) -> Tensor:
    """Sine of x in radians."""
    return apply(elementwise.sin, x.floating())


def cos(x: Tensor) -> Tensor:
    """Cosine of x in radians."""
    return apply(elementwise.cos, x.floating())


def tanh(x: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return apply(elementwise.tanh, x.floating())


def sigmoid(x: Tensor) -> Tensor:
    """The logistic function 1 / (1 + e^-x)."""
    return apply(elementwise.logistic, x.floating())


def erf(x: Tensor) -> Tensor:
    """The error function."""
    return apply(elementwise.erf, x.floating())


def relu(x: Tensor) -> Tensor:
    """max(x, 0); the gradient at 0 is 0."""
    return apply(elementwise.relu, x)


def floor(x: Tensor) -> Tensor:
    """The largest whole number not above x; its gradient is 0."""
    return x if x.dtype.kind in "iu" else apply(elementwise.floor, x)


def maximum(x: Tensor, other: Any) -> Tensor:
    """The larger of two values, elementwise; where they tie each gets half of the gradient."""
    return binary(elementwise.maximum, x, other)


def minimum(x: Tensor, other: Any) -> Tensor:
    """The smaller of two values, elementwise."""
    return binary(elementwise.minimum, x, other)


def clip(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Values below `min` become `min`, values above `max` become `max`; both bounds belong to x.

    The gradient is 1 within the bounds and at them, 0 outside and for NaN.
    """
    if min is None and max is None:
        raise ArgumentError("clip: give min, max, or both")
    result = x.detach() if x.requires_grad else x
    inside = None
    if min is not None:
        result = result.maximum(min)
        inside = x >= min
    if max is not None:
        result = result.minimum(max)
        inside = x <= max if inside is None else inside & (x <= max)
    if not x.requires_grad or inside is None:
        return result
    return choose(inside, x, result)


def where(x: Tensor, condition: Any, other: Any) -> Tensor:
    """x where the bool tensor `condition` is true, `other` where it is false."""
    return choose(as_tensor(condition), x, other)


def choose(condition: Tensor, x: Any, y: Any) -> Tensor:
    """With a bool tensor: `x` where it is true, `y` where it is false."""
    x, y = same_dtype(x, y)
    condition, x, y = broadcast(condition, x, y, name="where")
    return apply(elementwise.where, condition, x, y)


def astype(x: Tensor, dtype: Any) -> Tensor:
    """The values converted to another dtype; float to int drops the fraction."""
    dtype = supported(np.dtype(dtype))
    return x if dtype == x.dtype else apply(elementwise.cast, x, dtype=dtype)


# PyTorch's names of tensors of a dtype.
_CLASSES = {
    "float32": "FloatTensor",
    "float64": "DoubleTensor",
    "int32": "IntTensor",
    "int64": "LongTensor",
    "uint32": "UInt32Tensor",
    "uint8": "ByteTensor",
    "bool": "BoolTensor",
}


def type(x: Tensor, dtype: Any = None) -> Any:
    """The values converted to `dtype`; without one, the name of its class: mynn.FloatTensor.

    `dtype` may be such a name too, after any module: "torch.LongTensor".
    """
    if dtype is None:
        return f"mynn.{_CLASSES[x.dtype.name]}"
    if isinstance(dtype, str):
        names = {name: one for one, name in _CLASSES.items()}
        dtype = names.get(dtype.rpartition(".")[2], dtype)
    return astype(x, dtype)


def floating(x: Tensor) -> Tensor:
    """Itself, or as float32 where it holds integers or bools."""
    return x if x.dtype.kind == "f" else x.astype(np.float32)


# -- products --------------------------------------------------------------------------------------


def matmul(x: Any, y: Any) -> Tensor:
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


def rmatmul(x: Tensor, y: Any) -> Tensor:
    """The matrix product y @ x."""
    return matmul(as_tensor(y, like=x), x)


def contract(a: Any, b: Any, batch: int, summed: int) -> Tensor:
    """The product of a [B.. | P.. | K..] and b [B.. | K.. | Q..], summed over K: [B.. | P.. | Q..].

    `batch` and `summed` are the numbers of axes B and K.
    """
    return apply(contraction.contract, *same_dtype(a, b, floating=True), batch=batch, summed=summed)


def conv(
    x: Tensor,
    weight: Any,
    strides: tuple[int, ...],
    padding: tuple[tuple[int, int], ...],
    dilations: tuple[int, ...],
    groups: int = 1,
) -> Tensor:
    """Convolution [N, C, spatial..] * [O, C / groups, kernel..] -> [N, O, spatial..].

    `padding` is one (before, after) a spatial axis.
    """
    x, w = same_dtype(x, weight, floating=True)
    params = {"strides": strides, "padding": padding, "dilations": dilations}
    return apply(convolution.conv, x, w, **params, groups=groups)
