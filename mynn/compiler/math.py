"""Transcendental functions as LLVM IR text, vectorised, without libm for float32.

    function_name("tanh", "f32", 16)  ->  "@mynn.tanh.f32x16"
    definition("tanh", "f32", 16)     ->  "define internal <16 x float> @mynn.tanh.f32x16(...) {..."
    declarations("tanh", "f32", 16)   ->  ("declare <16 x float> @llvm.fma.v16f32(...)", ...)

float32 is computed with polynomials and rational functions in fused multiply-adds, and float64 too
but for erf, sin, cos and pow, which call libm for each lane. The coefficients are minimax (Remez
exchange with 60 digits, then rounded); those of float64 interpolate at Chebyshev nodes. There are
no branches and no fast-math flags. Results are the same, bit for bit, whatever the lanes and the
vector unit; a machine without FMA is slow.

Largest errors in ulp (float32: of every or every few floats; float64: of sweeps of 10**6), and
cycles per vector, first of independent vectors, then of a chain where each result is an argument:

                   error       f32x16        f32x8         f32x8         f64x8
                f32    f64     AVX-512       AVX-512       AVX2          AVX-512
    exp         1.3    1.3     13    38       7    37       9    34      18    46
    expm1       2.5    3.1     12    43       8    41      10    41      18    49
    logistic    2.5    2.5     16    51       9    49      11    47      23    60
    tanh        3.0    2.8     13    38       7    36       7    36      22    65
    erf         3.7    libm    16    43       9    43       9    43      93    97
    log         1.4    0.8     19    52      11    45      15    41      28    74
    log1p       2.1    1.5     18    53      11    48      16    49      28    77
    sin, cos    2.0    libm    26    65      15    56      16    55     240   220
    pow         0.6    libm    89   135      46   106      68   105     300   190

Measured on an AMD Zen 4 by a loop over 8 vectors in the first-level cache and a loop of 4 calls,
each of the result of the last; the least of 15 runs, in units of a dependent integer addition.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from mynn.ops.threefry import PARITY, ROTATIONS

UNARY_OPS: Final = ("exp", "log", "tanh", "logistic", "erf", "sin", "cos", "log1p", "expm1")
BINARY_OPS: Final = ("pow",)
OPS: Final = UNARY_OPS + BINARY_OPS
INTEGER_OPS: Final = ("threefry2x32",)
INTEGERS: Final = ("i32", "u32")
LANES: Final = (1, 2, 4, 8, 16)

INF: Final = float("inf")
NAN: Final = float("nan")

Value = str | float
"""An operand: the name of an SSA value, or a number that becomes a (splat) constant."""


@dataclass(frozen=True)
class _Format:
    """A floating-point format and the integer type of the same width."""

    scalar: str
    integer: str
    bits: int
    mantissa: int
    bias: int
    smallest: float
    """The smallest normal number."""

    @property
    def magic(self) -> float:
        """1.5 * 2**mantissa: |x| + magic leaves round(x) in the low bits of the sum."""
        return 1.5 * 2.0**self.mantissa


_FORMATS: Final = {
    "f32": _Format("float", "i32", 32, 23, 127, 2.0**-126),
    "f64": _Format("double", "i64", 64, 52, 1023, 2.0**-1022),
}


class _Builder:
    """Appends SSA instructions on one vector type; equal instructions are emitted once.

    Methods take and return operands. A Python number stands for a constant, splat over the lanes.
    """

    def __init__(self, dtype: str, lanes: int, parent: _Builder | None = None) -> None:
        self.dtype = dtype
        self.lanes = lanes
        self.format = _FORMATS[dtype]
        self.type = _vector(self.format.scalar, lanes)
        self.int_type = _vector(self.format.integer, lanes)
        self.mask_type = _vector("i1", lanes)
        self.suffix = dtype if lanes == 1 else f"v{lanes}{dtype}"
        self.lines: list[str] = parent.lines if parent else []
        self.declares: dict[str, None] = parent.declares if parent else {}
        self._memo: dict[str, str] = parent._memo if parent else {}

    def view(self, dtype: str) -> _Builder:
        """A builder of another element type that appends to the same function."""
        return _Builder(dtype, self.lanes, parent=self)

    def emit(self, rhs: str) -> str:
        """The name of the value of an instruction."""
        name = self._memo.get(rhs)
        if name is None:
            name = self._memo[rhs] = f"%v{len(self.lines)}"
            self.lines.append(f"  {name} = {rhs}")
        return name

    def call(self, function: str, result: str, args: Sequence[tuple[str, str]]) -> str:
        """A call of a declared function with (type, value) arguments."""
        attributes = "" if function.startswith("@llvm.") else " nounwind willreturn memory(none)"
        types = ", ".join(kind for kind, _ in args)
        self.declares[f"declare {result} {function}({types}){attributes}"] = None
        operands = ", ".join(f"{kind} {value}" for kind, value in args)
        return self.emit(f"call {result} {function}({operands})")

    def _float(self, value: Value) -> str:
        if isinstance(value, str):
            return value
        return _splat(f"{self.format.scalar} {_hex(value, self.dtype)}", self.lanes)

    def _int(self, value: str | int) -> str:
        if isinstance(value, str):
            return value
        return _splat(f"{self.format.integer} {value}", self.lanes)

    def _intrinsic(self, name: str, *args: Value) -> str:
        operands = [(self.type, self._float(a)) for a in args]
        return self.call(f"@llvm.{name}.{self.suffix}", self.type, operands)

    def _binary(self, opcode: str, x: Value, y: Value) -> str:
        return self.emit(f"{opcode} {self.type} {self._float(x)}, {self._float(y)}")

    def _binary_int(self, opcode: str, x: str | int, y: str | int) -> str:
        return self.emit(f"{opcode} {self.int_type} {self._int(x)}, {self._int(y)}")

    # Arithmetic on the floating-point type.

    def fma(self, x: Value, y: Value, z: Value) -> str:
        return self._intrinsic("fma", x, y, z)

    def add(self, x: Value, y: Value) -> str:
        return self._binary("fadd", x, y)

    def sub(self, x: Value, y: Value) -> str:
        return self._binary("fsub", x, y)

    def mul(self, x: Value, y: Value) -> str:
        return self._binary("fmul", x, y)

    def div(self, x: Value, y: Value) -> str:
        return self._binary("fdiv", x, y)

    def neg(self, x: str) -> str:
        return self.emit(f"fneg {self.type} {x}")

    def abs(self, x: Value) -> str:
        return self._intrinsic("fabs", x)

    def trunc(self, x: Value) -> str:
        return self._intrinsic("trunc", x)

    def copysign(self, magnitude: Value, sign: Value) -> str:
        return self._intrinsic("copysign", magnitude, sign)

    # Comparison and selection.

    def fcmp(self, predicate: str, x: Value, y: Value) -> str:
        return self._binary(f"fcmp {predicate}", x, y)

    def select(self, mask: str, x: Value, y: Value) -> str:
        return self.emit(
            f"select {self.mask_type} {mask}, {self.type} {self._float(x)}, "
            f"{self.type} {self._float(y)}"
        )

    def both(self, x: str, y: str) -> str:
        return self.emit(f"and {self.mask_type} {x}, {y}")

    def clamp(self, x: str, low: float, high: float) -> str:
        """min(max(x, low), high), one instruction each; NaN stays NaN."""
        x = self.select(self.fcmp("olt", x, low), low, x)
        return self.select(self.fcmp("ogt", x, high), high, x)

    # The bits as integers.

    def bits(self, x: str) -> str:
        return self.emit(f"bitcast {self.type} {x} to {self.int_type}")

    def from_bits(self, x: str) -> str:
        return self.emit(f"bitcast {self.int_type} {x} to {self.type}")

    def int_to_float(self, x: str) -> str:
        return self.emit(f"sitofp {self.int_type} {x} to {self.type}")

    def iadd(self, x: str | int, y: str | int) -> str:
        return self._binary_int("add", x, y)

    def isub(self, x: str | int, y: str | int) -> str:
        return self._binary_int("sub", x, y)

    def iand(self, x: str | int, y: str | int) -> str:
        return self._binary_int("and", x, y)

    def ixor(self, x: str | int, y: str | int) -> str:
        return self._binary_int("xor", x, y)

    def shl(self, x: str, count: int) -> str:
        return self._binary_int("shl", x, count)

    def ashr(self, x: str, count: int) -> str:
        return self._binary_int("ashr", x, count)

    def icmp(self, predicate: str, x: str, y: int) -> str:
        return self._binary_int(f"icmp {predicate}", x, y)

    def rotl(self, x: str, count: int) -> str:
        kind, suffix = self.int_type, self.suffix.replace("f", "i")
        args = [(kind, x), (kind, x), (kind, self._int(count))]
        return self.call(f"@llvm.fshl.{suffix}", kind, args)

    # Conversions between the views of one function.

    def cast(self, opcode: str, x: str, source: _Builder) -> str:
        """fpext or fptrunc of `x`, a value of the type of `source`, to this type."""
        return self.emit(f"{opcode} {source.type} {x} to {self.type}")

    def low_bits(self, x: str, source: _Builder) -> str:
        """The low bits of the wider integers `x` of `source`."""
        return self.emit(f"trunc {source.int_type} {x} to {self.int_type}")

    # Composite operations.

    def horner(self, coefficients: Sequence[Value], x: str) -> str:
        """c0 + x*(c1 + x*(c2 + ...)): the least rounding."""
        result: Value = coefficients[-1]
        for coefficient in reversed(coefficients[:-1]):
            result = self.fma(result, x, coefficient)
        return self._float(result)

    def polynomial(self, coefficients: Sequence[float], x: str) -> str:
        """c0 + c1*x + c2*x**2 + ...: pairs joined (Estrin) until three are left, for depth."""
        terms: list[Value] = list(coefficients)
        while len(terms) > 3:
            odd = terms[-1:] if len(terms) % 2 else []
            pairs = zip(terms[:-1:2], terms[1::2], strict=True)
            terms = [*(self.fma(high, x, low) for low, high in pairs), *odd]
            x = self.mul(x, x)
        return self.horner(terms, x)

    def libm(self, function: str, *args: str) -> str:
        """A call of the C library for each lane."""
        scalar = self.format.scalar
        if self.lanes == 1:
            return self.call(f"@{function}", scalar, [(scalar, a) for a in args])
        result = "poison"
        for lane in range(self.lanes):
            elements = [self.emit(f"extractelement {self.type} {a}, i32 {lane}") for a in args]
            value = self.call(f"@{function}", scalar, [(scalar, e) for e in elements])
            result = self.emit(f"insertelement {self.type} {result}, {scalar} {value}, i32 {lane}")
        return result


def _vector(scalar: str, lanes: int) -> str:
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def _splat(constant: str, lanes: int) -> str:
    """The operand for a typed constant: `splat (float 1.0)`, or the bare value for a scalar."""
    return constant.split(" ", 1)[1] if lanes == 1 else f"splat ({constant})"


def _hex(value: float, dtype: str) -> str:
    """A floating-point constant in LLVM's notation: the bits of the (rounded) value as a double."""
    if dtype == "f32":
        value = struct.unpack("<f", struct.pack("<f", value))[0]
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


