"""Scatter: one value after the other, since indices may collide."""

from __future__ import annotations

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Const, Expr, Load, Op, Statement, Store
from mynn.compiler.lowering.base import Context, best_axis, plain_index, serial, vector_loops
from mynn.core.graph import Node


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


# The operation of the loop IR for each way to combine what is there with what arrives.
_COMBINE = {"add": "add", "mul": "mul", "max": "maximum", "min": "minimum"}


def lower_scatter_along(context: Context) -> list[Statement]:
    """A copy of the input, then one value after the other in the order of the updates.

    for i, j: out[i, j] = x[i, j]
    for k: for j: out[index[k, j], j] = updates[k, j]
    """
    anchor = context.group.anchor
    assert anchor is not None
    _, picked, updates = anchor.inputs
    axis: int = anchor.params["axis"]
    place = context.places[anchor]
    names = [context.names.fresh("i") for _ in updates.shape]
    index = plain_index(names, updates.shape)
    builder = context.builder()
    row = builder.integer(builder.value(picked, tuple(index)))
    row = builder.clamp(row, anchor.shape[axis])
    value: Expr = builder.value(updates, tuple(index))
    at = place.offset((*index[:axis], row, *index[axis + 1 :]))
    if anchor.params["mode"] != "set":
        operation = _COMBINE[anchor.params["mode"]]
        value = Op(operation, (Load(place.buffer, at), value), anchor.type.short)
    loops = [(n, e) for n, e in zip(names, updates.shape, strict=True) if e != 1]
    write = [*builder.body, Store(place.buffer, at, value)]
    return [*_copied(context, anchor), *(serial(loops, write) if updates.type.size else [])]


def _copied(context: Context, anchor: Node) -> list[Statement]:
    """The loops that store the first input of the anchor in the anchor's place."""
    x, place = anchor.inputs[0], context.places[anchor]
    names = [context.names.fresh("i") for _ in x.shape]
    axis = best_axis(context, x)

    def at(position: Affine) -> list[Statement]:
        index = plain_index(names, x.shape)
        index[axis] = position
        builder = context.builder()
        value = builder.value(x, tuple(index))
        return [*builder.body, Store(place.buffer, place.offset(tuple(index)), value)]

    outer = [(names[i], n) for i, n in enumerate(x.shape) if i != axis and n != 1]
    return serial(outer, vector_loops(context.names, x.shape[axis], context.lanes(), at))
