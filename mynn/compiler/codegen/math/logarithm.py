"""Logarithms: log and log1p."""

from __future__ import annotations

from typing import Final

from mynn.compiler.codegen.math.builder import INF, NAN, Builder
from mynn.compiler.codegen.math.exponential import LN2
from mynn.compiler.codegen.values import Value

# q of log(1 + f) = f + f**2 * q(f) on |f| <= 1/3: relative error 3e-8.
LOG_F32: Final = (
    -0.499999464,
    0.333332092,
    -0.250073195,
    0.200107053,
    -0.164235651,
    0.140022486,
    -0.153533295,
    0.139984012,
)
# R of log((1 + s) / (1 - s)) = 2*s + s**3 * R(s**2) on |s| <= 0.2: relative error 7e-19.
LOG_F64: Final = (
    0.6666666666666666,
    0.4000000000000794,
    0.28571428567275936,
    0.2222222304835159,
    0.18181737626302938,
    0.15388867805613718,
    0.13209708242059462,
    0.13609030262858499,
)


def split(b: Builder, x: Value) -> tuple[Value, Value]:
    """The bits of m and of 2**e, less those of 1, with x = 2**e * m and 2/3 <= m < 4/3."""
    two_thirds = {"f32": 0x3F2AAAAB, "f64": 0x3FE5555555555555}[b.dtype]
    bits = b.bits(x)
    shift = b.iand(b.isub(bits, two_thirds), -1 << b.format.mantissa)
    return b.isub(bits, shift), shift


def _log_sum(b: Builder, f: Value, e: Value) -> Value:
    """e * ln(2) + log(1 + f) for |f| <= 1/3, smallest terms first.

    f64: log(1 + f) = f - (h - s*(h + R)) with s = f / (2 + f) and h = f**2 / 2.
    """
    high, low = LN2[b.dtype]
    if b.dtype == "f32":
        tail = b.mul(b.mul(f, f), b.polynomial(LOG_F32, f))
        tail = b.fma(e, low, tail)
    else:
        s = b.div(f, b.add(f, 2.0))
        z = b.mul(s, s)
        h = b.mul(b.mul(f, 0.5), f)
        hr = b.fma(b.polynomial(LOG_F64, z), z, h)
        tail = b.sub(b.fma(s, hr, b.mul(e, low)), h)
    return b.fma(e, high, b.add(f, tail))


def log(b: Builder, x: Value) -> Value:
    """log(x) = e*ln(2) + log(m) with x = 2**e * m, 2/3 <= m < 4/3; subnormals are scaled first.

    log(0) = -inf, log(x < 0) = nan. Error: f32 1.4 ulp, f64 0.8 ulp.
    """
    small = b.fcmp("olt", x, b.format.smallest)
    m, shift = split(b, b.select(small, b.mul(x, 2.0**b.format.bits), x))
    e = b.int_to_float(b.ashr(shift, b.format.mantissa))
    e = b.select(small, b.sub(e, float(b.format.bits)), e)
    y = _log_sum(b, b.sub(b.from_bits(m), 1.0), e)
    return _log_special(b, x, x, y)


def log1p(b: Builder, x: Value) -> Value:
    """log(1 + x) = e*ln(2) + log(1 + f), with 1 + x = 2**e * (1 + f) about 2**e * m.

    f = x * 2**-e + (2**-e - 1), rounded once (at four times its size: 2**(2-e) is in range).
    The sign is that of x (for -0). Error: f32 2.1 ulp, f64 1.5 ulp.
    """
    u = b.add(x, 1.0)
    _, shift = split(b, u)
    scale = b.from_bits(b.isub((b.format.bias + 2) << b.format.mantissa, shift))
    f = b.mul(b.fma(x, scale, b.sub(scale, 4.0)), 0.25)
    y = _log_sum(b, f, b.int_to_float(b.ashr(shift, b.format.mantissa)))
    return b.copysign(_log_special(b, x, u, y), x)


def _log_special(b: Builder, x: Value, u: Value, y: Value) -> Value:
    """y = log(u), mended where u is zero (-inf), negative (nan), infinite or NaN (x)."""
    y = b.select(b.fcmp("olt", x, INF), y, x)
    pole = b.select(b.fcmp("oeq", u, 0.0), -INF, NAN)
    return b.select(b.fcmp("ole", u, 0.0), pole, y)
