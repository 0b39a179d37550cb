"""Transcendental functions as LLVM IR text, vectorised, of float32 without libm.

    require(module, "tanh", "f32", 16)  ->  "@mynn.tanh.f32x16", which the module has then

float32 is computed with polynomials and rational functions in fused multiply-adds, and float64 too
in `exponential.py` and `logarithm.py`; all others call libm for each lane there. The coefficients
are minimax (Remez exchange with 60 digits, then rounded); those of float64 interpolate at Chebyshev
nodes. There are no fast-math flags, and no branches but these: libm is called for float32 sin and
cos of 2**50 and more, and for remainders of quotients of 2**22 (float64: 2**51) and more.
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

import importlib
from collections.abc import Callable
from typing import Final

from mynn.compiler.codegen.function import Function, Module
from mynn.compiler.codegen.math.builder import FORMATS, Builder, rare_name
from mynn.compiler.codegen.values import Value

# For each function the module here that has it, imported when a program calls it.
_MODULES: Final = {
    "exp": "exponential",
    "log": "logarithm",
    "tanh": "exponential",
    "logistic": "exponential",
    "erf": "erf",
    "sin": "trigonometric",
    "cos": "trigonometric",
    "log1p": "logarithm",
    "expm1": "exponential",
    "pow": "power",
    "asin": "inverse",
    "acos": "inverse",
    "atan": "inverse",
    "atan2": "inverse",
    "sinh": "hyperbolic",
    "cosh": "hyperbolic",
    "asinh": "hyperbolic",
    "acosh": "hyperbolic",
    "atanh": "hyperbolic",
    "exp2": "hyperbolic",
    "log2": "hyperbolic",
    "log10": "hyperbolic",
    "erfc": "hyperbolic",
    "mod": "remainder",
}
_INTEGER_MODULES: Final = {"threefry2x32": "threefry", "threefry2x32_second": "threefry"}
# The arguments of those that do not have one.
_ARITY: Final = {"pow": 2, "atan2": 2, "mod": 2, "threefry2x32": 4, "threefry2x32_second": 4}
# What has a second function, for arguments that are rare, in these formats.
_RARE: Final = {"sin": ("f32",), "cos": ("f32",), "mod": ("f32", "f64")}
OPS: Final = tuple(_MODULES)
UNARY_OPS: Final = tuple(op for op in OPS if op not in _ARITY)
INTEGER_OPS: Final = tuple(_INTEGER_MODULES)
INTEGERS: Final = ("i32", "u32")
LANES: Final = (1, 2, 4, 8, 16)
# Several vectors, whose instructions are mixed: each waits for the one before it.
INTEGER_LANES: Final = (*LANES, 32, 64, 128)
_PURE: Final = "nounwind willreturn memory(none)"


def function_name(op: str, dtype: str, lanes: int) -> str:
    """The name of the function, "@mynn.tanh.f32x16"; with one lane it works on the scalar.

    LLVM's integers have no sign: "u32" is "i32".
    """
    return f"@mynn.{op}.{'i32' if dtype in INTEGERS else dtype}x{lanes}"


def require(module: Module, op: str, dtype: str, lanes: int) -> str:
    """The name of the function in a module, to which it is added where it is not there.

    It is internal, always inlined, and free of side effects.
    """
    integer = op in INTEGER_OPS
    known = INTEGERS if integer else FORMATS
    widths = INTEGER_LANES if integer else LANES
    if op not in (*OPS, *INTEGER_OPS) or dtype not in known or lanes not in widths:
        raise ValueError(f"there is no {op} of {lanes} {dtype}")
    name = function_name(op, dtype, lanes)
    module.require(name, lambda: _define(module, name, op, dtype, lanes))
    if dtype in _RARE.get(op, ()):
        module.require(f"{name}.rare", lambda: _define_rare(module, op, dtype, lanes))
    return name


def _emitter(op: str, part: str) -> Callable[..., Value]:
    """What writes the body of a function: of the operation itself, or its part for what is rare."""
    module = _MODULES.get(op) or _INTEGER_MODULES[op]
    emitter: Callable[..., Value] = getattr(importlib.import_module(f"{__name__}.{module}"), part)
    return emitter


def _arguments(op: str, dtype: str, lanes: int) -> list[Value]:
    return [Value(f"%x{k}", dtype, lanes) for k in range(_ARITY.get(op, 1))]


def _define(module: Module, name: str, op: str, dtype: str, lanes: int) -> None:
    arguments = _arguments(op, dtype, lanes)
    result = Value("", dtype, lanes)
    f = Function(module, name[1:], arguments, result, f"alwaysinline {_PURE}")
    b = Builder(f, dtype if dtype in FORMATS else "f32", lanes)
    f.give(_emitter(op, op)(b, *arguments))
    f.finish()


def _define_rare(module: Module, op: str, dtype: str, lanes: int) -> None:
    arguments = _arguments(op, dtype, lanes)
    name, result = rare_name(op, dtype, lanes)[1:], Value("", dtype, lanes)
    f = Function(module, name, arguments, result, f"noinline cold {_PURE}")
    f.give(_emitter(op, "rare")(Builder(f, dtype, lanes), *arguments, op))
    f.finish()