# ----------------------------------------------------------------------------------------------
# exp and its relatives.
# ----------------------------------------------------------------------------------------------

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


def _reduce_exp(b: _Builder, x: str, bias: int = 0) -> tuple[str, str]:
    """r = x - n*ln(2) with n = round(x / ln(2)), and a float with n + bias in its low bits."""
    high, low = LN2[b.dtype]
    magic = b.format.magic + bias
    t = b.fma(x, LOG2E, magic)
    n = b.sub(t, magic)
    return b.fma(n, -low, b.fma(n, -high, x)), t


def _power_of_two(b: _Builder, t: str) -> str:
    """2**n for a float with n + bias of the format in its low bits."""
    return b.from_bits(b.shl(b.bits(t), b.format.mantissa))


def _expm1_reduced(b: _Builder, r: str) -> str:
    """e**r - 1 = r + r**2 * q(r) for |r| <= ln(2) / 2, the low terms beside the high ones."""
    c0, c1, *rest = EXP[b.dtype]
    r2 = b.mul(r, r)
    low = b.fma(b.fma(c1, r, c0), r2, r)
    return b.fma(b.polynomial(rest, r), b.mul(r2, r2), low)


def _exp(b: _Builder, x: str) -> str:
    """e**x = 2**n * e**r, n added to the exponent bits. Subnormal results are flushed to zero.

    Error: 1.3 ulp.
    """
    low, high = EXP_RANGE[b.dtype]
    r, t = _reduce_exp(b, x)
    p = b.add(_expm1_reduced(b, r), 1.0)
    scaled = b.from_bits(b.iadd(b.bits(p), b.shl(b.bits(t), b.format.mantissa)))
    scaled = b.select(b.fcmp("oge", x, low), scaled, 0.0)
    return b.select(b.fcmp("ugt", x, high), b.add(x, INF), scaled)


