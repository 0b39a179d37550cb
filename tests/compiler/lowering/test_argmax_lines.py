"""Argmax of short axes, a lane for each row: the first of the largest values."""

from __future__ import annotations

import numpy as np
import pytest

from mynn.core.graph import Graph, apply, input_node
from mynn.core.types import Type
from mynn.ops import elementwise, reduce
from tests.compiler.harness import Case

CASES = [
    ((32, 4), 1),
    ((37, 10), 1),
    ((5, 9), 0),
    ((3, 2), 1),
    ((6, 1), 1),
    ((2, 7, 3, 4), 1),
    ((2, 7, 3, 4), 3),
    ((20, 100), 1),
]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.uint8])
@pytest.mark.parametrize(("shape", "axis"), CASES)
def test_the_first_of_the_largest(shape: tuple[int, ...], axis: int, dtype: type) -> None:
    node = input_node(Type.of(np.zeros(shape, dtype)))
    found = apply(reduce.argmax, node, axis=axis)
    case = Case(Graph((node,), (found, apply(elementwise.neg, found))))
    rng = np.random.default_rng(len(shape))
    for number in range(6):
        x = rng.integers(0, 3, shape).astype(dtype)  # many are equal
        if number % 2 and x.dtype.kind == "f":
            x[rng.random(shape) < 0.2] = np.nan
            x[rng.random(shape) < 0.2] = -np.inf
        expected = np.argmax(x, axis)
        for result, wanted in zip(case.native([x]), (expected, -expected), strict=True):
            np.testing.assert_array_equal(result, wanted)
        np.testing.assert_array_equal(case.evaluated([x])[0], expected)


def test_rows_lie_in_lanes() -> None:
    node = input_node(Type.of(np.zeros((64, 10), np.float32)))
    (kernel,) = Case(Graph((node,), (apply(reduce.argmax, node, axis=1),))).lowered.kernels
    assert "vector" in str(kernel)
