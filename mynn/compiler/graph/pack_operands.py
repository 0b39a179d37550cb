"""Copies of the operands of products that lie the wrong way for any schedule."""

from __future__ import annotations

import functools
from collections.abc import Callable

from mynn.compiler.graph.contraction_dims import Kind, choose_strategy, dims_of, is_contraction
from mynn.compiler.graph.index_map import is_affine, view_of
from mynn.compiler.graph.layout import Layouts
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import Loop, Order
from mynn.core.graph import Graph, Node, apply
from mynn.core.rewrite import rewrite
from mynn.core.types import Shape
from mynn.ops import control, elementwise, movement, windows
from mynn.target.storage import ALIGNMENT, padded_extent

# Rows that lie a multiple of so many bytes apart share few sets of the nearest cache; and how many
# are too many for these.
_COLLIDING, _LEAST_ROWS = 1024, 32
# Images of so many channels are copied for products that take each value so often.
_LEAST_CHANNELS, _OFTEN = 8, 64


def is_copy(node: Node) -> bool:
    """Whether the node is a copy that `insert_packing` made: an identity that is stored."""
    return node.primitive is elementwise.stop_gradient


def insert_packing(graph: Graph, layouts: Layouts) -> Graph:
    """Copy the operands of products whose columns lie beside each other in no schedule.

    Expects a simplified graph, in which no identity is left.
    Guarantees that each identity of the result is a copy that has to be stored, row-major.

    So is what loops read that lies in another order than that of its axes, or whose rows collide;
    and given images, so that the channels lie side by side.

    Before: `matmul(a, b)`; after: `matmul(a, stop_gradient(b))`, where the copy has its columns
    side by side.
    """
    packed: dict[Node, Node] = {}

    def copied(x: Node) -> Node:
        if x not in packed:
            packed[x] = copy = apply(elementwise.stop_gradient, x)
            layouts.row_major(copy)
        return packed[x]

    @functools.cache
    def permuted(x: Node, order: Order) -> Node:
        back = tuple(sorted(range(len(order)), key=order.__getitem__))
        copy = copied(apply(movement.transpose, x, axes=order))
        return apply(movement.transpose, copy, axes=back)

    def rule(node: Node) -> Node | None:
        if isinstance(rule_of(node), Loop):
            fixed = _fixed(node)
            given = [
                copied(x) if _lies_otherwise(x, layouts) or (x in fixed and not x.inputs) else x
                for x in node.inputs
            ]
            same = all(new is old for new, old in zip(given, node.inputs, strict=True))
            return None if same else apply(node.primitive, *given, **node.params)
        if not is_contraction(node):
            return None
        operations = dims_of(node).operations
        left, right = (_channels_last(x, operations, layouts, permuted) for x in node.inputs)
        a, b = (view_of(x, layouts.strides, borders=False) for x in (left, right))
        if choose_strategy(node, a.strides, b.strides).kind is Kind.PACK:
            right = copied(right)
        same = (left, right) == node.inputs
        return None if same else apply(node.primitive, left, right, **node.params)

    return rewrite(graph, rule)


def _channels_last(
    x: Node, operations: int, layouts: Layouts, permuted: Callable[[Node, Order], Node]
) -> Node:
    """The same operand as windows of a copy whose channels lie side by side, where it is windows of
    what is given with the places of an image side by side, and each value is multiplied often.
    """
    way: list[Node] = []
    axes: tuple[int, ...] = ()
    base = x
    while base.inputs and (is_affine(base) or base.primitive is movement.pad):
        if base.primitive is windows.windows:
            axes = base.params["axes"]
        elif axes and base.primitive not in (movement.pad, movement.slice_):
            return x
        way.append(base)
        base = base.inputs[0]
    if base.inputs or not axes or layouts.order(base)[-1] not in axes:
        return x
    channels = axes[0] - 1
    often = operations >= 2 * _OFTEN * base.type.size
    if channels < 0 or base.shape[channels] < _LEAST_CHANNELS or not often:
        return x
    rank = len(base.shape)
    order = (*(i for i in range(rank) if i not in (channels, *axes)), *axes, channels)
    result = permuted(base, order)
    for node in reversed(way):
        result = apply(node.primitive, result, **node.params)
    return result


def _lies_otherwise(x: Node, layouts: Layouts) -> bool:
    """Whether what a loop reads in each step is given in another order than that of its axes."""
    return not x.inputs and layouts.order(x) != tuple(range(len(x.shape)))


def spread_rows(graph: Graph) -> dict[Node, Shape]:
    """Strides for tables that loops read in all their steps, and whose rows would collide in the
    cache: the rows lie a line further apart.
    """
    found: dict[Node, Shape] = {}
    for node in graph.nodes():
        if isinstance(rule_of(node), Loop):
            for x in _fixed(node):
                if x.inputs and x not in graph.outputs:
                    size = x.dtype.itemsize
                    found[x] = padded_extent(x.shape[1], size) + ALIGNMENT // size, 1
    return found


def _fixed(loop: Node) -> set[Node]:
    """What is the same in all steps of a scan, and a table whose rows would collide."""
    if loop.primitive is not control.scan:
        return set()
    first = loop.params["carry"] + loop.params["sequences"]
    return {x for x in loop.inputs[first:] if _collides(x)}


def _collides(x: Node) -> bool:
    if len(x.shape) != 2 or x.shape[0] < _LEAST_ROWS:
        return False
    return padded_extent(x.shape[1], x.dtype.itemsize) * x.dtype.itemsize % _COLLIDING == 0
