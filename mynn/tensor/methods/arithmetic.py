"""Operators and elementwise functions, as methods."""

from __future__ import annotations

from typing import Any, TypeVar, overload

import numpy as np

from mynn.base.recording import recorded
from mynn.core.types import Array, as_dtype, default_float
from mynn.errors import ArgumentError
from mynn.ops import elementwise
from mynn.tensor.promotion import apply, as_tensor, binary, broadcast, same_dtype
from mynn.tensor.value import Value

T = TypeVar("T", bound="Arithmetic[Any]")

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


class Arithmetic(Value[T]):
    """Operators, and functions of every element by itself."""

    __slots__ = ()

    # -- operators ---------------------------------------------------------------------------------

    @recorded
    def __neg__(self) -> T:
        """-x."""
        return apply(elementwise.neg, self)

    def __pos__(self: T) -> T:
        """x itself."""
        return self

    @recorded
    def __add__(self, y: Any) -> T:
        """x + y, elementwise."""
        return binary(elementwise.add, self, y)

    __radd__ = __add__

    @recorded
    def __sub__(self, y: Any) -> T:
        """x - y."""
        return binary(elementwise.sub, self, y)

    @recorded
    def __rsub__(self, y: Any) -> T:
        """y - x."""
        return binary(elementwise.sub, y, self)

    @recorded
    def __mul__(self, y: Any) -> T:
        """x * y, elementwise."""
        return binary(elementwise.mul, self, y)

    __rmul__ = __mul__

    @recorded
    def __truediv__(self, y: Any) -> T:
        """x / y; integers and bools become floats."""
        return binary(elementwise.div, self, y, floating=True)

    @recorded
    def __rtruediv__(self, y: Any) -> T:
        """y / x; integers and bools become floats."""
        return binary(elementwise.div, y, self, floating=True)

    @recorded
    def __mod__(self, y: Any) -> T:
        """The remainder of x / y, with the sign of y."""
        return binary(elementwise.mod, self, y)

    @recorded
    def __pow__(self: T, y: Any) -> T:
        """x ** y; powers that are products, roots or quotients are written so.

        Integers to the power of integers stay integers, and wrap around as their products do.
        """
        x = self
        if isinstance(y, int | float):
            if isinstance(y, float):
                x = x.floating()
            elif x.dtype.kind != "f":
                return _whole_power(x, y)
            if y in (1, 2, 3, 0.5, -1):
                return _small_power(x, y)
        return binary(elementwise.pow, x, y)

    @recorded
    def __rpow__(self, y: Any) -> T:
        """y ** x."""
        return binary(elementwise.pow, y, self)

    @recorded
    def __lt__(self, y: Any) -> T:
        """x < y."""
        return binary(elementwise.less, *_comparable(self, y))

    @recorded
    def __le__(self, y: Any) -> T:
        """x <= y."""
        return binary(elementwise.less_equal, *_comparable(self, y))

    @recorded
    def __gt__(self, y: Any) -> T:
        """x > y."""
        return binary(elementwise.less, *reversed(_comparable(self, y)))

    @recorded
    def __ge__(self, y: Any) -> T:
        """x >= y."""
        return binary(elementwise.less_equal, *reversed(_comparable(self, y)))

    # Comparing anything with == promises a bool; tensors and numbers compare by element.
    @overload
    def __eq__(self, y: Value[Any] | Array | float) -> T: ...

    @overload
    def __eq__(self, y: object) -> Any: ...

    @recorded
    def __eq__(self, y: object) -> Any:
        """Whether x and y are equal, by element."""
        return binary(elementwise.equal, *_comparable(self, y))

    @overload
    def __ne__(self, y: Value[Any] | Array | float) -> T: ...

    @overload
    def __ne__(self, y: object) -> Any: ...

    @recorded
    def __ne__(self, y: object) -> Any:
        """Whether x and y differ, by element."""
        return binary(elementwise.not_equal, *_comparable(self, y))

    __hash__ = object.__hash__

    @recorded
    def __and__(self, y: Any) -> T:
        """x & y."""
        return binary(elementwise.bitwise_and, self, y)

    @recorded
    def __or__(self, y: Any) -> T:
        """x | y."""
        return binary(elementwise.bitwise_or, self, y)

    @recorded
    def __xor__(self, y: Any) -> T:
        """x ^ y."""
        return binary(elementwise.bitwise_xor, self, y)

    @recorded
    def __invert__(self) -> T:
        """Whether x is false, by element; of integers the complement, -1 - x."""
        if self.dtype.kind in "iu":
            return self ^ np.array(-1).astype(self.dtype)
        return apply(elementwise.logical_not, self)

    # -- elementwise functions ---------------------------------------------------------------------

    @recorded
    def abs(self) -> T:
        """|x|; the gradient at 0 is 0."""
        return apply(elementwise.abs, self)

    __abs__ = abs

    @recorded
    def sign(self: T) -> T:
        """-1, 0 or 1; its gradient is 0."""
        return self if self.dtype.kind == "b" else apply(elementwise.sign, self)

    @recorded
    def exp(self) -> T:
        """e^x."""
        return apply(elementwise.exp, self.floating())

    @recorded
    def expm1(self) -> T:
        """e^x - 1, exact for small x."""
        return apply(elementwise.expm1, self.floating())

    @recorded
    def log(self) -> T:
        """Natural logarithm."""
        return apply(elementwise.log, self.floating())

    @recorded
    def log1p(self) -> T:
        """log(1 + x), exact for small x."""
        return apply(elementwise.log1p, self.floating())

    @recorded
    def sqrt(self) -> T:
        """Square root."""
        return apply(elementwise.sqrt, self.floating())

    @recorded
    def sin(self) -> T:
        """Sine of x in radians."""
        return apply(elementwise.sin, self.floating())

    @recorded
    def cos(self) -> T:
        """Cosine of x in radians."""
        return apply(elementwise.cos, self.floating())

    @recorded
    def tanh(self) -> T:
        """Hyperbolic tangent."""
        return apply(elementwise.tanh, self.floating())

    @recorded
    def sigmoid(self) -> T:
        """The logistic function 1 / (1 + e^-x)."""
        return apply(elementwise.logistic, self.floating())

    @recorded
    def erf(self) -> T:
        """The error function."""
        return apply(elementwise.erf, self.floating())

    @recorded
    def relu(self) -> T:
        """max(x, 0); the gradient at 0 is 0."""
        return apply(elementwise.relu, self)

    @recorded
    def floor(self: T) -> T:
        """The largest whole number not above x; its gradient is 0."""
        return self if self.dtype.kind in "iu" else apply(elementwise.floor, self)

    @recorded
    def maximum(self, other: Any) -> T:
        """The larger of two values, elementwise; where they tie each gets half of the gradient."""
        return binary(elementwise.maximum, self, other)

    @recorded
    def minimum(self, other: Any) -> T:
        """The smaller of two values, elementwise."""
        return binary(elementwise.minimum, self, other)

    @recorded
    def clip(self: T, min: Any = None, max: Any = None) -> T:
        """Values below `min` become `min`, those above `max` become `max`; both bounds belong to x.

        The gradient is 1 within the bounds and at them, 0 outside and for NaN.
        """
        if min is None and max is None:
            raise ArgumentError("clip: give min, max, or both")
        result = apply(elementwise.stop_gradient, self) if self.requires_grad else self
        inside = None
        if min is not None:
            result = result.maximum(min)
            inside = self >= min
        if max is not None:
            result = result.minimum(max)
            inside = self <= max if inside is None else inside & (self <= max)
        if not self.requires_grad or inside is None:
            return result
        return inside.choose(self, result)

    clamp = clip

    @recorded
    def where(self, condition: Any, other: Any) -> T:
        """x where the bool tensor `condition` is true, `other` where it is false."""
        return as_tensor(condition).choose(self, other)

    @recorded
    def choose(self, x: Any, y: Any) -> T:
        """With a bool tensor: `x` where it is true, `y` where it is false."""
        operands = broadcast(self, *same_dtype(x, y), name="where")
        return apply(elementwise.where, *operands)

    @recorded
    def astype(self: T, dtype: Any) -> T:
        """The values converted to another dtype; float to int drops the fraction."""
        dtype = as_dtype(dtype)
        return self if dtype == self.dtype else apply(elementwise.cast, self, dtype=dtype)

    def type(self, dtype: Any = None) -> Any:
        """The values converted to `dtype`; without one, the name of its class: mynn.FloatTensor.

        `dtype` may be such a name too, after any module: "torch.LongTensor".
        """
        if dtype is None:
            return f"mynn.{_CLASSES[self.dtype.name]}"
        if isinstance(dtype, str):
            names = {name: one for one, name in _CLASSES.items()}
            dtype = names.get(dtype.rpartition(".")[2], dtype)
        return self.astype(dtype)

    @recorded
    def floating(self: T) -> T:
        """Itself, or as the default float (float32) where it holds integers or bools."""
        return self if self.dtype.kind == "f" else self.astype(default_float())


def _comparable(x: T, y: Any) -> tuple[Any, Any]:
    """Both, where a number that the integers of x cannot hold is compared as an int64."""
    if isinstance(y, int) and x.dtype.kind in "iu":
        bounds = np.iinfo(x.dtype)
        if not bounds.min <= y <= bounds.max:
            return x.astype(np.int64), y
    return x, y


def _whole_power(x: T, exponent: int) -> T:
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


def _small_power(x: T, exponent: float) -> T:
    if exponent == 1:
        return x
    if exponent == 2:
        return x * x
    if exponent == 3:
        return x * x * x
    return x.sqrt() if exponent == 0.5 else 1 / x