def _expm1(b: _Builder, x: str) -> str:
    """e**x - 1 = 2 * (2**(n-1) * (e**r - 1) + (2**(n-1) - 1/2)), with the sign of x (for -0).

    2**(n-1) keeps n = 1 + emax in range. Error: f32 2.5 ulp, f64 3.1 ulp.
    """
    r, t = _reduce_exp(b, b.clamp(x, -40.0, EXP_RANGE[b.dtype][1] + 0.25), b.format.bias - 1)
    scale = _power_of_two(b, t)
    half = b.fma(_expm1_reduced(b, r), scale, b.sub(scale, 0.5))
    return b.copysign(b.add(half, half), x)


def _logistic(b: _Builder, x: str) -> str:
    """1 / (1 + e**-x), with 1 + e**-x = (2**n + 1) + 2**n * (e**r - 1).

    Clamped above, where the result rounds to 1; zero where it would be subnormal, below.
    Error: 2.5 ulp.
    """
    r, t = _reduce_exp(b, b.neg(b.select(b.fcmp("ogt", x, 40.0), 40.0, x)), b.format.bias)
    scale = _power_of_two(b, t)
    result = b.div(1.0, b.fma(_expm1_reduced(b, r), scale, b.add(scale, 1.0)))
    return b.select(b.fcmp("olt", x, EXP_RANGE[b.dtype][0]), 0.0, result)


