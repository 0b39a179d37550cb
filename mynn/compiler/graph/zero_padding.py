"""Zeros around the operands of products, as the padding of a convolution puts there.

They need not be in memory: a schedule that knows where they are leaves out the products with them.
`eliminated` finds the paddings of a graph for which that works.

Example: the second convolution of LeNet has outputs of 8 x 8, and the gradient of its input, 12 x
12, is a convolution of 5 x 5 over them with 4 zeros on every side. Of the (12 * 5)^2 products of an
output and a tap, for each pair of channels, (8 * 5)^2 are not with zeros.

What is left out is 0 * x, which is no zero where x is infinite or NaN. So a weight that is not
finite makes fewer results at the border NaN than the graph says.
"""

from __future__ import annotations

from collections.abc import Container

from mynn.base.dataclass import dataclass
from mynn.compiler.graph.contraction_dims import (
    Kind,
    choose_strategy,
    dims_of,
    is_contraction,
    tile_axes,
)
from mynn.compiler.graph.index_map import Bound, View, strip_views, view_of
from mynn.compiler.graph.layout import Layouts
from mynn.compiler.loop_ir.affine import Affine, Index
from mynn.compiler.rules.record import ContractionDims
from mynn.core.graph import Graph, Node
from mynn.target.target import Target

# Up to so many places of the sum are written out for the rows of a tile.
_MOST_TAPS = 25


@dataclass(frozen=True)
class Border:
    """An operand is 0 unless 0 <= start + step * i + summed_step * k < extent.

    i is the index into the axis `kept` of its kept axes (None where it depends on none), k that
    into the axis `summed` of the summed ones.
    """

    kept: int | None
    step: int
    summed: int
    summed_step: int
    start: int
    extent: int

    def at(self, kept: Index, summed: Index) -> Affine:
        """What has to be at least 0 and less than `extent`."""
        result = summed[self.summed] * self.summed_step + self.start
        return result if self.kept is None else result + kept[self.kept] * self.step


def border_of(axes: ContractionDims, bound: Bound, second: bool) -> Border | None:
    """A bound of an operand as a border; None where it depends on other axes than those."""
    kept_shape = axes.columns if second else axes.rows
    batch, kept, summed = axes.parts(bound.steps, second)

    def moving(steps: tuple[int, ...], shape: tuple[int, ...]) -> list[int]:
        return [i for i, (step, n) in enumerate(zip(steps, shape, strict=True)) if step and n > 1]

    rows, places = moving(kept, kept_shape), moving(summed, axes.summed)
    if moving(batch, axes.batch) or len(rows) > 1 or len(places) != 1:
        return None
    axis = rows[0] if rows else None
    step = 0 if axis is None else kept[axis]
    return Border(axis, step, places[0], summed[places[0]], bound.start, bound.extent)


def _leaves_out(product: Node, views: tuple[View, View], target: Target) -> bool:
    """Whether the schedule of a product can leave out what meets the zeros around its operands."""
    axes = dims_of(product)
    strategy = choose_strategy(product, views[0].strides, views[1].strides)
    if strategy.kind is not Kind.TILES:
        return False
    tile = tile_axes(axes.columns if strategy.swapped else axes.rows, strategy, target)
    taken: list[int] = []
    taps = 1
    for second, view in enumerate(views):
        for bound in view.bounds:
            border = border_of(axes, bound, bool(second))
            if border is None or border.summed_step < 1:
                return False
            in_vectors = bool(second) != strategy.swapped
            if in_vectors and border.kept == strategy.lane:
                return False
            if not in_vectors and border.kept in tile:
                taps *= axes.summed[border.summed]
            taken.append(border.summed)
    return len(set(taken)) == len(taken) and taps <= _MOST_TAPS


def eliminated(
    graph: Graph, layouts: Layouts, target: Target, state: Container[Node] = ()
) -> frozenset[Node]:
    """The paddings that every product which reads them can do without.

    An output lies in memory, so that products read it there and not what it is a view of. New
    `state` lies where the old state lies, in an order that is not known here.
    """
    outputs = frozenset(graph.outputs)
    seen: set[Node] = set()
    needed: set[Node] = set()
    for node in graph.nodes():
        if is_contraction(node):
            first, second = (view_of(x, layouts.strides, outputs) for x in node.inputs)
            pads = {*first.pads, *second.pads}
            seen |= pads
            if pads and not _leaves_out(node, (first, second), target):
                needed |= pads
    pads = seen - needed
    return frozenset(pad for pad in pads if strip_views(pad, pads, state) not in state)


def operations(product: Node, stored: Container[Node]) -> int:
    """A multiply and an add for each product of the sum that is not left out."""
    axes = dims_of(product)
    total = axes.operations
    for second, x in enumerate(product.inputs):
        view = view_of(x, lambda base: (0,) * len(base.shape), stored)
        extents = axes.columns if second else axes.rows
        for bound in view.bounds:
            border = border_of(axes, bound, bool(second))
            assert border is not None
            rows = 1 if border.kept is None else extents[border.kept]
            places = axes.summed[border.summed]
            met = sum(
                0 <= border.start + border.step * i + border.summed_step * k < border.extent
                for i in range(rows)
                for k in range(places)
            )
            total = total * met // (rows * places)
    return total
