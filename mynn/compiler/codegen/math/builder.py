"""The builder of a function: SSA instructions on vectors of one type."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

INF: Final = float("inf")
NAN: Final = float("nan")

Value = str | float
"""An operand: the name of an SSA value, or a number that becomes a (splat) constant."""


@dataclass(frozen=True)
class Format:
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


FORMATS: Final = {
    "f32": Format("float", "i32", 32, 23, 127, 2.0**-126),
    "f64": Format("double", "i64", 64, 52, 1023, 2.0**-1022),
}


class Builder:
    """Appends SSA instructions on one vector type; equal instructions are emitted once.

    Methods take and return operands. A Python number stands for a constant, splat over the lanes.
    """

    def __init__(self, dtype: str, lanes: int, parent: Builder | None = None) -> None:
        self.dtype = dtype
        self.lanes = lanes
        self.format = FORMATS[dtype]
        self.type = _vector(self.format.scalar, lanes)
        self.int_type = _vector(self.format.integer, lanes)
        self.mask_type = _vector("i1", lanes)
        self.suffix = dtype if lanes == 1 else f"v{lanes}{dtype}"
        self.lines: list[str] = parent.lines if parent else []
        self.declares: dict[str, None] = parent.declares if parent else {}
        self._memo: dict[str, str] = parent._memo if parent else {}

    def view(self, dtype: str) -> Builder:
        """A builder of another element type that appends to the same function."""
        return Builder(dtype, self.lanes, parent=self)

    def emit(self, rhs: str) -> str:
        """The name of the value of an instruction."""
        name = self._memo.get(rhs)
        if name is None:
            name = self._memo[rhs] = f"%v{len(self.lines)}"
            self.lines.append(f"  {name} = {rhs}")
        return name

    def call(self, function: str, result: str, args: Sequence[tuple[str, str]]) -> str:
        """A call of a declared function with (type, value) arguments."""
        # `nobuiltin`: what the C library computes is not computed by LLVM where it knows arguments.
        library = " nounwind willreturn nobuiltin memory(none)"
        attributes = "" if function.startswith("@llvm.") else library
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

    def rounded(self, value: float) -> float:
        """The nearest number of this format."""
        return (
            value
            if self.dtype == "f64"
            else float(struct.unpack("<f", struct.pack("<f", value))[0])
        )

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

    def rarely(self, mask: str, function: str, x: str, usual: str) -> str:
        """`function(x)` in the lanes of `mask`, `usual` in the others; not called where no lane is.

        Once in a function: it ends its first block.
        """
        some = mask
        if self.lanes > 1:
            reduce = f"@llvm.vector.reduce.or.v{self.lanes}i1"
            some = self.call(reduce, "i1", [(self.mask_type, mask)])
        self.lines += [
            f"  br i1 {some}, label %rare, label %done",
            "rare:",
            f"  %called = call {self.type} {function}({self.type} {x})",
            f"  %chosen = select {self.mask_type} {mask}, {self.type} %called, {self.type} {usual}",
            "  br label %done",
            "done:",
            f"  %result = phi {self.type} [ {usual}, %0 ], [ %chosen, %rare ]",
        ]
        return "%result"

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

    def cast(self, opcode: str, x: str, source: Builder) -> str:
        """fpext or fptrunc of `x`, a value of the type of `source`, to this type."""
        return self.emit(f"{opcode} {source.type} {x} to {self.type}")

    def low_bits(self, x: str, source: Builder) -> str:
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
