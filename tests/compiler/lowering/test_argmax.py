"""Argmax of short axes, and of long ones, which is two reductions: the first of the largest."""

from __future__ import annotations

import numpy as np
import pytest

from mynn.core.graph import Graph, apply, input_node
from mynn.core.types import Type
from mynn.ops import reduce
from tests.compiler.harness import Case


@pytest.mark.parametrize("extent", [127, 128, 131, 1000])
def test_the_first_of_the_largest(extent: int) -> None:
    node = input_node(Type.of(np.zeros((2, extent), np.float32)))
    case = Case(Graph((node,), (apply(reduce.argmax, node, axis=1),)))
    rng = np.random.default_rng(extent)
    for number in range(12):
        x = rng.integers(0, 3, (2, extent)).astype(np.float32)  # many are equal
        if number % 2:
            x[0, rng.integers(extent)] = 9
        if number % 3 == 0:
            x[1, rng.integers(extent, size=2)] = np.nan
        if number == 4:
            x[:] = -np.inf
        np.testing.assert_array_equal(case.native([x])[0], x.argmax(1))


def test_integers_and_other_axes() -> None:
    x = np.random.default_rng(0).integers(-9, 9, (300, 3))
    node = input_node(Type.of(x))
    case = Case(Graph((node,), (apply(reduce.argmax, node, axis=0),)))
    np.testing.assert_array_equal(case.native([x])[0], x.argmax(0))


@pytest.mark.one_in(3)
@pytest.mark.parametrize("shape", [(5, 200), (200, 5), (3, 130, 17)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint32", "uint8"])
def test_every_dtype_and_axis(shape: tuple[int, ...], dtype: str) -> None:
    x = np.random.default_rng(1).integers(0, 5, shape).astype(dtype)
    for axis in range(len(shape)):
        node = input_node(Type.of(x))
        case = Case(Graph((node,), (apply(reduce.argmax, node, axis=axis),)))
        np.testing.assert_array_equal(case.native([x])[0], x.argmax(axis))


@pytest.mark.parametrize("dtype", ["int64", "int32", "float64"])
def test_the_least_values_there_are(dtype: str) -> None:
    low = np.iinfo(dtype).min if dtype[0] == "i" else -np.inf
    x = np.full((2, 150), low, dtype)
    node = input_node(Type.of(x))
    case = Case(Graph((node,), (apply(reduce.argmax, node, axis=1),)))
    np.testing.assert_array_equal(case.native([x])[0], [0, 0])
