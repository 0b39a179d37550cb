"""Gradients of rectifiers before a dropout: the same values by the dropout's result alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mynn import where
from mynn.compiler.graph.cse import cse
from mynn.compiler.graph.kept_values import read_kept_values
from mynn.core import interpreter
from mynn.core.graph import Graph, verify
from mynn.core.types import Array, Type
from mynn.ops import elementwise
from mynn.tensor import Tensor
from mynn.transform.grad import grad
from tests.compiler.harness import Case
from tests.helpers import f32, graph_of

ROWS, WIDTH = 12, 20
TYPES = (
    f32(ROWS, 5),
    f32(5, WIDTH),
    f32(WIDTH, 3),
    Type((ROWS, WIDTH), np.dtype(np.bool_)),
)


def gradients(grown: float, act: Any = lambda x: x.relu(), looked_at: bool = False) -> Graph:
    """Of a network with a rectifier and a dropout between two layers, with equal nodes as one."""

    def function(x: Tensor, w: Tensor, v: Tensor, dropped: Tensor) -> tuple[Tensor, ...]:
        def loss(w: Tensor, v: Tensor) -> Tensor:
            kept = act(x @ w) * where(dropped, 0.0, grown)
            return kept.exp().sum() if looked_at else (kept @ v).tanh().sum()

        found: tuple[Tensor, ...] = grad(loss, (0, 1))(w, v)
        return found[:1] if looked_at else found

    return cse(graph_of(function, *TYPES))


def arrays() -> list[Array]:
    rng = np.random.default_rng(0)
    numbers = [rng.normal(size=t.shape).astype(np.float32) for t in TYPES[:3]]
    numbers[0][3] = 0  # a row in which the rectifier gives nothing but zeros
    return [*numbers, rng.random((ROWS, WIDTH)) < 0.3]


def rectifiers_read(graph: Graph) -> bool:
    """Whether a comparison reads what a rectifier gives."""
    compared = [n.inputs[0] for n in graph.nodes() if n.primitive is elementwise.less_equal]
    return any(x.primitive is elementwise.relu for x in compared)


@pytest.mark.parametrize("grown", [1.0, 1.25, 10.0])
def test_the_gradients_are_the_same(grown: float) -> None:
    graph = gradients(grown)
    found = read_kept_values(graph)
    verify(found)
    assert rectifiers_read(graph)
    assert not rectifiers_read(found)
    given = arrays()
    want, have = (interpreter.evaluate(g, given) for g in (graph, found))
    for one, other in zip(want, have, strict=True):
        np.testing.assert_array_equal(one, other)
    case = Case(graph)
    for one, other in zip(want, case.native(given), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "graph",
    [
        gradients(0.5),  # small values would be zeros
        gradients(1.25, lambda x: x.sigmoid()),
        gradients(1.25, looked_at=True),  # no layer behind reads the result
    ],
    ids=["a smaller factor", "no rectifier", "no layer behind"],
)
def test_what_stays(graph: Graph) -> None:
    assert read_kept_values(graph) is graph
