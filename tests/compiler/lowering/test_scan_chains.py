"""Scans of long axes, which run in chains side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mynn.core import interpreter
from mynn.core.graph import Graph, apply, input_node
from mynn.core.primitive import Primitive
from mynn.core.types import Type
from mynn.ops import elementwise, scan
from tests.compiler.harness import Case


@pytest.mark.one_in(3)
@pytest.mark.parametrize("primitive", scan.PRIMITIVES, ids=repr)
@pytest.mark.parametrize("shape", [(127,), (128,), (1031,), (4096,), (3, 257)])
def test_every_length(primitive: Primitive, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    drawn: dict[str, Any] = {
        "floats": (1 + 0.01 * rng.normal(size=shape)).astype(np.float32),
        "integers": rng.integers(-5, 6, shape),
    }
    for x in drawn.values():
        node = input_node(Type.of(x))
        graph = Graph((node,), (apply(primitive, node, axis=len(shape) - 1),))
        got = Case(graph).native([x])[0]
        expected = interpreter.evaluate(graph, [x])[0]
        if x.dtype.kind == "f":
            np.testing.assert_allclose(got, expected, rtol=1e-5)
        else:
            np.testing.assert_array_equal(got, expected)


def test_nan_stays_in_what_comes_after_it() -> None:
    x = np.arange(300, dtype=np.float32)
    x[170] = np.nan
    node = input_node(Type.of(x))
    outputs = tuple(apply(primitive, node, axis=0) for primitive in scan.PRIMITIVES)
    graph = Graph((node,), outputs)
    for got, expected in zip(
        Case(graph).native([x]), interpreter.evaluate(graph, [x]), strict=True
    ):
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))


def test_what_is_costly_is_computed_once() -> None:
    node = input_node(Type.of(np.zeros(1000, np.float32)))
    graph = Graph((node,), (apply(scan.cumsum, apply(elementwise.exp, node), axis=0),))
    text = str(Case(graph).lowered.kernels[0].body)
    assert text.count("'exp'") == 1
