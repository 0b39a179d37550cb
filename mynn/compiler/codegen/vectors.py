"""Lanes moved about: shuffles, and what is built of them."""

from __future__ import annotations

from collections.abc import Sequence

from mynn.compiler.codegen.function import Function
from mynn.compiler.codegen.values import BITS, Value, llvm_type, suffix, vector


def shuffle(f: Function, a: Value, b: Value | None, order: Sequence[int]) -> Value:
    """A vector picked out of two; without a second one, its lanes are undefined."""
    second = "poison" if b is None else b.text
    picks = f"<{len(order)} x i32> {vector(order, 'i32')}"
    text = f"shufflevector {a.typed}, {a.llvm_type} {second}, {picks}"
    result = f.value(text, a.type, len(order))
    if len(order) == 1:
        kind = f"<1 x {llvm_type(a.type)}>"
        return f.value(f"extractelement {kind} {result.text}, i64 0", a.type)
    return result


def element(f: Function, value: Value, lane: int) -> Value:
    """One lane."""
    return f.value(f"extractelement {value.typed}, i64 {lane}", value.type)


def insert(f: Function, value: Value, scalar: Value, lane: int) -> Value:
    """The vector with another scalar in one lane."""
    text = f"insertelement {value.typed}, {scalar.typed}, i64 {lane}"
    return f.value(text, value.type, value.lanes)


def widen(f: Function, value: Value, lanes: int) -> Value:
    """A vector with more lanes, the new ones undefined."""
    if value.lanes == lanes:
        return value
    if value.lanes == 1:
        return insert(f, Value("poison", value.type, lanes), value, 0)
    return shuffle(f, value, None, [i if i < value.lanes else 0 for i in range(lanes)])


def narrow(f: Function, value: Value, lanes: int) -> Value:
    """The first lanes of a vector."""
    if value.lanes == lanes:
        return value
    return element(f, value, 0) if lanes == 1 else shuffle(f, value, None, range(lanes))


def assemble(f: Function, scalars: Sequence[Value], lanes: int) -> Value:
    """Scalars side by side in a vector."""
    if lanes == 1:
        return scalars[0]
    result = Value("poison", scalars[0].type, lanes)
    for lane, value in enumerate(scalars):
        result = insert(f, result, value, lane)
    return result


def fence(f: Function, value: Value) -> Value:
    """The same vector, through which LLVM does not look when it combines shuffles: among many it
    tries whatever could be one, and takes longer for that than for all else.
    """
    if value.type[0] != "f":
        return value
    name = f"@llvm.arithmetic.fence.{suffix(value.type, value.lanes)}"
    return f.intrinsic(name, [value], value.type, value.lanes)


def transpose(f: Function, rows: Sequence[Value]) -> list[Value]:
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
            square = [shuffle(f, a, b, order) for a, b in pairs for order in (low, high)]
        across.append([fence(f, vector) for vector in square] if n > block else square)
    columns: list[list[Value]] = []
    for j in range(block):
        vectors = [square[j] for square in across]
        even = [s + i for s in range(0, 2 * n, 2 * block) for i in range(block)]
        odd = [i + block for i in even]
        for _ in range(len(vectors).bit_length() - 1):
            pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
            vectors = [shuffle(f, a, b, order) for order in (even, odd) for a, b in pairs]
        columns.append(vectors)
    return [columns[c % block][c // block] for c in range(n)]
