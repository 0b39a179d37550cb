"""Argmax of many rows at once: a lane for each row.

    for rows in vectors:
        for j in extent: for v in lanes: best[v], where[v] = the better of them and x[v, j], j

The comparison of an element waits for that of the one before it; lanes do not wait for each other.
"""

from __future__ import annotations

from mynn.compiler.loop_ir.affine import Affine, Index
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
from mynn.compiler.lowering.argmax import is_better, lower_argmax
from mynn.compiler.lowering.base import Context, axis_scores, over_chunks, plain_index, serial

# From as many rows on; elements of so many bytes have positions of 32 bits.
_LEAST = 4
_ITEM_BYTES = 4
# A loop over fewer elements is written out.
_WRITTEN_OUT = 8


def lower_argmax_lines(context: Context) -> list[Statement]:
    """Vectors along the best of the kept axes; a row at a time where there are too few."""
    anchor = context.group.anchor
    assert anchor is not None
    x, axis = anchor.inputs[0], anchor.params["axis"]
    scores = {i: score for i, score in axis_scores(context, x).items() if i != axis}
    lanes = context.target.lanes(_ITEM_BYTES)
    rows = max(scores, key=lambda i: (scores[i], x.shape[i]), default=None)
    if rows is None or x.shape[rows] < _LEAST or x.dtype.itemsize > _ITEM_BYTES:
        return lower_argmax(context)
    names = [context.names.fresh("i", n) for n in x.shape]

    def block(first: Affine, width: int) -> list[Statement]:
        return _vector(context, names, axis, rows, first, width)

    body = over_chunks(context.names, "r", x.shape[rows], lanes, block)
    outer = [(names[i], n) for i, n in enumerate(x.shape) if i not in (axis, rows) and n != 1]
    return serial(outer, body)


def _vector(
    context: Context, names: list[str], axis: int, rows: int, first: Affine, width: int
) -> list[Statement]:
    anchor = context.group.anchor
    assert anchor is not None
    x = anchor.inputs[0]
    best = Buffer(context.names.fresh("best"), x.type.short, width, "register")
    where = Buffer(context.names.fresh("where"), "i32", width, "register")

    def lane() -> tuple[str, Affine]:
        name = context.names.fresh("v", width)
        return name, Affine.var(name) if width > 1 else Affine()

    def point(at: Affine, k: Affine) -> Index:
        values = plain_index(names, x.shape)
        values[rows], values[axis] = first + at, k
        return tuple(values)

    name, at = lane()
    start = context.builder()
    value = start.value(x, point(at, Affine()))
    stores = (Store(best, at, value), Store(where, at, Const(0, "i32")))
    body: list[Statement] = [Local(best), Local(where)]
    body.append(For(name, width, (*start.body, *stores), "vector"))

    def compare(k: Affine) -> For:
        name, at = lane()
        e = context.builder()
        value = e.value(x, point(at, k))
        seen = e.let(Load(best, at))
        better = is_better(e, value, seen, best.type)
        number: Expr = e.let(Op("cast", (k,), "i32")) if k.terms else Const(k.constant, "i32")
        place = Op("where", (better, number, Load(where, at)), "i32")
        e.body.append(Store(best, at, Op("where", (better, value, seen), best.type)))
        e.body.append(Store(where, at, place))
        return For(name, width, tuple(e.body), "vector")

    extent = x.shape[axis]
    if extent <= _WRITTEN_OUT:
        body += [compare(Affine(k)) for k in range(1, extent)]
    else:
        body.append(For(names[axis], extent, (compare(Affine.var(names[axis])),)))
    name, at = lane()
    end = context.builder()
    loops = tuple(value for i, value in enumerate(point(at, Affine())) if i != axis)
    end.memo[anchor, loops] = end.let(Op("cast", (end.let(Load(where, at)),), INDEX))
    body.append(For(name, width, tuple(context.emit_outputs(end, loops)), "vector"))
    return body
