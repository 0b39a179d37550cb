"""Reshapes that merge axes: products read them where the value before lies, if that can be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mynn.compiler.graph.layout import layouts_of
from mynn.compiler.graph.merged_axes import merged_axes
from mynn.core.types import Shape
from mynn.tensor import Tensor
from tests.compiler.harness import Case
from tests.compiler.lowering.test_schedules import check, text
from tests.helpers import f32, graph_of


def rows(x: Tensor, w: Tensor) -> Tensor:
    """A product of a stack's rows."""
    return x.exp().reshape(-1, x.shape[-1]) @ w


def rows_and_sums(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    """What else reads them does so where they lie too."""
    y = x.exp().reshape(-1, x.shape[-1])
    return y @ w, y.sum(0), (y * 2.0).amax(1), y.T @ y


def turned(x: Tensor, w: Tensor) -> Tensor:
    """The axes do not follow each other in memory."""
    return x.exp().permute(1, 0, 2).reshape(-1, x.shape[-1]) @ w


def given(x: Tensor, w: Tensor) -> Tensor:
    """An argument lies as it is given."""
    return x.reshape(-1, x.shape[-1]) @ w


def features(x: Tensor, w: Tensor) -> Tensor:
    """The last axis is one of those that are merged: its rows end in padding, or do not."""
    return x.exp().reshape(x.shape[0], -1) @ w


def output(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """The reshape itself is asked for."""
    y = x.exp().reshape(-1, x.shape[-1])
    return y @ w, y


def merged(function: Callable[..., Any], *shapes: Shape) -> int:
    graph = graph_of(function, *(f32(*shape) for shape in shapes))
    return len(merged_axes(graph, layouts_of({}, graph.outputs)))


CASES = [
    (rows, (3, 5, 20), (20, 9), 1),
    (rows, (4, 2, 3, 33), (33, 40), 1),
    (rows_and_sums, (3, 7, 18), (18, 5), 1),
    (turned, (3, 5, 16), (16, 9), 0),
    (given, (3, 5, 16), (16, 9), 0),
    (features, (6, 5, 7), (35, 9), 0),
    (features, (6, 5, 16), (80, 9), 1),
    (output, (3, 5, 16), (16, 9), 0),
]


@pytest.mark.parametrize(("function", "x", "w", "seen"), CASES)
def test_products_see_through_what_lies_side_by_side(
    function: Callable[..., Any], x: Shape, w: Shape, seen: int
) -> None:
    assert merged(function, x, w) == seen
    check(Case(graph_of(function, f32(*x), f32(*w))), scale=4)


def test_nothing_is_copied() -> None:
    """A kernel computes the rows, one their product, and the sums divide no index."""
    case = Case(graph_of(rows_and_sums, f32(3, 7, 16), f32(16, 5)))
    assert "//" not in text(case)
    assert not any("reshape" in kernel.comment for kernel in case.lowered.kernels)
