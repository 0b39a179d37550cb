"""Products, seen as loops: which axes are kept, which are summed, and along which vectors run.

`matmul` and `contract` are one thing here: y[B | P | Q] = sum over K of a[B | P | K] b[B | K | Q],
where B, P, K and Q are groups of axes.
"""

from __future__ import annotations

import enum
import math

from mynn.base.dataclass import dataclass
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import Contraction, ContractionDims
from mynn.core.graph import Node
from mynn.core.types import Shape
from mynn.target.storage import is_narrow
from mynn.target.target import Target

# Up to so many rows a product whose operands lie along the summed axis is done by dot products.
DOT_ROWS = 6
# Columns of up to so many terms are transposed into memory that is near; longer ones are copied
# once for all tiles.
TRANSPOSED_TERMS = 512
# Vectors along an axis of fewer elements are partly empty. A copy of elements that lies better is
# cheap where they are multiplied this often.
_SHORT, _OFTEN = 16, 16


def is_contraction(node: Node) -> bool:
    """Whether the node is a product summed over axes."""
    return isinstance(rule_of(node), Contraction)


def dims_of(node: Node) -> ContractionDims:
    """The groups of axes of a contraction."""
    rule = rule_of(node)
    assert isinstance(rule, Contraction)
    return rule.dims(node)


class Kind(enum.Enum):
    """How the loops of a contraction run.

    - `TILES`: tiles of accumulators, with vectors along a kept axis.
    - `DOT`: vectors along the summed axis; the results are gathered along a kept one.
    - `TRANSPOSED`: tiles for which columns of the second operand, which lies along the summed axis,
      are transposed on the way.
    - `PACK`: the second operand has to be copied first.
    """

    TILES = "tiles"
    DOT = "dot"
    TRANSPOSED = "transposed"
    PACK = "pack"


@dataclass(frozen=True)
class Strategy:
    """How a contraction is computed, by how its operands lie in memory.

    - `swapped`: vectors run along a row axis, that is an axis of the first operand.
    - `lane`: the vector axis, counted within the rows or the columns.
    - `tile`: the axis of the other group that gives a tile its height, or None where there is none.
    """

    kind: Kind
    swapped: bool
    lane: int
    tile: int | None


def choose_strategy(node: Node, a: Shape, b: Shape, result: Shape = ()) -> Strategy:
    """The strategy for operands with these strides, and a result with those, where it is known."""
    dims = dims_of(node)
    batch, summed = len(dims.batch), len(dims.summed)
    row_strides, a_sum = a[batch : len(a) - summed], a[len(a) - summed :]
    b_sum, column_strides = b[batch : batch + summed], b[batch + summed :]
    rows, columns = math.prod(dims.rows), math.prod(dims.columns)
    row_tile = _tile_axis(dims.rows, row_strides)
    column_tile = _tile_axis(dims.columns, column_strides)
    row = _unit_axis(dims.rows, row_strides)
    column = _unit_axis(dims.columns, column_strides)
    along_sum = summed == 1 and a_sum[0] == 1 and b_sum[0] == 1 and dims.summed[0] > 1
    dot_rows = along_sum and _wide_axes(dims.rows) <= 1
    dot_columns = along_sum and _wide_axes(dims.columns) <= 1
    if columns == 1 and rows > 1:
        if row is not None:
            return Strategy(Kind.TILES, True, row, column_tile)
        if dot_rows:
            return Strategy(Kind.DOT, True, _longest(dims.rows), None)
    either = row is not None and column is not None and len(dims.rows) == len(dims.columns) == 1
    if either and result and result[-2] == 1 != result[-1]:
        return Strategy(Kind.TILES, True, 0, column_tile)
    if column is not None:
        return Strategy(Kind.TILES, False, column, row_tile)
    if dot_columns and rows <= DOT_ROWS and dims.columns:
        return Strategy(Kind.DOT, False, _longest(dims.columns), row_tile)
    if row is not None and not _pays_to_copy(dims.rows, row, dims.columns):
        return Strategy(Kind.TILES, True, row, column_tile)
    if dot_rows and is_narrow(columns) and dims.rows:
        return Strategy(Kind.DOT, True, _longest(dims.rows), column_tile)
    if columns == 1 or not dims.columns:
        if dims.rows and not dims.columns:
            return Strategy(Kind.TILES, True, _longest(dims.rows), None)
        return Strategy(Kind.TILES, False, 0, row_tile)
    short = summed == 1 and b_sum[0] == 1 and dims.summed[0] <= TRANSPOSED_TERMS
    if short and len(dims.columns) == 1:
        return Strategy(Kind.TRANSPOSED, False, 0, row_tile)
    return Strategy(Kind.PACK, False, len(dims.columns) - 1, row_tile)


def tile_axes(shape: Shape, strategy: Strategy, target: Target) -> tuple[int, ...]:
    """The axes that a tile's rows run over: one, or several that are too short by themselves."""
    if strategy.tile is None:
        return ()
    axes = [strategy.tile]
    rows = shape[strategy.tile]
    most = target.vector_registers - 4
    if strategy.kind is Kind.TILES and rows < 8:
        for axis in reversed(range(len(shape))):
            if axis != strategy.tile and shape[axis] > 1 and rows * shape[axis] <= most:
                axes.append(axis)
                rows *= shape[axis]
    return tuple(sorted(axes))


def _unit_axis(extents: Shape, strides: Shape) -> int | None:
    """The longest axis whose elements are neighbours."""
    fits = [i for i, (n, s) in enumerate(zip(extents, strides, strict=True)) if s == 1 and n > 1]
    return max(fits, key=lambda i: extents[i]) if fits else None


def _pays_to_copy(rows: Shape, row: int, columns: Shape) -> bool:
    """Whether vectors along rows would be partly empty, as along the width of a kernel, and columns
    would fill them. Each element that is copied is multiplied by all rows.
    """
    short, long = rows[row], columns[-1] if columns else 1
    return short < _SHORT and long >= 2 * short and math.prod(rows) >= _OFTEN


def _tile_axis(extents: Shape, strides: Shape) -> int | None:
    """The axis that fills a tile best; among several that are long enough one whose elements are
    near to each other, or the last.
    """
    if not extents:
        return None

    def good(axis: int) -> tuple[int, int]:
        near = extents[axis] >= 8 and 0 < strides[axis] <= 2
        return (12 if near else min(extents[axis], 11), axis)

    return max(range(len(extents)), key=good)


def _longest(extents: Shape) -> int:
    return max(range(len(extents)), key=lambda i: (extents[i], i))


def _wide_axes(extents: Shape) -> int:
    return sum(n > 1 for n in extents)
