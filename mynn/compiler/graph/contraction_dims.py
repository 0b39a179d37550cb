"""Products, seen as loops: which axes are kept, which are summed, and along which vectors run.

`matmul` and `contract` are one thing here: y[B | P | Q] = sum over K of a[B | P | K] b[B | K | Q],
where B, P, K and Q are groups of axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import Contraction, ContractionDims
from mynn.core.graph import Node
from mynn.core.types import Shape
from mynn.target.storage import is_narrow
from mynn.target.target import Target

# Up to so many rows a product whose operands lie along the summed axis is done by dot products.
DOT_ROWS = 6
# Columns of so many terms are turned into memory that is near.
TURNED_TERMS = 512


def is_contraction(node: Node) -> bool:
    """Whether the node is a product summed over axes."""
    return isinstance(rule_of(node), Contraction)


def dims_of(node: Node) -> ContractionDims:
    """The groups of axes of a contraction."""
    rule = rule_of(node)
    assert isinstance(rule, Contraction)
    return rule.dims(node)


@dataclass(frozen=True)
class Mode:
    """How the loops of a product run.

    - `kind`: "tiles" (vectors along a kept axis), "dot" (vectors along the summed axis, results
      gathered along a kept one), "turned" (tiles for which columns of the second operand, which
      lies along the summed axis, are turned on the way) or "pack" (the second operand has to be
      copied first).
    - `swapped`: vectors run along a row axis, that is an axis of the first operand.
    - `lane`: the vector axis, counted within the rows or the columns.
    - `tile`: the axis of the other group that gives a tile its height, or None where there is none.
    """

    kind: str
    swapped: bool
    lane: int
    tile: int | None


def choose_mode(node: Node, a: Shape, b: Shape, result: Shape = ()) -> Mode:
    """The mode for operands with these strides, and a result with those, where it is known."""
    axes = dims_of(node)
    nb, nk = len(axes.batch), len(axes.summed)
    row_strides, a_sum = a[nb : len(a) - nk], a[len(a) - nk :]
    b_sum, column_strides = b[nb : nb + nk], b[nb + nk :]
    column = _unit_axis(axes.columns, column_strides)
    row = _unit_axis(axes.rows, row_strides)
    count_rows, count_columns = math.prod(axes.rows), math.prod(axes.columns)
    narrow = bool(axes.rows) and is_narrow(count_columns, node.dtype.itemsize)
    along_sum = nk == 1 and a_sum[0] == 1 and b_sum[0] == 1 and axes.summed[0] > 1
    if count_columns == 1 and count_rows > 1:
        if row is not None:
            return Mode("tiles", True, row, _tile_axis(axes.columns))
        if along_sum and _wide_axes(axes.rows) <= 1:
            return Mode("dot", True, _longest(axes.rows), None)
    single = len(axes.rows) == len(axes.columns) == 1
    either = column is not None and row is not None and single
    if either and result and result[-2] == 1 != result[-1]:
        return Mode("tiles", True, len(axes.rows) - 1, _tile_axis(axes.columns))
    if column is not None:
        return Mode("tiles", False, column, _tile_axis(axes.rows))
    if along_sum and count_rows <= DOT_ROWS and _wide_axes(axes.columns) <= 1 and axes.columns:
        return Mode("dot", False, _longest(axes.columns), _tile_axis(axes.rows))
    if row is not None:
        return Mode("tiles", True, row, _tile_axis(axes.columns))
    if along_sum and narrow and _wide_axes(axes.rows) <= 1:
        return Mode("dot", True, _longest(axes.rows), _tile_axis(axes.columns))
    if count_columns == 1 or not axes.columns:
        if axes.rows and not axes.columns:
            return Mode("tiles", True, _longest(axes.rows), None)
        return Mode("tiles", False, 0, _tile_axis(axes.rows))
    short = nk == 1 and b_sum[0] == 1 and axes.summed[0] <= TURNED_TERMS
    if short and len(axes.columns) == 1:
        return Mode("turned", False, 0, _tile_axis(axes.rows))
    return Mode("pack", False, len(axes.columns) - 1, _tile_axis(axes.rows))


def tile_axes(shape: Shape, mode: Mode, target: Target) -> tuple[int, ...]:
    """The axes that a tile's rows run over: one, or several that are too short by themselves."""
    if mode.tile is None:
        return ()
    axes = [mode.tile]
    rows = shape[mode.tile]
    most = target.vector_registers - 4
    if mode.kind == "tiles" and rows < 8:
        for axis in reversed(range(len(shape))):
            if axis != mode.tile and shape[axis] > 1 and rows * shape[axis] <= most:
                axes.append(axis)
                rows *= shape[axis]
    return tuple(sorted(axes))


def _unit_axis(extents: Shape, strides: Shape) -> int | None:
    """The longest axis whose elements are neighbours."""
    fits = [i for i, (n, s) in enumerate(zip(extents, strides, strict=True)) if s == 1 and n > 1]
    return max(fits, key=lambda i: extents[i]) if fits else None


def _tile_axis(extents: Shape) -> int | None:
    """The axis that fills a tile best; the last of those that are long enough."""
    if not extents:
        return None
    return max(range(len(extents)), key=lambda i: (min(extents[i], 12), i))


def _longest(extents: Shape) -> int:
    return max(range(len(extents)), key=lambda i: (extents[i], i))


def _wide_axes(extents: Shape) -> int:
    return sum(n > 1 for n in extents)
