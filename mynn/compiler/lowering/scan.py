"""Scans: running totals along an axis, one element after the other, or in chains side by side."""

from __future__ import annotations

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import (
    Buffer,
    Const,
    Expr,
    For,
    Let,
    Load,
    Local,
    Op,
    Statement,
    Store,
    Var,
)
from mynn.compiler.lowering.base import Context, axis_scores, over_chunks, plain_index, serial
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import Scan
from mynn.core.graph import Node

# Rows side by side, where no vector runs across them.
_ROWS = 4


def lower_scan(context: Context) -> list[Statement]:
    """A serial loop along the axis around a vector of totals, which runs along another axis; or
    around those of some rows, whose totals do not wait for each other.

    for block in blocks of the other axis:
        total = start
        for i in axis:
            total = total + x[i, block]; out[i, block] = total
    """
    anchor = context.group.anchor
    assert anchor is not None
    shape, axis = anchor.shape, anchor.params["axis"]
    names = [context.names.fresh("i") for _ in shape]
    across, score = _across(context, anchor)
    rule = rule_of(anchor)
    assert isinstance(rule, Scan)
    long = rule.pieces and shape[axis] >= _LEAST and score < 0
    long = long and (anchor.dtype.kind == "f" or rule.combine != "add")
    if long and not _is_costly(context, anchor, names):
        outer = [(names[i], n) for i, n in enumerate(shape) if i != axis and n != 1]
        return serial(outer, _chains(context, anchor, names))
    kind, lanes = "vector", context.lanes()
    if score < 0:  # lanes would be gathered one by one
        kind, lanes = "unroll", _ROWS

    def block(first: Affine, width: int) -> list[Statement]:
        return _vector_of_totals(context, anchor, names, across, first, width, kind)

    extent = 1 if across is None else shape[across]
    result = over_chunks(context.names, "i", extent, lanes, block)
    outer = [(names[i], n) for i, n in enumerate(shape) if i not in (axis, across) and n != 1]
    return serial(outer, result)


def _across(context: Context, anchor: Node) -> tuple[int | None, int]:
    """The axis for vectors: that along which they touch memory best, other than the scan's; and how
    well.
    """
    scores = axis_scores(context, anchor.inputs[0])
    scores.pop(anchor.params["axis"], None)
    axis = max(scores, key=lambda axis: (scores[axis], min(anchor.shape[axis], 16)), default=None)
    return axis, -1 if axis is None else scores[axis]


def _vector_of_totals(
    context: Context,
    anchor: Node,
    names: list[str],
    across: int | None,
    first: Affine,
    width: int,
    kind: str,
) -> list[Statement]:
    rule, x, axis = rule_of(anchor), anchor.inputs[0], anchor.params["axis"]
    assert isinstance(rule, Scan)
    totals = Buffer(context.names.fresh("total"), x.type.short, width, "register")
    lane = context.names.fresh("v")
    start = Store(totals, Affine.var(lane), Const(rule.start(x.type.short), x.type.short))
    clear = For(lane, width, (start,), kind)
    lane = context.names.fresh("v")
    index = plain_index(names, x.shape)
    if across is not None:
        index[across] = first + Affine.var(lane)
    point, at = tuple(index), Affine.var(lane)
    builder = context.builder()
    total = builder.let(builder.combine(rule.combine, Load(totals, at), x, point))
    builder.memo[anchor, point] = total
    body = [*context.emit_outputs(builder, point), Store(totals, at, total)]
    step = For(lane, width, tuple(body), kind)
    loops = [(names[axis], x.shape[axis])] if x.shape[axis] != 1 else []
    return [Local(totals), clear, *serial(loops, [step])]


# -- chains ----------------------------------------------------------------------------------------

# Chains side by side, and the least extent that is cut into them. A total waits for the one before
# it, 4 cycles for an addition; those of several chains do not wait for each other. The sum of
# integers is there in the next cycle, and chains read everything twice.
_CHAINS = 8
_LEAST = 128
# A distance of elements at which chains would fall into the same places of a cache.
_SAME_PLACES = 512


def _is_costly(context: Context, anchor: Node, names: list[str]) -> bool:
    """Whether it is better to compute the elements once than twice."""
    builder = context.builder()
    builder.value(anchor.inputs[0], tuple(plain_index(names, anchor.shape)))
    return builder.costly


def _chains(context: Context, anchor: Node, names: list[str]) -> list[Statement]:
    """The axis in pieces: the totals of all pieces, what stands before each, then all results.

    for j in piece: for k in chains: total[k] = total[k] + x[k, j]
    total[k] becomes the sum of the totals before k
    for j in piece: for k in chains: total[k] = total[k] + x[k, j]; out[k, j] = total[k]
    for j behind the last piece: total[last] = total[last] + x[j]; out[j] = total[last]
    """
    rule, x, axis = rule_of(anchor), anchor.inputs[0], anchor.params["axis"]
    assert isinstance(rule, Scan)
    kind, extent = x.type.short, x.shape[axis]
    start = Const(rule.start(kind), kind)
    piece = extent // _CHAINS
    piece -= 16 if piece % _SAME_PLACES < 16 and piece > 64 else 0
    totals = Buffer(context.names.fresh("total"), kind, _CHAINS, "register")

    def step(position: Affine, at: Affine, stores: bool) -> list[Statement]:
        index = plain_index(names, x.shape)
        index[axis] = position
        builder = context.builder()
        combined = builder.combine(rule.combine, Load(totals, at), x, tuple(index))
        total = builder.let(combined)
        builder.memo[anchor, tuple(index)] = total
        body = context.emit_outputs(builder, tuple(index)) if stores else builder.body
        return [*body, Store(totals, at, total)]

    def side_by_side(stores: bool) -> Statement:
        place, chain = context.names.fresh("j"), context.names.fresh("k")
        position = Affine.var(place) + Affine.var(chain, piece)
        body = step(position, Affine.var(chain), stores)
        return For(place, piece, (For(chain, _CHAINS, tuple(body), "unroll"),))

    result: list[Statement] = [Local(totals)]
    result += [Store(totals, Affine(k), start) for k in range(_CHAINS)]
    result.append(side_by_side(False))
    before: list[Expr] = [start]
    for k in range(_CHAINS):
        name = context.names.fresh()
        result.append(Let(name, Load(totals, Affine(k))))
        total = context.names.fresh()
        result.append(Let(total, Op(rule.combine, (before[-1], Var(name, kind)), kind)))
        before.append(Var(total, kind))
    result += [Store(totals, Affine(k), before[k]) for k in range(_CHAINS)]
    result.append(side_by_side(True))
    remainder, place = extent - _CHAINS * piece, context.names.fresh("j")
    if remainder:
        position = (Affine.var(place) if remainder > 1 else Affine()) + _CHAINS * piece
        last = step(position, Affine(_CHAINS - 1), True)
        result += serial([(place, remainder)] if remainder > 1 else [], last)
    return result
