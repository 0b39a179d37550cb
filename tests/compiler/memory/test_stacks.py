"""What steps of a loop write lies in a stack, beside what other steps wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn.compiler.loop_ir.evaluate import evaluate_kernel
from tests.compiler.harness import Case, dense
from tests.helpers import f32, graph_of, random_arrays, same_bits

# Of one row, of whatever axes: as wide as no vector.
ROWS = ((7,), (13,), (1, 7), (3, 1), (7, 1, 1), (1, 3, 1), (2, 7), (1,), ())


def plain(c: Any, v: Any) -> Any:
    return c + 1, v * 2 + c


def nested(c: Any, v: Any) -> Any:
    """The row is the carry of a loop."""
    return c + 1, mynn.scan(lambda d, _: (d * 0.5 + c, None), v, None, length=3)[0]


def stacked(c: Any, v: Any) -> Any:
    """The row is a stack itself."""
    return c + 1, mynn.scan(lambda d, x: (d + 1, x * d), c, v, reverse=True)[1] if v.ndim else v


def branched(c: Any, v: Any) -> Any:
    """A branch writes the row."""
    return c + 1, mynn.cond(c > 3, lambda x: x * 2, lambda x: x + c, (v,))


@pytest.mark.parametrize("dense_rows", [False, True], ids=["padded", "dense"])
@pytest.mark.parametrize("step", [plain, nested, stacked, branched])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_steps_from_the_last_to_the_first_leave_each_other_alone(
    row: tuple[int, ...], step: Callable[[Any, Any], Any], dense_rows: bool
) -> None:
    def function(x: Any) -> Any:
        return mynn.scan(step, mynn.zeros(()), x, reverse=True)[1]

    graph = graph_of(function, f32(6, *row))
    case = dense(graph) if dense_rows else Case(graph)
    (x,) = random_arrays(graph)
    (expected,) = case.interpreted([x])
    (got,) = case.native([x])
    np.testing.assert_array_max_ulp(got, expected, 2)
    memory = case.memory([x])
    for kernel in case.lowered.kernels:
        evaluate_kernel(kernel, memory.flat)
    np.testing.assert_array_max_ulp(case.outputs(memory)[0], expected, 2)


def test_results_of_a_size_that_callers_get_as_they_lie() -> None:
    def function(x: Any) -> Any:
        return mynn.scan(plain, mynn.zeros(()), x, reverse=True)[1]

    x = np.random.default_rng(0).standard_normal((100, 7)).astype(np.float32)
    assert same_bits(np.asarray(mynn.compile(function)(x)), np.asarray(function(mynn.tensor(x))))
