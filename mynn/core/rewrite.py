"""Rebuilding a graph: one rule, applied to each node once its inputs are done.

Every pass from a graph to a graph is a rule, and `rewrite` or `rebuild` around it.
"""

from __future__ import annotations

from collections.abc import Callable

from mynn.core.graph import Graph, Node

Rule = Callable[[Node], Node | None]
Pass = Callable[[Graph], Graph]


def rewrite(graph: Graph, rule: Rule, settled: set[Node] | None = None) -> Graph:
    """The graph rebuilt from its leaves.

    `rule(node)` is shown each node on its new inputs; it gives the node to stand in its place, or
    None to keep it. Where it keeps all of them the very same graph comes back.

    A rule that goes by nothing but a node and what the node is computed from need not be asked
    twice: the nodes in `settled` are kept, and those that the rule keeps are added.
    """
    if settled is None:
        return rebuild(graph, lambda old, new: rule(new))

    def asked(old: Node, new: Node) -> Node | None:
        if new in settled:
            return None
        found = rule(new)
        if found is None:
            settled.add(new)
        return found

    return rebuild(graph, asked)


def rebuild(graph: Graph, rule: Callable[[Node, Node], Node | None]) -> Graph:
    """`rewrite` with a rule that is shown the node of the old graph too: `rule(old, new)`."""
    # Those that others stand in the place of.
    new: dict[Node, Node] = {}
    for node in graph.nodes()[len(graph.inputs) :]:
        candidate = node
        if new and not new.keys().isdisjoint(node.inputs):
            inputs = tuple([new.get(x, x) for x in node.inputs])
            candidate = Node(
                node.primitive, inputs, node.params, node.type, None, node.name, node.source
            )
        replacement = rule(node, candidate) or candidate
        if replacement is not node:
            new[node] = replacement
    outputs = tuple([new.get(node, node) for node in graph.outputs])
    checks = tuple([new.get(node, node) for node in graph.checks])
    same = outputs == graph.outputs and checks == graph.checks
    return graph if same else Graph(graph.inputs, outputs, checks)
