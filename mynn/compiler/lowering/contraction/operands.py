"""A product as its schedules see it: two operands in memory, and the axes that loops run over."""

from __future__ import annotations

import itertools
from dataclasses import replace

from mynn.base.dataclass import dataclass
from mynn.compiler.graph.index_map import view_of
from mynn.compiler.graph.zero_padding import Border, border_of
from mynn.compiler.loop_ir.affine import Affine, Index
from mynn.compiler.loop_ir.ir import Buffer, Expr, For, Statement, Within
from mynn.compiler.lowering.base import Context, canonical
from mynn.compiler.rules.record import ContractionDims
from mynn.core.graph import Node
from mynn.core.types import Shape
from mynn.errors import CompileError

# An axis of so many steps is long enough for an innermost loop.
_LONG = 8


@dataclass(frozen=True)
class Operand:
    """An operand in memory: strides along the batch axes, its kept axes, and the summed axes.

    `extra` are variables of loops around, with their strides. Outside its `borders` the operand is
    zero, and not in memory.
    """

    buffer: Buffer
    offset: int
    batch: Shape
    kept: Shape
    summed: Shape
    extra: tuple[tuple[str, int], ...] = ()
    borders: tuple[Border, ...] = ()

    def at(self, batch: Index, kept: Index, summed: Index) -> Affine:
        """Flat offset of an element."""
        result = Affine(self.offset)
        for variable, stride in self.extra:
            result = result + Affine.var(variable, stride)
        strides = (*self.batch, *self.kept, *self.summed)
        for i, stride in zip((*batch, *kept, *summed), strides, strict=True):
            result = result + i * stride
        return result


@dataclass(frozen=True)
class TileAt:
    """A tile of results: `height` rows from `row` on, vectors of `widths` from `column` on.

    Its accumulators lie row after row in a register buffer, each vector in `lanes` elements, with
    `splits` of them for each result.
    """

    row: Affine
    height: int
    column: Affine
    widths: tuple[int, ...]
    lanes: int
    splits: int = 1

    @property
    def line(self) -> int:
        """Elements of a row of accumulators."""
        return self.lanes * len(self.widths)

    @property
    def vectors(self) -> int:
        """Accumulators, in vectors, of one split."""
        return self.height * len(self.widths)

    def place(self, row: int, split: int = 0) -> int:
        """Where a row of accumulators begins."""
        return (split * self.height + row) * self.line


@dataclass(frozen=True)
class SumPoint:
    """A place of the sum: its index into the summed axes, and which accumulators it goes to.

    `first`: whether it sets them. `rows`: the rows of the tile that take part.
    """

    index: Index
    rows: tuple[int, ...]
    split: int = 0
    first: bool = False


