"""Transcendental functions as LLVM IR text, vectorised, of float32 without libm.

    function_name("tanh", "f32", 16)  ->  "@mynn.tanh.f32x16"
    definition("tanh", "f32", 16)     ->  "define internal <16 x float> @mynn.tanh.f32x16(...) {..."
    declarations("tanh", "f32", 16)   ->  ("declare <16 x float> @llvm.fma.v16f32(...)", ...)

float32 is computed with polynomials and rational functions in fused multiply-adds, and float64 too
but for erf, sin, cos and pow, which call libm for each lane. The coefficients are minimax (Remez
exchange with 60 digits, then rounded); those of float64 interpolate at Chebyshev nodes. There are
no fast-math flags, and no branches but one: float32 sin and cos of 2**50 and more call libm.
Results are the same, bit for bit, whatever the lanes and the vector unit; a machine without FMA is
slow.

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
from collections.abc import Callable, Iterable
from typing import Final

from mynn.compiler.codegen.math import erf, exponential, logarithm, power, threefry, trigonometric
from mynn.compiler.codegen.math.builder import FORMATS, Builder

UNARY_OPS: Final = ("exp", "log", "tanh", "logistic", "erf", "sin", "cos", "log1p", "expm1")
BINARY_OPS: Final = ("pow",)
OPS: Final = UNARY_OPS + BINARY_OPS
INTEGER_OPS: Final = ("threefry2x32",)
INTEGERS: Final = ("i32", "u32")
LANES: Final = (1, 2, 4, 8, 16)

_EMITTERS: Final[dict[str, tuple[tuple[str, ...], Callable[..., str]]]] = {
    "exp": (("%x",), exponential.exp),
    "log": (("%x",), logarithm.log),
    "tanh": (("%x",), exponential.tanh),
    "logistic": (("%x",), exponential.logistic),
    "erf": (("%x",), erf.erf),
    "sin": (("%x",), trigonometric.sin),
    "cos": (("%x",), trigonometric.cos),
    "log1p": (("%x",), logarithm.log1p),
    "expm1": (("%x",), exponential.expm1),
    "pow": (("%x", "%y"), power.pow),
    "threefry2x32": (("%k0", "%k1", "%c0", "%c1"), threefry.threefry2x32),
}


# Their float32 has a second function, for arguments that are rare.
_LARGE: Final = ("sin", "cos")


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
    if op not in _EMITTERS or dtype not in (INTEGERS if integer else FORMATS) or lanes not in LANES:
        raise ValueError(f"there is no {op} of {lanes} {dtype}")
    arguments, emit = _EMITTERS[op]
    b = Builder("f32" if integer else dtype, lanes)
    result = emit(b, *arguments)
    kind = b.int_type if integer else b.type
    parameters = ", ".join(f"{kind} {argument}" for argument in arguments)
    head = f"define internal {kind} {function_name(op, dtype, lanes)}({parameters})"
    attributes = "alwaysinline nounwind willreturn memory(none)"
    lines = [f"{head} {attributes} {{", *b.lines, f"  ret {kind} {result}", "}", ""]
    if op in _LARGE and dtype == "f32":
        part = Builder("f32", lanes)
        result = trigonometric.large(part, "%x", op)
        head = f"define internal {kind} {trigonometric.large_name(op, part)}({parameters})"
        attributes = "noinline cold nounwind willreturn memory(none)"
        lines += [f"{head} {attributes} {{", *part.lines, f"  ret {kind} {result}", "}", ""]
        b.declares |= part.declares
    return "\n".join(lines), tuple(b.declares)
