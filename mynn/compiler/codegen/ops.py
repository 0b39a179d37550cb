"""The operations of the loop IR as LLVM instructions, for scalars and vectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from mynn.compiler.codegen import math
from mynn.compiler.codegen.function import (
    BITS,
    LLVM_TYPES,
    Emitter,
    Value,
    llvm_type,
    number,
    suffix,
)
from mynn.errors import CompileError, VerifyError

# No flag relaxes what these do: a value is the same bits wherever a program computes it.
_FLOAT_BINARY = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
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
    vector = f"v{first.lanes}" if first.lanes > 1 else ""
    full = f"@llvm.{name}.{vector}{suffix(first.type)}"
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
    if not _signed(x.type):
        return x
    return _select(e, _compare(e, "slt", x, _zero(x)), _neg(e, x), x)


def _sign(e: Emitter, x: Value) -> Value:
    floating = x.type[0] == "f"
    one = e.broadcast(Value(number(1, x.type), x.type, 1), x.lanes)
    minus = e.broadcast(Value(number(-1, x.type), x.type, 1), x.lanes)
    zero = Value(_zero(x), x.type, x.lanes)
    above = _compare(e, "ogt" if floating else "sgt" if _signed(x.type) else "ne", x, _zero(x))
    positive = _select(e, above, one, zero)
    if not floating and not _signed(x.type):
        return positive
    below = _compare(e, "olt" if floating else "slt", x, _zero(x))
    return _select(e, below, minus, positive)


def _relu(e: Emitter, x: Value) -> Value:
    zero = Value(_zero(x), x.type, x.lanes)
    if x.type[0] != "f" and not _signed(x.type):
        return x
    return _select(e, _compare(e, "olt" if x.type[0] == "f" else "slt", x, _zero(x)), zero, x)


def _extremum(op: str) -> Callable[..., Value]:
    def emit(e: Emitter, x: Value, y: Value) -> Value:
        side = "gt" if op == "maximum" else "lt"
        if x.type[0] == "f":
            # y where both are zeros, x where that is NaN. On x86 this takes half as much as what
            # compares the signs of zeros; ARM has an instruction for the latter.
            if not e.module.target.is_x86:
                return intrinsic(e, op, [x, y])
            best = _select(e, _compare(e, "o" + side, x, y.text), x, y)
            return _select(e, _compare(e, "ord", x, x.text), best, x)
        predicate = ("s" if _signed(x.type) else "u") + side
        return _select(e, _compare(e, predicate, x, y.text), x, y)

    return emit


def _integer_power(e: Emitter, x: Value, y: Value) -> Value:
    """x ** y by squaring, modulo 2^bits; a negative power is the whole part of the quotient."""
    one = e.broadcast(Value("1", x.type, 1), x.lanes)
    zero = Value(_zero(x), x.type, x.lanes)

    def bit(place: int) -> Value:
        mask = e.broadcast(Value(number(1 << place, x.type), x.type, 1), x.lanes)
        return _compare(e, "ne", _same(e, f"and {y.kind} {y.text}, {mask.text}", y), _zero(y))

    result, square = one, x
    signed = _signed(x.type)
    bits = BITS[x.type] - signed
    for place in range(bits):
        product = _same(e, f"mul {x.kind} {result.text}, {square.text}", x)
        result = _select(e, bit(place), product, result)
        square = _same(e, f"mul {x.kind} {square.text}, {square.text}", x)
    if not signed:
        return result
    minus = e.broadcast(Value("-1", x.type, 1), x.lanes)
    turned = _select(e, _compare(e, "eq", x, minus.text), _select(e, bit(0), minus, one), zero)
    inverse = _select(e, _compare(e, "eq", x, one.text), one, turned)
    return _select(e, _compare(e, "slt", y, _zero(y)), inverse, result)


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
    if target == x.type or (LLVM_TYPES[target] == LLVM_TYPES[x.type] and x.type[0] != "f"):
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
        name = f"@llvm.{code}.sat.{vector}{suffix(target)}.{vector}{suffix(x.type)}"
        e.module.declare(f"declare {kind} {name}({x.kind})")
        return Value(e.emit(f"call {kind} {name}({x.kind} {x.text})"), target, x.lanes)
    if target[0] == "f":
        code = "sitofp" if _signed(x.type) else "uitofp"
        return Value(e.emit(f"{code} {x.kind} {x.text} to {kind}"), target, x.lanes)
    if BITS[target] < BITS[x.type]:
        return Value(e.emit(f"trunc {x.kind} {x.text} to {kind}"), target, x.lanes)
    code = "sext" if _signed(x.type) else "zext"
    return Value(e.emit(f"{code} {x.kind} {x.text} to {kind}"), target, x.lanes)


def _not(e: Emitter, x: Value) -> Value:
    ones = e.broadcast(Value("true", "bool", 1), x.lanes)
    return _same(e, f"xor {x.kind} {x.text}, {ones.text}", x)


def _fma(e: Emitter, x: Value, y: Value, z: Value) -> Value:
    """x * y + z, rounded once where the processor can, twice where it cannot."""
    if e.module.target.has_fma:
        return intrinsic(e, "fma", [x, y, z])
    product = _same(e, f"fmul {x.kind} {x.text}, {y.text}", x)
    return _same(e, f"fadd {x.kind} {product.text}, {z.text}", x)


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
    if name == "pow" and x.type[0] != "f":
        return _integer_power(e, *args)
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


# What would let LLVM round one instruction differently from another of the same operands.
_FREE = re.compile(
    r"\bfmuladd\b|= (?:\w+ )?(?:call|f[a-z]+|select|phi)(?: [a-z]+)*?"
    r" (?:fast|nnan|ninf|nsz|arcp|contract|afn|reassoc)\b.*"
)


def verify_exact(text: str) -> None:
    """Raise `VerifyError` where an instruction of a module leaves its result open.

    With no such instruction, equal operations on equal operands give equal bits in every kernel.
    """
    found = _FREE.search(text)
    if found:
        raise VerifyError(f"an instruction leaves its rounding to LLVM: {found[0]}")
