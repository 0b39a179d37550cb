"""The text of LLVM modules: values of the loop IR's types, constants, shuffles, memory.

Functions take an `Emitter` (anything with `emit`, `effect`, `broadcast` and a `module`) and give a
`Value`.
"""

from __future__ import annotations

import math as std_math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mynn.compiler.codegen import math
from mynn.target.target import Target

# The LLVM type of each scalar type.
LLVM_TYPES = {
    "f32": "float",
    "f64": "double",
    "i32": "i32",
    "i64": "i64",
    "u32": "i32",
    "u64": "i64",
    "u8": "i8",
    "ptr": "ptr",
    "bool": "i1",
}
# Bits of each scalar type.
BITS = {
    "i32": 32,
    "i64": 64,
    "u32": 32,
    "u64": 64,
    "u8": 8,
    "bool": 1,
    "f32": 32,
    "f64": 64,
}


def llvm_type(type: str, lanes: int = 1) -> str:
    """The LLVM type of a value in registers."""
    scalar = LLVM_TYPES[type]
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def memory_type(type: str, lanes: int = 1) -> str:
    """The LLVM type of a value in memory: a bool is a byte there."""
    scalar = "i8" if type == "bool" else LLVM_TYPES[type]
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


@dataclass(frozen=True, slots=True)
class Value:
    """An SSA name or a constant, its scalar type and number of lanes."""

    text: str
    type: str
    lanes: int

    @property
    def kind(self) -> str:
        """Its LLVM type."""
        return llvm_type(self.type, self.lanes)


# Up to so many elements apart, what a vector loads is picked out of whole vectors.
MOST_STEPS = 4