# tanh(x / 2) = x * P(x**2) / Q(x**2) on |x| <= 9.02, minimax in the error that is left of tanh(x),
# 7.4e-9. P(0) = Q(0) / 2, so that tanh(x) -> x; the common factor is the one of least rounding.
TANH_P: Final = (0.465499997, 0.0138613945, 5.32219419e-05)
TANH_Q: Final = (0.930999994, 0.105306089, 0.00112365175, 1.14576221e-06)


def _tanh(b: _Builder, x: str) -> str:
    """f32: 2*t / (1 + t**2) for t = tanh(x / 2), rational; x is clamped to where tanh rounds to 1.

    f64: e / (e + 2) for e = expm1(2*x), with the sign of x (for -0).
    Error: f32 3.0 ulp, f64 2.8 ulp; |tanh| <= 1, and exactly 1 at infinity.
    """
    if b.dtype == "f32":
        return _double_angle(b, b.clamp(x, -9.02, 9.02), TANH_P, TANH_Q)
    y = b.clamp(x, -20.0, 20.0)
    r, t = _reduce_exp(b, b.add(y, y), b.format.bias)
    scale = _power_of_two(b, t)
    e = b.fma(_expm1_reduced(b, r), scale, b.sub(scale, 1.0))
    return b.copysign(b.div(e, b.add(e, 2.0)), x)


