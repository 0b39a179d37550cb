"""Running totals as loops: vectors across the axis, whatever the shape and the epilogue."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mynn import Tensor
from tests.compiler.harness import Case
from tests.helpers import assert_close, f32, graph_of, random_arrays

SHAPES = (
    (1,),
    (5,),
    (9, 20),
    (40,),
    (1, 7),
    (7, 1),
    (3, 17),
    (17, 3),
    (16, 33),
    (2, 5, 18),
    (4, 3, 2),
)
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "first axis": lambda x: x.cumsum(0),
    "last axis": lambda x: x.cumsum(-1),
    "with an epilogue": lambda x: x.cumsum(0).tanh() + x,
    "of an expression": lambda x: (x * x).cumsum(-1),
    "costly on both sides": lambda x: (x.exp().cumsum(-1) * 0.1).tanh(),
    "of a scan": lambda x: x.cumsum(0).cumsum(-1),
    "turned": lambda x: x.cumsum(0).permute(tuple(reversed(range(x.ndim)))),
    "backwards": lambda x: x.flip((0,)).cumsum(0).flip((0,)),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_scans(name: str, shape: tuple[int, ...]) -> None:
    case = Case(graph_of(FUNCTIONS[name], f32(*shape)))
    arguments = random_arrays(case.graph)
    expected = case.interpreted(arguments)
    assert_close(case.evaluated(arguments), expected, 4)
    assert_close(case.native(arguments), expected, 4)


def test_totals_are_exact_where_numbers_are() -> None:
    """One addition after the other: whole numbers come out as they are."""
    x = np.arange(1000, dtype=np.float32).reshape(100, 10)
    case = Case(graph_of(lambda x: x.cumsum(0), f32(100, 10)))
    np.testing.assert_array_equal(case.native([x])[0], x.cumsum(0))


@pytest.mark.parametrize("rows", [1, 3, 4, 11])
def test_rows_side_by_side_are_added_as_one_by_one(rows: int) -> None:
    x = np.random.default_rng(rows).normal(size=(rows, 50)).astype(np.float32)
    case = Case(graph_of(lambda x: x.cumsum(-1), f32(rows, 50)))
    np.testing.assert_array_equal(case.native([x])[0], x.cumsum(-1))
