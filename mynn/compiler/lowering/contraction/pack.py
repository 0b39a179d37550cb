"""Panels: the columns of a tile copied side by side, where tiles cannot read them as they lie."""

from __future__ import annotations

from functools import partial

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Buffer, For, Load, Local, Statement, Store
from mynn.compiler.lowering.base import Context, chunks, over_chunks
from mynn.compiler.lowering.contraction.operands import Product, vector_loop


def with_columns(
    context: Context, product: Product, q: Affine, widths: list[int]
) -> tuple[list[Statement], Product]:
    """A copy of the columns of a tile, side by side, where that is needed or pays.

    Columns that lie along the sum are transposed. Rows that lie a multiple of a kilobyte apart fall
    into few sets of the cache and push each other out; where many tiles read them, they are first
    copied side by side.
    """
    itemsize = product.anchor.dtype.itemsize
    pitch = product.vector.summed[product.inner] * itemsize if product.summed else 0
    if product.transposed:
        return _transposed(context, product, q, widths)
    if (
        product.nested
        or product.borders
        or product.k < 64
        or product.p < 64
        or pitch == 0
        or pitch % 1024
    ):
        return [], product
    lanes = context.target.lanes(itemsize)
    line = lanes * len(widths)
    type = product.anchor.type.short
    panel = Buffer(context.names.fresh("panel"), type, product.k * line, "scratch")
    row = context.names.fresh("k")
    index = [Affine()] * len(product.summed)
    index[product.inner] = Affine.var(row)
    copies: list[Statement] = []
    for j, width in enumerate(widths):
        lane = context.names.fresh("v")
        column = Affine.var(lane) + j * lanes
        load = Load(product.vector.buffer, product.vector_at(q + column, tuple(index)))
        store = Store(panel, column + Affine.var(row, line), load)
        copies.append(vector_loop(width, [store], lane))
    body: list[Statement] = [Local(panel), For(row, product.k, tuple(copies))]
    return body, product.with_panel(panel, line, q)


def _transposed(
    context: Context, product: Product, q: Affine, widths: list[int]
) -> tuple[list[Statement], Product]:
    """The columns of a tile side by side, from an operand that lies along the sum.

    Squares of it are loaded along the sum, transposed in registers, and stored along the columns.
    """
    lanes = context.target.lanes(product.anchor.dtype.itemsize)
    line = lanes * len(widths)
    type = product.anchor.type.short
    panel = Buffer(context.names.fresh("panel"), type, product.k * line, "scratch")
    result: list[Statement] = [Local(panel)]
    for first, count, terms in chunks(product.k, lanes):
        block = context.names.fresh("k")
        k = Affine(first) + (Affine.var(block, terms) if count > 1 else 0)
        square = partial(_square, context, product, panel, q, k, terms)
        body = over_chunks(context.names, "j", sum(widths), lanes, square)
        result.append(For(block, count, tuple(body)))
    return result, product.with_panel(panel, line, q)


def _square(
    context: Context,
    product: Product,
    panel: Buffer,
    q: Affine,
    k: Affine,
    terms: int,
    column: Affine,
    width: int,
) -> list[Statement]:
    """`terms` elements, from `k` on, of `width` columns of a tile: those from `column` on."""
    lanes = context.target.lanes(product.anchor.dtype.itemsize)
    line = panel.elements // product.k
    square = Buffer(context.names.fresh("square"), panel.type, lanes * lanes, "register")
    body: list[Statement] = [Local(square)]
    for c in range(width):
        lane = context.names.fresh("v")
        source = product.vector_at(q + column + c, (k + Affine.var(lane),))
        load = Load(product.vector.buffer, source)
        store = Store(square, Affine.var(lane) + c * lanes, load)
        body.append(vector_loop(terms, [store], lane))
    for r in range(terms):
        lane = context.names.fresh("v")
        place = (k + r) * line + Affine.var(lane) + column
        value = Load(square, Affine.var(lane, lanes) + r)
        body.append(vector_loop(width, [Store(panel, place, value)], lane))
    return body
