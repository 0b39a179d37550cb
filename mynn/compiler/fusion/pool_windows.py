"""Windows side by side: small reductions as expressions, and blocks that are computed together.

The gradient of pooling spreads one number for each window over the values of the window, and puts
the windows in their place:

    %hits: f32[N,C,4,4,2,2] = which values are the largest of their window
    %each: f32[N,C,4,4]     = div(%g, sum of %hits over the window)
    %y:    f32[N,C,4,4,2,2] = mul(%hits, %each repeated)
    %x:    f32[N,C,8,8]     = reshape(transpose(%y))

A loop over the 8 x 8 elements would compute `%each` four times, or load it. A loop over the 4 x 4
windows with the four elements of a window written out (`mynn.compiler.lowering.map`) computes it
once, so it need not be stored. `window_blocks` finds the nodes that such a loop computes,
`inlined_reductions` the reductions that are written out too.
"""

from __future__ import annotations

from collections.abc import Container
from math import prod

from mynn.compiler.graph.layout import Layouts
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import Reduction
from mynn.compiler.rules.reshape import reshape_groups
from mynn.core.graph import Graph, Node
from mynn.ops import movement

# Reductions over at most so many values are written out, and so are blocks.
MOST_INLINED = 16


def inlined_reductions(graph: Graph, layouts: Layouts) -> frozenset[Node]:
    """Reductions of a few values whose vectors run along a kept axis."""
    return frozenset(n for n in graph.nodes() if _is_inlined(n, layouts))


def _is_inlined(node: Node, layouts: Layouts) -> bool:
    if not isinstance(rule_of(node), Reduction) or not node.type.size:
        return False
    x = node.inputs[0]
    if x.type.size > MOST_INLINED * node.type.size:
        return False
    wide = [axis for axis in layouts.order(x) if x.shape[axis] > 1]
    return bool(wide) and wide[-1] not in node.params["axes"]


def block_axes(node: Node) -> frozenset[int]:
    """Axes of the input of a reshape that become the places within blocks of an axis."""
    if node.primitive is not movement.reshape:
        return frozenset()
    old, new = node.inputs[0].shape, node.shape
    found: set[int] = set()
    for left, right in reshape_groups(old, new):
        wide = [axis for axis in left if old[axis] != 1]
        if len(wide) > 1 and sum(new[axis] != 1 for axis in right) == 1:
            found.update(wide[1:])
    return frozenset(found) if prod(old[axis] for axis in found) <= MOST_INLINED else frozenset()


def window_blocks(graph: Graph, inlined: Container[Node]) -> frozenset[Node]:
    """Nodes that are only needed for the elements of one block each, so that nothing is repeated.

    From a reshape that puts blocks in their place, up to what others need too.
    """
    order = graph.nodes()
    readers: dict[Node, set[Node]] = {}
    for node in order:
        for x in node.inputs:
            readers.setdefault(x, set()).add(node)
    outputs = set(graph.outputs)
    found: set[Node] = set()
    for place, root in enumerate(order):
        start = block_axes(root)
        if not start:
            continue
        axes = {root.inputs[0]: start}
        inside = {root}
        for node in reversed(order[:place]):
            if node in axes and node not in outputs and readers[node] <= inside:
                inside.add(node)
                for x, within in _inputs(node, axes[node], inlined):
                    if axes.setdefault(x, within) != within:
                        del axes[x]
        found |= inside - {root}
    return frozenset(found)


def _inputs(
    node: Node, within: frozenset[int], inlined: Container[Node]
) -> list[tuple[Node, frozenset[int]]]:
    """The inputs of a node that are needed for its block only, with the axes within the block."""
    if node in inlined and not within:
        return [(node.inputs[0], frozenset(node.params["axes"]))]
    axes = rule_of(node).axes(node)
    if axes is None:
        return []
    repeated = {i for i, axis in enumerate(axes) if axis is None and node.shape[i] != 1}
    if not repeated <= within:
        return []
    inside = frozenset(axis for i in within if (axis := axes[i]) is not None)
    return [(x, inside) for x in node.inputs]
