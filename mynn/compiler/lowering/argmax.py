"""Argmax: one element after the other, or in chains side by side."""

from __future__ import annotations

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import (
    INDEX,
    Buffer,
    Const,
    Expr,
    For,
    Load,
    Local,
    Op,
    Statement,
    Store,
)
from mynn.compiler.lowering.base import Context, plain_index, serial
from mynn.compiler.rules.expressions import Expressions
from mynn.core.graph import Node

# Chains side by side, and the least extent that is cut into them: what is the best so far waits for
# the comparison before it.
_CHAINS = 8
_LEAST = 128


def lower_argmax(context: Context) -> list[Statement]:
    """One result after the other: the best value and its index so far, in registers.

    for j in piece: for k in chains: best[k], where[k] = the better of them and x[k, j], [k, j]
    for k in chains: best[0], where[0] = the better of them and best[k], where[k]
    """
    anchor = context.group.anchor
    assert anchor is not None
    x = anchor.inputs[0]
    axis: int = anchor.params["axis"]
    extent = x.shape[axis]
    names = [context.names.fresh("i") for _ in x.shape]
    values = plain_index(names, x.shape)
    chains = _CHAINS if extent >= _LEAST else 1
    piece = extent // chains
    best = Buffer(context.names.fresh("best"), x.type.short, chains, "register")
    where = Buffer(context.names.fresh("where"), INDEX, chains, "register")

    body: list[Statement] = [Local(best), Local(where)]
    for k in range(chains):
        first = context.builder()
        start = first.value(x, (*values[:axis], Affine(k * piece), *values[axis + 1 :]))
        body += [
            *first.body,
            Store(best, Affine(k), start),
            Store(where, Affine(k), Const(k * piece, INDEX)),
        ]
    if chains == 1:
        step = _step(context, x, values, axis, best, where, Affine())
        body += serial([(names[axis], extent)] if extent != 1 else [], step)
    else:
        body += _chains(context, x, values, axis, best, where, piece)
    loops = tuple(v for i, v in enumerate(values) if i != axis)
    end = context.builder()
    end.memo[anchor, loops] = end.let(Load(where, Affine()))
    body += context.emit_outputs(end, loops)
    outer = [(names[i], e) for i, e in enumerate(x.shape) if i != axis and e != 1]
    return serial(outer, body)


def _better(e: Expressions, value: Expr, seen: Expr, kind: str) -> Expr:
    """Whether a value is better than what was seen before; NaN is better than all numbers."""
    better: Expr = Op("less", (seen, value), "bool")
    if kind[0] == "f":
        is_nan = e.let(Op("not_equal", (value, value), "bool"))
        was_number = e.let(Op("equal", (seen, seen), "bool"))
        fresh_nan = e.let(Op("bitwise_and", (is_nan, was_number), "bool"))
        better = Op("bitwise_or", (e.let(better), fresh_nan), "bool")
    return e.let(better)


def _keep(
    e: Expressions, value: Expr, at: Expr, best: Buffer, where: Buffer, chain: Affine
) -> list[Statement]:
    """The better of a value and what a chain has."""
    seen = e.let(Load(best, chain))
    found = _better(e, value, seen, best.type)
    return [
        *e.body,
        Store(best, chain, Op("where", (found, value, seen), best.type)),
        Store(where, chain, Op("where", (found, at, Load(where, chain)), INDEX)),
    ]


def _step(
    context: Context,
    x: Node,
    index: list[Affine],
    axis: int,
    best: Buffer,
    where: Buffer,
    chain: Affine,
) -> list[Statement]:
    """An element of x in a chain."""
    builder = context.builder()
    value = builder.value(x, tuple(index))
    return _keep(builder, value, index[axis], best, where, chain)


def _chains(
    context: Context,
    x: Node,
    values: list[Affine],
    axis: int,
    best: Buffer,
    where: Buffer,
    piece: int,
) -> list[Statement]:
    """All chains along their pieces, the rest in the last of them, then the best of all."""
    place, chain = context.names.fresh("j"), context.names.fresh("k")

    def at(position: Affine) -> list[Affine]:
        return [*values[:axis], position, *values[axis + 1 :]]

    position = Affine.var(place) + Affine.var(chain, piece)
    step = _step(context, x, at(position), axis, best, where, Affine.var(chain))
    result: list[Statement] = [For(place, piece, (For(chain, _CHAINS, tuple(step), "unroll"),))]
    rest = x.shape[axis] - _CHAINS * piece
    if rest:
        place = context.names.fresh("j")
        position = (Affine.var(place) if rest > 1 else Affine()) + _CHAINS * piece
        step = _step(context, x, at(position), axis, best, where, Affine(_CHAINS - 1))
        result += serial([(place, rest)] if rest > 1 else [], step)
    for k in range(1, _CHAINS):
        e = Expressions(context.names)
        value, found = e.let(Load(best, Affine(k))), e.let(Load(where, Affine(k)))
        result += _keep(e, value, found, best, where, Affine())
    return result
