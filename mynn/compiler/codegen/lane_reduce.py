"""Lanes of a vector against each other: sums, maxima and minima of all of them."""

from __future__ import annotations

from collections.abc import Sequence

from mynn.compiler.codegen.function import Function
from mynn.compiler.codegen.ops import operation
from mynn.compiler.codegen.values import BITS, Value
from mynn.compiler.codegen.vectors import assemble, narrow, shuffle


def reduce_lanes(f: Function, op: str, value: Value) -> Value:
    """All lanes of a vector combined into a scalar, as a tree."""
    while value.lanes > 1:
        half = value.lanes // 2
        low = narrow(f, value, half)
        high = shuffle(f, value, None, range(half, value.lanes))
        value = operation(f, op, [low, high], value.type)
    return value


def reduce_rows(f: Function, op: str, rows: Sequence[Value], lanes: int) -> Value:
    """Lane i of the result combines all lanes of `rows[i]`."""
    width = rows[0].lanes
    if width == 1:
        return assemble(f, rows, lanes)
    count = -(-lanes // width) * width
    padded = [*rows] + [rows[-1]] * (count - len(rows))
    parts = [_combine_square(f, op, padded[i : i + width]) for i in range(0, count, width)]
    while len(parts) > 1:
        parts = [
            shuffle(f, a, b, range(2 * a.lanes))
            for a, b in zip(parts[::2], parts[1::2], strict=True)
        ]
    return narrow(f, parts[0], lanes)


def _combine_square(f: Function, op: str, rows: Sequence[Value]) -> Value:
    """As many rows as lanes: pairs of rows are folded into one until one vector is left.

    The first rounds stay within blocks of 128 bits, where shuffles are cheapest; the last ones
    exchange whole blocks.
    """
    vectors = list(rows)
    width = vectors[0].lanes
    block = min(width, 128 // max(BITS[vectors[0].type], 8))
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
            operation(f, op, [shuffle(f, a, b, side) for side in sides], a.type)
            for a, b in zip(vectors[::2], vectors[1::2], strict=True)
        ]
    return vectors[0]
