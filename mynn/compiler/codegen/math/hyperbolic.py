"""Hyperbolic functions, their inverses, and powers and logarithms to other bases, erfc.

float32 is computed in float64, with the exponentials and logarithms there, and rounded once;
float64 calls the C library for each lane.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from mynn.compiler.codegen.math import exponential, logarithm
from mynn.compiler.codegen.math.builder import INF, NAN, Builder
from mynn.compiler.codegen.values import Value

# float32 overflows long before.
_LARGEST = 200.0


def _widened(name: str, wide: Callable[[Builder, Value], Value]) -> Callable[..., Value]:
    """A function that is libm's for float64, and `wide` in float64 for float32."""

    def emit(b: Builder, x: Value) -> Value:
        if b.dtype == "f64":
            return b.libm(name, x)
        d = b.view("f64")
        return b.cast("fptrunc", wide(d, d.cast("fpext", x)))

    return emit


def _sinh(d: Builder, x: Value) -> Value:
    """(m + m / (m + 1)) / 2 with m = e**|x| - 1."""
    m = exponential.expm1(d, d.clamp(d.abs(x), 0.0, _LARGEST))
    return d.copysign(d.mul(d.add(m, d.div(m, d.add(m, 1.0))), 0.5), x)


def _cosh(d: Builder, x: Value) -> Value:
    e = exponential.exp(d, d.clamp(x, -_LARGEST, _LARGEST))
    return d.mul(d.add(e, d.div(1.0, e)), 0.5)


def _asinh(d: Builder, x: Value) -> Value:
    """log(1 + a + a**2 / (1 + sqrt(a**2 + 1))) with a = |x|."""
    a = d.abs(x)
    z = d.mul(a, a)
    grown = d.add(a, d.div(z, d.add(d.sqrt(d.add(z, 1.0)), 1.0)))
    y = d.select(d.fcmp("oeq", a, INF), INF, logarithm.log1p(d, grown))
    return d.copysign(y, x)


def _acosh(d: Builder, x: Value) -> Value:
    """log(1 + t + sqrt(t (t + 2))) with t = x - 1."""
    t = d.sub(x, 1.0)
    y = logarithm.log1p(d, d.add(t, d.sqrt(d.mul(t, d.add(t, 2.0)))))
    return d.select(d.fcmp("olt", x, 1.0), NAN, y)


def _atanh(d: Builder, x: Value) -> Value:
    """log(1 + 2 x / (1 - x)) / 2."""
    return d.copysign(
        d.mul(logarithm.log1p(d, d.div(d.add(x, x), d.sub(1.0, x))), 0.5),
        x,
    )


sinh = _widened("sinh", _sinh)
cosh = _widened("cosh", _cosh)
asinh = _widened("asinh", _asinh)
acosh = _widened("acosh", _acosh)
atanh = _widened("atanh", _atanh)
exp2 = _widened("exp2", lambda d, x: exponential.exp(d, d.mul(x, math.log(2))))
log2 = _widened("log2", lambda d, x: d.mul(logarithm.log(d, x), 1 / math.log(2)))
log10 = _widened("log10", lambda d, x: d.mul(logarithm.log(d, x), 1 / math.log(10)))
erfc = _widened("erfc", lambda d, x: d.libm("erfc", x))
