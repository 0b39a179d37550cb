"""The error function."""

from __future__ import annotations

from typing import Final

from mynn.compiler.codegen.math.builder import Builder
from mynn.compiler.codegen.math.exponential import double_angle
from mynn.compiler.codegen.values import Value

# t = x * P(x**2) / Q(x**2) with erf(x) = 2*t / (1 + t**2) on |x| <= 3.93, minimax in the error that
# is left of erf(x), 2.2e-8; the common factor is the one of least rounding.
ERF_P: Final = (0.462635458, 0.0855279788, 0.00987431128, 0.000522858114, -2.31814397e-06)
ERF_Q: Final = (0.82, 0.163914278, 0.0328082107, 0.00292258407, 2.42671485e-05)


def erf(b: Builder, x: Value) -> Value:
    """f32: 2*t / (1 + t**2) for a rational t; x is clamped to where erf rounds to 1. f64: libm.

    Error: f32 3.7 ulp; |erf| <= 1, and exactly 1 at infinity.
    """
    if b.dtype == "f64":
        return b.libm("erf", x)
    return double_angle(b, x, 3.93, ERF_P, ERF_Q)
