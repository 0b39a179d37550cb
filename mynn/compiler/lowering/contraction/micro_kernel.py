"""The sum of a tile: the loops over the summed axes around one product for every accumulator."""

from __future__ import annotations

from mynn.compiler.loop_ir.affine import Affine, Index
from mynn.compiler.loop_ir.ir import Buffer, Const, Expr, For, Let, Load, Op, Statement, Store, Var
from mynn.compiler.lowering.base import Context, plain_index, serial
from mynn.compiler.lowering.contraction.operands import Product, filled, vector


def sum_over_k(
    context: Context,
    product: Product,
    rows: tuple[Affine, int],
    columns: tuple[Affine, list[int]],
    acc: Buffer,
    splits: int,
    fresh: bool = True,
) -> list[Statement]:
    """The accumulators of a tile: the first products set them where they are `fresh`."""
    height, widths = rows[1], columns[1]
    lanes = context.target.lanes(product.anchor.dtype.itemsize)

    def step(summed: Index, split: int, first: bool) -> list[Statement]:
        return _add_products(context, product, rows, columns, acc, (summed, split, first))

    if 0 in product.summed:
        return _zeros(context, acc, height * splits, widths, lanes) if fresh else []
    if product.borders:
        zeros = _zeros(context, acc, height * splits, widths, lanes) if fresh else []
        return [*zeros, *_sum_inside(context, product, rows, columns, acc)]
    names = [context.names.fresh("k") for _ in product.summed]
    index = plain_index(names, product.summed)

    def at(k: Affine) -> Index:
        return filled(tuple(index), product.inner, k)

    unroll = splits * max(1, min(product.k // splits, 16 // (splits * height * len(widths)), 4))
    if product.k * height * len(widths) <= 64:
        unroll = product.k
    ready = 0 if product.nested or not fresh else splits
    blocks, rest = divmod(product.k - ready, unroll)
    result = [s for k in range(ready) for s in step(at(Affine(k)), k, first=True)]
    if blocks:
        kvar = names[product.inner] if names else ""
        base = Affine(ready) + (Affine.var(kvar, unroll) if blocks > 1 else 0)
        block = [s for u in range(unroll) for s in step(at(base + u), u % splits, first=False)]
        result += [For(kvar, blocks, tuple(block))] if blocks > 1 else block
    for u in range(rest):
        result += step(at(Affine(ready + blocks * unroll + u)), u % splits, first=False)
    if not product.nested:
        return result
    around = [
        (name, extent)
        for axis, (name, extent) in enumerate(zip(names, product.summed, strict=True))
        if axis != product.inner and extent != 1
    ]
    zeros = _zeros(context, acc, height * splits, widths, lanes) if fresh else []
    return [*zeros, *serial(around, result)]


def _sum_inside(
    context: Context,
    product: Product,
    rows: tuple[Affine, int],
    columns: tuple[Affine, list[int]],
    acc: Buffer,
) -> list[Statement]:
    """A sum without the products that meet zeros around an operand.

    Where a summed axis decides which rows of the tile take part, its places are written out: inside
    all loops where the values of the spread operand, which the places share, fit in registers.
    """
    height, widths = rows[1], columns[1]
    names = [context.names.fresh("k") for _ in product.summed]
    crossed = product.crossed
    looped = [i for i, n in enumerate(product.summed) if n > 1 and i not in crossed]
    looped.sort(key=lambda i: (min(product.summed[i], 16), i))
    index = plain_index(names, product.summed)

    def loop(axis: int, body: list[Statement]) -> list[Statement]:
        where = product.conditions(axis, tuple(index))
        return [For(names[axis], product.summed[axis], tuple(body), where=where)]

    def step(place: Index, taking: tuple[int, ...]) -> list[Statement]:
        at = (p if i in crossed else k for i, (p, k) in enumerate(zip(place, index, strict=True)))
        return _add_products(context, product, rows, columns, acc, (tuple(at), 0, False), taking)

    taps = product.taps(rows[0].constant, height)
    shared = {product.spread_at(Affine(i), place) for place, taking in taps for i in taking}
    registers = height * len(widths) + len(shared) + len(widths)
    inside = registers <= context.target.vector_registers
    inner = looped.pop() if looped else None
    body: list[Statement] = []
    for place, taking in taps:
        one = step(place, taking)
        body += one if inside or inner is None else loop(inner, one)
    if inside and inner is not None:
        body = loop(inner, body)
    for axis in reversed(looped):
        body = loop(axis, body)
    return body


def _add_products(
    context: Context,
    product: Product,
    rows: tuple[Affine, int],
    columns: tuple[Affine, list[int]],
    acc: Buffer,
    place: tuple[Index, int, bool],
    taking: tuple[int, ...] | None = None,
) -> list[Statement]:
    """One product for every accumulator, at one place of the sum.

    `place` is the index into the summed axes, which of the splits it adds to, and whether it is the
    first there and so sets the accumulators. `taking` are the rows that take part: all if left out.
    """
    (p, height), (q, widths) = rows, columns
    summed, split, first = place
    type = product.anchor.type.short
    lanes = context.target.lanes(product.anchor.dtype.itemsize)
    body: list[Statement] = []
    spread: dict[int, Expr] = {}
    taking = tuple(range(height)) if taking is None else taking
    for i in taking:
        name = context.names.fresh("a")
        load = Load(product.spread.buffer, product.spread_at(p + i, summed))
        body.append(Let(name, load))
        spread[i] = Var(name, type)
    for j, width in enumerate(widths):
        lane = context.names.fresh("v")
        column = Affine.var(lane) + j * lanes
        row = context.names.fresh("w")
        load = Load(product.lined.buffer, product.lined_at(q + column, summed))
        inner: list[Statement] = [Let(row, load)]
        for i in taking:
            at = column + (split * height + i) * lanes * len(widths)
            factors = (spread[i], Var(row, type))
            value = Op("fma", (*factors, Load(acc, at)), type)
            inner.append(Store(acc, at, Op("mul", factors, type) if first else value))
        body.append(vector(width, inner, lane))
    return body


def _zeros(
    context: Context, acc: Buffer, rows: int, widths: list[int], lanes: int
) -> list[Statement]:
    """Accumulators of an empty sum."""
    body: list[Statement] = []
    for i in range(rows):
        for j, width in enumerate(widths):
            lane = context.names.fresh("v")
            at = Affine.var(lane) + (i * len(widths) + j) * lanes
            body.append(vector(width, [Store(acc, at, Const(0.0, acc.type))], lane))
    return body
