"""Branches that are known are written out; what nobody wants of others is left out."""

from __future__ import annotations

from typing import Any

import numpy as np

import mynn
from mynn.compiler.graph.branches import prune_branches
from mynn.core import interpreter
from mynn.core.graph import Graph, Node, bodies_of, verify
from mynn.jit.stage import stage

RNG = np.random.default_rng(6)
X, W = RNG.normal(size=(2, 3)), RNG.normal(size=(3, 3))


def branches(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes() if node.primitive.name == "cond"]


def pruned(function: Any, *arrays: Any) -> Graph:
    """The graph after the pass, which computes what it did before."""
    before = stage(function, arrays).graph
    after = prune_branches(before)
    verify(after)
    assert prune_branches(after) is after
    values = interpreter.evaluate(before, arrays), interpreter.evaluate(after, arrays)
    for a, b in zip(*values, strict=True):
        np.testing.assert_array_equal(a, b)
    return after


def test_a_known_predicate_leaves_one_side() -> None:
    for truth in (np.asarray(True), np.asarray(False)):
        choose = lambda x, p=truth: mynn.cond(p, lambda: x.exp(), lambda: x * 2)  # noqa: E731
        assert not branches(pruned(choose, X))


def test_results_and_operands_that_nobody_wants_are_left_out() -> None:
    def f(p: Any, x: Any, w: Any) -> Any:
        return mynn.cond(p, lambda: (x @ w, x * 2), lambda: ((w @ w)[:2], x))[1]

    (branch,) = branches(pruned(f, np.asarray(True), X, W))
    assert len(branch.inputs) == 2  # the predicate and x
    assert [len(body.outputs) for body in bodies_of(branch)] == [1, 1]


def test_many_examples_with_a_choice_each_need_no_branch() -> None:
    function = mynn.func.vmap(lambda p, x: mynn.cond(p, lambda: x * 2, lambda: -x))
    graph = pruned(function, np.array([True, False]), X)
    assert not branches(graph)
    assert [n.primitive.name for n in graph.nodes()].count("where") == 1
