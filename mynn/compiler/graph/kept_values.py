"""Gradients of a rectifier before a dropout: what it let through is read off the dropout's result.

The gradient is 0 where the rectifier's value is 0, and where the dropout dropped it. In both cases
the dropout's result is 0, and nowhere else. So the backward pass reads that alone, which the next
layer's gradient reads too, and the rectifier's own values need not be stored.

Before:
    %2: f32[32,64] = relu(%1)
    %5: f32[32,64] = where(%dropped, 0, 1.25)
    %6: f32[32,64] = mul(%2, %5)
    %7: bool[32,64] = less_equal(%2, 0)
    %8: f32[32,64] = mul(%gradient, %5)
    %9: f32[32,64] = where(%7, 0, %8)
After:
    %7: bool[32,64] = less_equal(%6, 0)
    %8: f32[32,64] = mul(%gradient, 1.25)
    %9: f32[32,64] = where(%7, 0, %8)

The factor is 1 or more, so that no product with it is 0 where the value is not. What was a zero
with a sign is one without.
"""

from __future__ import annotations

from mynn.compiler.graph.contraction_dims import is_contraction
from mynn.core.graph import CONSTANT, Graph, Node, apply
from mynn.core.rewrite import rewrite
from mynn.ops import elementwise, movement


def read_kept_values(graph: Graph) -> Graph:
    """Let gradients of rectifiers read the results of the dropouts behind these."""
    results: dict[tuple[Node, Node], Node] = {}
    stored = {x for node in graph.nodes() if is_contraction(node) for x in node.inputs}
    for node in graph.nodes():
        if node.primitive is elementwise.mul and node in stored:
            for value, factor in (node.inputs, node.inputs[::-1]):
                if value.primitive is elementwise.relu and _scale(factor) is not None:
                    results[value, factor] = node
    return rewrite(graph, lambda node: _of_result(node, results)) if results else graph


def _number(node: Node) -> float | None:
    """The constant that a node is everywhere, if it is one."""
    while node.primitive in (movement.broadcast_to, movement.reshape):
        (node,) = node.inputs
    if node.primitive is not CONSTANT or node.value is None or node.type.size != 1:
        return None
    return float(node.value.item())


def _scale(factor: Node) -> Node | None:
    """What a dropout multiplies by what it keeps, of its factor."""
    if factor.primitive is not elementwise.where:
        return None
    _, dropped, kept = factor.inputs
    number = _number(kept)
    return kept if _number(dropped) == 0 and number is not None and number >= 1 else None


def _of_result(node: Node, results: dict[tuple[Node, Node], Node]) -> Node | None:
    """The gradient of a rectifier, by the result of the dropout behind it."""
    if node.primitive is not elementwise.where:
        return None
    closed, zero, product = node.inputs
    if closed.primitive is not elementwise.less_equal or product.primitive is not elementwise.mul:
        return None
    value, limit = closed.inputs
    if _number(zero) != 0 or _number(limit) != 0:
        return None
    for factor, gradient in (product.inputs, product.inputs[::-1]):
        result, scale = results.get((value, factor)), _scale(factor)
        if result is not None and scale is not None:
            shut = apply(elementwise.less_equal, result, limit, source=closed.source)
            grown = apply(elementwise.mul, gradient, scale, source=product.source)
            return apply(elementwise.where, shut, zero, grown, source=node.source)
    return None
