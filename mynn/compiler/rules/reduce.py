"""Records of reductions: the operation that combines, and the number that changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from mynn.compiler.rules.record import ArgMax, Order, Reduction, Rule, largest, least, one, zero
from mynn.core.graph import Node
from mynn.core.primitive import Primitive
from mynn.ops import reduce


def _kept_order(node: Node, orders: Sequence[Order]) -> Order:
    """The axes that are left, in the order of the input."""
    axes = node.params["axes"]
    kept = [axis for axis in range(len(node.inputs[0].shape)) if axis not in axes]
    return tuple(kept.index(axis) for axis in orders[0] if axis in kept)


RULES: dict[Primitive, Rule] = {
    reduce.sum: Reduction("add", zero, order=_kept_order, over_nothing=0),
    reduce.prod: Reduction("mul", one, order=_kept_order, over_nothing=1),
    reduce.max: Reduction("maximum", least, order=_kept_order, keeps_uniform=True),
    reduce.min: Reduction("minimum", largest, order=_kept_order, keeps_uniform=True),
    reduce.argmax: ArgMax(),
}
