"""Rebuilding a graph: one rule, applied to each node once its inputs are done.

Every pass from a graph to a graph is a rule, and `rewrite` or `rebuild` around it.
"""

from __future__ import annotations

from collections.abc import Callable

from mynn.core.graph import Graph, Node

Rule = Callable[[Node], Node | None]
Pass = Callable[[Graph], Graph]


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """The graph rebuilt from its leaves.

    `rule(node)` is shown each node on its new inputs; it gives the node to stand in its place, or
    None to keep it. Where it keeps all of them the very same graph comes back.
    """
    return rebuild(graph, lambda old, new: rule(new))


def rebuild(graph: Graph, rule: Callable[[Node, Node], Node | None]) -> Graph:
    """`rewrite` with a rule that is shown the node of the old graph too: `rule(old, new)`."""
    new: dict[Node, Node] = {}
    declared = set(graph.inputs)
    for node in graph.nodes():
        if node in declared:
            new[node] = node
            continue
        candidate = node
        inputs = tuple([new[x] for x in node.inputs])
        if inputs != node.inputs:
            candidate = Node(
                node.primitive, inputs, node.params, node.type, None, node.name, node.source
            )
        replacement = rule(node, candidate)
        new[node] = candidate if replacement is None else replacement
    outputs = tuple([new[node] for node in graph.outputs])
    checks = tuple([new[node] for node in graph.checks])
    same = outputs == graph.outputs and checks == graph.checks
    return graph if same else Graph(graph.inputs, outputs, checks)
