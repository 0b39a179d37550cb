"""Concatenations of many values: each is stored in its place, one after the other."""

from __future__ import annotations

from collections.abc import Callable

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Statement
from mynn.compiler.lowering.base import Context, best_axis, plain_index, serial, vector_loops
from mynn.core.graph import Node


def lower_concatenate(context: Context) -> list[Statement]:
    """A loop nest for each value, inside the loops that all of them share.

    for row in rows:
        for i in 0..a: out[row, i] = f(first[row, i])
        for i in 0..b: out[row, a + i] = f(second[row, i])
    """
    anchor = context.group.anchor
    assert anchor is not None
    joined: int = anchor.params["axis"]
    names = [context.names.fresh("i", n) for n in anchor.shape]
    axis = best_axis(context, anchor)
    body: list[Statement] = []
    start = 0
    for x in anchor.inputs:
        body += _piece(context, anchor, x, start, names, axis)
        start += x.shape[joined]
    shared = [
        (name, extent)
        for i, (name, extent) in enumerate(zip(names, anchor.shape, strict=True))
        if i not in (axis, joined) and extent != 1
    ]
    return serial(shared, body)


def _piece(
    context: Context, anchor: Node, x: Node, start: int, names: list[str], axis: int
) -> list[Statement]:
    """The loops over the values of `x`, which begin at `start`; vectors run along `axis`."""
    joined: int = anchor.params["axis"]
    extent = x.shape[joined]
    row = context.names.fresh("i")

    def at(index: Affine) -> list[Statement]:
        source = plain_index(names, x.shape)
        source[joined] = Affine.var(row) if extent > 1 else Affine()
        source[axis] = index
        target = list(source)
        target[joined] = source[joined] + start
        builder = context.builder()
        builder.memo[anchor, tuple(target)] = builder.value(x, tuple(source))
        return context.emit_outputs(builder, tuple(target))

    if axis == joined:
        return _exact_vectors(context, extent, at)
    inner = vector_loops(context.names, x.shape[axis], context.lanes(), at)
    return serial([(row, extent)] if extent > 1 else [], inner)


def _exact_vectors(
    context: Context, extent: int, body: Callable[[Affine], list[Statement]]
) -> list[Statement]:
    """Loops along the joined axis in vectors that are full, then halves of them.

    A part of a vector might be stored with what lies behind it: that is the next value.
    """
    result: list[Statement] = []
    lanes, start = context.lanes(), 0
    while start < extent:
        while lanes > extent - start:
            lanes //= 2
        count = (extent - start) // lanes

        def behind(index: Affine, first: int = start) -> list[Statement]:
            return body(index + first)

        result += vector_loops(context.names, count * lanes, lanes, behind)
        start += count * lanes
    return result