class Module:
    """The text of an LLVM module: functions, and each declaration and math function once."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.functions: list[str] = []
        self.stack_bytes = 0
        self.declarations: dict[str, None] = {}
        self.known: set[str] = set()

    def add(self, text: str) -> None:
        """Add a function."""
        self.functions.append(text)

    def declare(self, text: str) -> None:
        """Add a declaration, once."""
        self.declarations[text] = None

    def math(self, op: str, type: str, lanes: int) -> str:
        """The name of a math function, whose definition is added once."""
        name = math.function_name(op, type, lanes)
        if name not in self.known:
            self.known.add(name)
            for line in math.declarations(op, type, lanes):
                self.declare(line)
            self.add(math.definition(op, type, lanes))
        return name

    def text(self) -> str:
        """The whole module."""
        attributes = 'attributes #0 = { "denormal-fp-math"="preserve-sign,preserve-sign" }'
        return "\n".join([*self.declarations, *self.functions, attributes, ""])


class Emitter(Protocol):
    """What instructions need of whoever writes the function."""

    module: Module

    def emit(self, text: str) -> str:
        """An instruction with a result."""
        ...

    def effect(self, text: str) -> None:
        """An instruction without a result."""
        ...

    def broadcast(self, value: Value, lanes: int) -> Value:
        """A scalar repeated over lanes."""
        ...


# -- constants -------------------------------------------------------------------------------------


def number(value: Any, type: str) -> str:
    """A constant as LLVM writes it, exact."""
    if type == "bool":
        return "true" if value else "false"
    if type[0] != "f":
        return str(int(value))
    value = float(value)
    if type == "f32":
        if std_math.isfinite(value) and abs(value) > 3.4028235677973366e38:
            value = std_math.copysign(std_math.inf, value)
        value = struct.unpack("<f", struct.pack("<f", value))[0]
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def constants(values: Sequence[Any], scalar: str) -> str:
    """A constant vector."""
    return "<" + ", ".join(f"{scalar} {value}" for value in values) + ">"


def mask(extent: int, lanes: int) -> str:
    """The constant mask of the first `extent` lanes."""
    return constants(["true" if i < extent else "false" for i in range(lanes)], "i1")


# -- vectors ---------------------------------------------------------------------------------------


def shuffle(e: Emitter, a: Value, b: str, order: Sequence[int]) -> Value:
    """A vector picked out of two."""
    picks = constants(order, "i32")
    name = e.emit(f"shufflevector {a.kind} {a.text}, {a.kind} {b}, <{len(order)} x i32> {picks}")
    if len(order) == 1:
        name = e.emit(f"extractelement {llvm_type(a.type, 1).join(['<1 x ', '>'])} {name}, i64 0")
    return Value(name, a.type, len(order))


def splat(e: Emitter, value: Value, lanes: int) -> str:
    """A scalar repeated."""
    kind = llvm_type(value.type, lanes)
    one = e.emit(f"insertelement {kind} poison, {value.kind} {value.text}, i64 0")
    zeros = "zeroinitializer"
    return e.emit(f"shufflevector {kind} {one}, {kind} poison, <{lanes} x i32> {zeros}")


def widen(e: Emitter, value: Value, lanes: int) -> Value:
    """A vector with more lanes, the new ones undefined."""
    if value.lanes == lanes:
        return value
    if value.lanes == 1:
        kind = llvm_type(value.type, lanes)
        name = e.emit(f"insertelement {kind} poison, {value.kind} {value.text}, i64 0")
        return Value(name, value.type, lanes)
    order = [i if i < value.lanes else 0 for i in range(lanes)]
    return shuffle(e, value, "poison", order)


def narrow(e: Emitter, value: Value, lanes: int) -> Value:
    """The first lanes of a vector."""
    if value.lanes == lanes:
        return value
    if lanes == 1:
        return Value(e.emit(f"extractelement {value.kind} {value.text}, i64 0"), value.type, 1)
    return shuffle(e, value, "poison", range(lanes))


def assemble(e: Emitter, scalars: Sequence[Value], lanes: int) -> Value:
    """Scalars side by side in a vector."""
    if lanes == 1:
        return scalars[0]
    kind = llvm_type(scalars[0].type, lanes)
    text = "poison"
    for i, value in enumerate(scalars):
        text = e.emit(f"insertelement {kind} {text}, {value.kind} {value.text}, i64 {i}")
    return Value(text, scalars[0].type, lanes)


def transpose(e: Emitter, rows: Sequence[Value]) -> list[Value]:
    """The columns of a square of vectors, by log2 n rounds of shuffles.

    First squares within blocks of 128 bits, where shuffles are cheapest, then whole blocks.
    """
    n = len(rows)
    block = min(n, 128 // max(BITS[rows[0].type], 8))
    across = []  # across[i][j]: of block row i, the columns j, block + j, 2 * block + j...
    for start in range(0, n, block):
        square = list(rows[start : start + block])
        half = block // 2
        low = [s + i + k for s in range(0, n, block) for i in range(half) for k in (0, n)]
        high = [i + half for i in low]
        for _ in range(block.bit_length() - 1):
            pairs = [(square[i], square[i + half]) for i in range(half)]
            square = [shuffle(e, a, b.text, order) for a, b in pairs for order in (low, high)]
        across.append(square)
    columns: list[list[Value]] = []
    for j in range(block):
        vectors = [square[j] for square in across]
        even = [s + i for s in range(0, 2 * n, 2 * block) for i in range(block)]
        odd = [i + block for i in even]
        for _ in range(len(vectors).bit_length() - 1):
            pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
            vectors = [shuffle(e, a, b.text, order) for order in (even, odd) for a, b in pairs]
        columns.append(vectors)
    return [columns[c % block][c // block] for c in range(n)]


def scaled(e: Emitter, value: Value, factor: int) -> Value:
    """An index times a constant."""
    if factor == 1:
        return value
    by = e.broadcast(Value(str(factor), value.type, 1), value.lanes)
    return Value(e.emit(f"mul {value.kind} {value.text}, {by.text}"), value.type, value.lanes)


def add_index(e: Emitter, a: Value, b: Value) -> Value:
    """The sum of two indices."""
    if a.text == "0":
        return b
    lanes = max(a.lanes, b.lanes)
    a, b = e.broadcast(a, lanes), e.broadcast(b, lanes)
    return Value(e.emit(f"add {a.kind} {a.text}, {b.text}"), a.type, lanes)


# -- memory ----------------------------------------------------------------------------------------


def _bytes(type: str) -> int:
    return max(BITS[type] // 8, 1)


def load(e: Emitter, type: str, pointer: str, lanes: int) -> Value:
    """A scalar or a vector of neighbours."""
    name = e.emit(f"load {memory_type(type, lanes)}, ptr {pointer}, align {_bytes(type)}")
    return _from_memory(e, name, type, lanes)


def load_apart(e: Emitter, type: str, pointer: str, step: int, extent: int, lanes: int) -> Value:
    """Every `step`th element: picked out of the vectors that hold them, which beats a gather."""
    picks = [min(i, extent - 1) * step for i in range(lanes)]
    parts = []
    for start in range(0, picks[-1] + 1, lanes):
        at = e.emit(f"getelementptr {memory_type(type)}, ptr {pointer}, i64 {start}")
        parts.append(load(e, type, at, lanes))
    halves = []
    for number in range(0, len(parts), 2):
        a, b = parts[number], parts[min(number + 1, len(parts) - 1)]
        first = number * lanes
        order = [pick - first if 0 <= pick - first < 2 * lanes else 0 for pick in picks]
        halves.append(shuffle(e, a, b.text, order))
    if len(halves) == 1:
        return halves[0]
    order = [i if pick < 2 * lanes else lanes + i for i, pick in enumerate(picks)]
    return shuffle(e, halves[0], halves[1].text, order)


def _from_memory(e: Emitter, name: str, type: str, lanes: int) -> Value:
    if type == "bool":
        zero = "0" if lanes == 1 else "zeroinitializer"
        name = e.emit(f"icmp ne {memory_type(type, lanes)} {name}, {zero}")
    return Value(name, type, lanes)


def _to_memory(e: Emitter, value: Value) -> str:
    if value.type != "bool":
        return value.text
    return e.emit(f"zext {value.kind} {value.text} to {memory_type('bool', value.lanes)}")


def store(e: Emitter, value: Value, pointer: str, lanes: int, extent: int) -> None:
    """Write neighbours; only the first `extent` of them where that is less than the lanes."""
    kind = memory_type(value.type, lanes)
    text = _to_memory(e, value)
    align = _bytes(value.type)
    if extent == lanes:
        e.effect(f"store {kind} {text}, ptr {pointer}, align {align}")
        return
    name = f"@llvm.masked.store.v{lanes}{suffix(value.type)}.p0"
    e.module.declare(f"declare void {name}({kind}, ptr, i32, <{lanes} x i1>)")
    where = mask(extent, lanes)
    e.effect(f"call void {name}({kind} {text}, ptr {pointer}, i32 {align}, <{lanes} x i1> {where})")


def suffix(type: str) -> str:
    """How intrinsics call a type: f32, i64..., where a bool is a byte."""
    scalar = memory_type(type)
    return {"float": "f32", "double": "f64"}.get(scalar, scalar)


def _addresses(e: Emitter, type: str, base: str, index: Value) -> str:
    return e.emit(
        f"getelementptr {memory_type(type)}, ptr {base}, <{index.lanes} x i64> {index.text}"
    )


def gather(e: Emitter, type: str, base: str, index: Value, extent: int) -> Value:
    """Elements from anywhere in a buffer."""
    lanes = index.lanes
    if lanes == 1:
        pointer = e.emit(f"getelementptr {memory_type(type)}, ptr {base}, i64 {index.text}")
        return load(e, type, pointer, 1)
    kind = memory_type(type, lanes)
    pointers = _addresses(e, type, base, index)
    name = f"@llvm.masked.gather.v{lanes}{suffix(type)}.v{lanes}p0"
    e.module.declare(f"declare {kind} {name}(<{lanes} x ptr>, i32, <{lanes} x i1>, {kind})")
    result = e.emit(
        f"call {kind} {name}(<{lanes} x ptr> {pointers}, i32 {_bytes(type)}, "
        f"<{lanes} x i1> {mask(extent, lanes)}, {kind} zeroinitializer)"
    )
    return _from_memory(e, result, type, lanes)


def scatter(e: Emitter, value: Value, base: str, index: Value, extent: int) -> None:
    """Elements to anywhere in a buffer, in the order of the lanes."""
    lanes = index.lanes
    kind = memory_type(value.type, lanes)
    if lanes == 1:
        pointer = e.emit(f"getelementptr {kind}, ptr {base}, i64 {index.text}")
        store(e, value, pointer, 1, 1)
        return
    text = _to_memory(e, value)
    pointers = _addresses(e, value.type, base, index)
    name = f"@llvm.masked.scatter.v{lanes}{suffix(value.type)}.v{lanes}p0"
    e.module.declare(f"declare void {name}({kind}, <{lanes} x ptr>, i32, <{lanes} x i1>)")
    e.effect(
        f"call void {name}({kind} {text}, <{lanes} x ptr> {pointers}, i32 {_bytes(value.type)}, "
        f"<{lanes} x i1> {mask(extent, lanes)})"
    )
