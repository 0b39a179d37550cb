"""Layout: in which order the axes of a value lie in memory, from the slowest to the fastest.

A product lies as it is computed, an elementwise result as its largest operand, and movement takes
the order with it. So the result of a convolution lies with its channels fastest, whatever the order
of the axes that a user sees, and what is computed from it follows.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import Elementwise, Order
from mynn.core.graph import CONSTANT, Graph, Node, node_names
from mynn.core.types import Shape
from mynn.ops import movement
from mynn.target.storage import padded_strides


class Layouts:
    """The order of every node's axes. `given` holds the strides of inputs, in elements."""

    def __init__(self, given: Mapping[Node, Shape]) -> None:
        self.given = dict(given)
        self._orders: dict[Node, Order] = {}
        # Nodes that are computed from an index alone, and so lie in any order.
        self._free: set[Node] = set()

    def strides(self, node: Node) -> Shape:
        """Strides in elements of the node's storage."""
        known = self.given.get(node)
        return known if known is not None else self.padded(node)

    def padded(self, node: Node) -> Shape:
        """Strides of new storage for the node."""
        return padded_strides(node.shape, node.dtype.itemsize, self.order(node))

    def row_major(self, node: Node) -> None:
        """Let a node lie in the order of its axes."""
        self._orders[node] = tuple(range(len(node.shape)))

    def order(self, node: Node) -> Order:
        """The axes from the slowest to the fastest."""
        stack = [node]
        while stack:
            top = stack[-1]
            missing = [x for x in top.inputs if x not in self._orders]
            if missing and top not in self._orders:
                stack.extend(missing)
                continue
            stack.pop()
            if top not in self._orders:
                self._orders[top] = self._compute(top)
                if _is_free(top, self._free):
                    self._free.add(top)
        return self._orders[node]

    def _compute(self, node: Node) -> Order:
        identity = tuple(range(len(node.shape)))
        if node in self.given:
            strides = self.given[node]
            return tuple(sorted(identity, key=lambda axis: -strides[axis]))
        if not node.inputs or node.type.size == 1:
            return identity
        rule = rule_of(node)
        if isinstance(rule, Elementwise):
            varied = [x for x in node.inputs if not _uniform(x)]
            if not varied:
                return identity
            largest = max(varied, key=lambda x: (x.type.size, x not in self._free))
            return self._orders[largest]
        return rule.order(node, [self._orders[x] for x in node.inputs])


def layouts_of(given: Mapping[Node, Shape], row_major: Iterable[Node]) -> Layouts:
    """The orders of nodes where inputs have these strides, and some nodes lie in row-major order:
    results, as callers expect, and copies of operands.
    """
    layouts = Layouts(given)
    for node in row_major:
        if node not in layouts.given:
            layouts.row_major(node)
    return layouts


def format_layouts(graph: Graph, layouts: Layouts, pads: Container[Node] = ()) -> str:
    """A line for each node with several axes: which lies slowest to fastest; and the `pads`."""
    names = node_names(graph)
    return "\n".join(
        f"{names[node]}: {node.type} order {' '.join(map(str, layouts.order(node)))}"
        + " (zeros that products leave out)" * (node in pads)
        for node in graph.nodes()
        if len(node.shape) > 1
    )


def _is_free(node: Node, free: set[Node]) -> bool:
    """Whether nothing that lies in memory gives the node's axes an order."""
    rule = rule_of(node)
    if isinstance(rule, Elementwise):
        return all(x in free for x in node.inputs)
    return rule.any_order(node)


def _uniform(node: Node) -> bool:
    """Whether every element is the same, so that the order of the axes says nothing."""
    while node.primitive in (movement.broadcast_to, movement.reshape):
        node = node.inputs[0]
    return node.type.size == 1 or node.primitive is CONSTANT
