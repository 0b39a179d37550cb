"""Gamma functions and the inverse of the error function, as methods.

They are composites in float64, rounded once at the end where x is float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError
from mynn.tensor.methods.arithmetic import Arithmetic

T = TypeVar("T", bound="Special[Any]")

# Coefficients of Wichura's algorithm AS 241, "The percentage points of the normal distribution",
# 1988: numerators and denominators for the middle, the tails and far out.
_MIDDLE = (
    (
        *(3.3871328727963666080, 133.14166789178437745, 1971.5909503065514427),
        *(13731.693765509461125, 45921.953931549871457, 67265.770927008700853),
        *(33430.575583588128105, 2509.0809287301226727),
    ),
    (
        *(1.0, 42.313330701600911252, 687.18700749205790830, 5394.1960214247511077),
        *(21213.794301586595867, 39307.895800092710610, 28729.085735721942674),
        5226.4952788528545610,
    ),
)
_TAIL = (
    (
        *(1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550),
        *(3.64784832476320460504, 1.27045825245236838258, 0.241780725177450611770),
        *(0.0227238449892691845833, 7.74545014278341407640e-4),
    ),
    (
        *(1.0, 2.05319162663775882187, 1.67638483018380384940, 0.689767334985100004550),
        *(0.148103976427480074590, 0.0151986665636164571966, 5.47593808499534494600e-4),
        1.05075007164441684324e-9,
    ),
)
_FAR = (
    (
        *(6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580),
        *(0.296560571828504891230, 0.0265321895265761230930, 0.00124266094738807843860),
        *(2.71155556874348757815e-5, 2.01033439929228813265e-7),
    ),
    (
        *(1.0, 0.599832206555887937690, 0.136929880922735805310, 0.0148753612908506148525),
        *(7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7),
        2.04426310338993978564e-15,
    ),
)
# B(2k) / (2k (2k - 1)): the series of log gamma; and the Bernoulli numbers themselves.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
# The series are used from here on; below, x is moved up.
_MOVED = 10


class Special(Arithmetic[T]):
    """log gamma and its derivatives; the inverse of the error function."""

    __slots__ = ()

    @recorded
    @explained
    def erfinv(self: T) -> T:
        """The number whose error function is x; NaN outside -1..1.

        Source: Wichura, "The percentage points of the normal distribution", 1988.
        """
        x = self.floating()
        wide = x.astype(np.float64)
        size = wide.abs()
        inside = size < 1
        # For x = 0 the other branches need a number that they are defined for.
        tail = ((1.0 - size.clip(0.5, 1.0)) * 0.5).maximum(1e-300).log()
        root = (-tail).sqrt()
        middle = 0.180625 - (wide * wide).minimum(0.85 * 0.85) * 0.25
        near = wide * 0.5 * _ratio(_MIDDLE, middle)
        signs = wide.sign()
        out = signs * (root <= 5).choose(_ratio(_TAIL, root - 1.6), _ratio(_FAR, root - 5.0))
        y = (size <= 0.85).choose(near, out) * math.sqrt(0.5)
        pole = -signs * (1.0 - size.minimum(1.0)).log()  # infinite, as its slope is
        edge = (size == 1).choose(pole, math.nan)
        return inside.choose(y, edge).astype(x.dtype)

    @recorded
    @explained
    def lgamma(self: T) -> T:
        """log |gamma(x)|; infinite at 0 and the negative whole numbers."""
        x = self.floating()
        wide = x.astype(np.float64)
        mirrored = wide < 0.5
        z = mirrored.choose(1.0 - wide, wide)
        low = z < _MOVED
        steps = low.choose(z, 1.0)
        product = steps
        for k in range(1, _MOVED):
            product = product * (steps + float(k))
        base = low.choose(z + float(_MOVED), z)
        series = _series([b / (2 * k * (2 * k - 1)) for k, b in _counted()], base) * base
        y = (base - 0.5) * base.log() - base + 0.5 * math.log(2 * math.pi) + series
        y = y - low.choose(product, 1.0).log()
        y = (z == math.inf).choose(math.inf, y)
        below = mirrored.choose(wide, 0.25)
        # The sine of the distance to a whole number, which is exact.
        turn = ((below - below.round_half().detach()) * math.pi).sin().abs()
        return mirrored.choose(math.log(math.pi) - turn.log() - y, y).astype(x.dtype)

    @recorded
    @explained
    def digamma(self: T) -> T:
        """The derivative of log gamma(x); -infinity at 0, NaN at the negative whole numbers."""
        x = self.floating()
        wide = x.astype(np.float64)
        mirrored = wide < 0
        z = mirrored.choose(1.0 - wide, wide)
        low = z < _MOVED
        steps = low.choose(z, 1.0)
        moved: Any = 0.0
        for k in range(_MOVED):
            moved = moved + 1.0 / (steps + float(k))
        base = low.choose(z + float(_MOVED), z)
        y = base.log() - 0.5 / base - _series([b / (2 * k) for k, b in _counted()], base)
        y = y - low.choose(moved, 0.0)
        below = mirrored.choose(wide, 0.25)
        whole = mirrored & (below == below.floor())
        angle = whole.choose(0.25, below - below.round_half().detach()) * math.pi
        result = mirrored.choose(y - math.pi * angle.cos() / angle.sin(), y)
        return whole.choose(math.nan, result).astype(x.dtype)

    @recorded
    @explained
    def polygamma(self: T, n: int) -> T:
        """The n-th derivative of `digamma`. As a function n comes first: `polygamma(1, x)`.

        Equation: below 0 by reflection, (-1)^n polygamma(n, 1 - x) - pi (d/dx)^n cot(pi x).
        """
        if n < 0:
            raise ArgumentError(f"polygamma: n must be at least 0, it is {n}")
        if n == 0:
            return self.digamma()
        x = self.floating()
        wide = x.astype(np.float64)
        mirrored = wide < 0
        z = mirrored.choose(1.0 - wide, wide)
        low = z < 2 * _MOVED
        steps = low.choose(z, 1.0)
        moved: Any = 0.0
        for k in range(2 * _MOVED):
            moved = moved + (steps + float(k)) ** -float(n + 1)
        base = low.choose(z + 2.0 * _MOVED, z)
        y = base ** -float(n) / n + 0.5 * base ** -float(n + 1)
        for k, b in _counted():
            factor = b / math.factorial(2 * k)
            for j in range(2 * k - 1):
                factor *= n + 1 + j
            y = y + factor * base ** -float(n + 2 * k)
        y = math.factorial(n) * (y + low.choose(moved, 0.0))
        y = y if n % 2 else -y
        below = mirrored.choose(wide, 0.25)
        angle = (below - below.round_half().detach()) * math.pi
        turned = _cotangent(n, angle.cos() / angle.sin()) * -(math.pi ** (n + 1))
        return mirrored.choose(turned + (-y if n % 2 else y), y).astype(x.dtype)

    @recorded
    @explained
    def mvlgamma(self: T, p: int) -> T:
        """The logarithm of the gamma function of matrices p x p; x must be above (p - 1) / 2."""
        if p < 1:
            raise ArgumentError(f"mvlgamma: p must be at least 1, it is {p}; give a larger one")
        x = self.floating()
        total = x.lgamma() + p * (p - 1) / 4 * math.log(math.pi)
        for j in range(1, p):
            total = total + (x - j / 2).lgamma()
        return total

    def round_half(self: T) -> T:
        """The nearest whole number; halves become the larger one. Its gradient is 0."""
        return (self + 0.5).floor()


def _cotangent(n: int, cotangent: Any) -> Any:
    """The n-th derivative of the cotangent, as a polynomial of it: (1 + c^2) times -P'(c)."""
    coefficients = [0.0, 1.0]
    for _ in range(n):
        slopes = [k * a for k, a in enumerate(coefficients)][1:]
        padded = [*slopes, 0.0, 0.0]
        coefficients = [-(a + (padded[k - 2] if k > 1 else 0.0)) for k, a in enumerate(padded)]
    return _polynomial(coefficients, cotangent)


def _counted() -> Sequence[tuple[int, float]]:
    return [(k, b) for k, b in enumerate(_BERNOULLI, 1)]


def _series(coefficients: Sequence[float], x: Any) -> Any:
    """c1 / x^2 + c2 / x^4 + ..."""
    inverse = 1.0 / (x * x)
    total: Any = 0.0
    for c in reversed(coefficients):
        total = (total + c) * inverse
    return total


def _ratio(pair: Sequence[Sequence[float]], x: Any) -> Any:
    top, bottom = (_polynomial(coefficients, x) for coefficients in pair)
    return top / bottom


def _polynomial(coefficients: Sequence[float], x: Any) -> Any:
    total: Any = coefficients[-1]
    for c in reversed(coefficients[:-1]):
        total = total * x + c
    return total
