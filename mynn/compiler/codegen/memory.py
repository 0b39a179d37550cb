"""Loads and stores: scalars, vectors of neighbours, parts of vectors, elements far apart."""

from __future__ import annotations

from collections.abc import Sequence

from mynn.compiler.codegen.function import Function, index
from mynn.compiler.codegen.values import BITS, Value, mask, memory_type, suffix, zero
from mynn.compiler.codegen.vectors import shuffle

# Up to so many elements apart, what a vector loads is picked out of whole vectors.
MOST_STEPS = 4


def _bytes(type: str) -> int:
    return max(BITS[type] // 8, 1)


def offset(f: Function, type: str, base: Value, at: Value, inbounds: bool = False) -> Value:
    """The address of an element `at` places behind another; of many where `at` is a vector."""
    code = "getelementptr inbounds" if inbounds else "getelementptr"
    return f.pure(
        f"{code} {memory_type(type)}, {base.typed}, {at.typed}", "ptr", at.lanes, (base, at)
    )


def load(f: Function, type: str, pointer: Value, lanes: int = 1) -> Value:
    """A scalar or a vector of neighbours."""
    text = f"load {memory_type(type, lanes)}, {pointer.typed}, align {_bytes(type)}"
    return _from_memory(f, f.value(text, type, lanes))


def load_fixed(f: Function, type: str, base: Value, place: int) -> Value:
    """An element that nothing changes while the function runs, loaded once, before all loops."""
    pointer = offset(f, type, base, index(place), inbounds=True) if place else base
    text = f"load {memory_type(type)}, {pointer.typed}, align {_bytes(type)}"
    return _from_memory(f, f.pure(text, type, 1, (pointer,)))


def load_steady(f: Function, type: str, pointer: Value) -> Value:
    """An element that nothing changes while the function runs, loaded before the loops in which its
    place stays the same.
    """
    text = f"load {memory_type(type)}, {pointer.typed}, align {_bytes(type)}"
    return _from_memory(f, f.pure(text, type, 1, (pointer,), may_fail=True))


def load_strided(
    f: Function, type: str, pointer: Value, step: int, extent: int, lanes: int
) -> Value:
    """Every `step`th element: picked out of the vectors that hold them, which beats a gather."""
    picks = [min(i, extent - 1) * step for i in range(lanes)]
    parts = [
        load(f, type, offset(f, type, pointer, index(start)), lanes)
        for start in range(0, picks[-1] + 1, lanes)
    ]
    halves = []
    for number in range(0, len(parts), 2):
        a, b = parts[number], parts[min(number + 1, len(parts) - 1)]
        first = number * lanes
        order = [pick - first if 0 <= pick - first < 2 * lanes else 0 for pick in picks]
        halves.append(shuffle(f, a, b, order))
    if len(halves) == 1:
        return halves[0]
    order = [i if pick < 2 * lanes else lanes + i for i, pick in enumerate(picks)]
    return shuffle(f, halves[0], halves[1], order)


def load_backward(f: Function, type: str, pointer: Value, extent: int, lanes: int) -> Value:
    """Neighbours, the last of `extent` first: a vector turned round."""
    whole = load(f, type, pointer, lanes)
    return shuffle(f, whole, None, [max(extent - 1 - i, 0) for i in range(lanes)])


def _from_memory(f: Function, value: Value) -> Value:
    """What was loaded: a bool out of a byte."""
    if value.type != "bool":
        return value
    byte = Value(value.text, "u8", value.lanes)
    return f.compare("icmp ne", byte, zero("u8", value.lanes))


def _to_memory(f: Function, value: Value) -> Value:
    """What is stored: a byte for a bool."""
    if value.type != "bool":
        return value
    return f.value(f"zext {value.typed} to {memory_type('bool', value.lanes)}", "u8", value.lanes)


def store(f: Function, value: Value, pointer: Value, extent: int = 0) -> None:
    """Write neighbours; only the first `extent` of them where that is less than the lanes."""
    size = _bytes(value.type)
    value = _to_memory(f, value)
    if extent in (0, value.lanes):
        f.effect(f"store {value.typed}, {pointer.typed}, align {size}")
        return
    name = f"@llvm.masked.store.{suffix(value.type, value.lanes)}.p0"
    f.intrinsic(name, [value, pointer, Value(str(size), "i32"), mask(extent, value.lanes)], "")


def gather(f: Function, type: str, base: Value, at: Value, extent: int) -> Value:
    """Elements from anywhere in a buffer."""
    lanes = at.lanes
    pointers = offset(f, type, base, at)
    if lanes == 1:
        return load(f, type, pointers)
    byte = "u8" if type == "bool" else type
    name = f"@llvm.masked.gather.{suffix(type, lanes)}.v{lanes}p0"
    size = Value(str(_bytes(type)), "i32")
    given = [pointers, size, mask(extent, lanes), zero(byte, lanes)]
    found = f.intrinsic(name, given, byte, lanes)
    return _from_memory(f, Value(found.text, type, lanes))


def scatter(f: Function, value: Value, base: Value, at: Value, extent: int) -> None:
    """Elements to anywhere in a buffer, in the order of the lanes."""
    lanes, size = at.lanes, _bytes(value.type)
    pointers = offset(f, value.type, base, at)
    if lanes == 1:
        store(f, value, pointers)
        return
    value = _to_memory(f, value)
    name = f"@llvm.masked.scatter.{suffix(value.type, lanes)}.v{lanes}p0"
    f.intrinsic(name, [value, pointers, Value(str(size), "i32"), mask(extent, lanes)], "")


def atomic(
    f: Function, op: str, type: str, pointer: Value, args: Sequence[Value], order: str
) -> Value:
    """A step on a word that other threads use; see `Atomic` of the loop IR for the results."""
    kind, align = memory_type(type), f"align {_bytes(type)}"
    if op == "load":
        return f.value(f"load atomic {kind}, {pointer.typed} {order}, {align}", type)
    if op == "store":
        f.effect(f"store atomic {args[0].typed}, {pointer.typed} {order}, {align}")
        return args[0]
    if op == "compare_exchange":
        operands = ", ".join(x.typed for x in (pointer, *args))
        both = f.value(f"cmpxchg {operands} {order} acquire", type)
        return f.value(f"extractvalue {{ {kind}, i1 }} {both.text}, 1", "bool")
    code = {"add": "add", "exchange": "xchg"}[op]
    return f.value(f"atomicrmw {code} {pointer.typed}, {args[0].typed} {order}", type)
