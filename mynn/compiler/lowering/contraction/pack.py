"""Panels: the columns of a tile copied side by side, where tiles cannot read them as they lie."""

from __future__ import annotations

import math
from collections.abc import Callable

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Buffer, Expr, For, Load, Local, Statement, Store
from mynn.compiler.lowering.base import Context, chunks, over_chunks
from mynn.compiler.lowering.contraction.operands import Product, vector_loop

# Rows of a product for which its columns are copied where they collide in the cache: lines that lie
# a multiple of so many bytes apart.
_COLLIDING = {1024: 64, 2048: 32}


def copies_columns(product: Product) -> bool:
    """Whether `with_columns` makes copies."""
    if product.transposed:
        return True
    if product.nested or product.borders or product.k < 64 or not product.summed:
        return False
    pitch = product.vector.summed[product.inner] * product.anchor.dtype.itemsize
    rows = product.p * math.prod(n for _, n in product.within)
    return pitch > 0 and any(
        pitch % step == 0 and rows >= least for step, least in _COLLIDING.items()
    )


def with_columns(
    context: Context, product: Product, q: Affine, widths: list[int]
) -> tuple[list[Statement], Product]:
    """A copy of the columns of a tile, side by side, where that is needed or pays.

    Columns that lie along the sum are transposed. Rows that lie a multiple of a kilobyte apart fall
    into few sets of the cache and push each other out; where many tiles read them, they are first
    copied side by side.
    """
    if product.transposed:
        return _transposed(context, product, q, widths)
    if not copies_columns(product):
        return [], product
    itemsize = product.anchor.dtype.itemsize
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

        def square(
            column: Affine, width: int, k: Affine = k, terms: int = terms
        ) -> list[Statement]:
            def load(c: int, lane: Affine) -> Load:
                place = product.vector_at(q + column + c, (k + lane,))
                return Load(product.vector.buffer, place)

            def store(r: int, lane: Affine, value: Expr) -> Statement:
                return Store(panel, (k + r) * line + lane + column, value)

            return transposed_square(context, type, (width, terms), load, store)

        body = over_chunks(context.names, "j", sum(widths), lanes, square)
        result.append(For(block, count, tuple(body)))
    return result, product.with_panel(panel, line, q)


def transposed_square(
    context: Context,
    type: str,
    extents: tuple[int, int],
    load: Callable[[int, Affine], Load],
    store: Callable[[int, Affine, Expr], Statement],
) -> list[Statement]:
    """Rows of a matrix as columns of another one, through registers.

    `load(row, lane)` is an element of one of `extents[0]` rows, `store(row, lane, value)` puts one
    into one of `extents[1]`; each is at most as many as a vector has lanes.
    """
    rows, columns = extents
    lanes = context.target.lanes(Buffer("", type, 1).nbytes)
    square = Buffer(context.names.fresh("square"), type, lanes * lanes, "register")
    body: list[Statement] = [Local(square)]
    for c in range(rows):
        lane = context.names.fresh("v")
        put = Store(square, Affine.var(lane) + c * lanes, load(c, Affine.var(lane)))
        body.append(vector_loop(columns, [put], lane))
    for r in range(columns):
        lane = context.names.fresh("v")
        value = Load(square, Affine.var(lane, lanes) + r)
        body.append(vector_loop(rows, [store(r, Affine.var(lane), value)], lane))
    return body
