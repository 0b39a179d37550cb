"""The operations of the loop IR as LLVM instructions, for scalars and vectors."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from mynn.compiler.codegen import math
from mynn.compiler.codegen.function import Function
from mynn.compiler.codegen.values import BITS, LLVM_TYPES, Value, constant, llvm_type, suffix, zero
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


def intrinsic(f: Function, name: str, args: Sequence[Value]) -> Value:
    """A call of an LLVM intrinsic whose arguments and result have one type."""
    first = args[0]
    full = f"@llvm.{name}.{suffix(first.type, first.lanes)}"
    return f.intrinsic(full, args, first.type, first.lanes)


def _call(f: Function, op: str, args: Sequence[Value]) -> Value:
    first = args[0]
    name = math.require(f.module, op, first.type if _floating(first) else "u32", first.lanes)
    return f.call(name, args, first.type, first.lanes)


def _floating(x: Value) -> bool:
    return x.type[0] == "f"


def _signed(x: Value) -> bool:
    return x.type in ("i32", "i64")


def _like(x: Value, number: int) -> Value:
    return constant(number, x.type, x.lanes)


def _zero(x: Value) -> Value:
    return zero(x.type, x.lanes)


def _compare(f: Function, predicate: str, x: Value, y: Value) -> Value:
    """`predicate` without what tells floats (ordered) and signed integers from others."""
    if _floating(x):
        return f.compare(f"fcmp o{predicate}", x, y)
    sign = "" if predicate in ("eq", "ne") else "s" if _signed(x) else "u"
    return f.compare(f"icmp {sign}{predicate}", x, y)


def _neg(f: Function, x: Value) -> Value:
    if _floating(x):
        return f.pure(f"fneg {x.typed}", x.type, x.lanes, (x,))
    return f.binary("sub", _zero(x), x)


def _abs(f: Function, x: Value) -> Value:
    if _floating(x):
        return intrinsic(f, "fabs", [x])
    if not _signed(x):
        return x
    return f.select(_compare(f, "lt", x, _zero(x)), _neg(f, x), x)


def _sign(f: Function, x: Value) -> Value:
    above = _compare(f, "gt", x, _zero(x))
    positive = f.select(above, _like(x, 1), _zero(x))
    if not _floating(x) and not _signed(x):
        return positive
    return f.select(_compare(f, "lt", x, _zero(x)), _like(x, -1), positive)


def _relu(f: Function, x: Value) -> Value:
    if not _floating(x) and not _signed(x):
        return x
    return f.select(_compare(f, "lt", x, _zero(x)), _zero(x), x)


def _extremum(op: str) -> Callable[..., Value]:
    side = "gt" if op == "maximum" else "lt"

    def emit(f: Function, x: Value, y: Value) -> Value:
        if not _floating(x):
            return f.select(_compare(f, side, x, y), x, y)
        # y where both are zeros, x where that is NaN. On x86 this takes half as much as what
        # compares the signs of zeros; ARM has an instruction for the latter.
        if not f.module.target.is_x86:
            return intrinsic(f, op, [x, y])
        best = f.select(_compare(f, side, x, y), x, y)
        return f.select(f.compare("fcmp ord", x, x), best, x)

    return emit


def _integer_power(f: Function, x: Value, y: Value) -> Value:
    """x ** y by squaring, modulo 2^bits; a negative power is the whole part of the quotient."""
    one = _like(x, 1)

    def bit(place: int) -> Value:
        return f.compare("icmp ne", f.binary("and", y, _like(x, 1 << place)), _zero(y))

    result, square = one, x
    for place in range(BITS[x.type] - _signed(x)):
        result = f.select(bit(place), f.binary("mul", result, square), result)
        square = f.binary("mul", square, square)
    if not _signed(x):
        return result
    minus = _like(x, -1)
    turned = f.compare("icmp eq", x, minus)
    turned = f.select(turned, f.select(bit(0), minus, one), _zero(x))
    inverse = f.select(f.compare("icmp eq", x, one), one, turned)
    return f.select(_compare(f, "lt", y, _zero(y)), inverse, result)


def _mod(f: Function, x: Value, y: Value) -> Value:
    """The remainder with the sign of the divisor; 0 for an integer divided by 0, as in NumPy."""
    if _floating(x):
        return _call(f, "mod", [x, y])
    bad = f.compare("icmp eq", y, _zero(y))
    if not _signed(x):
        return f.binary("urem", x, f.select(bad, _like(x, 1), y))
    trap = f.compare("icmp eq", y, _like(x, -1))
    safe = f.select(f.binary("or", bad, trap), _like(x, 1), y)
    left = f.binary("srem", x, safe)
    mixed = _compare(f, "lt", f.binary("xor", left, safe), _zero(x))
    some = f.compare("icmp ne", left, _zero(x))
    return f.select(f.binary("and", some, mixed), f.binary("add", left, safe), left)


def _floor_divide(f: Function, x: Value, y: Value) -> Value:
    """The quotient rounded down; 0 for a division by 0, -x for one by -1, as in NumPy."""
    zero, one = _zero(x), _like(x, 1)
    bad = f.compare("icmp eq", y, zero)
    if not _signed(x):
        quotient = f.binary("udiv", x, f.select(bad, one, y))
        return f.select(bad, zero, quotient)
    turned = f.compare("icmp eq", y, _like(x, -1))
    safe = f.select(f.binary("or", bad, turned), one, y)
    quotient = f.binary("sdiv", x, safe)
    left = f.binary("sub", x, f.binary("mul", quotient, safe))
    mixed = _compare(f, "lt", f.binary("xor", left, safe), zero)
    lower = f.binary("and", f.compare("icmp ne", left, zero), mixed)
    quotient = f.select(lower, f.binary("sub", quotient, one), quotient)
    return f.select(bad, zero, f.select(turned, _neg(f, x), quotient))


def _shift(direction: str) -> Callable[..., Value]:
    def emit(f: Function, x: Value, y: Value) -> Value:
        inside = f.compare("icmp ult", y, _like(x, BITS[x.type]))
        places = f.select(inside, y, _zero(x))
        if direction == "left":
            return f.select(inside, f.binary("shl", x, places), _zero(x))
        if not _signed(x):
            return f.select(inside, f.binary("lshr", x, places), _zero(x))
        sign = f.binary("ashr", x, _like(x, BITS[x.type] - 1))
        return f.select(inside, f.binary("ashr", x, places), sign)

    return emit


# Integers that vectors of floats are converted to by way of others: these, their least, their most.
_SATURATED = {
    "i32": ("i32", -(2**31), 2**31 - 1),
    "i64": ("i64", -(2**63), 2**63 - 1),
    "u8": ("i32", 0, 2**8 - 1),
}


def _saturated(f: Function, x: Value, target: str) -> Value:
    """Floats held to an integer's range before they are converted, and NaN as 0.

    LLVM's own conversion that saturates goes lane by lane on x86: 1.4 ns a value, this 0.15.
    """
    by, least, most = _SATURATED[target]
    if by == "i64" and x.lanes == _SHIFTED_LANES and f.module.target.shifts_lanes:
        return _shifted(f, x)
    # The largest float below 2^31, 2^63, where that of the range has more digits than a float.
    digits = 24 if x.type == "f32" else 53
    held_most = most >> max(0, most.bit_length() - digits) << max(0, most.bit_length() - digits)
    held = f.select(f.compare("fcmp ord", x, x), x, _zero(x))
    for predicate, bound in (("lt", least), ("gt", held_most)):
        limit = constant(float(bound), x.type, x.lanes)
        held = f.select(_compare(f, predicate, held, limit), limit, held)
    whole = f.value(f"fptosi {held.typed} to {llvm_type(by, x.lanes)}", by, x.lanes)
    if held_most < most:
        above = _compare(f, "gt", x, constant(float(held_most), x.type, x.lanes))
        whole = f.select(above, _like(whole, most), whole)
    return whole if by == target else cast(f, whole, target)


# Lanes of 64 bits that are shifted each by a number of its own.
_SHIFTED_LANES = 4


def _shifted(f: Function, x: Value) -> Value:
    """Floats as int64: their digits, moved to where the exponent says. There is no such conversion
    of vectors before AVX-512, and that of single lanes takes longer.
    """
    digits, exponents = (23, 0xFF) if x.type == "f32" else (52, 0x7FF)
    held = f.select(f.compare("fcmp ord", x, x), x, _zero(x))
    narrow = Value(_bits(f, held).text, "i32" if x.type == "f32" else "i64", x.lanes)
    sign = cast(f, f.binary("ashr", narrow, _like(narrow, BITS[x.type] - 1)), "i64")
    bits = cast(f, _bits(f, held), "u64")
    below = f.binary("and", bits, _like(bits, (1 << digits) - 1))
    whole = f.binary("or", below, _like(bits, 1 << digits))
    exponent = f.binary("and", f.binary("lshr", bits, _like(bits, digits)), _like(bits, exponents))
    point = _like(bits, exponents // 2 + digits)
    # By as many places as there are or more, or by a negative number, these instructions give 0.
    left, right = (
        f.intrinsic(f"@llvm.x86.avx2.{name}.q.256", [whole, places], "i64", x.lanes)
        for name, places in (
            ("psllv", f.binary("sub", exponent, point)),
            ("psrlv", f.binary("sub", point, exponent)),
        )
    )
    turned = f.binary("sub", f.binary("xor", f.binary("or", left, right), sign), sign)
    beyond = f.compare("icmp sgt", exponent, _like(bits, exponents // 2 + 62))
    most = f.binary("xor", _like(turned, 2**63 - 1), sign)
    return f.select(beyond, most, turned)


def cast(f: Function, x: Value, target: str) -> Value:
    """Convert between the scalar types as NumPy does; floats out of an integer's range saturate."""
    if target == x.type or (LLVM_TYPES[target] == LLVM_TYPES[x.type] and not _floating(x)):
        return Value(x.text, target, x.lanes)
    if target == "bool":
        return f.compare("fcmp une" if _floating(x) else "icmp ne", x, _zero(x))
    to_float, to_signed = target[0] == "f", target in ("i32", "i64")
    if _floating(x) and target in _SATURATED and x.lanes > 1 and f.module.target.is_x86:
        return _saturated(f, x, target)
    if _floating(x) and not to_float:
        code = "fptosi" if to_signed else "fptoui"
        names = suffix(target, x.lanes), suffix(x.type, x.lanes)
        return f.intrinsic(f"@llvm.{code}.sat.{'.'.join(names)}", [x], target, x.lanes)
    if _floating(x):
        code = "fpext" if target == "f64" else "fptrunc"
    elif to_float:
        code = "sitofp" if _signed(x) else "uitofp"
    elif BITS[target] < BITS[x.type]:
        code = "trunc"
    else:
        code = "sext" if _signed(x) else "zext"
    text = f"{code} {x.typed} to {llvm_type(target, x.lanes)}"
    return f.pure(text, target, x.lanes, (x,))


