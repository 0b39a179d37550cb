"""Long sums in parts: the same values, and more results to share among threads."""

from __future__ import annotations

import pytest

from mynn.compiler.graph import split_k as room
from mynn.compiler.graph.split_k import split_k
from mynn.compiler.parallel import split
from mynn.core import interpreter
from mynn.core.graph import Graph, verify
from mynn.tensor import Tensor
from tests.compiler.harness import Case
from tests.compiler.lowering.test_schedules import grad_of_convolution
from tests.compiler.parallel.test_split import run_shared
from tests.helpers import assert_close, f32, graph_of, random_arrays


@pytest.fixture
def short_sums_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_LEAST_TERMS", 1)
    monkeypatch.setattr(room, "_LEAST_OPERATIONS", 1)
    monkeypatch.setattr(room, "_MOST_RESULTS", 1000)
    monkeypatch.setattr(room, "_ENOUGH_ROWS", 1000)
    monkeypatch.setattr(split, "SMALL", 0)


def names(graph: Graph) -> list[str]:
    return [node.primitive.name for node in graph.nodes()]


def agree(graph: Graph) -> Graph:
    split = split_k(graph)
    verify(split)
    arguments = random_arrays(graph)
    expected, got = interpreter.evaluate(graph, arguments), interpreter.evaluate(split, arguments)
    assert_close(got, expected, 4)
    return split


@pytest.mark.one_in(3)
@pytest.mark.usefixtures("short_sums_too")
@pytest.mark.parametrize("images", [1, 2, 3, 4, 5, 7, 8, 12, 30])
def test_gradient_of_a_convolution(images: int) -> None:
    graph = graph_of(grad_of_convolution, f32(images, 2, 5, 4), f32(3, 2, 2, 2))
    split = agree(graph)
    cut = images in (4, 8, 12, 30)
    assert names(split).count("sum") == names(graph).count("sum") + cut
    for workers, order in [(2, (1, 0)), (3, (2, 0, 1))]:
        run_shared(Case(graph), workers, order)


@pytest.mark.usefixtures("short_sums_too")
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)])
def test_sums(axes: tuple[int, ...]) -> None:
    def total(x: Tensor) -> Tensor:
        return x.sum(axes) * 2

    graph = graph_of(total, f32(8, 9, 10))
    assert names(agree(graph)).count("sum") == 2
    run_shared(Case(graph), 2, (1, 0))


@pytest.mark.usefixtures("short_sums_too")
def test_contraction_with_a_batch() -> None:
    def function(a: Tensor, b: Tensor) -> Tensor:
        return a.contract(b, 1, 2)

    graph = graph_of(function, f32(3, 4, 8, 5), f32(3, 8, 5, 6))
    assert "sum" in names(agree(graph))
    run_shared(Case(graph), 2, (1, 0))


def test_short_sums_and_many_results_stay() -> None:
    def function(x: Tensor, w: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        return x.sum((0, 1)), grad_of_convolution(x, w), x.reshape((16, 48)).contract(v, 0, 1)

    graph = graph_of(function, f32(16, 3, 4, 4), f32(2, 3, 2, 2), f32(48, 5))
    assert names(split_k(graph)) == names(graph)


def test_sums_with_results_for_all_threads_stay_whole() -> None:
    def rows(count: int) -> list[str]:
        return names(split_k(graph_of(lambda x: x.sum((1, 2)), f32(count, 600, 40))))

    assert rows(31).count("sum") == 2
    assert rows(32).count("sum") == 1


def test_sums_over_images_are_taken_in_parts_and_sums_of_rows_are_not() -> None:
    """Of however many channels: the gradient of a bias, and what normalisation sums."""
    over_images = graph_of(lambda x: x.sum((0, 2, 3)), f32(64, 64, 16, 16))
    assert names(split_k(over_images)).count("sum") == 2
    of_rows = graph_of(lambda x: x.sum((1, 2, 3)), f32(64, 64, 16, 16))
    assert names(split_k(of_rows)).count("sum") == 1
