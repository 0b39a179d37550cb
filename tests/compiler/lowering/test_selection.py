"""The k-th value against NumPy: values that tie, infinities, NaN, both zeros, every dtype."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn.core.graph import Graph, apply, input_node
from mynn.core.types import Array, Type
from mynn.ops import sorting
from tests.compiler.harness import Case

SPECIAL = [np.nan, 1, -0.0, np.inf, 0.0, -np.inf, np.nan, -1e-30, 1e-30, -1, 0.0, -np.inf, 3e38]


def _check(x: Array, axis: int, evaluate: bool = False) -> None:
    """Some k, in range and beyond, give the entry of a stable sort."""
    kept = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    nodes = input_node(Type.of(x)), input_node(Type(kept, np.dtype(np.int64)))
    case = Case(Graph(nodes, (apply(sorting.kth, *nodes, axis=axis),)))
    order = np.argsort(x, axis, kind="stable")
    last = x.shape[axis] - 1
    for number in {-1, 0, last // 2, last, last + 1}:
        k = np.full(kept, number)
        expected = np.take(order, [min(max(number, 0), last)], axis)
        np.testing.assert_array_equal(case.native([x, k])[0], expected)
        np.testing.assert_array_equal(case.interpreted([x, k])[0], expected)
        if evaluate:
            np.testing.assert_array_equal(case.evaluated([x, k])[0], expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(dtype: Any) -> None:
    _check(np.array(SPECIAL, dtype), 0, evaluate=True)
    _check(np.tile(np.array(SPECIAL, dtype), (2, 3)), 1)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("extent", [1, 2, 5, 31, 64, 300, 5000])
def test_every_dtype(extent: int) -> None:
    rng = np.random.default_rng(extent)
    _check(rng.normal(size=(3, extent)).astype(np.float32), 1)
    _check(rng.integers(-(2**62), 2**62, extent), 0)
    _check(rng.integers(0, 3, extent), 0)
    _check(rng.integers(-3, 3, (2, extent, 2)).astype(np.int32), 1)
    _check(rng.integers(0, 256, extent).astype(np.uint8), 0)
    _check(rng.integers(0, 2, extent).astype(bool), 0)


def test_a_k_for_each_row() -> None:
    rng = np.random.default_rng(0)
    x, k = rng.normal(size=(4, 50)).astype(np.float32), np.array([[0], [7], [49], [20]])
    nodes = input_node(Type.of(x)), input_node(Type.of(k))
    case = Case(Graph(nodes, (apply(sorting.kth, *nodes, axis=1),)))
    expected = np.take_along_axis(np.argsort(x, 1, kind="stable"), k, 1)
    np.testing.assert_array_equal(case.native([x, k])[0], expected)


def test_medians_sort_nothing() -> None:
    """Counts of two digits take a quarter of the time of a sort of 10^4 values."""
    x = np.random.default_rng(0).normal(size=(3, 101)).astype(np.float32)
    for call in (lambda x: x.median(), lambda x: x.nanmedian(1)[0], lambda x: x.kthvalue(70)[0]):
        program = mynn.compile(call).program(x)
        assert "argsort" not in program.graph
        np.testing.assert_array_equal(mynn.compile(call)(x), np.asarray(call(mynn.Tensor(x))))
