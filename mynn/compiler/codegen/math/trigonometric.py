"""Sine and cosine."""

from __future__ import annotations

from typing import Final

from mynn.compiler.codegen.math.builder import Builder, rare_name
from mynn.compiler.codegen.values import Value

# pi/2 = high + low in doubles.
PI_2: Final = (1.5707963267948966, 6.123233995736766e-17)
# sin(r) = r * (1 + z*S(z)), cos(r) = 1 + z*(-1/2 + z*C(z)) with z = r**2, |r| <= pi/4:
# relative errors 4e-9 and 1.2e-10.
SIN: Final = (-0.166666552, 0.00833218917, -0.000195182831)
COS: Final = (0.0416666456, -0.00138873095, 2.44323273e-05)


def sin(b: Builder, x: Value) -> Value:
    """f32: sin(x) = +-sin(r) or +-cos(r) by the quadrant. f64: libm. Error: f32 2.0 ulp."""
    return b.libm("sin", x) if b.dtype == "f64" else _sin_cos(b, x, "sin")


def cos(b: Builder, x: Value) -> Value:
    """cos(x) = sin(x + pi/2), a quadrant on; see `sin`."""
    return b.libm("cos", x) if b.dtype == "f64" else _sin_cos(b, x, "cos")


# Up to here the reduction is exact to float32.
LARGEST: Final = 2.0**50


def rare(b: Builder, x: Value, op: str) -> Value:
    """For angles of `LARGEST` and beyond: that of the C library for float64, lane by lane."""
    d = b.view("f64")
    return b.cast("fptrunc", d.libm(op, d.cast("fpext", x)))


def _sin_cos(b: Builder, x: Value, op: str) -> Value:
    """sin(x + quadrants * pi/2), x = n * pi/2 + r with r taken in f64."""
    quadrants = int(op == "cos")
    d = b.view("f64")
    wide = d.cast("fpext", x)
    t = d.fma(wide, 1 / PI_2[0], d.format.magic)
    n = d.sub(t, d.format.magic)
    reduced = d.fma(n, -PI_2[1], d.fma(n, -PI_2[0], wide))
    r = b.clamp(b.cast("fptrunc", reduced), -1.0, 1.0)
    quadrant = b.iadd(b.low_bits(d.bits(t)), quadrants)
    z = b.mul(r, r)
    sine = b.mul(r, b.fma(b.polynomial(SIN, z), z, 1.0))
    cosine = b.fma(b.fma(b.polynomial(COS, z), z, -0.5), z, 1.0)
    value = b.select(b.icmp("ne", b.iand(quadrant, 1), 0), cosine, sine)
    result = b.from_bits(b.ixor(b.bits(value), b.shl(b.iand(quadrant, 2), 30)))
    beyond = b.fcmp("oge", b.abs(x), LARGEST)
    return b.rarely(beyond, rare_name(op, b.dtype, b.lanes), [x], result)