def _not(f: Function, x: Value) -> Value:
    return f.binary("xor", x, constant(True, "bool", x.lanes))


def _bits(f: Function, x: Value) -> Value:
    target = "u32" if x.type == "f32" else "u64"
    return f.value(f"bitcast {x.typed} to {llvm_type(target, x.lanes)}", target, x.lanes)


def _fma(f: Function, x: Value, y: Value, z: Value) -> Value:
    """x * y + z, rounded once where the processor can, twice where it cannot."""
    if f.module.target.has_fma:
        return intrinsic(f, "fma", [x, y, z])
    return f.binary("fadd", f.binary("fmul", x, y), z)


_SPECIAL: dict[str, Callable[..., Value]] = {
    "neg": _neg,
    "abs": _abs,
    "sign": _sign,
    "relu": _relu,
    "maximum": _extremum("maximum"),
    "minimum": _extremum("minimum"),
    "mod": _mod,
    "floor_divide": _floor_divide,
    "left_shift": _shift("left"),
    "right_shift": _shift("right"),
    "logical_not": _not,
    "fma": _fma,
    "bits": _bits,
    "where": Function.select,
    "sqrt": lambda f, x: intrinsic(f, "sqrt", [x]),
    "round": lambda f, x: intrinsic(f, "rint", [x]),
    "floor": lambda f, x: intrinsic(f, "floor", [x]),
    "offset": lambda f, x, n: f.value(f"getelementptr i8, {x.typed}, {n.typed}", "ptr"),
}


