"""Functions in place, made from the methods of the same name: `x.atan_()` is `x.atan()` put into x.

Where the gradient of the function needs the values before, they are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from mynn.errors import ArgumentError
from mynn.tensor.methods.inplace import InPlace, _kept, samplers
from mynn.tensor.write import replace, write

T = TypeVar("T", bound="InPlaceFunctions[Any]")


def in_place(name: str) -> Callable[..., Any]:
    """The method that puts the result of the method `name` into the tensor."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return replace(self, getattr(_kept(self, *args), name)(*args, **kwargs), f"{name}_")

    method.__name__, method.__qualname__ = f"{name}_", f"Tensor.{name}_"
    method.__doc__ = f"x becomes x.{name}(...), with the same arguments."
    return method


class InPlaceFunctions(InPlace[T]):
    """In-place forms of elementwise functions, and further random numbers."""

    __slots__ = ()

    acos_, acosh_, asin_, asinh_ = (in_place(name) for name in ("acos", "acosh", "asin", "asinh"))
    atan_, atan2_, atanh_ = (in_place(name) for name in ("atan", "atan2", "atanh"))
    arccos_, arccosh_, arcsin_, arcsinh_ = acos_, acosh_, asin_, asinh_
    arctan_, arctan2_, arctanh_ = atan_, atan2_, atanh_
    cosh_, sinh_, tan_, sinc_ = (in_place(name) for name in ("cosh", "sinh", "tan", "sinc"))
    deg2rad_, rad2deg_ = in_place("deg2rad"), in_place("rad2deg")
    exp2_, log2_, log10_ = (in_place(name) for name in ("exp2", "log2", "log10"))
    square_, rsqrt_, reciprocal_ = (in_place(name) for name in ("square", "rsqrt", "reciprocal"))
    float_power_, xlogy_, logit_ = (in_place(name) for name in ("float_power", "xlogy", "logit"))
    ldexp_, hypot_, erfc_, erfinv_ = (
        in_place(name) for name in ("ldexp", "hypot", "erfc", "erfinv")
    )
    lgamma_, digamma_, polygamma_, mvlgamma_ = (
        in_place(name) for name in ("lgamma", "digamma", "polygamma", "mvlgamma")
    )
    ceil_, trunc_, frac_, round_ = (in_place(name) for name in ("ceil", "trunc", "frac", "round"))
    fix_ = trunc_
    floor_divide_, fmod_, true_divide_ = (
        in_place(name) for name in ("floor_divide", "fmod", "true_divide")
    )
    __ifloordiv__ = floor_divide_
    bitwise_left_shift_, bitwise_not_ = in_place("bitwise_left_shift"), in_place("bitwise_not")
    __ilshift__ = bitwise_left_shift_
    clamp_min_, clamp_max_ = in_place("clamp_min"), in_place("clamp_max")
    copysign_, heaviside_, nan_to_num_ = (
        in_place(name) for name in ("copysign", "heaviside", "nan_to_num")
    )
    eq_, ne_, lt_, le_, gt_, ge_ = (in_place(name) for name in ("eq", "ne", "lt", "le", "gt", "ge"))
    not_equal_, less_, less_equal_, greater_, greater_equal_ = ne_, lt_, le_, gt_, ge_
    logical_not_, logical_and_, logical_or_, logical_xor_ = (
        in_place(name) for name in ("logical_not", "logical_and", "logical_or", "logical_xor")
    )
    sgn_, renorm_ = in_place("sgn"), in_place("renorm")
    cumsum_, cumprod_, tril_, triu_ = (
        in_place(name) for name in ("cumsum", "cumprod", "tril", "triu")
    )
    addmm_, addmv_, addr_, addbmm_, baddbmm_ = (
        in_place(name) for name in ("addmm", "addmv", "addr", "addbmm", "baddbmm")
    )
    absolute_, negative_, subtract_, multiply_, divide_ = (
        *(InPlace.abs_, InPlace.neg_, InPlace.sub_, InPlace.mul_, InPlace.div_),
    )

    # -- random numbers ----------------------------------------------------------------------------

    def random_(self: T, from_: int = 0, to: int | None = None, *, generator: Any = None) -> T:
        """Whole numbers from `from_` to `to` - 1; with one number from 0."""
        low, high = (from_, to) if to is not None else (0, from_)
        if not high:
            kind = self.dtype
            high = 2**24 if kind == np.float32 else 2**53 if kind.kind == "f" else 2
            high = min(2**53, int(np.iinfo(kind).max)) if kind.kind in "iu" else high
        if not low < high:
            raise ArgumentError(f"random_: from must be below to, they are {low} and {high}")
        unit = samplers["uniform"](self.shape, 0.0, 1.0, generator, np.float64)
        whole = (unit * float(high - low)).floor() + float(low)
        return write(self, whole.astype(self.dtype), "random_")

    def exponential_(self: T, lambd: float = 1.0, *, generator: Any = None) -> T:
        """Numbers from the exponential distribution with the density lambd e^(-lambd x)."""
        return self._transformed("exponential_", lambda u: (1.0 - u).log() / -lambd, generator)

    def geometric_(self: T, p: float, *, generator: Any = None) -> T:
        """How many tries a success of probability p takes, the successful one among them."""
        if not 0 < p < 1:
            raise ArgumentError(f"geometric_: p must lie between 0 and 1, it is {p}; give another")
        scale = math.log1p(-p)
        return self._transformed(
            "geometric_", lambda u: ((1.0 - u).log() / scale).ceil().maximum(1.0), generator
        )

    def cauchy_(self: T, median: float = 0.0, sigma: float = 1.0, *, generator: Any = None) -> T:
        """Numbers from the Cauchy distribution."""
        return self._transformed(
            "cauchy_", lambda u: ((u - 0.5) * math.pi).tan() * sigma + median, generator
        )

    def log_normal_(self: T, mean: float = 1.0, std: float = 2.0, *, generator: Any = None) -> T:
        """e to the power of numbers from N(mean, std^2)."""
        if not std > 0:
            raise ArgumentError(f"log_normal_: std must be above 0, it is {std}; give another")
        numbers = samplers["normal"](self.shape, mean, std, generator, np.float64)
        return write(self, numbers.exp().astype(self.dtype), "log_normal_")

    def _transformed(self: T, name: str, function: Callable[[Any], Any], generator: Any) -> T:
        unit = samplers["uniform"](self.shape, 0.0, 1.0, generator, np.float64)
        return write(self, function(unit).astype(self.dtype), name)
