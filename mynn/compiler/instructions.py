"""LLVM instructions for scalars and vectors of the loop IR's types.

Functions take an `Emitter` (anything with `emit`, `effect`, `broadcast` and a `module`) and give a
`Value`.
"""

from __future__ import annotations

import math as std_math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mynn.compiler import math
from mynn.errors import CompileError

_LLVM = {
    "f32": "float",
    "f64": "double",
    "i32": "i32",
    "i64": "i64",
    "u32": "i32",
    "u8": "i8",
    "bool": "i1",
}
_BITS = {"i32": 32, "i64": 64, "u32": 32, "u8": 8, "bool": 1, "f32": 32, "f64": 64}


def llvm_type(type: str, lanes: int = 1) -> str:
    """The LLVM type of a value in registers."""
    scalar = _LLVM[type]
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def memory_type(type: str, lanes: int = 1) -> str:
    """The LLVM type of a value in memory: a bool is a byte there."""
    scalar = "i8" if type == "bool" else _LLVM[type]
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


class Module:
    """The text of an LLVM module: functions, and each declaration and math function once."""

    def __init__(self, fused: bool = True) -> None:
        self.fused = fused
        self.functions: list[str] = []
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
    return max(_BITS[type] // 8, 1)


def load(e: Emitter, type: str, pointer: str, lanes: int) -> Value:
    """A scalar or a vector of neighbours."""
    name = e.emit(f"load {memory_type(type, lanes)}, ptr {pointer}, align {_bytes(type)}")
    return _from_memory(e, name, type, lanes)


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
    name = f"@llvm.masked.store.v{lanes}{_suffix(value.type)}.p0"
    e.module.declare(f"declare void {name}({kind}, ptr, i32, <{lanes} x i1>)")
    where = mask(extent, lanes)
    e.effect(f"call void {name}({kind} {text}, ptr {pointer}, i32 {align}, <{lanes} x i1> {where})")


def _suffix(type: str) -> str:
    return (
        "i8" if type == "bool" else {"float": "f32", "double": "f64"}.get(_LLVM[type], _LLVM[type])
    )


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
    name = f"@llvm.masked.gather.v{lanes}{_suffix(type)}.v{lanes}p0"
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
    name = f"@llvm.masked.scatter.v{lanes}{_suffix(value.type)}.v{lanes}p0"
    e.module.declare(f"declare void {name}({kind}, <{lanes} x ptr>, i32, <{lanes} x i1>)")
    e.effect(
        f"call void {name}({kind} {text}, <{lanes} x ptr> {pointers}, i32 {_bytes(value.type)}, "
        f"<{lanes} x i1> {mask(extent, lanes)})"
    )


# -- lanes against each other ----------------------------------------------------------------------

_COMBINE = {"sum": "add", "max": "maximum", "min": "minimum"}


def horizontal(e: Emitter, op: str, value: Value) -> Value:
    """All lanes of a vector combined into a scalar, as a tree."""
    while value.lanes > 1:
        half = value.lanes // 2
        low = narrow(e, value, half)
        high = shuffle(e, value, "poison", range(half, value.lanes))
        value = operation(e, _COMBINE[op], [low, high], value.type)
    return value


def horizontal_rows(e: Emitter, op: str, rows: Sequence[Value], lanes: int) -> Value:
    """Lane i of the result combines all lanes of `rows[i]`."""
    width = rows[0].lanes
    if width == 1:
        return assemble(e, rows, lanes)
    count = -(-lanes // width) * width
    padded = [*rows] + [rows[-1]] * (count - len(rows))
    parts = [_combine_square(e, op, padded[i : i + width]) for i in range(0, count, width)]
    while len(parts) > 1:
        parts = [
            shuffle(e, a, b.text, range(2 * a.lanes))
            for a, b in zip(parts[::2], parts[1::2], strict=True)
        ]
    return narrow(e, parts[0], lanes)


def _combine_square(e: Emitter, op: str, rows: Sequence[Value]) -> Value:
    """As many rows as lanes: pairs of rows are folded into one until one vector is left.

    The first rounds stay within blocks of 128 bits, where shuffles are cheapest; the last ones
    exchange whole blocks.
    """
    vectors = list(rows)
    width = vectors[0].lanes
    block = min(width, 128 // max(_BITS[vectors[0].type], 8))
    unit = 1
    while len(vectors) > 1:
        if unit < block:
            picks = [[i, i + 1] for i in range(0, block, 2)]
            starts = range(0, width, block)
            sides = [
                [s + base + pair[k] for s in starts for base in (0, width) for pair in picks]
                for k in (0, 1)
            ]
            unit *= 2
        else:
            sides = [
                [
                    base + s + i
                    for base in (0, width)
                    for s in range(k * block, width, 2 * block)
                    for i in range(block)
                ]
                for k in (0, 1)
            ]
        vectors = [
            operation(e, _COMBINE[op], [shuffle(e, a, b.text, side) for side in sides], a.type)
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
    return vectors[0]


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
    """The columns of a square of vectors, by log2 n rounds of shuffles."""
    vectors = list(rows)
    n = len(vectors)
    low = [x for i in range(n // 2) for x in (i, n + i)]
    high = [x for i in range(n // 2, n) for x in (i, n + i)]
    for _ in range(n.bit_length() - 1):
        pairs = [(vectors[i], vectors[i + n // 2]) for i in range(n // 2)]
        vectors = [shuffle(e, a, b.text, order) for a, b in pairs for order in (low, high)]
    return vectors


# -- arithmetic ------------------------------------------------------------------------------------

# `contract` lets a product and a sum become one fused multiply-add; nothing else is relaxed.
_FLOAT_BINARY = {
    "add": "fadd contract",
    "sub": "fsub contract",
    "mul": "fmul contract",
    "div": "fdiv",
}
_INT_BINARY = {
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "bitwise_and": "and",
    "bitwise_or": "or",
    "bitwise_xor": "xor",
    "shift_right": "lshr",
    "quotient": "udiv",
    "remainder": "urem",
}
_FLOAT_COMPARE = {"less": "olt", "less_equal": "ole", "equal": "oeq", "not_equal": "une"}
_INT_COMPARE = {"less": "lt", "less_equal": "le", "equal": "eq", "not_equal": "ne"}


def intrinsic(e: Emitter, name: str, args: Sequence[Value]) -> Value:
    """A call of an LLVM intrinsic whose arguments and result have one type."""
    first = args[0]
    suffix = _suffix(first.type)
    full = f"@llvm.{name}.{suffix}" if first.lanes == 1 else f"@llvm.{name}.v{first.lanes}{suffix}"
    e.module.declare(f"declare {first.kind} {full}({', '.join([first.kind] * len(args))})")
    given = ", ".join(f"{x.kind} {x.text}" for x in args)
    return Value(e.emit(f"call {first.kind} {full}({given})"), first.type, first.lanes)


def _call(e: Emitter, op: str, args: Sequence[Value]) -> Value:
    first = args[0]
    name = e.module.math(op, first.type if first.type[0] == "f" else "u32", first.lanes)
    given = ", ".join(f"{x.kind} {x.text}" for x in args)
    return Value(e.emit(f"call {first.kind} {name}({given})"), first.type, first.lanes)


def _zero(value: Value) -> str:
    if value.lanes > 1:
        return "zeroinitializer"
    return number(0, value.type)


def _select(e: Emitter, condition: Value, x: Value, y: Value) -> Value:
    return Value(
        e.emit(f"select {condition.kind} {condition.text}, {x.kind} {x.text}, {y.kind} {y.text}"),
        x.type,
        x.lanes,
    )


def _compare(e: Emitter, predicate: str, x: Value, y: str) -> Value:
    code = "fcmp" if x.type[0] == "f" else "icmp"
    return Value(e.emit(f"{code} {predicate} {x.kind} {x.text}, {y}"), "bool", x.lanes)


def _same(e: Emitter, text: str, like: Value) -> Value:
    return Value(e.emit(text), like.type, like.lanes)


def _signed(type: str) -> bool:
    return type in ("i32", "i64")


def _neg(e: Emitter, x: Value) -> Value:
    if x.type[0] == "f":
        return _same(e, f"fneg {x.kind} {x.text}", x)
    return _same(e, f"sub {x.kind} {_zero(x)}, {x.text}", x)


def _abs(e: Emitter, x: Value) -> Value:
    if x.type[0] == "f":
        return intrinsic(e, "fabs", [x])
    return _select(e, _compare(e, "slt", x, _zero(x)), _neg(e, x), x)


def _sign(e: Emitter, x: Value) -> Value:
    floating = x.type[0] == "f"
    one = e.broadcast(Value(number(1, x.type), x.type, 1), x.lanes)
    minus = e.broadcast(Value(number(-1, x.type), x.type, 1), x.lanes)
    below = _compare(e, "olt" if floating else "slt", x, _zero(x))
    above = _compare(e, "ogt" if floating else "sgt", x, _zero(x))
    return _select(e, below, minus, _select(e, above, one, x))


def _relu(e: Emitter, x: Value) -> Value:
    zero = Value(_zero(x), x.type, x.lanes)
    return _select(e, _compare(e, "olt", x, _zero(x)), zero, x)


def _extremum(op: str) -> Callable[..., Value]:
    def emit(e: Emitter, x: Value, y: Value) -> Value:
        if x.type[0] == "f":
            return intrinsic(e, op, [x, y])
        side = "gt" if op == "maximum" else "lt"
        predicate = ("s" if _signed(x.type) else "u") + side
        return _select(e, _compare(e, predicate, x, y.text), x, y)

    return emit


def _mod(e: Emitter, x: Value, y: Value) -> Value:
    """The remainder with the sign of the divisor; 0 for an integer divided by 0, as in NumPy."""
    if x.type[0] == "f":
        rest = _same(e, f"frem {x.kind} {x.text}, {y.text}", x)
        wrong = _compare(e, "olt", _same(e, f"fmul {x.kind} {rest.text}, {y.text}", x), _zero(x))
        return _select(e, wrong, _same(e, f"fadd {x.kind} {rest.text}, {y.text}", x), rest)
    one = e.broadcast(Value("1", x.type, 1), x.lanes)
    bad = _compare(e, "eq", y, _zero(y))
    if not _signed(x.type):
        safe = _select(e, bad, one, y)
        return _same(e, f"urem {x.kind} {x.text}, {safe.text}", x)
    minus = e.broadcast(Value("-1", x.type, 1), x.lanes)
    trap = _compare(e, "eq", y, minus.text)
    either = Value(e.emit(f"or {bad.kind} {bad.text}, {trap.text}"), "bool", x.lanes)
    safe = _select(e, either, one, y)
    rest = _same(e, f"srem {x.kind} {x.text}, {safe.text}", x)
    mixed = _compare(e, "slt", _same(e, f"xor {x.kind} {rest.text}, {safe.text}", x), _zero(x))
    some = _compare(e, "ne", rest, _zero(x))
    wrong = Value(e.emit(f"and {some.kind} {some.text}, {mixed.text}"), "bool", x.lanes)
    return _select(e, wrong, _same(e, f"add {x.kind} {rest.text}, {safe.text}", x), rest)


def cast(e: Emitter, x: Value, target: str) -> Value:
    """Convert between the scalar types as NumPy does; floats out of an integer's range saturate."""
    if target == x.type or (_LLVM[target] == _LLVM[x.type] and x.type[0] != "f"):
        return Value(x.text, target, x.lanes)
    kind = llvm_type(target, x.lanes)
    if target == "bool":
        return _compare(e, "une" if x.type[0] == "f" else "ne", x, _zero(x))
    if x.type[0] == "f" and target[0] == "f":
        code = "fpext" if target == "f64" else "fptrunc"
        return Value(e.emit(f"{code} {x.kind} {x.text} to {kind}"), target, x.lanes)
    if x.type[0] == "f":
        code = "fptosi" if _signed(target) else "fptoui"
        vector = f"v{x.lanes}" if x.lanes > 1 else ""
        name = f"@llvm.{code}.sat.{vector}{_suffix(target)}.{vector}{_suffix(x.type)}"
        e.module.declare(f"declare {kind} {name}({x.kind})")
        return Value(e.emit(f"call {kind} {name}({x.kind} {x.text})"), target, x.lanes)
    if target[0] == "f":
        code = "sitofp" if _signed(x.type) else "uitofp"
        return Value(e.emit(f"{code} {x.kind} {x.text} to {kind}"), target, x.lanes)
    if _BITS[target] < _BITS[x.type]:
        return Value(e.emit(f"trunc {x.kind} {x.text} to {kind}"), target, x.lanes)
    code = "sext" if _signed(x.type) else "zext"
    return Value(e.emit(f"{code} {x.kind} {x.text} to {kind}"), target, x.lanes)


def _not(e: Emitter, x: Value) -> Value:
    ones = e.broadcast(Value("true", "bool", 1), x.lanes)
    return _same(e, f"xor {x.kind} {x.text}, {ones.text}", x)


def _fma(e: Emitter, x: Value, y: Value, z: Value) -> Value:
    return intrinsic(e, "fma" if e.module.fused else "fmuladd", [x, y, z])


_SPECIAL: dict[str, Callable[..., Value]] = {
    "neg": _neg,
    "abs": _abs,
    "sign": _sign,
    "relu": _relu,
    "maximum": _extremum("maximum"),
    "minimum": _extremum("minimum"),
    "mod": _mod,
    "logical_not": _not,
    "fma": _fma,
    "where": _select,
    "sqrt": lambda e, x: intrinsic(e, "sqrt", [x]),
    "floor": lambda e, x: intrinsic(e, "floor", [x]),
}


def operation(e: Emitter, name: str, args: Sequence[Value], type: str) -> Value:
    """One arithmetic operation of the loop IR; scalars among vectors are repeated."""
    lanes = max(x.lanes for x in args)
    args = [e.broadcast(x, lanes) for x in args]
    x = args[0]
    if name == "cast":
        return cast(e, x, type)
    if name in _SPECIAL:
        return _SPECIAL[name](e, *args)
    if name in math.OPS or name in math.INTEGER_OPS:
        return _call(e, name, args)
    if name in _FLOAT_COMPARE:
        if x.type[0] == "f":
            return _compare(e, _FLOAT_COMPARE[name], x, args[1].text)
        side = _INT_COMPARE[name]
        sign = "" if name.endswith("equal") and name != "less_equal" else "su"[not _signed(x.type)]
        return _compare(e, sign + side, x, args[1].text)
    table = _FLOAT_BINARY if x.type[0] == "f" else _INT_BINARY
    if name not in table:
        raise CompileError(f"no instruction for {name} of {x.type}")
    return _same(e, f"{table[name]} {x.kind} {x.text}, {args[1].text}", x)
