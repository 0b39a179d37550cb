"""Copies of operands that lie the wrong way: results, and what is copied."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mynn import func, functional
from mynn.compiler.graph.pack_operands import is_copy
from mynn.core.types import Shape
from mynn.tensor import Tensor
from tests.compiler.harness import Case
from tests.compiler.lowering.test_schedules import check
from tests.helpers import f32, graph_of


def forward(x: Tensor, w: Tensor) -> Tensor:
    return functional.conv2d(x, w, padding=1)


def strided(x: Tensor, w: Tensor) -> Tensor:
    return functional.conv2d(x, w, stride=2, padding=1)


def gradient(number: int) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def of(x: Tensor, w: Tensor, g: Tensor) -> Tensor:
        return func.vjp(forward, x, w)[1](g)[number]

    return of


def copies(case: Case) -> list[Shape]:
    return [node.shape for node in case.lowered.graph.nodes() if is_copy(node)]


def case_of(function: Callable[..., Tensor], *shapes: Shape) -> Case:
    return Case(graph_of(function, *(f32(*shape) for shape in shapes)))


@pytest.mark.parametrize("function", [forward, strided])
def test_given_images_are_copied_with_their_channels_side_by_side(
    function: Callable[..., Tensor],
) -> None:
    case = case_of(function, (3, 8, 6, 7), (40, 8, 3, 3))
    assert (3, 6, 7, 8) in copies(case)
    check(case, evaluate=False, scale=4)


def test_few_channels_stay() -> None:
    case = case_of(forward, (3, 3, 6, 7), (24, 3, 3, 3))
    assert (3, 6, 7, 3) not in copies(case)
    check(case, evaluate=False, scale=4)


def test_values_that_are_used_a_few_times_stay() -> None:
    case = case_of(forward, (3, 8, 6, 7), (2, 8, 3, 3))
    assert (3, 6, 7, 8) not in copies(case)
    check(case, evaluate=False, scale=4)


@pytest.mark.parametrize("number", [0, 1])
def test_gradients_of_given_images(number: int) -> None:
    """The gradient for a kernel runs in vectors along channels, not along the kernel's width."""
    case = case_of(gradient(number), (4, 16, 5, 6), (32, 16, 3, 3), (4, 32, 5, 6))
    assert (4, 5, 6, 16 if number else 32) in copies(case)
    check(case, evaluate=False, scale=4)


def test_two_products_share_a_copy() -> None:
    def both(x: Tensor, w: Tensor, v: Tensor) -> Tensor:
        return forward(x, w) + forward(x, v)

    case = case_of(both, (3, 8, 6, 7), (24, 8, 3, 3), (24, 8, 3, 3))
    assert copies(case).count((3, 6, 7, 8)) == 1
    check(case, evaluate=False, scale=4)


def test_what_is_computed_lies_as_it_likes() -> None:
    case = case_of(lambda x, w: forward(x.tanh(), w), (3, 8, 6, 7), (24, 8, 3, 3))
    assert (3, 6, 7, 8) not in copies(case)
    check(case, evaluate=False, scale=4)
