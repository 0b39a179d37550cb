"""Scans with the same steps become one; what nobody wants is left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn.compiler.graph.scans import join_scans
from mynn.core import interpreter
from mynn.core.graph import Graph, Node, bodies_of, verify
from mynn.jit.stage import stage

RNG = np.random.default_rng(4)
H, X = RNG.normal(size=(2, 3)), RNG.normal(size=(4, 2, 3))


def scans(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes() if node.primitive.name == "scan"]


def joined(function: Any, *arrays: Any) -> Graph:
    """The graph after the pass, which computes what it did before."""
    before = stage(function, arrays).graph
    after = join_scans(before)
    verify(after)
    assert join_scans(after) is after
    values = interpreter.evaluate(before, arrays), interpreter.evaluate(after, arrays)
    for a, b in zip(*values, strict=True):
        np.testing.assert_array_equal(a, b)
    return after


def test_what_is_saved_for_the_gradient_joins_the_forward_scan() -> None:
    def f(h: Any, x: Any) -> Any:
        def loss(h: Any) -> Any:
            last, ys = mynn.scan(lambda c, x: ((c * x).tanh(), c), h, x)
            return (last * last).sum() + ys.sum()

        return mynn.value_and_grad(loss)(h)

    graph = joined(f, H, X)
    forward, backward = scans(graph)
    assert forward.params["reverse"] is not backward.params["reverse"]
    outputs = bodies_of(forward)[0].outputs
    assert len(outputs[1:]) == len(set(outputs[1:])), "each stack once"


def test_what_nobody_wants_is_left_out() -> None:
    def f(h: Any, x: Any) -> Any:
        start = {"a": h, "b": h, "same": h, "lonely": h}

        def step(c: Any, now: Any) -> Any:
            new = {
                "a": c["a"] + now[0] * c["same"],
                "b": c["b"] * 2 + now[1],
                "same": c["same"],
                "lonely": c["lonely"].exp(),
            }
            return new, (c["lonely"], c["a"], c["a"])

        last, (_, first, again) = mynn.scan(step, start, (x, x * 2))
        return last["same"], first, again

    (scan,) = scans(joined(f, H, X))
    assert (scan.params["carry"], scan.params["sequences"]) == (1, 1)
    assert len(scan.inputs) == 3  # a, x, and what is the same in all steps
    assert len(bodies_of(scan)[0].outputs) == 2
    assert not any(n.primitive.name == "exp" for n in bodies_of(scan)[0].nodes())


def test_equal_inputs_are_given_once() -> None:
    def f(h: Any, x: Any) -> Any:
        return mynn.scan(lambda c, now: (c + now[0] * now[1], None), h, (x, x))[0]

    (scan,) = scans(joined(f, H, X))
    assert len(scan.inputs) == 2


@pytest.mark.parametrize("reverse", [False, True])
def test_one_step_is_no_loop(reverse: bool) -> None:
    def f(h: Any, x: Any, w: Any) -> Any:
        def loss(h: Any, w: Any) -> Any:
            step = lambda c, x: ((c * x * w).tanh(), c + x)  # noqa: E731
            last, ys = mynn.scan(step, h, x, reverse=reverse)
            return (last * last).sum() + ys.sum()

        return mynn.value_and_grad(loss, (0, 1))(h, w)

    assert not scans(joined(f, H, X[:1], H))
    got, expected = mynn.compile(f)(H, X[:1], H), f(H, X[:1], H)
    np.testing.assert_allclose(got[0], expected[0])
    np.testing.assert_allclose(got[1], expected[1])
