"""Sorts against NumPy: values that tie, infinities, NaN, both zeros, every width of digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mynn.core import interpreter
from mynn.core.graph import Graph, apply, input_node
from mynn.core.types import Array, Type
from mynn.ops import elementwise, movement, sorting
from tests.compiler.harness import Case

SPECIAL = [np.nan, 1, -0.0, np.inf, 0.0, -np.inf, np.nan, -1e-30, 1e-30, -1, 0.0, -np.inf, 3e38]


def _both(x: Array, **params: Any) -> None:
    node = input_node(Type.of(x))
    graph = Graph((node,), (apply(sorting.argsort, node, **params),))
    expected = interpreter.evaluate(graph, [x])
    got = Case(graph).native([x])
    np.testing.assert_array_equal(got[0], expected[0])


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(dtype: Any, descending: bool) -> None:
    for times in (1, 4):  # by counting, by digits
        _both(np.tile(np.array(SPECIAL, dtype), times), axis=0, descending=descending)


def test_means_what_torch_means() -> None:
    torch = pytest.importorskip("torch")
    for descending in (False, True):
        for x in (np.array(SPECIAL), np.array([3, 1, 2, 1, 3, -5])):
            theirs = torch.argsort(torch.tensor(x), descending=descending, stable=True)
            ours = sorting.argsort.numpy(x, axis=0, descending=descending)
            np.testing.assert_array_equal(ours, theirs.numpy())


@pytest.mark.one_in(3)
@pytest.mark.parametrize("extent", [1, 2, 5, 16, 31, 32, 33, 63, 65, 1000, 9000])
def test_every_width_of_digits(extent: int) -> None:
    rng = np.random.default_rng(extent)
    _both(rng.normal(size=(1, extent)).astype(np.float32), axis=1, descending=False)
    _both(rng.integers(-(2**62), 2**62, extent), axis=0, descending=True)
    _both(rng.integers(0, 3, extent), axis=0, descending=False)
    _both(rng.integers(-3, 3, (2, extent, 2)).astype(np.int32), axis=1, descending=True)


def test_what_goes_in_and_comes_out_is_fused() -> None:
    x = np.random.default_rng(0).normal(size=(6, 9)).astype(np.float32)
    node = input_node(Type.of(x))
    turned = apply(movement.transpose, apply(elementwise.neg, node), axes=(1, 0))
    order = apply(sorting.argsort, turned, axis=0, descending=False)
    graph = Graph((node,), (apply(elementwise.cast, order, dtype=np.dtype(np.float32)),))
    case = Case(graph)
    np.testing.assert_array_equal(case.native([x])[0], interpreter.evaluate(graph, [x])[0])
    assert len(case.lowered.kernels) == 1
