"""Axes that a reshape merges, and that lie side by side in memory all the same.

    %0: f32[16,64,192] = attention_gradient(...)     rows of samples follow each other
    %1: f32[1024,192] = reshape(%0) shape=(1024, 192)
    %2: f32[1024,64] = matmul(%1, %w)                reads %0 where it lies

An index of the merged axis is no index of the axes before without a division, so that the operand
of a product would be copied. Products need strides alone; so do all who load it where it lies.
"""

from __future__ import annotations

from mynn.compiler.graph.contraction_dims import is_contraction
from mynn.compiler.graph.index_map import is_affine, merged_strides
from mynn.compiler.graph.layout import Layouts
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import Attention, Leaf, Movement
from mynn.core.graph import Graph, Node


def merged_axes(graph: Graph, layouts: Layouts) -> frozenset[Node]:
    """The reshapes whose input is to be stored in their stead, as products can read it there.

    Outputs lie as callers expect, and what is there before the program runs as it is given.
    """
    order = graph.nodes()
    outputs = frozenset(graph.outputs)
    operands: set[Node] = set()
    for node in reversed(order):
        if is_affine(node) and node in operands:
            operands.add(node.inputs[0])
        elif is_contraction(node):
            operands.update(node.inputs)
        elif isinstance(rule := rule_of(node), Attention):
            operands.update(rule.operands(node))
    return frozenset(
        node
        for node in operands - outputs
        if node.inputs
        and node.inputs[0] not in outputs
        and not isinstance(rule_of(node.inputs[0]), Leaf | Movement)
        and merged_strides(node, layouts.strides) is not None
    )
