"""The schedules of products, `matmul` and `contract` alike (see `mynn.compiler.products`).

Columns: a tile of MR rows by NR vectors of columns is held in registers while k runs; a row of b is
loaded as vectors, an element of a is spread over all lanes. Where the roles of rows and columns are
exchanged, vectors run along rows.

    for each tile:                       # operands stay where they are, in memory
      acc[MR, NR vectors] = 0
      for k: for i in MR: for j in NR:  acc[i, j] += a[i, k] * b[k, j]
      epilogue on acc: bias, activation, gradient of the activation, update of a parameter

Dot: for few rows, where both operands lie along k. Sixteen dot products run side by side, then a
tree of shuffles adds up their lanes into one vector of results.
"""

from __future__ import annotations

import math
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
    Reduce,
    Statement,
    Store,
    Var,
)
from mynn.compiler.products import Axes, Mode, axes_of, choose_mode
from mynn.compiler.schedule.base import Context, canonical, plain_index, serial
from mynn.compiler.views import Index, view_of
from mynn.graph import Node, Shape
from mynn.runtime.machine import Machine

# Cycles between a multiply-add and the next that needs its result, times how many start in a cycle.
_IN_FLIGHT = 8
# Functions that make an epilogue too long to be written out for every vector of a tile.
_LONG = frozenset(
    ["exp", "expm1", "log", "log1p", "tanh", "logistic", "erf", "sin", "cos", "pow", "mod"]
)


@dataclass(frozen=True)
class Operand:
    """An operand in memory: strides along the batch axes, its kept axes, and the summed axes."""

    buffer: Buffer
    offset: int
    batch: Shape
    kept: Shape
    summed: Shape

    def at(self, batch: Index, kept: Index, summed: Index) -> Affine:
        """Flat offset of an element."""
        result = Affine(self.offset)
        strides = (*self.batch, *self.kept, *self.summed)
        for i, stride in zip((*batch, *kept, *summed), strides, strict=True):
            result = result + i * stride
        return result


@dataclass(frozen=True)
class Product:
    """A product as its schedule sees it.

    Elements of `spread` are repeated over all lanes, vectors of `lined` are loaded. `outer` are the
    loops around the tiles; `batch`, `spread_index` and `lined_index` are the indices that they
    give, in which the places `tile` and `lane` are filled in.
    """

    anchor: Node
    spread: Operand
    lined: Operand
    p: int
    q: int
    summed: Shape
    swapped: bool
    tile: tuple[int, ...]
    lane: int
    batch: Index
    spread_index: Index
    lined_index: Index
    outer: tuple[tuple[str, int], ...]
    tile_shape: Shape

    @property
    def whole(self) -> bool:
        """Whether a tile spans several short axes, and so must be written out whole."""
        return len(self.tile) > 1

    def spread_axes(self, p: Affine) -> Index:
        """The index into the kept axes of the spread operand at row p of the tiles."""
        if not self.whole:
            return _filled(self.spread_index, self.tile[0] if self.tile else None, p)
        index, rest = self.spread_index, p.constant
        for axis, extent in reversed(list(zip(self.tile, self.tile_shape, strict=True))):
            index = _filled(index, axis, Affine(rest % extent))
            rest //= extent
        return index

    def spread_at(self, p: Affine, summed: Index) -> Affine:
        """Offset of an element of the spread operand."""
        return self.spread.at(self.batch, self.spread_axes(p), summed)

    def lined_at(self, q: Affine, summed: Index) -> Affine:
        """Offset of an element of the lined operand."""
        return self.lined.at(self.batch, _filled(self.lined_index, self.lane, q), summed)

    def index(self, p: Affine, q: Affine) -> Index:
        """The anchor's index at (p, q)."""
        spread = self.spread_axes(p)
        lined = _filled(self.lined_index, self.lane, q)
        kept = (*lined, *spread) if self.swapped else (*spread, *lined)
        return canonical((*self.batch, *kept), self.anchor.shape)

    @property
    def inner(self) -> int:
        """The summed axis whose loop is innermost: the longest."""
        return max(range(len(self.summed)), key=lambda i: (self.summed[i], i), default=0)

    @property
    def k(self) -> int:
        """Extent of the innermost summed axis."""
        return self.summed[self.inner] if self.summed else 1

    @property
    def nested(self) -> bool:
        """Whether more than one summed axis has to be looped over."""
        return sum(n > 1 for n in self.summed) > 1