def _double_angle(b: _Builder, x: str, p: Sequence[float], q: Sequence[float]) -> str:
    """2*t / (1 + t**2) for t = x * p(x**2) / q(x**2) = n/q, as 2*n*q / (q**2 + n**2): one division.

    Near t = 1, where both saturate, errors of t cancel: (1 - t**2) / (1 + t**2) of them is left.
    """
    z = b.mul(x, x)
    n = b.mul(x, b.horner(p, z))
    d = b.horner(q, z)
    return b.div(b.mul(n, b.add(d, d)), b.fma(d, d, b.mul(n, n)))


# t = x * P(x**2) / Q(x**2) with erf(x) = 2*t / (1 + t**2) on |x| <= 3.93, minimax in the error that
# is left of erf(x), 2.2e-8; the common factor is the one of least rounding.
ERF_P: Final = (0.462635458, 0.0855279788, 0.00987431128, 0.000522858114, -2.31814397e-06)
ERF_Q: Final = (0.82, 0.163914278, 0.0328082107, 0.00292258407, 2.42671485e-05)


def _erf(b: _Builder, x: str) -> str:
    """f32: 2*t / (1 + t**2) for a rational t; x is clamped to where erf rounds to 1. f64: libm.

    Error: f32 3.7 ulp; |erf| <= 1, and exactly 1 at infinity.
    """
    if b.dtype == "f64":
        return b.libm("erf", x)
    return _double_angle(b, b.clamp(x, -3.93, 3.93), ERF_P, ERF_Q)


# ----------------------------------------------------------------------------------------------
# log and its relatives.
# ----------------------------------------------------------------------------------------------

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
# The same with fewer terms, relative error 7e-13: enough for a float32 pow.
LOG_POW: Final = (
    0.6666666667006929,
    0.39999995760286317,
    0.2857227130860574,
    0.221638522391488,
    0.19815563553220644,
)


def _split(b: _Builder, x: str) -> tuple[str, str]:
    """The bits of m and of 2**e, less those of 1, with x = 2**e * m and 2/3 <= m < 4/3."""
    two_thirds = {"f32": 0x3F2AAAAB, "f64": 0x3FE5555555555555}[b.dtype]
    bits = b.bits(x)
    shift = b.iand(b.isub(bits, two_thirds), -1 << b.format.mantissa)
    return b.isub(bits, shift), shift


def _log_sum(b: _Builder, f: str, e: str) -> str:
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


def _log(b: _Builder, x: str) -> str:
    """log(x) = e*ln(2) + log(m) with x = 2**e * m, 2/3 <= m < 4/3; subnormals are scaled first.

    log(0) = -inf, log(x < 0) = nan. Error: f32 1.4 ulp, f64 0.8 ulp.
    """
    small = b.fcmp("olt", x, b.format.smallest)
    m, shift = _split(b, b.select(small, b.mul(x, 2.0**b.format.bits), x))
    e = b.int_to_float(b.ashr(shift, b.format.mantissa))
    e = b.select(small, b.sub(e, float(b.format.bits)), e)
    y = _log_sum(b, b.sub(b.from_bits(m), 1.0), e)
    return _log_special(b, x, x, y)


def _log1p(b: _Builder, x: str) -> str:
    """log(1 + x) = e*ln(2) + log(1 + f), with 1 + x = 2**e * (1 + f) about 2**e * m.

    f = x * 2**-e + (2**-e - 1), rounded once (at four times its size: 2**(2-e) is in range).
    The sign is that of x (for -0). Error: f32 2.1 ulp, f64 1.5 ulp.
    """
    u = b.add(x, 1.0)
    _, shift = _split(b, u)
    scale = b.from_bits(b.isub((b.format.bias + 2) << b.format.mantissa, shift))
    f = b.mul(b.fma(x, scale, b.sub(scale, 4.0)), 0.25)
    y = _log_sum(b, f, b.int_to_float(b.ashr(shift, b.format.mantissa)))
    return b.copysign(_log_special(b, x, u, y), x)


