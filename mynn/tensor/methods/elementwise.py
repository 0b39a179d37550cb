"""Functions of every element by itself, as methods, beside those of `Arithmetic` and `Special`."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, DTypeError
from mynn.ops import elementwise, integers, special
from mynn.tensor.methods.special import Special
from mynn.tensor.promotion import apply, as_tensor, binary, same_dtype

T = TypeVar("T", bound="Elementwise[Any]")


class Elementwise(Special[T]):
    """Trigonometric, hyperbolic and other functions; rounding; what numbers are."""

    __slots__ = ()

    # -- trigonometric and hyperbolic functions ----------------------------------------------------

    @recorded
    @explained
    def tan(self: T) -> T:
        """Tangent of x in radians."""
        return self.sin() / self.cos()

    @recorded
    @explained
    def asin(self) -> T:
        """The angle in radians, from -pi/2 to pi/2, whose sine is x; NaN outside -1..1."""
        return apply(special.asin, self.floating())

    @recorded
    @explained
    def acos(self) -> T:
        """The angle in radians, from 0 to pi, whose cosine is x; NaN outside -1..1."""
        return apply(special.acos, self.floating())

    @recorded
    @explained
    def atan(self) -> T:
        """The angle in radians, from -pi/2 to pi/2, whose tangent is x."""
        return apply(special.atan, self.floating())

    @recorded
    @explained
    def atan2(self, other: Any) -> T:
        """The angle of the point (other, x) in radians, from -pi to pi.

        Example:
            >>> from mynn import Tensor
            >>> f"{Tensor(1.0).atan2(-1.0).item():.4f}"
            '2.3562'
        """
        return binary(special.atan2, self, other, floating=True)

    @recorded
    @explained
    def sinh(self) -> T:
        """Hyperbolic sine, (e^x - e^-x) / 2."""
        return apply(special.sinh, self.floating())

    @recorded
    @explained
    def cosh(self) -> T:
        """Hyperbolic cosine, (e^x + e^-x) / 2."""
        return apply(special.cosh, self.floating())

    @recorded
    @explained
    def asinh(self) -> T:
        """The number whose hyperbolic sine is x."""
        return apply(special.asinh, self.floating())

    @recorded
    @explained
    def acosh(self) -> T:
        """The number of 0 or more whose hyperbolic cosine is x; NaN below 1."""
        return apply(special.acosh, self.floating())

    @recorded
    @explained
    def atanh(self) -> T:
        """The number whose hyperbolic tangent is x; NaN outside -1..1."""
        return apply(special.atanh, self.floating())

    @recorded
    @explained
    def deg2rad(self: T) -> T:
        """Degrees as radians: pi x / 180."""
        return self.floating() * (math.pi / 180)

    @recorded
    @explained
    def rad2deg(self: T) -> T:
        """Radians as degrees: 180 x / pi."""
        return self.floating() * (180 / math.pi)

    @recorded
    @explained
    def sinc(self: T) -> T:
        """sin(pi x) / (pi x), which is 1 at 0."""
        angle = self.floating() * math.pi
        zero = angle == 0
        inner = zero.choose(1.0, angle)
        return zero.choose(1.0, inner.sin() / inner)

    # -- powers, exponentials and logarithms -------------------------------------------------------

    @recorded
    @explained
    def square(self: T) -> T:
        """x^2; of bools int64."""
        x = self.astype(np.int64) if self.dtype.kind == "b" else self
        return x * x

    @recorded
    @explained
    def rsqrt(self: T) -> T:
        """1 / sqrt(x)."""
        return 1.0 / self.floating().sqrt()

    @recorded
    @explained
    def reciprocal(self: T) -> T:
        """1 / x."""
        return 1.0 / self.floating()

    @recorded
    @explained
    def float_power(self: T, exponent: Any) -> T:
        """x^exponent in float64."""
        power = as_tensor(exponent).astype(np.float64)
        return self.astype(np.float64) ** power

    @recorded
    @explained
    def exp2(self) -> T:
        """2^x."""
        return apply(special.exp2, self.floating())

    @recorded
    @explained
    def log2(self) -> T:
        """Logarithm to base 2."""
        return apply(special.log2, self.floating())

    @recorded
    @explained
    def log10(self) -> T:
        """Logarithm to base 10."""
        return apply(special.log10, self.floating())

    @recorded
    @explained
    def logaddexp(self: T, other: Any) -> T:
        """log(e^x + e^other); no finite x overflows."""
        return _log_sum(*same_dtype(self, other, floating=True), 1.0)

    @recorded
    @explained
    def logaddexp2(self: T, other: Any) -> T:
        """log2(2^x + 2^other); no finite x overflows."""
        return _log_sum(*same_dtype(self, other, floating=True), math.log(2))

    @recorded
    @explained
    def xlogy(self: T, other: Any) -> T:
        """x log(other), which is 0 where x is 0, unless the other is NaN."""
        x, y = same_dtype(self, other, floating=True)
        none = (x == 0) & ((y <= 0) | (y == math.inf))
        return x * none.choose(1.0, y).log()

    @recorded
    @explained
    def logit(self: T, eps: float | None = None) -> T:
        """log(x / (1 - x)); with `eps` x is first held to eps..1 - eps."""
        x = self.floating()
        x = x if eps is None else x.clip(eps, 1 - eps)
        return (x / (1.0 - x)).log()

    @recorded
    @explained
    def ldexp(self: T, other: Any) -> T:
        """x 2^other."""
        return self * 2.0 ** as_tensor(other)

    @recorded
    @explained
    def hypot(self: T, other: Any) -> T:
        """sqrt(x^2 + other^2), of floats; no finite x overflows on the way."""
        x, y = same_dtype(self, other)
        _require_float("hypot", x)
        scale = x.detach().abs().maximum(y.detach().abs())
        scale = ((scale > 0) & (scale < math.inf)).choose(scale, 1.0)
        return ((x / scale).square() + (y / scale).square()).sqrt() * scale

    # -- special functions -------------------------------------------------------------------------

    @recorded
    @explained
    def erfc(self) -> T:
        """1 - erf(x), exact for large x."""
        return apply(special.erfc, self.floating())

    # -- rounding ----------------------------------------------------------------------------------

    @recorded
    @explained
    def ceil(self: T) -> T:
        """The smallest whole number not below x; its gradient is 0."""
        return self if self.dtype.kind in "iu" else -((-self).floor())

    @recorded
    @explained
    def trunc(self: T) -> T:
        """x without its fraction; its gradient is 0."""
        if self.dtype.kind in "iu":
            return self
        return (self < 0).choose(self.ceil(), self.floor())

    @recorded
    @explained
    def frac(self: T) -> T:
        """The fraction of x, with its sign."""
        return self - self.trunc()

    @recorded
    @explained
    def round(self: T, *, decimals: int = 0) -> T:
        """The nearest whole number, the even one of two; or with so many decimals."""
        if self.dtype.kind in "iu" and decimals == 0:
            return self
        if decimals == 0:
            return apply(special.round, self)
        scale = 10.0 ** abs(decimals)
        if decimals > 0:
            return apply(special.round, self * scale) / scale
        return apply(special.round, self / scale) * scale

    # -- division ----------------------------------------------------------------------------------

    @recorded
    @explained
    def floor_divide(self: T, other: Any) -> T:
        """The largest whole number not above x / other; integers stay integers.

        Example:
            >>> from mynn import Tensor
            >>> (Tensor([7, -7]) // 2).tolist()
            [3, -4]
        """
        _check_divisor("floor_divide", self, other)
        x, y = same_dtype(self, other)
        if x.dtype.kind != "f":
            return binary(integers.floor_divide, x, y)
        rest = x % y
        quotient = apply(special.round, (x - rest) / y)
        # A remainder is the divisor where that is infinite, or so much larger, and x has another
        # sign.
        quotient = (rest == y).choose(x.dtype.type(-1), quotient)
        return (y == 0).choose((x / y).floor() if y.requires_grad else x / y, quotient)

    __floordiv__ = floor_divide

    @recorded
    def __rfloordiv__(self: T, other: Any) -> T:
        """The largest whole number not above other / x."""
        return as_tensor(other, like=self).floor_divide(self)

    @recorded
    @explained
    def fmod(self: T, other: Any) -> T:
        """The remainder of x / other with the sign of x."""
        _check_divisor("fmod", self, other)
        x, y = same_dtype(self, other)
        y = y if y.dtype.kind == "u" else y.abs()
        if x.dtype.kind == "u":
            return x % y
        return (x < 0).choose(-((-x) % y), x % y)

    # -- bits --------------------------------------------------------------------------------------

    @recorded
    @explained
    def bitwise_left_shift(self: T, other: Any) -> T:
        """The bits of integers moved up by `other` places: x 2^other without what is lost."""
        return binary(integers.left_shift, self, other)

    __lshift__ = bitwise_left_shift

    @recorded
    @explained
    def bitwise_right_shift(self: T, other: Any) -> T:
        """The bits of integers moved down by `other` places; negative numbers stay negative."""
        bits = 8 * self.dtype.itemsize
        if self.dtype.kind == "u" and isinstance(other, int) and 0 <= other < bits:
            return apply(elementwise.shift_right, self, bits=other)
        return binary(integers.right_shift, self, other)

    __rshift__ = bitwise_right_shift

    @recorded
    def __rlshift__(self: T, other: Any) -> T:
        """The bits of `other` moved up by x places."""
        return binary(integers.left_shift, other, self)

    @recorded
    def __rrshift__(self: T, other: Any) -> T:
        """The bits of `other` moved down by x places."""
        return binary(integers.right_shift, other, self)

    # -- choices -----------------------------------------------------------------------------------

    @recorded
    @explained
    def fmax(self: T, other: Any) -> T:
        """The larger of two values; where one is NaN the other."""
        x, y = same_dtype(self, other)
        return ((x >= y) | y.isnan()).choose(x, y)

    @recorded
    @explained
    def fmin(self: T, other: Any) -> T:
        """The smaller of two values; where one is NaN the other."""
        x, y = same_dtype(self, other)
        return ((x <= y) | y.isnan()).choose(x, y)

    @recorded
    @explained
    def clamp_min(self: T, min: Any) -> T:
        """Values below `min` become `min`."""
        return self.clip(min=min)

    @recorded
    @explained
    def clamp_max(self: T, max: Any) -> T:
        """Values above `max` become `max`."""
        return self.clip(max=max)

    @recorded
    @explained
    def copysign(self: T, other: Any) -> T:
        """|x| with the sign of `other`, that of zeros too."""
        x, y = same_dtype(self, other, floating=True)
        size = x.abs()
        return y.signbit().choose(-size, size)

    @recorded
    @explained
    def heaviside(self, values: Any) -> T:
        """0 where x < 0, 1 where x > 0, `values` where x is 0."""
        other = as_tensor(values, like=self)
        if other.dtype != self.dtype:
            raise DTypeError(
                f"heaviside: values are {other.dtype}, they must be {self.dtype} as the tensor"
            )
        step = (self > 0).astype(self.dtype)
        return (self == 0).choose(other, self.isnan().choose(self, step))

    @recorded
    @explained
    def nan_to_num(
        self: T, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
    ) -> T:
        """NaN becomes `nan` (0), infinities `posinf` and `neginf`, or the ends of the floats."""
        x: Any = self
        if x.dtype.kind != "f":
            return x
        bounds = np.finfo(x.dtype)
        high = float(bounds.max) if posinf is None else posinf
        low = float(bounds.min) if neginf is None else neginf
        result = x.isnan().choose(0.0 if nan is None else nan, x)
        return (x == math.inf).choose(high, (x == -math.inf).choose(low, result))

    # -- what numbers are --------------------------------------------------------------------------

    @recorded
    @explained
    def isnan(self) -> T:
        """Whether x is NaN."""
        return self != self

    @recorded
    @explained
    def isinf(self) -> T:
        """Whether x is infinite."""
        size: Any = self.abs() if self.dtype.kind == "f" else 0
        return size == math.inf if self.dtype.kind == "f" else self != self

    @recorded
    @explained
    def isfinite(self) -> T:
        """Whether x is neither infinite nor NaN."""
        return self.abs() < math.inf if self.dtype.kind == "f" else self == self

    @recorded
    @explained
    def isposinf(self) -> T:
        """Whether x is infinity."""
        return self == math.inf if self.dtype.kind == "f" else self != self

    @recorded
    @explained
    def isneginf(self) -> T:
        """Whether x is -infinity."""
        return self == -math.inf if self.dtype.kind == "f" else self != self

    @recorded
    @explained
    def isreal(self) -> T:
        """True everywhere: there are no complex numbers."""
        return (self == self) | (self != self)

    @recorded
    @explained
    def signbit(self) -> T:
        """Whether x is negative; -0.0 is."""
        if self.dtype.kind != "f":
            return self < 0
        inverse = 1.0 / apply(elementwise.stop_gradient, self)
        return (self < 0) | ((self == 0) & (inverse < 0))


def _log_sum(x: Any, y: Any, base: float) -> Any:
    """log(b^x + b^y) to the base b, whose natural logarithm is `base`."""
    above = x >= y  # and not a maximum: its derivatives where both are equal end with the first
    top, gap = above.choose(x, y), above.choose(y - x, x - y)
    gap = gap if base == 1 else gap * base
    tail = gap.exp().log1p()
    same = (x == y) & (x.abs() == math.inf)
    return same.choose(x, top + (tail if base == 1 else tail / base))


def _require_float(name: str, x: Any) -> None:
    if x.dtype.kind != "f":
        raise DTypeError(f"{name}: takes floats, it was given {x.dtype}; convert with .float()")


def _check_divisor(name: str, x: Any, other: Any) -> None:
    """Integers are not divided by the number 0."""
    if x.dtype.kind in "iu" and isinstance(other, int) and other == 0:
        raise ArgumentError(f"{name}: integers cannot be divided by 0; give another number")