@dataclass(frozen=True)
class Product:
    """A product as its schedule sees it.

    Elements of the operand `broadcast` are repeated over all lanes, of `vector` vectors are loaded.
    There are `p` rows of tiles along the kept axes `tile` of the former, and `q` columns along the
    axis `lane` of the latter. `outer` are the loops around the tiles, `within` further ones, for
    all rounds of which the columns of a tile are copied once; `batch`, `broadcast_index` and
    `vector_index` are the indices that they give, in which `tile` and `lane` are filled in.
    `panel_start` and `strip_start`: the first column, or row, of an operand that is such a copy.
    """

    anchor: Node
    broadcast: Operand
    vector: Operand
    p: int
    q: int
    summed: Shape
    swapped: bool
    tile: tuple[int, ...]
    lane: int
    batch: Index
    broadcast_index: Index
    vector_index: Index
    outer: tuple[tuple[str, int], ...]
    tile_shape: Shape
    within: tuple[tuple[str, int], ...] = ()
    panel_start: Affine | None = None
    strip_start: Affine | None = None

    @property
    def whole(self) -> bool:
        """Whether a tile spans several short axes, and so must be written out whole."""
        return len(self.tile) > 1

    @property
    def transposed(self) -> bool:
        """Whether the vector operand lies along the sum, so that its columns are transposed."""
        if not self.vector.kept or len(self.summed) != 1 or self.q == 1 or self.k == 0:
            return False
        return self.vector.kept[self.lane] != 1 and self.vector.summed[0] == 1

    @property
    def across(self) -> bool:
        """Whether the rows of the tile and the columns lie side by side, the sum across both."""
        return (
            len(self.tile) == 1
            and self.broadcast.kept[self.tile[0]] == 1
            and not self.transposed
            and self.q > 1
        )

    def broadcast_axes(self, p: Affine) -> Index:
        """The index into the kept axes of the broadcast operand at row p of the tiles."""
        if not self.whole:
            return filled(self.broadcast_index, self.tile[0] if self.tile else None, p)
        index, offset = self.broadcast_index, p.constant
        for axis, extent in reversed(list(zip(self.tile, self.tile_shape, strict=True))):
            index = filled(index, axis, Affine(offset % extent))
            offset //= extent
        return index

    def with_panel(self, panel: Buffer, line: int, start: Affine) -> Product:
        """The same product with columns of its vector operand copied, from `start` on."""
        strides = [0] * len(self.summed)
        strides[self.inner] = line
        kept = [0] * len(self.vector.kept)
        kept[self.lane] = 1
        batch = (0,) * len(self.vector.batch)
        vector = Operand(panel, 0, batch, tuple(kept), tuple(strides))
        return replace(self, vector=vector, panel_start=start)

    def without_axis(self, axis: int, variable: str) -> Product:
        """The same product with one summed axis taken out of the sum: it follows `variable`."""

        def fixed(operand: Operand) -> Operand:
            return replace(operand, extra=((variable, operand.summed[axis]),))

        summed = tuple(1 if i == axis else n for i, n in enumerate(self.summed))
        return replace(
            self, broadcast=fixed(self.broadcast), vector=fixed(self.vector), summed=summed
        )

    def broadcast_at(self, p: Affine, summed: Index) -> Affine:
        """Offset of an element of the broadcast operand."""
        if self.strip_start is not None:
            p = p + -self.strip_start
        return self.broadcast.at(self.batch, self.broadcast_axes(p), summed)

    def vector_at(self, q: Affine, summed: Index) -> Affine:
        """Offset of an element of the vector operand."""
        if self.panel_start is not None:
            q = q + -self.panel_start
        return self.vector.at(self.batch, filled(self.vector_index, self.lane, q), summed)

    def index(self, p: Affine, q: Affine) -> Index:
        """The anchor's index at (p, q)."""
        broadcast = self.broadcast_axes(p)
        vector = filled(self.vector_index, self.lane, q)
        kept = (*vector, *broadcast) if self.swapped else (*broadcast, *vector)
        return canonical((*self.batch, *kept), self.anchor.shape)

    @property
    def borders(self) -> tuple[Border, ...]:
        """Where products of the sum are left out, because a factor is known to be zero."""
        return (*self.broadcast.borders, *self.vector.borders)

    @property
    def masked(self) -> tuple[int, ...]:
        """The summed axes that are written out, since what they may be depends on the tile's row.

        See `taps`.
        """
        return tuple(sorted(b.summed for b in self.broadcast.borders if b.kept in self.tile))

    def taps(self, row: int, height: int) -> tuple[tuple[Index, tuple[int, ...]], ...]:
        """The rows of a tile that take part in the sum at each place of the `masked` axes.

        `row` is the tile's first row; the indices are 0 for all other summed axes.
        """
        axes = self.masked
        borders = [b for b in self.broadcast.borders if b.summed in axes]
        result = []
        for place in itertools.product(*(range(self.summed[axis]) for axis in axes)):
            index: Index = (Affine(),) * len(self.summed)
            for axis, k in zip(axes, place, strict=True):
                index = filled(index, axis, Affine(k))
            rows = []
            for i in range(height):
                kept = self.broadcast_axes(Affine(row + i))
                if all(0 <= b.at(kept, index).constant < b.extent for b in borders):
                    rows.append(i)
            if rows:
                result.append((index, tuple(rows)))
        return tuple(result)

    def conditions(self, axis: int, index: Index) -> tuple[Within, ...]:
        """Where the loop over a summed axis meets values of the operands, not the zeros around."""
        pairs = ((self.broadcast, self.broadcast_index), (self.vector, self.vector_index))
        return tuple(
            Within(border.at(kept, index), border.extent)
            for operand, kept in pairs
            for border in operand.borders
            if border.summed == axis
        )

    @property
    def inner(self) -> int:
        """The summed axis whose loop is innermost: the last of those that are long enough.

        Steps along the batch, which comes first, are further apart than a set of the nearest cache
        has lines: 16 images of 8 x 8 places are summed place by place in 1.3 times the time.
        """
        axes = range(len(self.summed))
        return max(axes, key=lambda i: (min(self.summed[i], _LONG), i), default=0)

    @property
    def k(self) -> int:
        """Extent of the innermost summed axis."""
        return self.summed[self.inner] if self.summed else 1

    @property
    def nested(self) -> bool:
        """Whether more than one summed axis has to be looped over."""
        return sum(n > 1 for n in self.summed) > 1


def filled(index: Index, place: int | None, value: Affine) -> Index:
    """The index with one entry set."""
    if place is None or place >= len(index):
        return index
    return (*index[:place], value, *index[place + 1 :])


def operand_of(context: Context, node: Node, axes: ContractionDims, second: bool) -> Operand:
    """Where an operand of a product lies."""
    places = context.places

    def strides(base: Node) -> Shape:
        return places[base].strides

    view = view_of(node, strides, places)
    context.loaded.add(view.base)
    batch, kept, summed = axes.parts(view.strides, second)
    borders = tuple(border_of(axes, bound, second) for bound in view.bounds)
    known = tuple(border for border in borders if border is not None)
    if len(known) < len(borders):
        raise CompileError(f"{node!r}: the zeros of a padding cannot be left out")
    return Operand(
        places[view.base].buffer,
        view.offset,
        batch,
        kept,
        summed,
        borders=known,
    )


def vector_loop(width: int, body: list[Statement], lane: str) -> For:
    """A vector loop around `body`."""
    return For(lane, width, tuple(body), "vector")


def finish(context: Context, index: Index, value: Expr) -> list[Statement]:
    """The epilogue: every output of the group, from the value of the product."""
    anchor = context.group.anchor
    assert anchor is not None
    builder = context.builder()
    builder.memo[anchor, index] = builder.let(value)
    return context.emit_outputs(builder, index)
