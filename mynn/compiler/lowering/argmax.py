"""Argmax: one element after the other."""

from __future__ import annotations

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import INDEX, Buffer, Const, Expr, Load, Local, Op, Statement, Store
from mynn.compiler.lowering.base import Context, plain_index, serial


def lower_argmax(context: Context) -> list[Statement]:
    """One result after the other: the best value and its index so far, in registers."""
    anchor = context.group.anchor
    assert anchor is not None
    x = anchor.inputs[0]
    axis: int = anchor.params["axis"]
    names = [context.names.fresh("i") for _ in x.shape]
    values = plain_index(names, x.shape)
    best = Buffer(context.names.fresh("best"), x.type.short, 1, "register")
    where = Buffer(context.names.fresh("where"), INDEX, 1, "register")
    zero = Affine()
    first = context.builder()
    start = first.value(x, (*values[:axis], zero, *values[axis + 1 :]))
    builder = context.builder()
    value = builder.value(x, tuple(values))
    seen = builder.let(Load(best, zero))
    better: Expr = Op("less", (seen, value), "bool")
    if x.dtype.kind == "f":
        is_nan = builder.let(Op("not_equal", (value, value), "bool"))
        was_number = builder.let(Op("equal", (seen, seen), "bool"))
        fresh_nan = builder.let(Op("bitwise_and", (is_nan, was_number), "bool"))
        better = Op("bitwise_or", (builder.let(better), fresh_nan), "bool")
    found = builder.let(better)
    at = values[axis]
    step = [
        *builder.body,
        Store(best, zero, Op("where", (found, value, seen), x.type.short)),
        Store(where, zero, Op("where", (found, at, Load(where, zero)), INDEX)),
    ]
    loops = tuple(v for i, v in enumerate(values) if i != axis)
    end = context.builder()
    end.memo[anchor, loops] = end.let(Load(where, zero))
    body: list[Statement] = [
        Local(best),
        Local(where),
        *first.body,
        Store(best, zero, start),
        Store(where, zero, Const(0, INDEX)),
        *serial([(names[axis], x.shape[axis])] if x.shape[axis] != 1 else [], step),
        *context.emit_outputs(end, loops),
    ]
    outer = [(names[i], e) for i, e in enumerate(x.shape) if i != axis and e != 1]
    return serial(outer, body)
