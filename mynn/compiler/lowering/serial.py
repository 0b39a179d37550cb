"""Schedules that run one element after the other: argmax, and scatter with colliding indices."""

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
    first = context.puller()
    start = first.value(x, (*values[:axis], zero, *values[axis + 1 :]))
    puller = context.puller()
    value = puller.value(x, tuple(values))
    seen = puller.let(Load(best, zero))
    better: Expr = Op("less", (seen, value), "bool")
    if x.dtype.kind == "f":
        is_nan = puller.let(Op("not_equal", (value, value), "bool"))
        was_number = puller.let(Op("equal", (seen, seen), "bool"))
        fresh_nan = puller.let(Op("bitwise_and", (is_nan, was_number), "bool"))
        better = Op("bitwise_or", (puller.let(better), fresh_nan), "bool")
    found = puller.let(better)
    at = values[axis]
    step = [
        *puller.body,
        Store(best, zero, Op("where", (found, value, seen), x.type.short)),
        Store(where, zero, Op("where", (found, at, Load(where, zero)), INDEX)),
    ]
    loops = tuple(v for i, v in enumerate(values) if i != axis)
    end = context.puller()
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


def lower_scatter(context: Context) -> list[Statement]:
    """Zeros, then one addition after the other in the order of the updates, then the epilogue."""
    anchor = context.group.anchor
    assert anchor is not None
    updates, picked = anchor.inputs
    axis: int = anchor.params["axis"]
    span = len(picked.shape)
    place = context.places[anchor]
    zeros_names = [context.names.fresh("i") for _ in anchor.shape]
    zero = Const(0.0 if anchor.dtype.kind == "f" else 0, anchor.type.short)
    clear = Store(place.buffer, place.offset(tuple(plain_index(zeros_names, anchor.shape))), zero)
    body = serial(
        [(n, e) for n, e in zip(zeros_names, anchor.shape, strict=True) if e != 1], [clear]
    )
    names = [context.names.fresh("i") for _ in updates.shape]
    index = plain_index(names, updates.shape)
    puller = context.puller()
    row = puller.integer(puller.value(picked, tuple(index[axis : axis + span])))
    row = puller.clamp(row, anchor.shape[axis])
    value = puller.value(updates, tuple(index))
    at = place.offset((*index[:axis], row, *index[axis + span :]))
    total = Op("add", (Load(place.buffer, at), value), anchor.type.short)
    add = [*puller.body, Store(place.buffer, at, total)]
    body += serial([(n, e) for n, e in zip(names, updates.shape, strict=True) if e != 1], add)
    return body
