"""The micro-kernel: the sum of a tile.

Loops over the summed axes stand around one product for every accumulator.
"""

from __future__ import annotations

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Buffer, Const, Expr, For, Let, Load, Op, Statement, Store, Var
from mynn.compiler.lowering.base import Context, plain_index, serial
from mynn.compiler.lowering.contraction.operands import (
    Product,
    SumPoint,
    TileAt,
    filled,
    vector_loop,
)

# Products that are written out one after the other: so many of each accumulator at most...
_UNROLL = 4
# ...of so many vectors together: what hides the latency of a load and of the loop.
_UNROLLED_VECTORS = 16
# A sum of so many vector products in all has no loop.
_WRITTEN_OUT = 64
# Of loops of so many steps the innermost one goes to neighbours.
_LONG = 7


def micro_kernel(
    context: Context, product: Product, tile: TileAt, acc: Buffer, fresh: bool = True
) -> list[Statement]:
    """The accumulators of a tile: the first products set them where they are `fresh`."""
    rows, splits = tuple(range(tile.height)), tile.splits

    def step(k: Affine, split: int, first: bool) -> list[Statement]:
        point = SumPoint(filled(tuple(index), product.inner, k), rows, split, first)
        return _fma_tile(context, product, tile, acc, point)

    if 0 in product.summed:
        return _zeros(context, tile, acc) if fresh else []
    if product.borders:
        zeros = _zeros(context, tile, acc) if fresh else []
        return [*zeros, *_masked_sum(context, product, tile, acc)]
    names = [context.names.fresh("k") for _ in product.summed]
    index = plain_index(names, product.summed)
    together = _UNROLLED_VECTORS // (splits * tile.vectors)
    unroll = splits * max(1, min(product.k // splits, together, _UNROLL))
    if product.k * tile.vectors <= _WRITTEN_OUT:
        unroll = product.k
    if unroll > splits and _shares_too_much(context, product, tile, unroll):
        unroll = splits
    ready = 0 if product.nested or not fresh else splits
    blocks, remainder = divmod(product.k - ready, unroll)
    result = [s for k in range(ready) for s in step(Affine(k), k, first=True)]
    if blocks:
        kvar = names[product.inner] if names else ""
        base = Affine(ready) + (Affine.var(kvar, unroll) if blocks > 1 else 0)
        block = [s for u in range(unroll) for s in step(base + u, u % splits, first=False)]
        result += [For(kvar, blocks, tuple(block))] if blocks > 1 else block
    for u in range(remainder):
        result += step(Affine(ready + blocks * unroll + u), u % splits, first=False)
    if not product.nested:
        return result
    around = [
        (name, extent)
        for axis, (name, extent) in enumerate(zip(names, product.summed, strict=True))
        if axis != product.inner and extent != 1
    ]
    zeros = _zeros(context, tile, acc) if fresh else []
    return [*zeros, *serial(around, result)]


def _shares_too_much(context: Context, product: Product, tile: TileAt, steps: int) -> bool:
    """Whether so many steps, written out, share values to broadcast that no registers are left for.

    Rows of a convolution side by side read the same values, each some steps after the other. What
    is read once and kept for that long goes to memory and back, accumulators too: a loop that reads
    it again takes three quarters of the time. (Of 32 registers enough are left, as in `_fma_tile`.)
    """
    registers = context.target.vector_registers
    if registers >= 32:
        return False
    index = [Affine() for _ in product.summed]
    read = [
        product.broadcast_at(Affine(i), filled(tuple(index), product.inner, Affine(k)))
        for k in range(steps)
        for i in range(tile.height)
    ]
    shared = len({*read})
    vectors = tile.height * tile.vectors * tile.splits + tile.vectors
    return shared < len(read) and shared + vectors > registers


def _masked_sum(context: Context, product: Product, tile: TileAt, acc: Buffer) -> list[Statement]:
    """A sum without the products that meet zeros around an operand.

    Where a summed axis decides which rows of the tile take part, its places are written out: inside
    all loops where the values of the broadcast operand, which the places share, fit in registers.
    """
    names = [context.names.fresh("k") for _ in product.summed]
    masked = product.masked
    looped = [i for i, n in enumerate(product.summed) if n > 1 and i not in masked]
    steps = [a + b for a, b in zip(product.broadcast.summed, product.vector.summed, strict=True)]
    looped.sort(key=lambda i: (min(product.summed[i], _LONG), -steps[i]))
    index = plain_index(names, product.summed)

    def loop(axis: int, body: list[Statement]) -> list[Statement]:
        where = product.conditions(axis, tuple(index))
        return [For(names[axis], product.summed[axis], tuple(body), where=where)]

    taps = product.taps(tile.row.constant, tile.height)
    shared = {product.broadcast_at(Affine(i), place) for place, rows in taps for i in rows}
    registers = tile.vectors + len(shared) + len(tile.widths)
    inside = registers <= context.target.vector_registers
    inner = looped.pop() if looped else None
    body: list[Statement] = []
    for place, rows in taps:
        at = (p if i in masked else k for i, (p, k) in enumerate(zip(place, index, strict=True)))
        one = _fma_tile(context, product, tile, acc, SumPoint(tuple(at), rows))
        body += one if inside or inner is None else loop(inner, one)
    if inside and inner is not None:
        body = loop(inner, body)
    for axis in reversed(looped):
        body = loop(axis, body)
    return body


def _fma_tile(
    context: Context, product: Product, tile: TileAt, acc: Buffer, point: SumPoint
) -> list[Statement]:
    """One product for every accumulator, at one place of the sum.

    The values to broadcast are loaded first, and one vector after the other. Of 16 registers the
    accumulators often leave too few for that: then the vectors come first, and one value after the
    other. (Of 32 enough are left, and those who have them broadcast as they multiply.)
    """
    type = product.anchor.type.short
    registers = context.target.vector_registers
    left = registers - len(tile.widths) * len(point.rows) * tile.splits
    by_rows = registers < 32 and len(point.rows) >= left > len(tile.widths)
    factors: dict[int, Expr] = {}

    def factor(i: int) -> Let:
        name = context.names.fresh("a")
        factors[i] = Var(name, type)
        return Let(
            name, Load(product.broadcast.buffer, product.broadcast_at(tile.row + i, point.index))
        )

    def column(j: int, width: int, rows: tuple[int, ...]) -> For:
        lane = context.names.fresh("v")
        column = Affine.var(lane) + j * tile.lanes
        row = context.names.fresh("w")
        load = Load(product.vector.buffer, product.vector_at(tile.column + column, point.index))
        inner: list[Statement] = [Let(row, load)]
        for i in rows:
            at = column + tile.place(i, point.split)
            pair = (factors[i], Var(row, type))
            value = Op("fma", (*pair, Load(acc, at)), type)
            inner.append(Store(acc, at, Op("mul", pair, type) if point.first else value))
        return vector_loop(width, inner, lane)

    body: list[Statement] = []
    for rows in [(i,) for i in point.rows] if by_rows else [tuple(point.rows)]:
        body += [factor(i) for i in rows]
        body += [column(j, width, rows) for j, width in enumerate(tile.widths)]
    return body


def _zeros(context: Context, tile: TileAt, acc: Buffer) -> list[Statement]:
    """Accumulators of an empty sum."""
    body: list[Statement] = []
    for i in range(tile.height * tile.splits):
        for j, width in enumerate(tile.widths):
            lane = context.names.fresh("v")
            at = Affine.var(lane) + i * tile.line + j * tile.lanes
            body.append(vector_loop(width, [Store(acc, at, Const(0.0, acc.type))], lane))
    return body
