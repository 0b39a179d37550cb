"""Long sums block after block: partial sums in memory, while what a block needs is near.

in_blocks:                              in_panels:
for the first axis outside the tiles:   for each group of columns and rows:
  partial = 0                             partial = 0
  for each block:                         for each block:
    for each tile:                          strips = rows of the block, panels = its columns
      partial += its sum                    for each tile: partial += its sum
  epilogue on partial                     epilogue on partial
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from mynn.base.dataclass import dataclass
from mynn.compiler.loop_ir.affine import Affine, Index
from mynn.compiler.loop_ir.ir import Buffer, Const, For, Load, Local, Statement, Store
from mynn.compiler.lowering.base import Context, plain_index, serial, vector_loops
from mynn.compiler.lowering.contraction.ahead import NextBlock
from mynn.compiler.lowering.contraction.operands import (
    Operand,
    Product,
    TileAt,
    finish,
    vector_loop,
)
from mynn.compiler.lowering.contraction.pieces import Pieces, stays_near
from mynn.compiler.lowering.contraction.tile import Partial, continued, tiles
from mynn.compiler.lowering.contraction.tile_cost import (
    Tile,
    choose_tile,
    column_segments,
    row_segments,
    waits_for_lines,
)
from mynn.compiler.lowering.inline import Place
from mynn.core.types import Shape
from mynn.target.storage import ALIGNMENT, padded_extent, padded_strides, storage_elements

# What a tile's operands may take of the second cache, half of the smallest that is common.
_CACHE_BYTES = 1 << 19
# So often at least both operands would be streamed through the cache, for blocks to pay: each block
# loads and stores all results once more.
_LEAST_PASSES = 4
# Rows of a tile, roughly.
_TILE_ROWS = 12

# A panel, the columns of a tile for the terms of a block, stays in the nearest cache...
_PANEL_BYTES = 3 << 13
# ...and all panels of a group, or all strips, in the second one.
_GROUP_BYTES = 3 << 16
# Terms of a sum, rows and columns of its results, for which copies pay: so often they are read.
_LEAST_TERMS, _LEAST_EXTENT = 512, 32
# Terms of a block that are worth loading and storing the sums so far.
_LEAST_BLOCK = 64
# Groups that as many workers can share: each copies what it reads itself.
_GROUPS = 2


def in_blocks(context: Context, product: Product) -> list[Statement] | None:
    """Partial sums in memory, block after block of a summed axis; then the epilogue. None where it
    does not pay.
    """
    axis = _blocked_axis(context, product)
    if axis is None:
        return None
    anchor = product.anchor
    itemsize = anchor.dtype.itemsize
    elements = storage_elements(anchor.shape, itemsize)
    buffer = Buffer(f"partial.{context.name}", anchor.type.short, elements)
    place = Place(buffer, padded_strides(anchor.shape, itemsize))
    sums_so_far = Partial(buffer, lambda p, q: place.offset(product.index(p, q)))
    shared, inside = list(product.outer[:1]), list(product.outer[1:])
    variable = context.names.fresh("block")
    block = product.without_axis(axis, variable)
    inner = serial(inside, tiles(context, block, sums_so_far))
    sums = For(variable, product.summed[axis], tuple(inner))
    clear, end = _before_and_after(context, product, sums_so_far)
    return serial(shared, [*serial(inside, clear), sums, *serial(inside, end)])


def _blocked_axis(context: Context, product: Product) -> int | None:
    """The summed axis to loop over outside the tiles, where a sum is longer than a cache.

    Every tile would stream all of both operands through the cache; in blocks of this axis, all
    tiles use a block while it is there.
    """
    if not product.nested:
        return None
    axis = next(i for i, n in enumerate(product.summed) if n > 1)
    total = math.prod(product.summed)
    per_sum = product.q + product.p
    passes = math.prod(n for _, n in product.outer) * -(-product.p // _TILE_ROWS)
    data = total * per_sum * product.anchor.dtype.itemsize
    free = axis != product.inner or _streams(context, product)
    free = free and all(axis != b.summed for b in product.borders)
    return axis if data > _CACHE_BYTES and passes >= _LEAST_PASSES and free else None


def _streams(context: Context, product: Product) -> bool:
    """Whether tiles wait for what each of them reads of all images, as those of the gradient of a
    convolution's kernel: there the innermost loop is not that over images, be these ever so small.
    """
    if not product.borders or not product.across or product.whole:
        return False
    lanes = context.target.lanes(product.anchor.dtype.itemsize)
    tile = choose_tile(context.target, product.p, product.q, product.k, lanes, across=True)
    return waits_for_lines(context.target, tile, product.k)


def _before_and_after(
    context: Context,
    product: Product,
    sums: Partial,
    p0: Affine | None = None,
    q0: Affine | None = None,
) -> tuple[list[Statement], list[Statement]]:
    """Loops that clear the sums of a product from row p0 and column q0 on; and its epilogue."""
    lanes = context.target.lanes(product.anchor.dtype.itemsize)

    def over_elements(make: Callable[[Affine, Affine], list[Statement]]) -> list[Statement]:
        def row(p: Affine) -> list[Statement]:
            p = p if p0 is None else p + p0
            columns = partial(make, p) if q0 is None else lambda q: make(p, q + q0)
            return vector_loops(context.names, product.q, lanes, columns)

        if product.whole:
            return [s for p in range(product.p) for s in row(Affine(p))]
        name = context.names.fresh("r")
        loops = [(name, product.p)] if product.p > 1 else []
        return serial(loops, row(Affine.var(name) if loops else Affine()))

    zero = Const(0.0, product.anchor.type.short)
    clear = over_elements(lambda p, q: [Store(sums.buffer, sums.at(p, q), zero)])
    end = over_elements(
        lambda p, q: finish(context, product.index(p, q), Load(sums.buffer, sums.at(p, q)))
    )
    return clear, end


# -- panels ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cut:
    """How a product is cut: `terms` of each summed axis for a block, rows and columns in groups."""

    tile: Tile
    terms: Shape
    rows: int
    columns: int


def in_panels(context: Context, product: Product) -> list[Statement] | None:
    """Blocks of a sum that lies across both operands, what each of them needs copied side by side,
    where it would not stay in the cache as it lies: for each tile its rows as a strip, its columns
    as a panel. None where it does not pay.
    """
    cut = _cut(context, product)
    if cut is None:
        return None
    names = context.names
    outer = list(product.outer)

    def start(prefix: str, whole: int, part: int) -> Affine:
        if whole == part:
            return Affine()
        name = names.fresh(prefix, whole // part)
        outer.append((name, whole // part))
        return Affine.var(name, part)

    p0, q0 = start("rows", product.p, cut.rows), start("columns", product.q, cut.columns)
    line = padded_extent(product.q, product.anchor.dtype.itemsize)
    elements, own = product.p * line, Affine()
    for name, extent in reversed(product.outer):
        own = own + Affine.var(name, elements)
        elements *= extent
    type = product.anchor.type.short
    buffer = Buffer(f"partial.{context.name}", type, elements, pitch=line)
    sums = Partial(buffer, lambda p, q: own + p * line + q)
    blocks = [
        (names.fresh("block", n // terms), n // terms)
        for n, terms in zip(product.summed, cut.terms, strict=True)
    ]
    group = replace(product, p=cut.rows, q=cut.columns)
    clear, end = _before_and_after(context, group, sums, p0, q0)
    first = tuple(
        Affine.var(name, terms) if count > 1 else Affine()
        for (name, count), terms in zip(blocks, cut.terms, strict=True)
    )
    body = _Block(context, group, cut, first, p0, q0).statements(sums)
    loops = [(name, count) for name, count in blocks if count > 1]
    return serial(outer, [*clear, *serial(loops, body), *end])


def _cut(context: Context, product: Product) -> _Cut | None:
    """How to cut a product for panels; None where it cannot be cut, or not with gain."""
    total = math.prod(product.summed)
    if (
        not product.across
        or product.borders
        or total < _LEAST_TERMS
        or min(product.p, product.q) < _LEAST_EXTENT
    ):
        return None
    itemsize = product.anchor.dtype.itemsize
    lanes = context.target.lanes(itemsize)
    tile = choose_tile(context.target, product.p, product.q, total, lanes, in_groups=True)
    width = tile.vectors * lanes
    left = _PANEL_BYTES // (width * itemsize)
    terms: list[int] = []
    for extent in reversed(product.summed):
        terms.insert(0, _divisor(extent, 1, left))
        left //= terms[0]
    block = math.prod(terms)
    most = _GROUP_BYTES // (block * itemsize)
    columns = _part(product.q, width, most)
    rows = _part(product.p, tile.rows, most)
    if block < _LEAST_BLOCK or not columns or not rows:
        return None
    if columns == product.q and rows == product.p:
        if product.q % (_GROUPS * lanes) == 0 and product.q // _GROUPS >= 2 * width:
            columns = product.q // _GROUPS
        elif product.p % (_GROUPS * tile.rows) == 0 and product.p // _GROUPS >= _LEAST_EXTENT:
            rows = product.p // _GROUPS
    return _Cut(tile, tuple(terms), rows, columns)


def _divisor(extent: int, unit: int, most: int) -> int:
    """The largest divisor of an extent, a multiple of `unit`, up to `most`; 0 for none."""
    found = (n for n in range(min(extent, most), 0, -1) if extent % n == 0 and n % unit == 0)
    return next(found, 0)


def _part(extent: int, unit: int, most: int) -> int:
    """All of an extent where that is not too much, otherwise a part of it in whole tiles."""
    return extent if extent <= most else _divisor(extent, unit, most)


class _Block:
    """One block of a sum, for one group of its results: copies, and tiles that read them."""

    def __init__(
        self,
        context: Context,
        product: Product,
        cut: _Cut,
        first: Sequence[Affine],
        p0: Affine,
        q0: Affine,
    ) -> None:
        self.context, self.product, self.cut = context, product, cut
        self.first, self.p0, self.q0 = first, p0, q0
        self.next = NextBlock(product, cut.terms, first, p0, q0)
        self.type = product.anchor.type.short
        self.itemsize = product.anchor.dtype.itemsize
        self.lanes = context.target.lanes(self.itemsize)
        self.terms = math.prod(cut.terms)
        self.segments = column_segments(product.q, self.lanes, cut.tile.vectors, cut.tile.even)

    def statements(self, sums: Partial) -> list[Statement]:
        """The block, added to the sums so far."""
        heights = row_segments(self.product, self.cut.tile.rows)
        rows = self._pieces([(first, count, size, size) for first, count, size in heights])
        columns = self._pieces(
            [(first, n, sum(w), len(w) * self.lanes) for first, n, w in self.segments]
        )
        product, names = self.product, self.context.names
        strips = self._buffer("strips", product.broadcast, rows, columns)
        panels = self._buffer("panels", product.vector, columns, rows)
        result: list[Statement] = [Local(copy) for copy in (strips, panels) if copy is not None]
        if strips is not None:
            result += self._copied(
                strips,
                rows,
                lambda i, k: _load(product.broadcast, product.broadcast_at(self.p0 + i, k)),
            )
        if panels is not None:
            result += self._copied(
                panels,
                columns,
                lambda i, k: _load(product.vector, product.vector_at(self.q0 + i, k)),
            )
        for piece, (_, _, widths) in zip(columns, self.segments, strict=True):
            variable = names.fresh("q", piece.count)
            q, place = piece.at(variable)
            q = q + self.q0
            start = product.vector_at(q, tuple(self.first))
            near = self._near(product.vector, product.lane, start, panels, place, piece.line)
            panel = replace(product, vector=near, panel_start=q)
            fetched = self._fetched(columns, piece, variable, rows)
            body = [
                s
                for strip in rows
                for s in self._tiles(panel, strips, strip, q, widths, sums, fetched)
            ]
            result += _looped(variable, piece.count, body)
        return result

    def _tiles(
        self,
        product: Product,
        strips: Buffer | None,
        piece: Pieces,
        q: Affine,
        widths: Sequence[int],
        sums: Partial,
        fetched: Callable[[Pieces, str], list[Statement]],
    ) -> list[Statement]:
        """The tiles of one panel, of one height."""
        variable = self.context.names.fresh("p", piece.count)
        p, place = piece.at(variable)
        p = p + self.p0
        start = product.broadcast_at(p, tuple(self.first))
        near = self._near(product.broadcast, product.tile[0], start, strips, place, piece.line)
        product = replace(product, broadcast=near, strip_start=p, summed=(self.terms,))
        tile = TileAt(p, piece.size, q, tuple(widths), self.lanes)
        body = fetched(piece, variable) + continued(self.context, product, tile, sums)
        return _looped(variable, piece.count, body)

    def _fetched(
        self, columns: Sequence[Pieces], panel: Pieces, q: str, rows: Sequence[Pieces]
    ) -> Callable[[Pieces, str], list[Statement]]:
        """What the tiles of a panel fetch ahead: those of the most common size do, for all."""
        most_columns, most_rows = (max(of, key=lambda one: one.count) for of in (columns, rows))

        def share(strip: Pieces, p: str) -> list[Statement]:
            if panel is not most_columns or strip is not most_rows:
                return []
            across, down = (
                Affine.var(name) if one.count > 1 else Affine()
                for name, one in ((q, panel), (p, strip))
            )
            return self.next.share(self.context.names, across, panel.count, down, strip.count)

        return share

    def _near(
        self,
        operand: Operand,
        axis: int,
        start: Affine,
        copy: Buffer | None,
        place: Affine,
        line: int,
    ) -> Operand:
        """The operand in its copy, or where it lies from `start` on, for one tile."""
        step = 1
        if copy is None:
            copy, place, line = operand.buffer, start, operand.summed[-1]
            step = operand.kept[axis]
        kept = tuple([step * (i == axis) for i in range(len(operand.kept))])
        batch = (0,) * len(operand.batch)
        return Operand(copy, place.constant, batch, kept, (line,), place.terms)

    def _pieces(self, sizes: Sequence[tuple[int, int, int, int]]) -> list[Pieces]:
        """Where copies lie: a line of the cache between them, so that they do not begin a multiple
        of 4 KB apart.
        """
        result: list[Pieces] = []
        place = 0
        for first, count, size, line in sizes:
            gap = ALIGNMENT // self.itemsize
            step = -(-self.terms * line // gap) * gap + gap
            result.append(Pieces(first, count, size, line, place, step))
            place += count * step
        return result

    def _buffer(
        self, name: str, operand: Operand, pieces: Sequence[Pieces], others: Sequence[Pieces]
    ) -> Buffer | None:
        """Memory for copies; None where what a tile reads stays in the nearest cache as it lies.

        Each piece is read with each of the `others`.
        """
        width = max(piece.size for piece in pieces) * self.itemsize
        readers = sum(piece.count for piece in others)
        if stays_near(operand, self.cut.terms, width, self.itemsize, readers):
            return None
        elements = sum(piece.count * piece.step for piece in pieces)
        return Buffer(self.context.names.fresh(name), self.type, elements, "scratch")

    def _copied(
        self, copy: Buffer, pieces: Sequence[Pieces], load: Callable[[Affine, Index], Load]
    ) -> list[Statement]:
        """The rows or columns of all tiles, term after term."""
        fresh = self.context.names.fresh
        names = [fresh("k", n) for n in self.cut.terms]
        inner = plain_index(names, self.cut.terms)
        index = tuple([a + b for a, b in zip(self.first, inner, strict=True)])
        term = Affine()
        for k, n in zip(inner, self.cut.terms, strict=True):
            term = term * n + k
        body: list[Statement] = []
        for piece in pieces:
            variable = fresh("t", piece.count)
            first, place = piece.at(variable)
            one: list[Statement] = []
            for start in range(0, piece.size, self.lanes):
                lane = fresh("v")
                i = Affine.var(lane) + start
                store = Store(copy, place + term * piece.line + i, load(first + i, index))
                one.append(vector_loop(min(self.lanes, piece.size - start), [store], lane))
            body += _looped(variable, piece.count, one)
        return serial([(k, n) for k, n in zip(names, self.cut.terms, strict=True) if n > 1], body)


def _load(operand: Operand, at: Affine) -> Load:
    return Load(operand.buffer, at)


def _looped(variable: str, count: int, body: list[Statement]) -> list[Statement]:
    return serial([(variable, count)] if count > 1 else [], body)
