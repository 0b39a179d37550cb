"""Scatter: one addition after the other, since indices may collide."""

from __future__ import annotations

from mynn.compiler.loop_ir.ir import Const, Load, Op, Statement, Store
from mynn.compiler.lowering.base import Context, plain_index, serial


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
    builder = context.builder()
    row = builder.integer(builder.value(picked, tuple(index[axis : axis + span])))
    row = builder.clamp(row, anchor.shape[axis])
    value = builder.value(updates, tuple(index))
    at = place.offset((*index[:axis], row, *index[axis + span :]))
    total = Op("add", (Load(place.buffer, at), value), anchor.type.short)
    add = [*builder.body, Store(place.buffer, at, total)]
    body += serial([(n, e) for n, e in zip(names, updates.shape, strict=True) if e != 1], add)
    return body