def _filled(index: Index, place: int | None, value: Affine) -> Index:
    if place is None or place >= len(index):
        return index
    return (*index[:place], value, *index[place + 1 :])


def _operand(context: Context, node: Node, axes: Axes, second: bool) -> Operand:
    places = context.places

    def strides(base: Node) -> Shape:
        return places[base].strides

    view = view_of(node, strides, places)
    context.touched.add(view.base)
    batch, rest = view.strides[: len(axes.batch)], view.strides[len(axes.batch) :]
    if second:
        summed, kept = rest[: len(axes.summed)], rest[len(axes.summed) :]
    else:
        kept, summed = rest[: len(axes.rows)], rest[len(axes.rows) :]
    return Operand(places[view.base].buffer, view.offset, batch, kept, summed)


def _tile_axes(context: Context, shape: Shape, mode: Mode) -> tuple[int, ...]:
    """The axes that a tile's rows run over: one, or several that are too short by themselves."""
    if mode.tile is None:
        return ()
    axes = [mode.tile]
    rows = shape[mode.tile]
    most = context.machine.vector_registers - 4
    if mode.kind == "tiles" and rows < 8:
        for axis in reversed(range(len(shape))):
            if axis != mode.tile and shape[axis] > 1 and rows * shape[axis] <= most:
                axes.append(axis)
                rows *= shape[axis]
    return tuple(sorted(axes))


def lower_product(context: Context) -> list[Statement]:
    """Choose the schedule by how the operands lie in memory."""
    anchor = context.group.anchor
    assert anchor is not None
    axes = axes_of(anchor)
    a = _operand(context, anchor.inputs[0], axes, second=False)
    b = _operand(context, anchor.inputs[1], axes, second=True)
    mode = choose_mode(anchor, (*a.batch, *a.kept, *a.summed), (*b.batch, *b.summed, *b.kept))
    spread, lined = (b, a) if mode.swapped else (a, b)
    spread_shape, lined_shape = axes.rows, axes.columns
    if mode.swapped:
        spread_shape, lined_shape = lined_shape, spread_shape
    outer: list[tuple[str, int]] = []
    tile = _tile_axes(context, spread_shape, mode)

    def loops(shape: Shape, prefix: str, without: tuple[int, ...]) -> Index:
        index = []
        for axis, extent in enumerate(shape):
            name = context.names.fresh(prefix)
            looped = extent != 1 and axis not in without
            index.append(Affine.var(name) if looped else Affine())
            if looped:
                outer.append((name, extent))
        return tuple(index)

    batch = loops(axes.batch, "b", ())
    spread_index = loops(spread_shape, "p", tile)
    lined_index = loops(lined_shape, "q", (mode.lane,))
    product = Product(
        anchor,
        spread,
        lined,
        math.prod(spread_shape[axis] for axis in tile),
        lined_shape[mode.lane] if lined_shape else 1,
        axes.summed,
        mode.swapped,
        tile,
        mode.lane,
        batch,
        spread_index,
        lined_index,
        tuple(outer),
        tuple(spread_shape[axis] for axis in tile),
    )
    body = _dot(context, product) if mode.kind == "dot" else _tiles(context, product)
    return serial(list(product.outer), body)


