"""The inverse trigonometric functions: polynomials in float32, the C library in float64."""

from __future__ import annotations

import math
from typing import Final

from mynn.compiler.codegen.math.builder import NAN, Builder
from mynn.compiler.codegen.values import Value

# asin(x) = x + x*z*A(z) on z = x**2 <= 1/4, atan(x) = x + x*z*T(z) on |x| <= tan(pi/8).
ASIN: Final = (
    1.6666752422e-1,
    7.4953002686e-2,
    4.5470025998e-2,
    2.4181311049e-2,
    4.2163199048e-2,
)
ATAN: Final = (-3.33329491539e-1, 1.99777106478e-1, -1.38776856032e-1, 8.05374449538e-2)


def _asin_core(b: Builder, x: Value, z: Value) -> Value:
    return b.fma(b.mul(x, z), b.polynomial(ASIN, z), x)


def asin(b: Builder, x: Value) -> Value:
    """Where |x| > 1/2: asin(x) = pi/2 - 2 asin(sqrt((1 - x) / 2)). f64: libm."""
    if b.dtype == "f64":
        return b.libm("asin", x)
    a = b.abs(x)
    far = b.fcmp("ogt", a, 0.5)
    half = b.mul(b.sub(1.0, a), 0.5)
    z = b.select(far, half, b.mul(a, a))
    r = b.select(far, b.sqrt(half), a)
    y = _asin_core(b, r, z)
    y = b.select(far, b.fma(y, -2.0, math.pi / 2), y)
    return b.copysign(b.select(b.fcmp("ole", a, 1.0), y, NAN), x)


def acos(b: Builder, x: Value) -> Value:
    """acos(x) = 2 asin(sqrt((1 - x) / 2)) where x > 1/2, pi less it below -1/2; f64: libm."""
    if b.dtype == "f64":
        return b.libm("acos", x)
    a = b.abs(x)
    far = b.fcmp("ogt", a, 0.5)
    half = b.mul(b.sub(1.0, a), 0.5)
    root = b.sqrt(half)
    outer = b.mul(_asin_core(b, root, half), 2.0)
    outer = b.select(b.fcmp("olt", x, 0.0), b.sub(math.pi, outer), outer)
    inner = b.sub(math.pi / 2, _asin_core(b, x, b.mul(x, x)))
    return b.select(b.fcmp("ole", a, 1.0), b.select(far, outer, inner), NAN)


def _atan_positive(b: Builder, numerator: Value, denominator: Value) -> Value:
    """The angle whose tangent is the quotient of two numbers of 0 or more."""
    turned = b.fcmp("ogt", numerator, denominator)
    low = b.select(turned, denominator, numerator)
    high = b.select(turned, numerator, denominator)
    ratio = b.div(low, high)
    middle = b.fcmp("ogt", ratio, 0.41421356237309503)
    r = b.select(middle, b.div(b.sub(ratio, 1.0), b.add(ratio, 1.0)), ratio)
    z = b.mul(r, r)
    y = b.fma(b.mul(r, z), b.polynomial(ATAN, z), r)
    y = b.select(middle, b.add(y, math.pi / 4), y)
    return b.select(turned, b.sub(math.pi / 2, y), y)


def atan(b: Builder, x: Value) -> Value:
    """atan(x) = pi/2 - atan(1/x) above 1, pi/4 + atan((x - 1) / (x + 1)) above tan(pi/8)."""
    if b.dtype == "f64":
        return b.libm("atan", x)
    one = b.add(b.mul(b.abs(x), 0.0), 1.0)  # NaN where x is not finite
    one = b.select(b.fcmp("ord", x, x), 1.0, one)
    return b.copysign(_atan_positive(b, b.abs(x), one), x)


def atan2(b: Builder, x: Value, y: Value) -> Value:
    """The angle of the point (y, x): that of its absolute values, mirrored. f64: libm."""
    if b.dtype == "f64":
        return b.libm("atan2", x, y)
    a, c = b.abs(x), b.abs(y)
    # Where both are 0 or infinite, the angle is that of (1, 0) or (1, 1).
    none = b.both(b.fcmp("oeq", a, 0.0), b.fcmp("oeq", c, 0.0))
    ends = b.both(b.fcmp("oeq", a, math.inf), b.fcmp("oeq", c, math.inf))
    a = b.select(ends, 1.0, a)
    c = b.select(ends, 1.0, b.select(none, 1.0, c))
    angle = _atan_positive(b, a, c)
    left = b.icmp("ne", b.ashr(b.bits(y), 31), 0)
    angle = b.select(left, b.sub(math.pi, angle), angle)
    wrong = b.fcmp("uno", x, y)
    return b.select(wrong, NAN, b.copysign(angle, x))
