"""The one way to rebuild a graph."""

from __future__ import annotations

import numpy as np

from mynn.core.graph import Graph, Node, apply, input_node
from mynn.core.rewrite import rebuild, rewrite
from mynn.core.types import Type
from mynn.ops import checks, elementwise

LABELS = Type((3,), np.dtype(np.int64))
VALUES = Type((3,), np.dtype(np.float32))


def not_negated(node: Node) -> Node | None:
    return node.inputs[0] if node.primitive is elementwise.neg else None


def test_what_does_not_change_is_shared() -> None:
    x = input_node(VALUES, "x")
    kept = apply(elementwise.tanh, x)
    changed = apply(elementwise.mul, apply(elementwise.neg, x), kept)
    first, second = rewrite(Graph((x,), (kept, changed)), not_negated).outputs
    assert first is kept
    assert second.inputs == (x, kept)
    assert second.type == changed.type


def test_nothing_to_do_gives_the_same_graph() -> None:
    x = input_node(VALUES, "x")
    graph = Graph((x,), (apply(elementwise.tanh, x),))
    assert rewrite(graph, lambda node: None) is graph


def test_settled_nodes_are_kept_unasked() -> None:
    """Each node is shown to the rule once, on the inputs that it has in the end."""
    x = input_node(VALUES, "x")
    inner = apply(elementwise.tanh, apply(elementwise.neg, x))
    graph = Graph((x,), (apply(elementwise.exp, inner),))
    asked: list[str] = []

    def rule(node: Node) -> Node | None:
        asked.append(node.primitive.name)
        return not_negated(node)

    settled: set[Node] = set()
    once = rewrite(graph, rule, settled)
    assert asked == ["neg", "tanh", "exp"]
    assert settled == set(once.nodes()) - {x}
    assert rewrite(once, rule, settled) is once
    assert asked == ["neg", "tanh", "exp"]
    further = Graph((x,), (apply(elementwise.neg, once.outputs[0]),))
    assert rewrite(further, rule, settled).outputs == once.outputs
    assert asked == ["neg", "tanh", "exp", "neg"]


def test_checks_are_rebuilt_too() -> None:
    x = input_node(LABELS, "x")
    params = {"low": 0, "high": 2, "ignore": None, "name": "f", "kind": "labels"}
    check = apply(checks.outside, apply(elementwise.neg, x), axis=0, warns=False, **params)
    rebuilt = rewrite(Graph((x,), (x,), (check,)), not_negated)
    assert rebuilt.checks[0].inputs == (x,)
    assert rebuilt.outputs == (x,)


def test_declared_inputs_are_not_entered() -> None:
    """They may be nodes that were computed elsewhere."""
    x = input_node(VALUES, "x")
    inner = apply(elementwise.neg, x)
    graph = Graph((inner,), (apply(elementwise.tanh, inner),))
    assert rewrite(graph, not_negated) is graph


def test_rules_may_look_at_the_old_graph() -> None:
    x = input_node(VALUES, "x")
    inner = apply(elementwise.neg, x)
    outer = apply(elementwise.tanh, inner)
    seen: list[tuple[Node, Node]] = []

    def rule(old: Node, new: Node) -> Node | None:
        seen.append((old, new))
        return not_negated(new)

    rebuild(Graph((x,), (outer,)), rule)
    assert [old for old, _ in seen] == [inner, outer]
    assert seen[1][1].inputs == (x,)
