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
from dataclasses import dataclass

from mynn.compiler.loops import (
    Affine,
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
    Var,
    statements,
    sub_expressions,
)
from mynn.compiler.pull import Place
from mynn.compiler.schedule.base import Context, chunks, plain_index, serial
from mynn.compiler.schedule.product import Product, filled, finish, vector
from mynn.compiler.views import Index
from mynn.runtime.machine import Machine

# Cycles between a multiply-add and the next that needs its result, times how many start in a cycle.
_IN_FLIGHT = 8
# An operand or a result that is larger leaves little room for others in the second cache.
_NEAR_BYTES = 1 << 19
# Where the operands of an epilogue are larger together, they lie outside the second cache, and are
# fetched while the sum runs.
_FAR_BYTES = 1 << 20
# Functions that make an epilogue too long to be written out for every vector of a tile.
_LONG = frozenset(
    ["exp", "expm1", "log", "log1p", "tanh", "logistic", "erf", "sin", "cos", "pow", "mod"]
)


@dataclass(frozen=True)
class Tile:
    """`rows` by `vectors` accumulators, `splits` of each along k."""

    rows: int
    vectors: int
    splits: int


def choose_tile(machine: Machine, p: int, q: int, k: int, lanes: int) -> Tile:
    """The tile with the lowest estimate of cycles.

    Counted are multiply-adds, loads, and latency where there is too little work to hide it.
    """
    columns = -(-q // lanes)
    itemsize = machine.vector_bytes // lanes
    far = columns > 2 and itemsize * max(p * q, p * k, q * k) > _NEAR_BYTES
    best: tuple[float, Tile] | None = None
    for vectors in range(1, min(columns, 6) + 1):
        for rows in range(1, min(p, _most_rows(machine, vectors, far)) + 1):
            row_tiles, rest = divmod(p, rows)
            heights = [rows] * row_tiles + ([rest] if rest else [])
            across = [vectors] * (columns // vectors) + (
                [columns % vectors] if columns % vectors else []
            )
            cycles = 0.0
            for height in (rows, rest) if rest else (rows,):
                times = heights.count(height)
                for width in {*across}:
                    work = max(height * width, height * 0.5 + width, _IN_FLIGHT / 2)
                    cycles += times * across.count(width) * (k * (work + 0.5) + 12 + height * width)
            instances = (2 if rest else 1) * len({*across})
            cycles *= 1 + 0.02 * instances
            if p % 2 == 0 and p // 2 % rows:
                cycles *= 1.02  # two workers would not have half of the rows each
            if best is None or cycles < best[0]:
                best = cycles, Tile(rows, vectors, 1)
    assert best is not None
    tile = best[1]
    accumulators = tile.rows * tile.vectors
    splits = max(1, min(_IN_FLIGHT // accumulators, 4, k // 4))
    return Tile(tile.rows, tile.vectors, splits)


def _most_rows(machine: Machine, vectors: int, far: bool) -> int:
    """Rows of a tile for which nothing has to leave the registers.

    Of 32 registers a quarter is left for what is loaded: with more accumulators, more than 10 rows
    of two vectors or 6 of three, values went to the stack, and tiles ran at 70 to 90 % of speed.
    Rows of large operands (`far`) are often a multiple of 4 KB apart and share a set of the nearest
    cache, which has room for eight: flat tiles suit them.
    """
    if machine.vector_registers < 32:
        return (machine.vector_registers - 1 - vectors) // vectors
    most = 6 if far or vectors > 2 else 10 if vectors == 2 else 14
    return min(25 // vectors, most)


def _column_segments(q: int, lanes: int, vectors: int) -> list[tuple[int, int, list[int]]]:
    """Columns cut into tiles: (first column, number of tiles, elements of each vector)."""
    whole, rest = divmod(q, lanes)
    segments = []
    tiles, left = divmod(whole, vectors)
    if tiles:
        segments.append((0, tiles, [lanes] * vectors))
    tail = [lanes] * left + ([rest] if rest else [])
    if tail:
        segments.append((tiles * vectors * lanes, 1, tail))
    return segments


def _row_segments(product: Product, height: int) -> list[tuple[int, int, int]]:
    """Rows cut into tiles: (first row, number of tiles, rows of each).

    The tiles of a segment are one piece of code, so they have the same `taps`.
    """
    down, rest = divmod(product.p, height)
    last = [(down * height, 1, rest)] if rest else []
    if not product.crossed:
        return [(0, down, height), *last]
    segments: list[tuple[int, int, int]] = []
    for row in range(0, down * height, height):
        if segments:
            first, tiles, _ = segments[-1]
            if product.taps(first, height) == product.taps(row, height):
                segments[-1] = (first, tiles + 1, height)
                continue
        segments.append((row, 1, height))
    return segments + last


def tiles(context: Context, product: Product, partial: Place | None = None) -> list[Statement]:
    """All tiles of a product.

    With `partial`, the sums so far are kept there and no epilogue runs: the caller loops over
    blocks of a summed axis.
    """
    lanes = context.machine.lanes(product.anchor.dtype.itemsize)
    if product.whole:
        vectors = (context.machine.vector_registers - 2) // (product.p + 1)
        tile = Tile(product.p, max(1, min(vectors, -(-product.q // lanes))), 1)
    else:
        tile = choose_tile(context.machine, product.p, product.q, product.k, lanes)
    splits = 1 if partial is not None or product.borders else tile.splits
    heights = _row_segments(product, tile.rows)
    result: list[Statement] = []
    for column, across, widths in _column_segments(product.q, lanes, tile.vectors):
        qvar = context.names.fresh("q")
        q = Affine(column) + (Affine.var(qvar, sum(widths)) if across > 1 else 0)
        body, source = _panel(context, product, q, widths)
        for row, times, height in heights:
            pvar = context.names.fresh("p")
            p = Affine(row) + (Affine.var(pvar, height) if times > 1 else 0)
            one = _one_tile(context, source, (p, height), (q, widths), splits, partial)
            body += [For(pvar, times, tuple(one))] if times > 1 else one
        result += [For(qvar, across, tuple(body))] if across > 1 else body
    return result


def _panel(
    context: Context, product: Product, q: Affine, widths: list[int]
) -> tuple[list[Statement], Product]:
    """A copy of the columns of a tile, side by side, where that is needed or pays.

    Columns that lie along the sum are turned. Rows that lie a multiple of a kilobyte apart fall
    into few sets of the cache and push each other out; where many tiles read them, they are first
    copied to the stack.
    """
    itemsize = product.anchor.dtype.itemsize
    pitch = product.lined.summed[product.inner] * itemsize if product.summed else 0
    if product.turned:
        return _turned_panel(context, product, q, widths)
    if (
        product.nested
        or product.borders
        or product.k < 64
        or product.p < 64
        or pitch == 0
        or pitch % 1024
    ):
        return [], product
    lanes = context.machine.lanes(itemsize)
    line = lanes * len(widths)
    type = product.anchor.type.short
    panel = Buffer(context.names.fresh("panel"), type, product.k * line, "stack")
    row = context.names.fresh("k")
    index = [Affine()] * len(product.summed)
    index[product.inner] = Affine.var(row)
    copies: list[Statement] = []
    for j, width in enumerate(widths):
        lane = context.names.fresh("v")
        column = Affine.var(lane) + j * lanes
        load = Load(product.lined.buffer, product.lined_at(q + column, tuple(index)))
        store = Store(panel, column + Affine.var(row, line), load)
        copies.append(vector(width, [store], lane))
    body: list[Statement] = [Local(panel), For(row, product.k, tuple(copies))]
    return body, product.with_panel(panel, line, q)


def _turned_panel(
    context: Context, product: Product, q: Affine, widths: list[int]
) -> tuple[list[Statement], Product]:
    """The columns of a tile side by side, from an operand that lies along the sum.

    Squares of it are loaded along the sum, turned in registers, and stored along the columns.
    """
    lanes = context.machine.lanes(product.anchor.dtype.itemsize)
    line = lanes * len(widths)
    type = product.anchor.type.short
    panel = Buffer(context.names.fresh("panel"), type, product.k * line, "stack")
    result: list[Statement] = [Local(panel)]
    for first, count, terms in chunks(product.k, lanes):
        block = context.names.fresh("k")
        k = Affine(first) + (Affine.var(block, terms) if count > 1 else 0)
        body: list[Statement] = []
        for j, width in enumerate(widths):
            square = Buffer(context.names.fresh("square"), type, lanes * lanes, "register")
            body.append(Local(square))
            for c in range(width):
                lane = context.names.fresh("v")
                source = product.lined_at(q + (j * lanes + c), (k + Affine.var(lane),))
                load = Load(product.lined.buffer, source)
                body.append(
                    vector(terms, [Store(square, Affine.var(lane) + c * lanes, load)], lane)
                )
            for r in range(terms):
                lane = context.names.fresh("v")
                place = (k + r) * line + Affine.var(lane) + j * lanes
                value = Load(square, Affine.var(lane, lanes) + r)
                body.append(vector(width, [Store(panel, place, value)], lane))
        result.append(For(block, count, tuple(body)))
    return result, product.with_panel(panel, line, q)


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
    lanes = context.machine.lanes(product.anchor.dtype.itemsize)
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
        body += _sum_over_k(context, product, (p, height), (q, widths), acc, splits, fresh=False)
        return body + each(lambda place, at: Store(so_far, at, Load(acc, place)))
    sum_ = _sum_over_k(context, product, (p, height), (q, widths), acc, splits)

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
    puller = context.puller()
    loops = tuple(
        Affine.var(f"axis{i}") if n != 1 else Affine() for i, n in enumerate(anchor.shape)
    )
    puller.memo[anchor, loops] = Const(0.0, anchor.type.short)
    context.emit_outputs(puller, loops)
    ops = [s.value.name for s in puller.body if isinstance(s, Let) and isinstance(s.value, Op)]
    return any(name in _LONG for name in ops) or len(ops) > 12


def _epilogue_loop(
    context: Context,
    product: Product,
    rows: tuple[Affine, int],
    columns: tuple[Affine, list[int]],
    total: object,
) -> list[Statement]:
    """The epilogue of a tile that goes through the stack.

    So a long epilogue is written out once for each column of vectors, not once for every vector.
    """
    assert callable(total)
    (p, height), (q, widths) = rows, columns
    type = product.anchor.type.short
    lanes = context.machine.lanes(product.anchor.dtype.itemsize)
    line = lanes * len(widths)
    tile = Buffer(context.names.fresh("tile"), type, height * line, "stack")
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


def _sum_over_k(
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
    lanes = context.machine.lanes(product.anchor.dtype.itemsize)

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
    inside = registers <= context.machine.vector_registers
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
    lanes = context.machine.lanes(product.anchor.dtype.itemsize)
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