def _log_special(b: _Builder, x: str, u: str, y: str) -> str:
    """y = log(u), mended where u is zero (-inf), negative (nan), infinite or NaN (x)."""
    y = b.select(b.fcmp("olt", x, INF), y, x)
    pole = b.select(b.fcmp("oeq", u, 0.0), -INF, NAN)
    return b.select(b.fcmp("ole", u, 0.0), pole, y)


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


def _pow(b: _Builder, x: str, y: str) -> str:
    """x**y = 2**(y * log2(|x|)), with the sign and the special values of C.

    f32: the logarithm and the power in f64, relative error 4e-8 from the final rounding and
    3e-9 from the polynomials; subnormal results are kept. f64: libm.
    """
    if b.dtype == "f64":
        return b.libm("pow", x, y)
    d = b.view("f64")
    t = d.mul(d.cast("fpext", y, b), _log2_pow(d, d.abs(d.cast("fpext", x, b))))
    t = d.clamp(t, -200.0, 200.0)
    biased = d.add(t, d.format.magic + d.format.bias)
    f = d.sub(t, d.sub(biased, d.format.magic + d.format.bias))
    power = d.mul(d.polynomial(EXP2_POW, f), _power_of_two(d, biased))
    return _pow_special(b, x, y, b.cast("fptrunc", power, d))


def _log2_pow(d: _Builder, a: str) -> str:
    """log2(a) of a double a >= 0 that was a float, relative error 7e-13: e + 2*atanh(s)/ln(2)."""
    bits, shift = _split(d, a)
    m = d.from_bits(bits)
    s = d.div(d.sub(m, 1.0), d.add(m, 1.0))
    z = d.mul(s, s)
    ln_m = d.fma(d.mul(s, z), d.polynomial(LOG_POW, z), d.add(s, s))
    log2 = d.fma(ln_m, LOG2E, d.int_to_float(d.ashr(shift, d.format.mantissa)))
    log2 = d.select(d.fcmp("olt", a, INF), log2, a)
    return d.select(d.fcmp("oeq", a, 0.0), -INF, log2)


def _pow_special(b: _Builder, x: str, y: str, magnitude: str) -> str:
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


# ----------------------------------------------------------------------------------------------
# sin and cos.
# ----------------------------------------------------------------------------------------------

# pi/2 = high + low in doubles.
PI_2: Final = (1.5707963267948966, 6.123233995736766e-17)
# sin(r) = r * (1 + z*S(z)), cos(r) = 1 + z*(-1/2 + z*C(z)) with z = r**2, |r| <= pi/4:
# relative errors 4e-9 and 1.2e-10.
SIN: Final = (-0.166666552, 0.00833218917, -0.000195182831)
COS: Final = (0.0416666456, -0.00138873095, 2.44323273e-05)


def _sin(b: _Builder, x: str) -> str:
    """f32: sin(x) = +-sin(r) or +-cos(r) by the quadrant. f64: libm. Error: f32 2.0 ulp."""
    return b.libm("sin", x) if b.dtype == "f64" else _sin_cos(b, x, quadrants=0)


def _cos(b: _Builder, x: str) -> str:
    """cos(x) = sin(x + pi/2), a quadrant on; see `_sin`."""
    return b.libm("cos", x) if b.dtype == "f64" else _sin_cos(b, x, quadrants=1)


def _sin_cos(b: _Builder, x: str, quadrants: int) -> str:
    """sin(x + quadrants * pi/2), x = n * pi/2 + r with r taken in f64.

    The reduction is exact to float32 for |x| < 2**50; beyond, results are only within [-1, 1].
    """
    d = b.view("f64")
    wide = d.cast("fpext", x, b)
    t = d.fma(wide, 1 / PI_2[0], d.format.magic)
    n = d.sub(t, d.format.magic)
    reduced = d.fma(n, -PI_2[1], d.fma(n, -PI_2[0], wide))
    r = b.clamp(b.cast("fptrunc", reduced, d), -1.0, 1.0)
    quadrant = b.iadd(b.low_bits(d.bits(t), d), quadrants)
    z = b.mul(r, r)
    sine = b.mul(r, b.fma(b.polynomial(SIN, z), z, 1.0))
    cosine = b.fma(b.fma(b.polynomial(COS, z), z, -0.5), z, 1.0)
    value = b.select(b.icmp("ne", b.iand(quadrant, 1), 0), cosine, sine)
    return b.from_bits(b.ixor(b.bits(value), b.shl(b.iand(quadrant, 2), 30)))


