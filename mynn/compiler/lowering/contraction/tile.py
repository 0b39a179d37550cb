"""Tiles of a product held in registers while the sum runs.

A tile is MR rows by NR vectors. A row of one operand is loaded as vectors, an element of the other
is broadcast over all lanes; operands stay where they are in memory.

    for each tile:
      acc[MR, NR vectors] = 0
      prefetch what the epilogue reads and writes, where it lies far away
      for k: for i in MR: for j in NR:  acc[i, j] += a[i, k] * b[k, j]
      epilogue on acc: bias, activation, gradient of the activation, update of a parameter
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mynn.base.dataclass import dataclass
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import (
    Buffer,
    Const,
    Expr,
    For,
    Let,
    Load,
    Local,
    Op,
    Prefetch,
    Statement,
    Store,
)
from mynn.compiler.loop_ir.walk import statements, sub_expressions
from mynn.compiler.lowering.base import Context, serial
from mynn.compiler.lowering.contraction.micro_kernel import micro_kernel
from mynn.compiler.lowering.contraction.operands import Product, TileAt, finish, vector_loop
from mynn.compiler.lowering.contraction.pack import with_columns
from mynn.compiler.lowering.contraction.tile_cost import (
    Tile,
    choose_tile,
    column_segments,
    row_segments,
)


@dataclass(frozen=True)
class Partial:
    """Sums so far in memory: `at(p, q)` is the offset of one of them."""

    buffer: Buffer
    at: Callable[[Affine, Affine], Affine]


# Where the operands of an epilogue are larger together, they lie outside the second cache, and are
# fetched while the sum runs.
_FAR_BYTES = 1 << 20
# An epilogue of more operations is too long to be written out for every vector of a tile, and so is
# one with a function that is a sequence of instructions.
_LONG_EPILOGUE = 12


def tiles(context: Context, product: Product, partial: Partial | None = None) -> list[Statement]:
    """All tiles of a product.

    With `partial`, the sums so far are kept there and no epilogue runs: the caller loops over
    blocks of a summed axis.
    """
    lanes = context.target.lanes(product.anchor.dtype.itemsize)
    if product.whole:
        vectors = (context.target.vector_registers - 2) // (product.p + 1)
        size = Tile(product.p, max(1, min(vectors, -(-product.q // lanes))), 1)
    else:
        size = choose_tile(context.target, product.p, product.q, product.k, lanes, product.across)
    splits = 1 if partial is not None or product.borders else size.splits
    heights = row_segments(product, size.rows)
    result: list[Statement] = []
    for column, across, widths in column_segments(product.q, lanes, size.vectors, size.even):
        qvar = context.names.fresh("q", across)
        q = Affine(column) + (Affine.var(qvar, sum(widths)) if across > 1 else 0)
        body, source = with_columns(context, product, q, widths)
        inner: list[Statement] = []
        for row, times, height in heights:
            pvar = context.names.fresh("p", times)
            p = Affine(row) + (Affine.var(pvar, height) if times > 1 else 0)
            tile = TileAt(p, height, q, tuple(widths), lanes, splits)
            one = _one_tile(context, source, tile, partial)
            inner += [For(pvar, times, tuple(one))] if times > 1 else one
        body += serial(list(product.within), inner)
        result += [For(qvar, across, tuple(body))] if across > 1 else body
    return result


def _one_tile(
    context: Context, product: Product, tile: TileAt, partial: Partial | None
) -> list[Statement]:
    if partial is not None:
        return continued(context, product, tile, partial)
    acc = _accumulators(context, product, tile)
    sum_ = micro_kernel(context, product, tile, acc)
    if tile.vectors > 2 and not product.whole and _is_long(context):
        return [Local(acc), *sum_, *_epilogue_loop(context, product, tile, acc)]
    epilogue: list[For] = []
    for i, j, width in _vectors(tile):
        lane = context.names.fresh("v", width)
        column = Affine.var(lane) + j * tile.lanes
        index = product.index(tile.row + i, tile.column + column)
        total = _total(tile, acc, i, column)
        epilogue.append(vector_loop(width, finish(context, index, total), lane))
    return [Local(acc), *_prefetches(epilogue), *sum_, *epilogue]


def _vectors(tile: TileAt) -> Iterator[tuple[int, int, int]]:
    """The vectors of a tile: row, number in the row, elements."""
    for i in range(tile.height):
        for j, width in enumerate(tile.widths):
            yield i, j, width


def _total(tile: TileAt, acc: Buffer, row: int, column: Affine) -> Expr:
    """An element of the tile: its splits, added up as a tree."""
    parts: list[Expr] = [Load(acc, column + tile.place(row, split)) for split in range(tile.splits)]
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        unpaired = [parts[-1]] if len(parts) % 2 else []
        parts = [Op("add", pair, acc.type) for pair in pairs]
        parts += unpaired
    return parts[0]


def _accumulators(context: Context, product: Product, tile: TileAt) -> Buffer:
    elements = tile.splits * tile.height * tile.line
    return Buffer(context.names.fresh("acc"), product.anchor.type.short, elements, "register")


def continued(
    context: Context, product: Product, tile: TileAt, partial: Partial
) -> list[Statement]:
    """A sum that goes on from what is in memory, and is put back there."""
    acc = _accumulators(context, product, tile)

    def each(make: Callable[[Affine, Affine], Statement]) -> list[Statement]:
        """`make(place in acc, offset in memory)` for every vector of the tile."""
        result: list[Statement] = []
        for i, j, width in _vectors(tile):
            lane = context.names.fresh("v")
            column = Affine.var(lane) + j * tile.lanes
            at = partial.at(tile.row + i, tile.column + column)
            result.append(vector_loop(width, [make(column + tile.place(i), at)], lane))
        return result

    before = each(lambda place, at: Store(acc, place, Load(partial.buffer, at)))
    sum_ = micro_kernel(context, product, tile, acc, fresh=False)
    after = each(lambda place, at: Store(partial.buffer, at, Load(acc, place)))
    return [Local(acc), *before, *sum_, *after]


def _prefetches(epilogue: list[For]) -> list[Statement]:
    """For each vector that the epilogue reads or writes in memory, a prefetch of its first element.

    None where the buffers are small enough to be near.
    """
    found: dict[Prefetch, None] = {}
    for loop in epilogue:
        bound = {s.name for s in statements(loop.body) if isinstance(s, Let)}

        def add(buffer: Buffer, index: Affine, loop: For = loop, bound: set[str] = bound) -> None:
            known = all(name not in bound for name, _ in index.terms)
            if buffer.storage == "memory" and index.coefficient(loop.var) == 1 and known:
                found[Prefetch(buffer, index.without(loop.var))] = None

        for statement in statements(loop.body):
            if isinstance(statement, Let | Store):
                for expr in sub_expressions(statement.value):
                    if isinstance(expr, Load):
                        add(expr.buffer, expr.index)
            if isinstance(statement, Store):
                add(statement.buffer, statement.index)
    far = sum(buffer.nbytes for buffer in {prefetch.buffer for prefetch in found}) > _FAR_BYTES
    return [*found] if far else []


def _is_long(context: Context) -> bool:
    anchor = context.group.anchor
    assert anchor is not None
    builder = context.builder()
    loops = tuple(
        Affine.var(f"axis{i}") if n != 1 else Affine() for i, n in enumerate(anchor.shape)
    )
    builder.memo[anchor, loops] = Const(0.0, anchor.type.short)
    context.emit_outputs(builder, loops)
    operations = sum(isinstance(s, Let) and isinstance(s.value, Op) for s in builder.body)
    return builder.costly or operations > _LONG_EPILOGUE


def _epilogue_loop(
    context: Context, product: Product, tile: TileAt, acc: Buffer
) -> list[Statement]:
    """The epilogue of a tile that goes through memory.

    So a long epilogue is written out once for each column of vectors, not once for every vector.
    """
    elements = tile.height * tile.line
    sums = Buffer(context.names.fresh("tile"), acc.type, elements, "scratch")
    body: list[Statement] = [Local(sums)]
    for i, j, width in _vectors(tile):
        lane = context.names.fresh("v")
        column = Affine.var(lane) + j * tile.lanes
        store = Store(sums, column + tile.place(i), _total(tile, acc, i, column))
        body.append(vector_loop(width, [store], lane))
    row = context.names.fresh("r")
    inner: list[Statement] = []
    for start, count, width in _runs(tile):
        jvar, lane = context.names.fresh("j"), context.names.fresh("v")
        column = Affine.var(lane) + start + (Affine.var(jvar, tile.lanes) if count > 1 else 0)
        value = Load(sums, column + Affine.var(row, tile.line))
        index = product.index(tile.row + Affine.var(row), tile.column + column)
        loop: Statement = vector_loop(width, finish(context, index, value), lane)
        inner.append(For(jvar, count, (loop,)) if count > 1 else loop)
    body.append(For(row, tile.height, tuple(inner)))
    return body


def _runs(tile: TileAt) -> list[tuple[int, int, int]]:
    """Vectors of equal width side by side: (first column, how many, width)."""
    whole = sum(1 for width in tile.widths if width == tile.lanes)
    runs = [(0, whole, tile.lanes)] if whole else []
    return runs + [(whole * tile.lanes, 1, width) for width in tile.widths if width != tile.lanes]
