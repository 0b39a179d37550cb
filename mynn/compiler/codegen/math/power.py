"""Powers: pow."""

from __future__ import annotations

from typing import Final

from mynn.compiler.codegen.math.builder import INF, NAN, Builder
from mynn.compiler.codegen.math.exponential import LOG2E, power_of_two
from mynn.compiler.codegen.math.logarithm import split
from mynn.compiler.codegen.values import Value

# R of log((1 + s) / (1 - s)) = 2*s + s**3 * R(s**2) on |s| <= 0.2: relative error 7e-13.
LOG_POW: Final = (
    0.6666666667006929,
    0.39999995760286317,
    0.2857227130860574,
    0.221638522391488,
    0.19815563553220644,
)
# 2**f on |f| <= 1/2: relative error 2.5e-9.
EXP2_POW: Final = (
    1.0,
    0.6931472067342503,
    0.2402265092256076,
    0.05550327159647605,
    0.00961805662050108,
    0.0013400454984126323,
    0.00015461467905285986,
)


def pow(b: Builder, x: Value, y: Value) -> Value:
    """x**y = 2**(y * log2(|x|)), with the sign and the special values of C.

    f32: the logarithm and the power in f64, relative error 4e-8 from the final rounding and
    3e-9 from the polynomials; subnormal results are kept. f64: libm.
    """
    if b.dtype == "f64":
        return b.libm("pow", x, y)
    d = b.view("f64")
    t = d.mul(d.cast("fpext", y), _log2_pow(d, d.abs(d.cast("fpext", x))))
    t = d.clamp(t, -200.0, 200.0)
    biased = d.add(t, d.format.magic + d.format.bias)
    f = d.sub(t, d.sub(biased, d.format.magic + d.format.bias))
    power = d.mul(d.polynomial(EXP2_POW, f), power_of_two(d, biased))
    return _pow_special(b, x, y, b.cast("fptrunc", power))


def _log2_pow(d: Builder, a: Value) -> Value:
    """log2(a) of a double a >= 0 that was a float, relative error 7e-13: e + 2*atanh(s)/ln(2)."""
    bits, shift = split(d, a)
    m = d.from_bits(bits)
    s = d.div(d.sub(m, 1.0), d.add(m, 1.0))
    z = d.mul(s, s)
    ln_m = d.fma(d.mul(s, z), d.polynomial(LOG_POW, z), d.add(s, s))
    log2 = d.fma(ln_m, LOG2E, d.int_to_float(d.ashr(shift, d.format.mantissa)))
    log2 = d.select(d.fcmp("olt", a, INF), log2, a)
    return d.select(d.fcmp("oeq", a, 0.0), -INF, log2)


def _pow_special(b: Builder, x: Value, y: Value, magnitude: Value) -> Value:
    """|x|**y made x**y: 1 where |x| = 1 or y = 0, the sign for odd y, nan for fractional y."""
    half = b.mul(y, 0.5)
    whole = b.fcmp("oeq", b.trunc(y), y)
    odd = b.both(whole, b.fcmp("une", b.trunc(half), half))
    result = b.select(b.fcmp("oeq", b.abs(x), 1.0), 1.0, magnitude)
    result = b.select(odd, b.copysign(result, x), result)
    negative = b.both(b.fcmp("olt", x, 0.0), b.fcmp("ogt", x, -INF))
    fractional = b.fcmp("une", b.trunc(y), y)
    result = b.select(b.both(negative, fractional), NAN, result)
    return b.select(b.fcmp("oeq", y, 0.0), 1.0, result)
