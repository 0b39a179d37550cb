"""Sums, maxima and minima over axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from mynn.compiler.loop_ir.affine import Affine, Index
from mynn.compiler.loop_ir.ir import (
    Buffer,
    Const,
    Expr,
    For,
    Load,
    Local,
    Op,
    Reduce,
    Statement,
    Store,
)
from mynn.compiler.lowering.base import (
    Context,
    best_axis,
    canonical,
    over_chunks,
    plain_index,
    serial,
)
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import Reduction
from mynn.core.graph import Node
from mynn.core.types import Shape

# Accumulators of a long reduction: what an addition's latency leaves room for.
_CHAINS = 4
# Bytes of results side by side: neighbouring lines of the cache are read together, and once.
_LINE = 256


def _rule(anchor: Node) -> Reduction:
    rule = rule_of(anchor)
    assert isinstance(rule, Reduction)
    return rule


def lower_reduce(context: Context) -> list[Statement]:
    """A sum, max or min.

    Vectors run along a kept axis, or along a reduced one with the lanes combined at the end.
    """
    anchor = context.group.anchor
    assert anchor is not None
    x = anchor.inputs[0]
    axes: Shape = anchor.params["axes"]
    if not x.shape:
        builder = context.builder()
        builder.memo[anchor, ()] = builder.value(x, ())
        return context.emit_outputs(builder, ())
    names = [context.names.fresh("i", n) for n in x.shape]
    axis = best_axis(context, x)
    build = _reduce_across if axis in axes else _reduce_along
    return build(context, anchor, names, axis)


def _kept(values: list[Affine], axes: Shape) -> Index:
    return tuple(value for axis, value in enumerate(values) if axis not in axes)


def _accumulate(
    context: Context, anchor: Node, acc: Buffer, at: Affine, index: Index
) -> list[Statement]:
    builder = context.builder()
    total = builder.combine(_rule(anchor).combine, Load(acc, at), anchor.inputs[0], index)
    return [*builder.body, Store(acc, at, total)]


def _reduce_along(context: Context, anchor: Node, names: list[str], axis: int) -> list[Statement]:
    """Lines of results, or vectors where little is summed: the reduced axes are serial loops around
    their accumulators.
    """
    x, line = anchor.inputs[0], context.lanes()
    reduced = [x.shape[i] for i in anchor.params["axes"] if x.shape[i] != 1]
    if reduced and reduced[-1] >= 2 * _CHAINS:
        line = max(line, _LINE // max(x.dtype.itemsize, 4))

    def block(first: Affine, width: int) -> list[Statement]:
        return _line_of_results(context, anchor, names, axis, first, width)

    result = over_chunks(context.names, "i", x.shape[axis], line, block)
    kept = [i for i in range(len(x.shape)) if i not in anchor.params["axes"] and i != axis]
    return serial([(names[i], x.shape[i]) for i in kept if x.shape[i] != 1], result)


def _line_of_results(
    context: Context, anchor: Node, names: list[str], axis: int, first: Affine, width: int
) -> list[Statement]:
    """The results at first .. first + width - 1 of the vector axis.

    A long reduction has several accumulators, so that an addition need not wait for the last one.
    """
    x, rule = anchor.inputs[0], _rule(anchor)
    axes: Shape = anchor.params["axes"]
    lanes = context.lanes()
    starts = range(0, width, lanes)
    around = [i for i in axes if x.shape[i] != 1]
    inner = around.pop() if around else None
    extent = 1 if inner is None else x.shape[inner]
    splits = max(_CHAINS // len(starts), 1) if extent >= 2 * _CHAINS else 1
    pitch = len(starts) * lanes
    acc = Buffer(context.names.fresh("acc"), x.type.short, splits * pitch, "register")

    def point(column: Affine, k: Affine | None = None) -> Index:
        values = plain_index(names, x.shape)
        values[axis] = first + column
        if inner is not None and k is not None:
            values[inner] = k
        return tuple(values)

    def over(body: Callable[[Affine], list[Statement]]) -> list[Statement]:
        """`body(column)` for the columns of each vector."""
        result: list[Statement] = []
        for start in starts:
            lane = context.names.fresh("v")
            statements = tuple(body(Affine.var(lane) + start))
            result.append(For(lane, min(lanes, width - start), statements, "vector"))
        return result

    def clear(at: int, column: Affine) -> list[Statement]:
        return [Store(acc, column + at, Const(rule.start(x.type.short), x.type.short))]

    body: list[Statement] = [Local(acc)]
    for split in range(splits):
        body += over(partial(clear, split * pitch))

    def add(split: int, k: Affine) -> list[Statement]:
        return over(
            lambda column: _accumulate(
                context, anchor, acc, column + split * pitch, point(column, k)
            )
        )

    sums: list[Statement]
    if inner is None:
        sums = add(0, Affine())
    else:
        rounds, rest = divmod(extent, splits)
        step = Affine.var(names[inner], splits)
        each = [s for split in range(splits) for s in add(split, step + split)]
        sums = [For(names[inner], rounds, tuple(each))]
        for split in range(rest):
            sums += add(split, Affine(rounds * splits + split))

    def finish(column: Affine) -> list[Statement]:
        loops = canonical(_kept(list(point(column)), axes), anchor.shape)
        builder = context.builder()
        total = _joined(acc, column, pitch, splits, rule)
        builder.memo[anchor, loops] = total if splits == 1 else builder.let(total)
        return context.emit_outputs(builder, loops)

    return [*body, *serial([(names[i], x.shape[i]) for i in around], sums), *over(finish)]


def _joined(acc: Buffer, at: Affine, pitch: int, splits: int, rule: Reduction) -> Expr:
    """The accumulators of a lane, combined."""
    parts: list[Expr] = [Load(acc, at + split * pitch) for split in range(splits)]
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=True)
        parts = [Op(rule.combine, pair, acc.type) for pair in pairs]
    return parts[0]


def _reduce_across(context: Context, anchor: Node, names: list[str], axis: int) -> list[Statement]:
    """Vectors along a reduced axis: each lane accumulates, the lanes are combined at the end.

    A long axis has several accumulators, as in `_line_of_results`.
    """
    x = anchor.inputs[0]
    axes: Shape = anchor.params["axes"]
    rule = _rule(anchor)
    start = Const(rule.start(x.type.short), x.type.short)
    lanes = min(context.lanes(), 1 << (x.shape[axis] - 1).bit_length())
    around = [(names[i], x.shape[i]) for i in axes if i != axis and x.shape[i] != 1]
    count = x.shape[axis] * math.prod(n for _, n in around)
    splits = 1
    if count >= 4 * _CHAINS * lanes:
        # As many vectors as lie along the axis, if they are few.
        splits = min(_CHAINS, 1 << (max(x.shape[axis] // lanes, 1).bit_length() - 1))
    acc = Buffer(context.names.fresh("acc"), x.type.short, splits * lanes, "register")

    def over(width: int, split: int, body: Callable[[Affine, Affine], list[Statement]]) -> For:
        """`body(lane, its accumulator)` for the lanes of a vector."""
        lane = context.names.fresh("v")
        at = Affine.var(lane)
        return For(lane, width, tuple(body(at, at + split * lanes)), "vector")

    body: list[Statement] = [Local(acc)]
    for split in range(splits):
        body.append(over(lanes, split, lambda lane, at: [Store(acc, at, start)]))

    def block(first: Affine, width: int, split: int = 0) -> list[Statement]:
        def add(lane: Affine, at: Affine) -> list[Statement]:
            values = plain_index(names, x.shape)
            values[axis] = first + lane
            return _accumulate(context, anchor, acc, at, tuple(values))

        return [over(width, split, add)]

    whole = x.shape[axis] // (splits * lanes) * (splits * lanes) if splits > 1 else 0
    inner: list[Statement] = []
    if whole:
        name = context.names.fresh("i")
        first = Affine.var(name, splits * lanes) if whole > splits * lanes else Affine()
        parts = [block(first + split * lanes, lanes, split) for split in range(splits)]
        adds = tuple(statement for part in parts for statement in part)
        rounds = whole // (splits * lanes)
        inner += [For(name, rounds, adds)] if rounds > 1 else adds
    rest = x.shape[axis] - whole
    inner += over_chunks(
        context.names, "i", rest, lanes, lambda first, width: block(first + whole, width)
    )
    body += serial(around, inner)
    if splits > 1:
        body.append(
            over(
                lanes,
                0,
                lambda lane, at: [Store(acc, lane, _joined(acc, lane, lanes, splits, rule))],
            )
        )
    loops = _kept(plain_index(names, x.shape), axes)
    total = Reduce(rule.combine, acc, Affine(), lanes)
    builder = context.builder()
    builder.memo[anchor, loops] = builder.let(total)
    body += context.emit_outputs(builder, loops)
    outer = [(names[i], e) for i, e in enumerate(x.shape) if i not in axes and e != 1]
    return serial(outer, body)
