"""Scans: running totals along an axis, one element after the other."""

from __future__ import annotations

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Buffer, Const, For, Load, Local, Statement, Store
from mynn.compiler.lowering.base import Context, axis_scores, over_chunks, plain_index, serial
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import Scan
from mynn.core.graph import Node


def lower_scan(context: Context) -> list[Statement]:
    """A serial loop along the axis around a vector of totals, which runs along another axis.

    for block in blocks of the other axis:
        total = start
        for i in axis:
            total = total + x[i, block]; out[i, block] = total
    """
    anchor = context.group.anchor
    assert anchor is not None
    shape, axis = anchor.shape, anchor.params["axis"]
    names = [context.names.fresh("i") for _ in shape]
    across = _across(context, anchor)

    def block(first: Affine, width: int) -> list[Statement]:
        return _vector_of_totals(context, anchor, names, across, first, width)

    extent = 1 if across is None else shape[across]
    result = over_chunks(context.names, "i", extent, context.lanes(), block)
    outer = [(names[i], n) for i, n in enumerate(shape) if i not in (axis, across) and n != 1]
    return serial(outer, result)


def _across(context: Context, anchor: Node) -> int | None:
    """The axis for vectors: that along which they touch memory best, other than the scan's."""
    scores = axis_scores(context, anchor.inputs[0])
    scores.pop(anchor.params["axis"], None)
    return max(scores, key=lambda axis: (scores[axis], min(anchor.shape[axis], 16)), default=None)


def _vector_of_totals(
    context: Context,
    anchor: Node,
    names: list[str],
    across: int | None,
    first: Affine,
    width: int,
) -> list[Statement]:
    rule, x, axis = rule_of(anchor), anchor.inputs[0], anchor.params["axis"]
    assert isinstance(rule, Scan)
    totals = Buffer(context.names.fresh("total"), x.type.short, width, "register")
    lane = context.names.fresh("v")
    start = Store(totals, Affine.var(lane), Const(rule.start(x.type.short), x.type.short))
    clear = For(lane, width, (start,), "vector")
    lane = context.names.fresh("v")
    index = plain_index(names, x.shape)
    if across is not None:
        index[across] = first + Affine.var(lane)
    point, at = tuple(index), Affine.var(lane)
    builder = context.builder()
    total = builder.let(builder.combine(rule.combine, Load(totals, at), x, point))
    builder.memo[anchor, point] = total
    body = [*context.emit_outputs(builder, point), Store(totals, at, total)]
    step = For(lane, width, tuple(body), "vector")
    loops = [(names[axis], x.shape[axis])] if x.shape[axis] != 1 else []
    return [Local(totals), clear, *serial(loops, [step])]
