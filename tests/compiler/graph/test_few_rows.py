"""Sums of few of many rows: the same values without an array of all of them."""

from __future__ import annotations

import numpy as np
import pytest

from mynn.compiler.graph import few_rows
from mynn.compiler.graph.few_rows import find_few_rows
from mynn.core import interpreter
from mynn.core.graph import Graph, verify
from mynn.core.types import Array, Type
from mynn.ops import gather
from mynn.tensor import Tensor, apply
from tests.compiler.harness import Case
from tests.helpers import f32, graph_of

ROWS, WIDTH = 40, 16


@pytest.fixture(autouse=True)
def small_tables_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(few_rows, "_LEAST_BYTES", 1000)


def i64(*shape: int) -> Type:
    return Type(shape, np.dtype(np.int64))


def update(m: Tensor, u: Tensor, i: Tensor) -> Tensor:
    return 0.9 * m + apply(gather.scatter_add, u, i, axis=0, extent=ROWS)


def extents(graph: Graph) -> list[int]:
    return [n.shape[0] for n in graph.nodes() if n.primitive is gather.scatter_add]


def arrays(*picked: int, shape: tuple[int, ...] = ()) -> list[Array]:
    rng = np.random.default_rng(3)
    index = np.array(picked, np.int64).reshape(shape or (len(picked),))
    u = rng.normal(size=(*index.shape, WIDTH)).astype(np.float32)
    return [rng.normal(size=(ROWS, WIDTH)).astype(np.float32), u, index]


@pytest.mark.parametrize(
    "given",
    [
        arrays(3, 3, 0, 39, 7, 3, 0),
        arrays(5),
        arrays(*range(39, 0, -1)),
        arrays(2, -4, 2, 90, 39, 1, shape=(2, 3)),
    ],
    ids=["some twice", "one", "nearly all", "two axes, beyond the ends"],
)
def test_rows_that_were_added_to_are_found(given: list[Array]) -> None:
    """The same bits: those of one row are added up in the same order."""
    count = given[2].size
    graph = graph_of(update, f32(ROWS, WIDTH), f32(*given[1].shape), i64(*given[2].shape))
    found = find_few_rows(graph)
    verify(found)
    assert extents(graph) == [ROWS]
    assert extents(found) == [count + 1]
    assert find_few_rows(found) is found
    (expected,) = interpreter.evaluate(graph, given)
    np.testing.assert_array_equal(interpreter.evaluate(found, given)[0], expected)
    case = Case(graph)
    assert extents(case.lowered.graph) == [count + 1]
    for values in (case.native(given), case.evaluated(given)):
        np.testing.assert_allclose(values[0], expected, rtol=1e-6, atol=1e-6)


def test_what_is_read_whole_is_made_whole() -> None:
    """Results, operands of products and sums, as many rows as there are, narrow or small tables."""
    i = i64(5)

    def summed(u: Tensor, i: Tensor, extent: int = ROWS) -> Tensor:
        return apply(gather.scatter_add, u, i, axis=0, extent=extent)

    def result(u: Tensor, i: Tensor) -> tuple[Tensor, Tensor]:
        rows = summed(u, i)
        return rows, 2 * rows

    for function, row in [
        (summed, WIDTH),
        (result, WIDTH),
        (lambda u, i: summed(u, i).T @ summed(u, i), WIDTH),
        (lambda u, i: summed(u, i).sum(0), WIDTH),
        (lambda u, i: 2 * summed(u, i, 5), 300),
        (lambda u, i: 2 * summed(u, i), 8),
        (lambda u, i: 2 * summed(u, i, 10), WIDTH),
    ]:
        graph = graph_of(function, f32(5, row), i)
        assert find_few_rows(graph) is graph