def operation(f: Function, name: str, args: Sequence[Value], type: str) -> Value:
    """One arithmetic operation of the loop IR; scalars among vectors are repeated."""
    lanes = max(x.lanes for x in args)
    args = [f.broadcast(x, lanes) for x in args]
    x = args[0]
    if name == "cast":
        return cast(f, x, type)
    if name in _SPECIAL:
        return _SPECIAL[name](f, *args)
    if name == "pow" and not _floating(x):
        return _integer_power(f, *args)
    if name in math.OPS or name in math.INTEGER_OPS:
        return _call(f, name, args)
    if name in _FLOAT_COMPARE:
        if _floating(x):
            return f.compare(f"fcmp {_FLOAT_COMPARE[name]}", *args)
        return _compare(f, _INT_COMPARE[name], *args)
    table = _FLOAT_BINARY if _floating(x) else _INT_BINARY
    if name not in table:
        raise CompileError(f"no instruction for {name} of {x.type}")
    return f.binary(table[name], *args)


# What would let LLVM round one instruction differently from another of the same operands.
_FREE = (
    r"\bfmuladd\b|= (?:\w+ )?(?:call|f[a-z]+|select|phi)(?: [a-z]+)*?"
    r" (?:fast|nnan|ninf|nsz|arcp|contract|afn|reassoc)\b.*"
)


def verify_exact(text: str) -> None:
    """Raise `VerifyError` where an instruction of a module leaves its result open.

    With no such instruction, equal operations on equal operands give equal bits in every kernel.
    """
    found = re.search(_FREE, text)
    if found:
        raise VerifyError(f"an instruction leaves its rounding to LLVM: {found[0]}")
