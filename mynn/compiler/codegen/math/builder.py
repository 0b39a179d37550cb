"""Arithmetic on vectors of one type, in a function that is being built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from mynn.base.dataclass import dataclass
from mynn.compiler.codegen.function import Function
from mynn.compiler.codegen.values import Value, constant, llvm_type, suffix
from mynn.compiler.codegen.vectors import element, insert

INF: Final = float("inf")
NAN: Final = float("nan")

Operand = Value | float
"""An SSA value, or a number that becomes a constant in every lane."""

# What the C library computes is not computed by LLVM where it knows arguments.
_LIBRARY = " nounwind willreturn nobuiltin memory(none)"


def rare_name(op: str, dtype: str, lanes: int) -> str:
    """The second function of an operation, for arguments that are rare."""
    return f"@mynn.{op}.rare.{dtype}x{lanes}"


@dataclass(frozen=True)
class Format:
    """A floating-point format and the integer type of the same width."""

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


FORMATS: Final = {
    "f32": Format("i32", 32, 23, 127, 2.0**-126),
    "f64": Format("i64", 64, 52, 1023, 2.0**-1022),
}


class Builder:
    """Writes instructions on vectors of `dtype`; equal ones are written once.

    Methods take and return operands. A Python number stands for a constant.
    """

    def __init__(self, function: Function, dtype: str, lanes: int) -> None:
        self.function = function
        self.dtype = dtype
        self.lanes = lanes
        self.format = FORMATS[dtype]

    def view(self, dtype: str) -> Builder:
        """A builder of another element type in the same function."""
        return Builder(self.function, dtype, self.lanes)

    def _emit(self, text: str, type: str) -> Value:
        f, lanes = self.function, self.lanes
        return f.once(text, lambda: f.value(text, type, lanes))

    def _call(self, name: str, args: Sequence[Value], type: str) -> Value:
        f, lanes = self.function, self.lanes
        return f.once((name, *args), lambda: f.intrinsic(name, args, type, lanes))

    def _float(self, value: Operand) -> Value:
        return value if isinstance(value, Value) else constant(value, self.dtype, self.lanes)

    def _int(self, value: Value | int) -> Value:
        if isinstance(value, Value):
            return value
        return constant(value, self.format.integer, self.lanes)

    def _intrinsic(self, name: str, *args: Operand) -> Value:
        full = f"@llvm.{name}.{suffix(self.dtype, self.lanes)}"
        return self._call(full, [self._float(a) for a in args], self.dtype)

    def _binary(self, code: str, x: Operand, y: Operand) -> Value:
        return self._emit(f"{code} {self._float(x).typed}, {self._float(y).text}", self.dtype)

    def _binary_int(self, code: str, x: Value | int, y: Value | int) -> Value:
        text = f"{code} {self._int(x).typed}, {self._int(y).text}"
        return self._emit(text, self.format.integer)

    # Arithmetic on the floating-point type.

    def fma(self, x: Operand, y: Operand, z: Operand) -> Value:
        return self._intrinsic("fma", x, y, z)

    def add(self, x: Operand, y: Operand) -> Value:
        return self._binary("fadd", x, y)

    def sub(self, x: Operand, y: Operand) -> Value:
        return self._binary("fsub", x, y)

    def mul(self, x: Operand, y: Operand) -> Value:
        return self._binary("fmul", x, y)

    def div(self, x: Operand, y: Operand) -> Value:
        return self._binary("fdiv", x, y)

    def rem(self, x: Operand, y: Operand) -> Value:
        return self._binary("frem", x, y)

    def neg(self, x: Value) -> Value:
        return self._emit(f"fneg {x.typed}", self.dtype)

    def abs(self, x: Operand) -> Value:
        return self._intrinsic("fabs", x)

    def sqrt(self, x: Operand) -> Value:
        return self._intrinsic("sqrt", x)

    def trunc(self, x: Operand) -> Value:
        return self._intrinsic("trunc", x)

    def copysign(self, magnitude: Operand, sign: Operand) -> Value:
        return self._intrinsic("copysign", magnitude, sign)

    def rounded(self, value: float) -> float:
        """The nearest number of this format."""
        return float(np.float32(value)) if self.dtype == "f32" else value

    # Comparison and selection.

    def fcmp(self, predicate: str, x: Operand, y: Operand) -> Value:
        text = f"fcmp {predicate} {self._float(x).typed}, {self._float(y).text}"
        return self._emit(text, "bool")

    def select(self, mask: Value, x: Operand, y: Operand) -> Value:
        text = f"select {mask.typed}, {self._float(x).typed}, {self._float(y).typed}"
        return self._emit(text, self.dtype)

    def both(self, x: Value, y: Value) -> Value:
        return self._emit(f"and {x.typed}, {y.text}", "bool")

    def either(self, x: Value, y: Value) -> Value:
        return self._emit(f"or {x.typed}, {y.text}", "bool")

    def clamp(self, x: Value, low: float, high: float) -> Value:
        """min(max(x, low), high), one instruction each; NaN stays NaN."""
        x = self.select(self.fcmp("olt", x, low), low, x)
        return self.select(self.fcmp("ogt", x, high), high, x)

    def rarely(self, mask: Value, function: str, x: Sequence[Value], usual: Value) -> Value:
        """`function(*x)` in the lanes of `mask`, `usual` in the others. Where there is no such lane
        it is not called.

        Once in a function: it ends its first block.
        """
        f, some = self.function, mask
        if self.lanes > 1:
            some = f.intrinsic(f"@llvm.vector.reduce.or.v{self.lanes}i1", [mask], "bool")
        rare, done = f.make_block("rare"), f.make_block("done")
        result = f.parameter(done, self.dtype, self.lanes)
        f.branch(some, rare, (done, [usual]))
        f.enter(rare)
        called = f.call(function, x, self.dtype, self.lanes)
        f.jump((done, [f.select(mask, called, usual)]))
        f.enter(done)
        return result

    # The bits as integers.

    def bits(self, x: Value) -> Value:
        kind = self.format.integer
        return self._emit(f"bitcast {x.typed} to {llvm_type(kind, self.lanes)}", kind)

    def from_bits(self, x: Value) -> Value:
        return self.cast("bitcast", x)

    def int_to_float(self, x: Value) -> Value:
        return self.cast("sitofp", x)

    def iadd(self, x: Value | int, y: Value | int) -> Value:
        return self._binary_int("add", x, y)

    def isub(self, x: Value | int, y: Value | int) -> Value:
        return self._binary_int("sub", x, y)

    def iand(self, x: Value | int, y: Value | int) -> Value:
        return self._binary_int("and", x, y)

    def ixor(self, x: Value | int, y: Value | int) -> Value:
        return self._binary_int("xor", x, y)

    def shl(self, x: Value, count: int) -> Value:
        return self._binary_int("shl", x, count)

    def ashr(self, x: Value, count: int) -> Value:
        return self._binary_int("ashr", x, count)

    def icmp(self, predicate: str, x: Value, y: int) -> Value:
        return self._emit(f"icmp {predicate} {x.typed}, {self._int(y).text}", "bool")

    def rotl(self, x: Value, count: int) -> Value:
        kind = self.format.integer
        name = f"@llvm.fshl.{suffix(kind, self.lanes)}"
        return self._call(name, [x, x, self._int(count)], kind)

    # Conversions between the views of one function.

    def cast(self, code: str, x: Value) -> Value:
        """`x`, a value of another type, as this one."""
        return self._emit(f"{code} {x.typed} to {llvm_type(self.dtype, self.lanes)}", self.dtype)

    def low_bits(self, x: Value) -> Value:
        """The low bits of wider integers."""
        kind = self.format.integer
        return self._emit(f"trunc {x.typed} to {llvm_type(kind, self.lanes)}", kind)

    # Composite operations.

    def horner(self, coefficients: Sequence[Operand], x: Value) -> Value:
        """c0 + x*(c1 + x*(c2 + ...)): the least rounding."""
        result: Operand = coefficients[-1]
        for coefficient in reversed(coefficients[:-1]):
            result = self.fma(result, x, coefficient)
        return self._float(result)

    def polynomial(self, coefficients: Sequence[float], x: Value) -> Value:
        """c0 + c1*x + c2*x**2 + ...: pairs joined (Estrin) until three are left, for depth."""
        terms: list[Operand] = list(coefficients)
        while len(terms) > 3:
            odd = terms[-1:] if len(terms) % 2 else []
            pairs = zip(terms[:-1:2], terms[1::2], strict=True)
            terms = [*(self.fma(high, x, low) for low, high in pairs), *odd]
            x = self.mul(x, x)
        return self.horner(terms, x)

    def libm(self, name: str, *args: Value) -> Value:
        """A call of the C library for each lane."""
        f, type = self.function, self.dtype
        types = ", ".join([llvm_type(type)] * len(args))
        f.module.declare(f"declare {llvm_type(type)} @{name}({types}){_LIBRARY}")
        if self.lanes == 1:
            return f.call(f"@{name}", args, type)
        result = Value("poison", type, self.lanes)
        for lane in range(self.lanes):
            value = f.call(f"@{name}", [element(f, a, lane) for a in args], type)
            result = insert(f, result, value, lane)
        return result
