"""Argmax over few values: one after the other. Over many it is two reductions (`ops/reduce.py`)."""

from __future__ import annotations

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import (
    INDEX,
    Buffer,
    Const,
    Expr,
    Load,
    Local,
    Op,
    Statement,
    Store,
)
from mynn.compiler.lowering.base import Context, plain_index, serial
from mynn.compiler.rules.expressions import Expressions


def lower_argmax(context: Context) -> list[Statement]:
    """One result after the other: the best value and its index so far, in registers.

    for j in extent: best, where = the better of them and x[j], j
    """
    anchor = context.group.anchor
    assert anchor is not None
    x = anchor.inputs[0]
    axis: int = anchor.params["axis"]
    extent = x.shape[axis]
    names = [context.names.fresh("i") for _ in x.shape]
    values = plain_index(names, x.shape)
    best = Buffer(context.names.fresh("best"), x.type.short, 1, "register")
    where = Buffer(context.names.fresh("where"), INDEX, 1, "register")

    first = context.builder()
    start = first.value(x, (*values[:axis], Affine(), *values[axis + 1 :]))
    body: list[Statement] = [Local(best), Local(where), *first.body]
    body += [Store(best, Affine(), start), Store(where, Affine(), Const(0, INDEX))]
    step = context.builder()
    value = step.value(x, tuple(values))
    seen = step.let(Load(best, Affine()))
    better = is_better(step, value, seen, best.type)
    keep = [
        *step.body,
        Store(best, Affine(), Op("where", (better, value, seen), best.type)),
        Store(where, Affine(), Op("where", (better, values[axis], Load(where, Affine())), INDEX)),
    ]
    body += serial([(names[axis], extent)] if extent != 1 else [], keep)
    loops = tuple(v for i, v in enumerate(values) if i != axis)
    end = context.builder()
    end.memo[anchor, loops] = end.let(Load(where, Affine()))
    body += context.emit_outputs(end, loops)
    outer = [(names[i], e) for i, e in enumerate(x.shape) if i != axis and e != 1]
    return serial(outer, body)


def is_better(e: Expressions, value: Expr, seen: Expr, kind: str) -> Expr:
    """Whether a value is better than what was seen before; NaN is better than all numbers."""
    better: Expr = Op("less", (seen, value), "bool")
    if kind[0] == "f":
        is_nan = e.let(Op("not_equal", (value, value), "bool"))
        was_number = e.let(Op("equal", (seen, seen), "bool"))
        fresh_nan = e.let(Op("bitwise_and", (is_nan, was_number), "bool"))
        better = Op("bitwise_or", (e.let(better), fresh_nan), "bool")
    return e.let(better)
