"""Exponentials: exp, expm1, logistic and tanh."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mynn.compiler.codegen.math.builder import INF, Builder
from mynn.compiler.codegen.values import Value

LOG2E: Final = 1.4426950408889634
# ln 2 = high + low. With FMA, n * high needs no spare bits.
LN2: Final = {
    "f32": (0.693147182464599609375, -1.904654299957768e-09),
    "f64": (0.6931471805599453, 2.3190468138462996e-17),
}
# q of e**r = 1 + r + r**2 * q(r) on |r| <= ln(2) / 2. Relative errors of e**r - 1: f32 1.5e-8,
# f64 4.1e-17.
EXP: Final = {
    "f32": (0.49999997, 0.16666539, 0.0416677482, 0.00836708769, 0.00138378621),
    "f64": (
        0.5000000000000001,
        0.16666666666666669,
        0.04166666666662413,
        0.008333333333330062,
        0.0013888888917213717,
        0.00019841269863053618,
        2.4801521295954376e-05,
        2.7557268459997064e-06,
        2.7620088445409746e-07,
        2.510038549551032e-08,
    ),
}
# Below the first, e**x is subnormal (flushed to zero); above the second, infinite.
EXP_RANGE: Final = {
    "f32": (-87.33654022216797, 88.72283172607422),
    "f64": (-708.3964185322641, 709.782712893384),
}


def _reduce_exp(b: Builder, x: Value, bias: int = 0) -> tuple[Value, Value]:
    """r = x - n*ln(2) with n = round(x / ln(2)), and a float with n + bias in its low bits."""
    high, low = LN2[b.dtype]
    magic = b.format.magic + bias
    t = b.fma(x, LOG2E, magic)
    n = b.sub(t, magic)
    return b.fma(n, -low, b.fma(n, -high, x)), t


def power_of_two(b: Builder, t: Value) -> Value:
    """2**n for a float with n + bias of the format in its low bits."""
    return b.from_bits(b.shl(b.bits(t), b.format.mantissa))


def _expm1_reduced(b: Builder, r: Value) -> Value:
    """e**r - 1 = r + r**2 * q(r) for |r| <= ln(2) / 2, the low terms beside the high ones."""
    c0, c1, *rest = EXP[b.dtype]
    r2 = b.mul(r, r)
    low = b.fma(b.fma(c1, r, c0), r2, r)
    return b.fma(b.polynomial(rest, r), b.mul(r2, r2), low)


def exp(b: Builder, x: Value) -> Value:
    """e**x = 2**n * e**r, n added to the exponent bits. Subnormal results are flushed to zero.

    Error: 1.3 ulp.
    """
    low, high = EXP_RANGE[b.dtype]
    r, t = _reduce_exp(b, x)
    p = b.add(_expm1_reduced(b, r), 1.0)
    scaled = b.from_bits(b.iadd(b.bits(p), b.shl(b.bits(t), b.format.mantissa)))
    scaled = b.select(b.fcmp("oge", x, low), scaled, 0.0)
    return b.select(b.fcmp("ugt", x, high), b.add(x, INF), scaled)


def expm1(b: Builder, x: Value) -> Value:
    """e**x - 1 = 2 * (2**(n-1) * (e**r - 1) + (2**(n-1) - 1/2)), with the sign of x (for -0).

    2**(n-1) keeps n = 1 + emax in range. Error: f32 2.5 ulp, f64 3.1 ulp.
    """
    r, t = _reduce_exp(b, b.clamp(x, -40.0, EXP_RANGE[b.dtype][1] + 0.25), b.format.bias - 1)
    scale = power_of_two(b, t)
    half = b.fma(_expm1_reduced(b, r), scale, b.sub(scale, 0.5))
    return b.copysign(b.add(half, half), x)


def logistic(b: Builder, x: Value) -> Value:
    """1 / (1 + e**-x), with 1 + e**-x = (2**n + 1) + 2**n * (e**r - 1).

    Clamped above, where the result rounds to 1; zero where it would be subnormal, below.
    Error: 2.5 ulp.
    """
    r, t = _reduce_exp(b, b.neg(b.select(b.fcmp("ogt", x, 40.0), 40.0, x)), b.format.bias)
    scale = power_of_two(b, t)
    result = b.div(1.0, b.fma(_expm1_reduced(b, r), scale, b.add(scale, 1.0)))
    return b.select(b.fcmp("olt", x, EXP_RANGE[b.dtype][0]), 0.0, result)


# tanh(x / 2) = x * P(x**2) / Q(x**2) on |x| <= 9.02, minimax in the error that is left of tanh(x),
# 7.4e-9. P(0) = Q(0) / 2, so that tanh(x) -> x; the common factor is the one of least rounding.
TANH_P: Final = (0.465499997, 0.0138613945, 5.32219419e-05)
TANH_Q: Final = (0.930999994, 0.105306089, 0.00112365175, 1.14576221e-06)


def tanh(b: Builder, x: Value) -> Value:
    """f32: 2*t / (1 + t**2) for t = tanh(x / 2), rational; x is clamped to where tanh rounds to 1.

    f64: e / (e + 2) for e = expm1(2*x), with the sign of x (for -0).
    Error: f32 3.0 ulp, f64 2.8 ulp; |tanh| <= 1, and exactly 1 at infinity.
    """
    if b.dtype == "f32":
        return double_angle(b, x, 9.02, TANH_P, TANH_Q)
    y = b.clamp(x, -20.0, 20.0)
    r, t = _reduce_exp(b, b.add(y, y), b.format.bias)
    scale = power_of_two(b, t)
    e = b.fma(_expm1_reduced(b, r), scale, b.sub(scale, 1.0))
    return b.copysign(b.div(e, b.add(e, 2.0)), x)


def double_angle(
    b: Builder, x: Value, limit: float, p: Sequence[float], q: Sequence[float]
) -> Value:
    """2*t / (1 + t**2) for t = x * p(x**2) / q(x**2) = n/q, as 2*n*q / (q**2 + n**2): one division.

    Near t = 1, where both saturate, errors of t cancel: (1 - t**2) / (1 + t**2) of them is left.
    x is clamped to -limit .. limit, and so is its square, so that neither waits for the other.
    """
    z = b.mul(x, x)
    z = b.select(b.fcmp("ogt", z, b.rounded(limit) ** 2), b.rounded(limit) ** 2, z)
    n = b.mul(b.clamp(x, -limit, limit), b.horner(p, z))
    d = b.horner(q, z)
    return b.div(b.mul(b.add(n, n), d), b.fma(d, d, b.mul(n, n)))
