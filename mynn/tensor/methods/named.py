"""Operators under their names, as methods: `x.add(y, alpha=2)`, `x.div(y)`, `x.eq(y)`."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.core.types import as_dtype
from mynn.errors import ArgumentError, DTypeError
from mynn.ops import elementwise
from mynn.tensor.methods.elementwise import Elementwise
from mynn.tensor.promotion import RANK, as_tensor, binary, same_dtype

T = TypeVar("T", bound="Named[Any]")


class Named(Elementwise[T]):
    """Arithmetic, comparisons and logic by name, with the arguments that operators have not."""

    __slots__ = ()

    # -- arithmetic --------------------------------------------------------------------------------

    @recorded
    @explained
    def add(self: T, other: Any, *, alpha: Any = 1) -> T:
        """x + alpha other."""
        return self + scaled("add", self, other, alpha)

    @recorded
    @explained
    def sub(self: T, other: Any, *, alpha: Any = 1) -> T:
        """x - alpha other."""
        return self - scaled("sub", self, other, alpha)

    @recorded
    @explained
    def rsub(self: T, other: Any, *, alpha: Any = 1) -> T:
        """other - alpha x."""
        return as_tensor(other, like=self) - scaled("rsub", self, self, alpha)

    @recorded
    @explained
    def mul(self: T, other: Any) -> T:
        """x other."""
        return self * other

    @recorded
    @explained
    def div(self: T, other: Any, *, rounding_mode: str | None = None) -> T:
        """x / other; rounded to a whole number towards 0 with rounding_mode "trunc", down with
        "floor", and of integers an integer then.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([-7]).div(2, rounding_mode="trunc").tolist()
            [-3]
        """
        if rounding_mode is None:
            return self / other
        if rounding_mode == "floor":
            return self.floor_divide(other)
        if rounding_mode != "trunc":
            raise ArgumentError(
                f'div: rounding_mode must be None, "trunc" or "floor", it is {rounding_mode!r}'
            )
        x, y = same_dtype(self, other)
        if x.dtype.kind == "f":
            return (x / y).trunc()
        low = x.floor_divide(other if isinstance(other, int) else y)
        up = ((x < 0) ^ (y < 0)) & (x % y != 0)
        return low + up.astype(low.dtype)

    @recorded
    @explained
    def true_divide(self: T, other: Any) -> T:
        """x / other; integers and bools become floats."""
        return self / other

    @recorded
    @explained
    def remainder(self: T, other: Any) -> T:
        """The remainder of x / other, with the sign of the other."""
        return self % other

    @recorded
    def __rmod__(self: T, other: Any) -> T:
        """The remainder of other / x, with the sign of x."""
        return as_tensor(other, like=self) % self

    @recorded
    @explained
    def pow(self: T, exponent: Any) -> T:
        """x^exponent."""
        return self**exponent

    @recorded
    @explained
    def neg(self: T) -> T:
        """-x."""
        return -self

    @recorded
    @explained
    def positive(self: T) -> T:
        """x itself."""
        if self.dtype.kind == "b":
            raise DTypeError("positive: takes numbers, it was given bools; convert with .int()")
        return self

    @recorded
    @explained
    def sgn(self: T) -> T:
        """-1, 0 or 1; its gradient is 0."""
        return self.sign()

    @recorded
    @explained
    def lerp(self: T, end: Any, weight: Any) -> T:
        """x + weight (end - x)."""
        return self + (as_tensor(end, like=self) - self) * weight

    @recorded
    @explained
    def addcmul(self: T, tensor1: Any, tensor2: Any, *, value: Any = 1) -> T:
        """x + value tensor1 tensor2."""
        product = as_tensor(tensor1, like=self) * tensor2
        return self + scaled("addcmul", self, product, value)

    @recorded
    @explained
    def addcdiv(self: T, tensor1: Any, tensor2: Any, *, value: Any = 1) -> T:
        """x + value tensor1 / tensor2."""
        top, bottom = as_tensor(tensor1, like=self), as_tensor(tensor2, like=self)
        if top.dtype.kind != "f" and bottom.dtype.kind != "f":
            raise DTypeError("addcdiv: integers are not divided; convert with .float()")
        return self + scaled("addcdiv", self, top / bottom, value)

    # -- comparisons -------------------------------------------------------------------------------

    @recorded
    @explained
    def eq(self: T, other: Any) -> T:
        """x == other, by element."""
        return self == other

    @recorded
    @explained
    def ne(self: T, other: Any) -> T:
        """x != other, by element."""
        return self != other

    @recorded
    @explained
    def lt(self: T, other: Any) -> T:
        """x < other."""
        return self < other

    @recorded
    @explained
    def le(self: T, other: Any) -> T:
        """x <= other."""
        return self <= other

    @recorded
    @explained
    def gt(self: T, other: Any) -> T:
        """x > other."""
        return self > other

    @recorded
    @explained
    def ge(self: T, other: Any) -> T:
        """x >= other."""
        return self >= other

    @recorded
    @explained
    def isclose(
        self: T, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
    ) -> T:
        """Whether |x - other| <= atol + rtol |other|."""
        if not (rtol >= 0 and atol >= 0):
            raise ArgumentError(
                f"isclose: rtol and atol must be at least 0, they are {rtol} and {atol}"
            )
        other = as_tensor(other)
        if self.dtype != other.dtype:
            raise DTypeError(
                f"isclose: dtypes {self.dtype} and {other.dtype} differ; convert one with .to"
            )
        same = self == other
        if self.dtype.kind == "f":
            gap = (self - other).abs()
            same = same | (gap.isfinite() & (gap <= other.abs() * rtol + atol))
            return same | (self.isnan() & other.isnan()) if equal_nan else same
        if self.dtype.kind == "b":
            return same
        gap = (self.astype(np.float64) - other.astype(np.float64)).abs()
        return same | (gap <= other.astype(np.float64).abs() * rtol + atol)

    def allclose(
        self, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
    ) -> bool:
        """Whether that is so everywhere; a bool. It looks at values: not in a trace."""
        near: Any = self.isclose(other, rtol, atol, equal_nan)
        return bool(near.all())

    def equal(self, other: Any) -> bool:
        """Whether shapes and all values are the same; a bool. Not in a trace."""
        other = as_tensor(other)
        if self.shape != other.shape:
            return False
        same: Any = self == other
        return bool(same.all())

    # -- logic and bits ----------------------------------------------------------------------------

    @recorded
    @explained
    def logical_not(self) -> T:
        """Whether x is 0."""
        return self == 0 if self.dtype.kind != "b" else ~self

    @recorded
    @explained
    def logical_and(self: T, other: Any) -> T:
        """Whether neither is 0."""
        return truth(self) & truth(other)

    @recorded
    @explained
    def logical_or(self: T, other: Any) -> T:
        """Whether one or both are not 0."""
        return truth(self) | truth(other)

    @recorded
    @explained
    def logical_xor(self: T, other: Any) -> T:
        """Whether just one is not 0."""
        return truth(self) ^ truth(other)

    @recorded
    @explained
    def bitwise_not(self: T) -> T:
        """The complement of integers, -1 - x; of bools whether x is false."""
        return ~self

    @recorded
    @explained
    def bitwise_and(self: T, other: Any) -> T:
        """Bits that both have."""
        return binary(elementwise.bitwise_and, self, other)

    @recorded
    @explained
    def bitwise_or(self: T, other: Any) -> T:
        """Bits that one or both have."""
        return binary(elementwise.bitwise_or, self, other)

    @recorded
    @explained
    def bitwise_xor(self: T, other: Any) -> T:
        """Bits that just one has."""
        return binary(elementwise.bitwise_xor, self, other)

    @recorded
    def __rand__(self: T, other: Any) -> T:
        """other & x."""
        return binary(elementwise.bitwise_and, other, self)

    @recorded
    def __ror__(self: T, other: Any) -> T:
        """other | x."""
        return binary(elementwise.bitwise_or, other, self)

    @recorded
    def __rxor__(self: T, other: Any) -> T:
        """other ^ x."""
        return binary(elementwise.bitwise_xor, other, self)

    # -- other names of the same -------------------------------------------------------------------

    subtract, multiply, divide, negative = sub, mul, div, neg
    greater, greater_equal, less, less_equal, not_equal = gt, ge, lt, le, ne
    absolute, fix = Elementwise.abs, Elementwise.trunc
    arcsin, arccos, arctan, arctan2 = (
        *(Elementwise.asin, Elementwise.acos, Elementwise.atan, Elementwise.atan2),
    )
    arcsinh, arccosh, arctanh = Elementwise.asinh, Elementwise.acosh, Elementwise.atanh


def truth(x: Any) -> Any:
    """Whether each value is not 0."""
    x = as_tensor(x)
    return x if x.dtype.kind == "b" else x != 0


def scaled(name: str, x: Any, other: Any, alpha: Any) -> Any:
    """alpha other, where alpha is of a kind that the dtype of the result holds."""
    if isinstance(alpha, int | float) and alpha == 1 and not isinstance(alpha, bool):
        return other
    other = as_tensor(other, like=x)
    kind = max(RANK[x.dtype.kind], RANK[other.dtype.kind])
    if RANK[as_dtype(type(alpha)).kind if isinstance(alpha, int | float) else "f"] > kind:
        raise DTypeError(
            f"{name}: alpha = {alpha!r} is no integer, and the tensors hold no floats; give an "
            "int, or convert with .float()"
        )
    return other * alpha
