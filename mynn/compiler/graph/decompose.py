"""Composites written out: what the compiler knows only in terms of other primitives."""

from __future__ import annotations

from mynn.core.graph import Graph, Node
from mynn.core.rewrite import rewrite


def decompose(graph: Graph, settled: set[Node] | None = None) -> Graph:
    """Write a primitive that is a composite to the compiler in terms of others.

    Before:
        %0: f32[8,4,26] = conv(%x, %w) strides=(1,) padding=((0, 0),) dilations=(1,) groups=1
    After:
        %0: f32[8,1,26,3] = windows(%x) axes=(2,) sizes=(3,) strides=(1,) dilations=(1,)
        %1: f32[8,26,1,3] = transpose(%0) axes=(0, 2, 1, 3)
        %2: f32[1,3,4] = transpose(%w) axes=(1, 2, 0)
        %3: f32[8,26,4] = contract(%1, %2) batch=0 summed=2
        %4: f32[8,4,26] = transpose(%3) axes=(0, 2, 1)
    """
    return rewrite(graph, _decomposed, settled)


def _decomposed(node: Node) -> Node | None:
    rule = node.primitive.expand
    return None if rule is None else rule(*node.inputs, **node.params)
