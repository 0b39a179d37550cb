"""Layout: in which order the axes of a value lie in memory, from the slowest to the fastest.

A product lies as it is computed, an elementwise result as its largest operand, and movement takes
the order with it. So the result of a convolution lies with its channels fastest, whatever the order
of the axes that a user sees, and what is computed from it follows.
"""

from __future__ import annotations

from collections.abc import Mapping

from mynn.compiler.graph.contraction_dims import DOT_COLUMNS
from mynn.compiler.graph.index_map import reshape_groups, unit_reshape
from mynn.core.graph import CONSTANT, Node
from mynn.core.types import Shape
from mynn.target.storage import ALIGNMENT, padded_strides

Order = tuple[int, ...]


class Layouts:
    """The order of every node's axes. `given` holds the strides of inputs, in elements."""

    def __init__(self, given: Mapping[Node, Shape]) -> None:
        self.given = dict(given)
        self._orders: dict[Node, Order] = {}
        # Nodes that are computed from an index alone, and so lie in any order.
        self._loose: set[Node] = set()

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
                if _is_loose(top, self._loose):
                    self._loose.add(top)
        return self._orders[node]

    def _compute(self, node: Node) -> Order:
        identity = tuple(range(len(node.shape)))
        if node in self.given:
            strides = self.given[node]
            return tuple(sorted(identity, key=lambda axis: -strides[axis]))
        if not node.inputs or node.type.size == 1:
            return identity
        first = node.inputs[0]
        old = self._orders[first]
        name = node.primitive.name
        if node.primitive.family == "elementwise":
            varied = [x for x in node.inputs if not _uniform(x)]
            if not varied:
                return identity
            largest = max(varied, key=lambda x: (x.type.size, x not in self._loose))
            return self._orders[largest]
        if name == "matmul" and self._is_narrow(node):
            return (*identity[:-2], identity[-1], identity[-2])
        if name == "transpose":
            return tuple(node.params["axes"].index(axis) for axis in old)
        if name in ("slice", "pad", "flip", "broadcast_to", "concatenate"):
            return old
        if name == "windows":
            return (*old[:-1], *range(len(old), len(node.shape)), *old[-1:])
        if name == "reshape":
            return _reshaped(first.shape, node.shape, old)
        if name in ("sum", "max", "min"):
            kept = [axis for axis in range(len(first.shape)) if axis not in node.params["axes"]]
            return tuple(kept.index(axis) for axis in old if axis in kept)
        return identity

    def _is_narrow(self, node: Node) -> bool:
        """Whether a product of few columns is computed along its rows: its second operand lies
        along the summed axis, and the rows fill vectors."""
        *batch, rows, columns = node.shape
        b = node.inputs[1]
        return (
            not batch
            and columns <= DOT_COLUMNS
            and rows * node.dtype.itemsize >= ALIGNMENT
            and self._orders[b][-1] == 0
        )


def _is_loose(node: Node, loose: set[Node]) -> bool:
    """Whether nothing that lies in memory gives the node's axes an order."""
    name = node.primitive.name
    if name == "broadcast_to":
        return node.inputs[0].type.size < node.type.size
    elementwise = node.primitive.family == "elementwise"
    return name == "iota" or (elementwise and all(x in loose for x in node.inputs))


def _uniform(node: Node) -> bool:
    """Whether every element is the same, so that the order of the axes says nothing."""
    while node.primitive.name in ("broadcast_to", "reshape"):
        node = node.inputs[0]
    return node.type.size == 1 or node.primitive is CONSTANT


def _reshaped(old: Shape, new: Shape, order: Order) -> Order:
    """Axes that are split stay together; merged ones lie where the first of them lay."""
    if unit_reshape(old, new):
        wide = [axis for axis, n in enumerate(new) if n != 1]
        source = [axis for axis, n in enumerate(old) if n != 1]
        moved = [wide[source.index(axis)] for axis in order if axis in source]
        return (*(axis for axis, n in enumerate(new) if n == 1), *moved)
    groups = reshape_groups(old, new)
    parts = {}
    for left, right in groups:
        wide = [axis for axis in left if old[axis] != 1]
        parts.update(dict.fromkeys(wide[:1], right))
    moved = [axis for source in order if source in parts for axis in parts[source]]
    return (*(axis for axis in range(len(new)) if axis not in moved), *moved)
