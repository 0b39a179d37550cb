"""Tiles of a product held in registers while the sum runs.

A tile is MR rows by NR vectors. A row of one operand is loaded as vectors, an element of the other
is spread over all lanes; operands stay where they are in memory.

    for each tile:
      acc[MR, NR vectors] = 0
      prefetch what the epilogue reads and writes, where it lies far away
      for k: for i in MR: for j in NR:  acc[i, j] += a[i, k] * b[k, j]
      epilogue on acc: bias, activation, gradient of the activation, update of a parameter
"""

from __future__ import annotations

from collections.abc import Callable

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
from mynn.compiler.lowering.base import Context
from mynn.compiler.lowering.contraction.micro_kernel import sum_over_k
from mynn.compiler.lowering.contraction.operands import Product, finish, vector
from mynn.compiler.lowering.contraction.pack import with_columns
from mynn.compiler.lowering.contraction.tile_cost import (
    Tile,
    choose_tile,
    column_segments,
    row_segments,
)
from mynn.compiler.lowering.inline import Place

# Where the operands of an epilogue are larger together, they lie outside the second cache, and are
# fetched while the sum runs.
_FAR_BYTES = 1 << 20
# An epilogue of more operations is too long to be written out for every vector of a tile, and so is
# one with a function that is a sequence of instructions.
_LONG_EPILOGUE = 12


def tiles(context: Context, product: Product, partial: Place | None = None) -> list[Statement]:
    """All tiles of a product.

    With `partial`, the sums so far are kept there and no epilogue runs: the caller loops over
    blocks of a summed axis.
    """
    lanes = context.target.lanes(product.anchor.dtype.itemsize)
    if product.whole:
        vectors = (context.target.vector_registers - 2) // (product.p + 1)
        tile = Tile(product.p, max(1, min(vectors, -(-product.q // lanes))), 1)
    else:
        tile = choose_tile(context.target, product.p, product.q, product.k, lanes)
    splits = 1 if partial is not None or product.borders else tile.splits
    heights = row_segments(product, tile.rows)
    result: list[Statement] = []
    for column, across, widths in column_segments(product.q, lanes, tile.vectors):
        qvar = context.names.fresh("q")
        q = Affine(column) + (Affine.var(qvar, sum(widths)) if across > 1 else 0)
        body, source = with_columns(context, product, q, widths)
        for row, times, height in heights:
            pvar = context.names.fresh("p")
            p = Affine(row) + (Affine.var(pvar, height) if times > 1 else 0)
            one = _one_tile(context, source, (p, height), (q, widths), splits, partial)
            body += [For(pvar, times, tuple(one))] if times > 1 else one
        result += [For(qvar, across, tuple(body))] if across > 1 else body
    return result


def _one_tile(
    context: Context,
    product: Product,
    rows: tuple[Affine, int],
    columns: tuple[Affine, list[int]],
    splits: int,
    partial: Place | None,
) -> list[Statement]:
    (p, height), (q, widths) = rows, columns
    type = product.anchor.type.short
    lanes = context.target.lanes(product.anchor.dtype.itemsize)
    line = lanes * len(widths)
    acc = Buffer(context.names.fresh("acc"), type, splits * height * line, "register")
    body: list[Statement] = [Local(acc)]

    def each(make: Callable[[Affine, Affine], Statement]) -> list[Statement]:
        """`make(place in acc, offset in partial)` for every vector of the tile."""
        assert partial is not None
        result: list[Statement] = []
        for i in range(height):
            for j, width in enumerate(widths):
                lane = context.names.fresh("v")
                column = Affine.var(lane) + j * lanes
                at = partial.offset(product.index(p + i, q + column))
                result.append(vector(width, [make(column + i * line, at)], lane))
        return result

    if partial is not None:
        so_far = partial.buffer
        body += each(lambda place, at: Store(acc, place, Load(so_far, at)))
        body += sum_over_k(context, product, (p, height), (q, widths), acc, splits, fresh=False)
        return body + each(lambda place, at: Store(so_far, at, Load(acc, place)))
    sum_ = sum_over_k(context, product, (p, height), (q, widths), acc, splits)

    def total(i: int, offset: Affine) -> Expr:
        parts: list[Expr] = [
            Load(acc, offset + (split * height + i) * line) for split in range(splits)
        ]
        while len(parts) > 1:
            pairs = [Op("add", (x, y), type) for x, y in zip(parts[::2], parts[1::2], strict=False)]
            parts = pairs + ([parts[-1]] if len(parts) % 2 else [])
        return parts[0]

    if height * len(widths) > 2 and not product.whole and _is_long(context):
        return body + sum_ + _epilogue_loop(context, product, (p, height), (q, widths), total)
    epilogue: list[For] = []
    for i in range(height):
        for j, width in enumerate(widths):
            lane = context.names.fresh("v")
            column = Affine.var(lane) + j * lanes
            index = product.index(p + i, q + column)
            epilogue.append(vector(width, finish(context, index, total(i, column)), lane))
    return [*body, *_prefetches(epilogue), *sum_, *epilogue]


def _prefetches(epilogue: list[For]) -> list[Statement]:
    """For each vector that the epilogue reads or writes in memory, a prefetch of its first element.

    None where the buffers are small enough to be near.
    """
    found: dict[Prefetch, None] = {}
    for loop in epilogue:
        bound = {s.name for s in statements(loop.body) if isinstance(s, Let)}

        def add(buffer: Buffer, index: Affine, loop: For = loop, bound: set[str] = bound) -> None:
            known = all(name not in bound for name, _ in index.terms)
            if buffer.place == "memory" and index.coefficient(loop.var) == 1 and known:
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
    context: Context,
    product: Product,
    rows: tuple[Affine, int],
    columns: tuple[Affine, list[int]],
    total: object,
) -> list[Statement]:
    """The epilogue of a tile that goes through memory.

    So a long epilogue is written out once for each column of vectors, not once for every vector.
    """
    assert callable(total)
    (p, height), (q, widths) = rows, columns
    type = product.anchor.type.short
    lanes = context.target.lanes(product.anchor.dtype.itemsize)
    line = lanes * len(widths)
    tile = Buffer(context.names.fresh("tile"), type, height * line, "scratch")
    body: list[Statement] = [Local(tile)]
    for i in range(height):
        for j, width in enumerate(widths):
            lane = context.names.fresh("v")
            column = Affine.var(lane) + j * lanes
            store = Store(tile, column + i * line, total(i, column))
            body.append(vector(width, [store], lane))
    row = context.names.fresh("r")
    inner: list[Statement] = []
    for start, count, width in _runs(widths, lanes):
        jvar, lane = context.names.fresh("j"), context.names.fresh("v")
        column = Affine.var(lane) + start + (Affine.var(jvar, lanes) if count > 1 else 0)
        value = Load(tile, column + Affine.var(row, line))
        index = product.index(p + Affine.var(row), q + column)
        loop: Statement = vector(width, finish(context, index, value), lane)
        inner.append(For(jvar, count, (loop,)) if count > 1 else loop)
    body.append(For(row, height, tuple(inner)))
    return body


def _runs(widths: list[int], lanes: int) -> list[tuple[int, int, int]]:
    """Vectors of equal width side by side: (first column, how many, width)."""
    whole = sum(1 for width in widths if width == lanes)
    runs = [(0, whole, lanes)] if whole else []
    return runs + [(whole * lanes, 1, width) for width in widths if width != lanes]