# ----------------------------------------------------------------------------------------------
# Random bits.
# ----------------------------------------------------------------------------------------------


def _threefry2x32(b: _Builder, k0: str, k1: str, c0: str, c1: str) -> str:
    """The first word of Threefry-2x32, 20 rounds; `mynn.ops.threefry` has the algorithm."""
    keys = (k0, k1, b.ixor(b.ixor(k0, k1), PARITY))
    x0, x1 = b.iadd(c0, k0), b.iadd(c1, k1)
    for block in range(5):
        for count in ROTATIONS[block % 2]:
            x0 = b.iadd(x0, x1)
            x1 = b.ixor(b.rotl(x1, count), x0)
        x0 = b.iadd(x0, keys[(block + 1) % 3])
        x1 = b.iadd(b.iadd(x1, keys[(block + 2) % 3]), block + 1)
    return x0


# ----------------------------------------------------------------------------------------------
# The interface.
# ----------------------------------------------------------------------------------------------

_EMITTERS: Final[dict[str, tuple[tuple[str, ...], Callable[..., str]]]] = {
    "exp": (("%x",), _exp),
    "log": (("%x",), _log),
    "tanh": (("%x",), _tanh),
    "logistic": (("%x",), _logistic),
    "erf": (("%x",), _erf),
    "sin": (("%x",), _sin),
    "cos": (("%x",), _cos),
    "log1p": (("%x",), _log1p),
    "expm1": (("%x",), _expm1),
    "pow": (("%x", "%y"), _pow),
    "threefry2x32": (("%k0", "%k1", "%c0", "%c1"), _threefry2x32),
}


def function_name(op: str, dtype: str, lanes: int) -> str:
    """The name of the function, "@mynn.tanh.f32x16"; with one lane it works on the scalar.

    LLVM's integers have no sign: "u32" is "i32".
    """
    return f"@mynn.{op}.{'i32' if dtype in INTEGERS else dtype}x{lanes}"


def definition(op: str, dtype: str, lanes: int) -> str:
    """The text of the function: internal, always inlined, free of side effects."""
    return _function(op, dtype, lanes)[0]


def declarations(op: str, dtype: str, lanes: int) -> tuple[str, ...]:
    """The `declare` lines that the definition needs; a module may have an equal line only once.

    Those of LLVM's intrinsics have no attributes (LLVM knows them), so that equal is equal.
    """
    return _function(op, dtype, lanes)[1]


def library(requests: Iterable[tuple[str, str, int]]) -> str:
    """The declarations and definitions of some (op, dtype, lanes), each once: a module's worth."""
    wanted = {function_name(*request): request for request in requests}.values()
    declares = dict.fromkeys(line for request in wanted for line in declarations(*request))
    return "\n".join([*declares, *(definition(*request) for request in wanted)])


@functools.cache
def _function(op: str, dtype: str, lanes: int) -> tuple[str, tuple[str, ...]]:
    integer = op in INTEGER_OPS
    if (
        op not in _EMITTERS
        or dtype not in (INTEGERS if integer else _FORMATS)
        or lanes not in LANES
    ):
        raise ValueError(f"there is no {op} of {lanes} {dtype}")
    arguments, emit = _EMITTERS[op]
    b = _Builder("f32" if integer else dtype, lanes)
    result = emit(b, *arguments)
    kind = b.int_type if integer else b.type
    parameters = ", ".join(f"{kind} {argument}" for argument in arguments)
    head = f"define internal {kind} {function_name(op, dtype, lanes)}({parameters})"
    attributes = "alwaysinline nounwind willreturn memory(none)"
    lines = [f"{head} {attributes} {{", *b.lines, f"  ret {kind} {result}", "}", ""]
    return "\n".join(lines), tuple(b.declares)