# -- tiles -----------------------------------------------------------------------------------------


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
    best: tuple[float, Tile] | None = None
    for vectors in range(1, min(columns, 6) + 1):
        most = (machine.vector_registers - 1 - vectors) // vectors
        for rows in range(1, min(p, most, 14) + 1):
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
            if best is None or cycles < best[0]:
                best = cycles, Tile(rows, vectors, 1)
    assert best is not None
    tile = best[1]
    accumulators = tile.rows * tile.vectors
    splits = max(1, min(_IN_FLIGHT // accumulators, 4, k // 4))
    return Tile(tile.rows, tile.vectors, splits)


def _column_segments(q: int, lanes: int, vectors: int) -> list[tuple[int, int, list[int]]]:
    """Columns cut into tiles: (first column, number of tiles, elements of each vector)."""
    whole, rest = divmod(q, lanes)
    segments = []
    tiles, left = divmod(whole, vectors)
    if rest and tiles and left == 0 and vectors * tiles == whole:
        left = 0
    if tiles:
        segments.append((0, tiles, [lanes] * vectors))
    tail = [lanes] * left + ([rest] if rest else [])
    if tail:
        segments.append((tiles * vectors * lanes, 1, tail))
    return segments


def _tiles(context: Context, product: Product) -> list[Statement]:
    lanes = context.machine.lanes(product.anchor.dtype.itemsize)
    if product.whole:
        vectors = (context.machine.vector_registers - 2) // (product.p + 1)
        tile = Tile(product.p, max(1, min(vectors, -(-product.q // lanes))), 1)
    else:
        tile = choose_tile(context.machine, product.p, product.q, product.k, lanes)
    result: list[Statement] = []
    for column, across, widths in _column_segments(product.q, lanes, tile.vectors):
        down, rest = divmod(product.p, tile.rows)
        heights = [(0, down, tile.rows)] + ([(down * tile.rows, 1, rest)] if rest else [])
        body: list[Statement] = []
        qvar = context.names.fresh("q")
        q = Affine(column) + (Affine.var(qvar, sum(widths)) if across > 1 else 0)
        for row, times, height in heights:
            pvar = context.names.fresh("p")
            p = Affine(row) + (Affine.var(pvar, height) if times > 1 else 0)
            one = _one_tile(context, product, (p, height), (q, widths), tile.splits)
            body += [For(pvar, times, tuple(one))] if times > 1 else one
        result += [For(qvar, across, tuple(body))] if across > 1 else body
    return result


def _vector(
    context: Context, width: int, body: list[Statement] | None, lane: str | None = None
) -> For:
    assert body is not None
    return For(lane or context.names.fresh("v"), width, tuple(body), "vector")


def _one_tile(
    context: Context,
    product: Product,
    rows: tuple[Affine, int],
    columns: tuple[Affine, list[int]],
    splits: int,
) -> list[Statement]:
    (p, height), (q, widths) = rows, columns
    type = product.anchor.type.short
    lanes = context.machine.lanes(product.anchor.dtype.itemsize)
    line = lanes * len(widths)
    acc = Buffer(context.names.fresh("acc"), type, splits * height * line, "register")
    body: list[Statement] = [Local(acc)]
    body += _sum_over_k(context, product, (p, height), (q, widths), acc, splits)

    def total(i: int, offset: Affine) -> Expr:
        parts: list[Expr] = [
            Load(acc, offset + (split * height + i) * line) for split in range(splits)
        ]
        while len(parts) > 1:
            pairs = [Op("add", (x, y), type) for x, y in zip(parts[::2], parts[1::2], strict=False)]
            parts = pairs + ([parts[-1]] if len(parts) % 2 else [])
        return parts[0]

    if height * len(widths) > 2 and _is_long(context):
        return body + _epilogue_loop(context, product, (p, height), (q, widths), total)
    for i in range(height):
        for j, width in enumerate(widths):
            lane = context.names.fresh("v")
            column = Affine.var(lane) + j * lanes
            index = product.index(p + i, q + column)
            body.append(_vector(context, width, _finish(context, index, total(i, column)), lane))
    return body


def _finish(context: Context, index: Index, value: Expr) -> list[Statement]:
    anchor = context.group.anchor
    assert anchor is not None
    puller = context.puller()
    puller.memo[anchor, index] = puller.let(value)
    return context.emit_outputs(puller, index)


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
            body.append(_vector(context, width, [store], lane))
    row = context.names.fresh("r")
    inner: list[Statement] = []
    for start, count, width in _runs(widths, lanes):
        jvar, lane = context.names.fresh("j"), context.names.fresh("v")
        column = Affine.var(lane) + start + (Affine.var(jvar, lanes) if count > 1 else 0)
        value = Load(tile, column + Affine.var(row, line))
        index = product.index(p + Affine.var(row), q + column)
        loop: Statement = _vector(context, width, _finish(context, index, value), lane)
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
) -> list[Statement]:
    """The accumulators of a tile: the first products set them, the others are added."""
    (p, height), (q, widths) = rows, columns
    lanes = context.machine.lanes(product.anchor.dtype.itemsize)
    line = lanes * len(widths)
    type = product.anchor.type.short

    def step(summed: Index, split: int, first: bool) -> list[Statement]:
        body: list[Statement] = []
        spread: list[Expr] = []
        for i in range(height):
            name = context.names.fresh("a")
            load = Load(product.spread.buffer, product.spread_at(p + i, summed))
            body.append(Let(name, load))
            spread.append(Var(name, type))
        for j, width in enumerate(widths):
            lane = context.names.fresh("v")
            column = Affine.var(lane) + j * lanes
            row = context.names.fresh("w")
            load = Load(product.lined.buffer, product.lined_at(q + column, summed))
            inner: list[Statement] = [Let(row, load)]
            for i in range(height):
                at = column + (split * height + i) * line
                factors = (spread[i], Var(row, type))
                value = Op("fma", (*factors, Load(acc, at)), type)
                inner.append(Store(acc, at, Op("mul", factors, type) if first else value))
            body.append(_vector(context, width, inner, lane))
        return body

    if 0 in product.summed:
        return _zeros(context, acc, height * splits, widths, lanes)
    names = [context.names.fresh("k") for _ in product.summed]
    index = plain_index(names, product.summed)

    def at(k: Affine) -> Index:
        return _filled(tuple(index), product.inner, k)

    unroll = splits * max(1, min(product.k // splits, 16 // (splits * height * len(widths)), 4))
    if product.k * height * len(widths) <= 64:
        unroll = product.k
    ready = 0 if product.nested else splits
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
    zeros = _zeros(context, acc, height * splits, widths, lanes)
    return [*zeros, *serial(around, result)]


def _zeros(
    context: Context, acc: Buffer, rows: int, widths: list[int], lanes: int
) -> list[Statement]:
    """Accumulators of an empty sum."""
    body: list[Statement] = []
    for i in range(rows):
        for j, width in enumerate(widths):
            lane = context.names.fresh("v")
            at = Affine.var(lane) + (i * len(widths) + j) * lanes
            body.append(_vector(context, width, [Store(acc, at, Const(0.0, acc.type))], lane))
    return body


# -- dot products ----------------------------------------------------------------------------------


def _dot(context: Context, product: Product) -> list[Statement]:
    lanes = context.machine.lanes(product.anchor.dtype.itemsize)
    result: list[Statement] = []
    pvar = context.names.fresh("p")
    p = Affine.var(pvar) if product.p > 1 else Affine()
    whole, rest = divmod(product.q, lanes)
    segments = ([(0, whole, lanes)] if whole else []) + ([(whole * lanes, 1, rest)] if rest else [])
    for first, times, count in segments:
        qvar = context.names.fresh("q")
        q = Affine(first) + (Affine.var(qvar, lanes) if times > 1 else 0)
        body = _dot_block(context, product, p, q, count)
        result += [For(qvar, times, tuple(body))] if times > 1 else body
    return [For(pvar, product.p, tuple(result))] if product.p > 1 else result


def _dot_block(
    context: Context, product: Product, p: Affine, q: Affine, count: int
) -> list[Statement]:
    lanes = context.machine.lanes(product.anchor.dtype.itemsize)
    type = product.anchor.type.short
    lanes_k = min(lanes, 1 << (product.k - 1).bit_length()) if product.k else 1
    acc = Buffer(context.names.fresh("acc"), type, count * lanes_k, "register")
    body: list[Statement] = [Local(acc)]
    for r in range(count):
        lane = context.names.fresh("v")
        zero = Store(acc, Affine.var(lane) + r * lanes_k, Const(0.0, type))
        body.append(_vector(context, lanes_k, [zero], lane))
    whole, rest = divmod(product.k, lanes_k)
    kvar = context.names.fresh("k")
    for first, times, width in ((0, whole, lanes_k), (whole * lanes_k, 1, rest)):
        if not times or not width:
            continue
        lane = context.names.fresh("v")
        k = Affine.var(lane) + first + (Affine.var(kvar, lanes_k) if times > 1 else 0)
        name = context.names.fresh("a")
        load = Load(product.spread.buffer, product.spread_at(p, (k,)))
        inner: list[Statement] = [Let(name, load)]
        for r in range(count):
            at = Affine.var(lane) + r * lanes_k
            b = Load(product.lined.buffer, product.lined_at(q + r, (k,)))
            inner.append(Store(acc, at, Op("fma", (Var(name, type), b, Load(acc, at)), type)))
        loop: Statement = _vector(context, width, inner, lane)
        body.append(For(kvar, times, (loop,)) if times > 1 else loop)
    lane = context.names.fresh("v")
    total = Reduce("sum", acc, Affine.var(lane, lanes_k), lanes_k)
    index = product.index(p, q + Affine.var(lane))
    body.append(_vector(context, count, _finish(context, index, total), lane))
    return body
