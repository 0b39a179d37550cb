"""Common subexpressions: equal nodes become one."""

from __future__ import annotations

from collections.abc import Hashable

from mynn.compiler.graph.fold import FOLD_LIMIT
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import Elementwise
from mynn.core.graph import CONSTANT, Graph, Node
from mynn.core.rewrite import rewrite


def cse(graph: Graph) -> Graph:
    """Compute equal things once: same primitive, parameters and inputs; constants by their bytes.

    Before:
        %0: f32[3] = tanh(%x)
        %1: f32[3] = tanh(%x)
        %2: f32[3] = mul(%0, %1)
    After:
        %0: f32[3] = tanh(%x)
        %1: f32[3] = mul(%0, %0)
    """
    seen: dict[Hashable, Node] = {}

    def rule(node: Node) -> Node | None:
        first = seen.setdefault(_key(node), node)
        return None if first is node else first

    return rewrite(graph, rule)


def _key(node: Node) -> Hashable:
    if node.primitive is CONSTANT and node.value is not None:
        small = node.type.size <= FOLD_LIMIT
        return (CONSTANT, node.shape, node.dtype.char, node.value.tobytes()) if small else node
    inputs = node.inputs
    rule = rule_of(node)
    commutative = isinstance(rule, Elementwise) and rule.commutative
    if commutative and inputs[0].serial > inputs[1].serial:
        inputs = (inputs[1], inputs[0])
    if not node.params:
        return (node.primitive, inputs) if inputs else node
    # Floats by their text: 0.0 and -0.0 are equal as numbers.
    params = tuple(
        (name, repr(value) if isinstance(value, float) else value)
        for name, value in node.params.items()
    )
    return (node.primitive, inputs, params)
