"""What passes over the graph share: rebuilding it, and values that are uniform.

A *uniform* node is one whose elements are all the same constant. Its one form is
`broadcast_to(constant[1,1])`, with as many axes as the result, or the constant alone where it has
one element: so it stays a scalar for code generation.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mynn.core.graph import CONSTANT, Array, Graph, Node, Shape, apply, constant, topological
from mynn.ops import movement

Rule = Callable[[Node], Node | None]
Pass = Callable[[Graph], Graph]


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """The graph rebuilt from its leaves, `rule` applied to each node once its inputs are done.

    The rule gives the node to stand in place of the one it is shown, or None to keep that. Where it
    keeps all of them the very same graph comes back.
    """
    new: dict[Node, Node] = {}
    declared = set(graph.inputs)
    for node in topological((*graph.checks, *graph.outputs), stop=declared.__contains__):
        if node in declared:
            new[node] = node
            continue
        candidate = node
        inputs = tuple([new[x] for x in node.inputs])
        if inputs != node.inputs:
            candidate = Node(
                node.primitive, inputs, node.params, node.type, None, node.name, node.source
            )
        replacement = rule(candidate)
        new[node] = candidate if replacement is None else replacement
    outputs = tuple([new[node] for node in graph.outputs])
    checks = tuple([new[node] for node in graph.checks])
    same = outputs == graph.outputs and checks == graph.checks
    return graph if same else Graph(graph.inputs, outputs, checks)


_PLACING = {movement.reshape, movement.broadcast_to, movement.transpose}


def uniform_value(node: Node) -> Array | None:
    """The value that all elements of a node share, as an array without axes, or None.

    Looks through chains of reshape, broadcast_to and transpose down to a constant of one element.
    """
    while node.primitive in _PLACING:
        node = node.inputs[0]
    if node.primitive is CONSTANT and node.type.size == 1 and node.value is not None:
        return node.value.reshape(())
    return None


def full(value: Array, shape: Shape) -> Node:
    """The uniform node of `shape` whose elements are `value`, in its one form."""
    ones = (1,) * len(shape)
    scalar = constant(np.asarray(value).reshape(ones))
    return scalar if shape == ones else apply(movement.broadcast_to, scalar, shape=shape)


def is_number(node: Node, number: float) -> bool:
    """Whether all elements are `number` (a zero of either sign counts as 0)."""
    value = uniform_value(node)
    return value is not None and bool(value == number)
