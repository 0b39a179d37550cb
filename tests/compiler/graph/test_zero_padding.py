"""Convolutions with padding: the zeros are neither in memory nor multiplied with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mynn import functional
from mynn.compiler.lowering.contraction import blocks
from mynn.compiler.parallel import split
from mynn.tensor import Tensor
from mynn.transform.grad import grad
from tests.compiler.harness import Case, layout
from tests.compiler.lowering.test_schedules import MACHINES, check, machine, text
from tests.compiler.parallel.test_split import run_shared
from tests.helpers import f32, graph_of

__all__ = ["machine"]


def forward(**options: Any) -> Callable[..., Tensor]:
    return lambda x, w: functional.conv2d(x, w, **options)


def gradients(**options: Any) -> Callable[..., tuple[Tensor, Tensor]]:
    """Gradients for the input and for the kernel, of a sum whose terms all differ."""

    def both(x: Tensor, w: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        def loss(x: Tensor, w: Tensor) -> Tensor:
            return (functional.conv2d(x, w, **options) * g).sum()

        return grad(lambda x: loss(x, w))(x), grad(lambda w: loss(x, w))(w)

    return both


def case_of(
    x: tuple[int, ...], w: tuple[int, ...], what: str, last: bool = True, **options: Any
) -> Case:
    """A convolution, or its gradients; the channels lie side by side where they are `last`."""
    types = [f32(*x), f32(*w)]
    if what == "gradients":
        convolution = Case(graph_of(forward(**options), *types)).graph
        types.append(f32(*convolution.outputs[0].shape))
    graph = graph_of((forward if what == "forward" else gradients)(**options), *types)
    orders = ((0, 2, 3, 1), (1, 2, 3, 0), (0, 2, 3, 1)) if last else ()
    return Case(
        graph,
        layouts={node: layout(node, at) for node, at in zip(graph.inputs, orders, strict=False)},
    )


def pads(case: Case) -> list[str]:
    """The kernels that write zeros around something."""
    return [k.comment for k in case.lowered.kernels if k.comment.startswith("pad")]


# Input, kernel and options: widths around tiles and vectors, borders wider than the input, kernels
# that see little or nothing of it in places, strides, dilations, different ends.
CASES: tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = (
    ((2, 3, 5, 1), (4, 3, 3, 3), {"padding": 1}),
    ((2, 3, 5, 2), (4, 3, 3, 3), {"padding": 1}),
    ((1, 2, 4, 13), (16, 2, 3, 3), {"padding": 1}),
    ((1, 2, 3, 14), (17, 2, 3, 3), {"padding": 1}),
    ((1, 2, 3, 29), (33, 2, 3, 5), {"padding": (1, 2)}),
    ((2, 2, 8, 8), (8, 2, 5, 5), {"padding": 4}),
    ((1, 3, 1, 1), (16, 3, 3, 3), {"padding": 1}),
    ((1, 1, 2, 3), (5, 1, 4, 5), {"padding": (3, 4)}),
    ((2, 4, 7, 9), (8, 4, 3, 3), {"padding": 2, "dilation": 2}),
    ((1, 2, 9, 17), (16, 2, 3, 3), {"padding": 1, "stride": 2}),
    ((1, 2, 11, 19), (16, 2, 3, 4), {"padding": (2, 1), "stride": (3, 2), "dilation": (1, 2)}),
    ((1, 4, 6, 12), (32, 2, 3, 3), {"padding": 1, "groups": 2}),
    ((2, 3, 6, 10), (4, 3, 3, 3), {"padding": "same"}),
    ((2, 3, 6, 10), (16, 3, 2, 4), {"padding": "same"}),
    ((2, 5, 4, 4), (16, 5, 1, 1), {"padding": 1}),
    ((1, 16, 4, 30), (1, 16, 3, 7), {"padding": (1, 3)}),
)


@pytest.mark.one_in(9)
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("what", ["forward", "gradients"])
@pytest.mark.parametrize(("x", "w", "options"), CASES)
def test_agrees(
    x: tuple[int, ...], w: tuple[int, ...], options: dict[str, Any], what: str, last: bool
) -> None:
    check(case_of(x, w, what, last, **options), evaluate=last, scale=4)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("vector_bytes", "registers"), MACHINES[::2])
def test_machines(vector_bytes: int, registers: int, machine: Callable[..., None]) -> None:
    """Other widths of vectors and other tiles."""
    machine(vector_bytes, registers)
    for what in ("forward", "gradients"):
        check(case_of((1, 5, 4, 23), (18, 5, 3, 3), what, padding=1), evaluate=False, scale=4)
        check(case_of((2, 3, 4, 5), (18, 3, 3, 3), what, padding=2), evaluate=False, scale=4)


@pytest.mark.parametrize("width", [7, 8, 15, 29])
def test_no_zeros_in_memory(width: int) -> None:
    x, w = (2, 16, width, width), (16, 16, 3, 3)
    assert not pads(case_of(x, w, "forward", padding=1))
    assert not pads(case_of(x, w, "gradients", padding=1))


def test_useless_products_are_left_out() -> None:
    """The input's gradient takes as many operations as the convolution, not 2.25 times as many."""
    x, w = (4, 8, 12, 12), (16, 8, 5, 5)
    useful = 2 * 4 * 16 * 8 * (8 * 5) ** 2
    products = [
        round(kernel.operations / useful, 2)
        for kernel in case_of(x, w, "gradients").lowered.kernels
        if "contract" in kernel.comment
    ]
    assert products == [1.0, 1.0]


@pytest.mark.parametrize(
    ("x", "w", "options"),
    [
        ((2, 5, 9, 9), (16, 5, 1, 1), {"padding": 1}),  # no tap beside the border
        ((1, 2, 2, 64), (16, 2, 1, 27), {"padding": (0, 13)}),  # too many taps
    ],
)
def test_zeros_in_memory(x: Any, w: Any, options: dict[str, Any]) -> None:
    case = case_of(x, w, "forward", **options)
    assert len(pads(case)) == 1
    check(case, evaluate=False)


def test_padding_that_is_read_twice_is_written_once() -> None:
    """By the convolution and by the gradient of a kernel with few channels."""

    def step(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        y = functional.conv2d(x, w, padding=1)
        return y, grad(lambda w: (functional.conv2d(x, w, padding=1) * y).sum())(w)

    graph = graph_of(step, f32(2, 3, 32, 32), f32(32, 3, 3, 3))
    case = Case(graph, layouts={graph.inputs[1]: layout(graph.inputs[1], (1, 2, 3, 0))})
    assert len(pads(case)) == 1
    check(case, evaluate=False, scale=8)


def test_windows_that_are_read_twice_stay_views() -> None:
    """The convolution and the gradient of its kernel see the same windows of an expression."""

    def step(x: Tensor, b: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        x = ((x + b) * 2.0 - b * x + 1.0).relu()
        y = functional.conv2d(x, w, padding=1)
        return y, grad(lambda w: (functional.conv2d(x, w, padding=1) * y).sum())(w)

    graph = graph_of(step, f32(2, 16, 5, 9), f32(16, 1, 1), f32(32, 16, 3, 3))
    orders = ((0, 2, 3, 1), (0, 1, 2), (1, 2, 3, 0))
    layouts = {x: layout(x, order) for x, order in zip(graph.inputs, orders, strict=True)}
    case = Case(graph, layouts=layouts)
    sizes = [kernel.nbytes for kernel in case.lowered.kernels]
    assert max(sizes) < 4 * 4 * 32 * 16 * 9, text(case)
    assert not pads(case)
    check(case, evaluate=False, scale=8)


def test_padding_with_something_else() -> None:
    def function(x: Tensor, w: Tensor) -> Tensor:
        return functional.conv2d(x.pad(((0, 0), (0, 0), (1, 1), (1, 1)), 2.0), w)

    case = Case(graph_of(function, f32(2, 3, 6, 9), f32(16, 3, 3, 3)))
    assert len(pads(case)) == 1
    check(case)


def test_padding_of_padding() -> None:
    def function(x: Tensor, w: Tensor) -> Tensor:
        return functional.conv2d(x.pad(((0, 0), (0, 0), (1, 0), (0, 1))), w, padding=1)

    graph = graph_of(function, f32(2, 3, 6, 9), f32(16, 3, 3, 3))
    check(Case(graph, layouts={graph.inputs[1]: layout(graph.inputs[1], (1, 2, 3, 0))}))


def test_sums_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_CACHE_BYTES", 64)
    case = case_of((3, 16, 5, 7), (60, 16, 3, 3), "gradients", padding=1)
    assert "partial.k" in text(case)
    assert not pads(case)
    check(case, evaluate=False, scale=4)


def test_any_order_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "SMALL", 0)
    for what in ("forward", "gradients"):
        case = case_of((2, 3, 5, 9), (17, 3, 3, 3), what, padding=1)
        for workers, order in [(2, (1, 0)), (4, (3, 1, 2, 0))]:
            run_shared(case, workers, order)


def seen_twice(x: Tensor, w: Tensor, v: Tensor, c: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
    """What a padded convolution reads, and the convolution; the first is a reshape of what lies in
    another order."""
    y = functional.conv1d(x, w, padding=3, dilation=2)
    z = (y.reshape(16, 1, 4, 18) * c).reshape(16, 4, 18)
    return z, functional.conv1d(z, v, padding=1, dilation=2)


SEEN_TWICE = (f32(16, 1, 16), f32(4, 1, 3), f32(1, 4, 3), f32(16, 1, 4, 18))


def test_an_output_that_a_product_reads_lies_where_it_is_read() -> None:
    check(Case(graph_of(seen_twice, *SEEN_TWICE)))


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (2, 1, 0)])
def test_new_state_that_a_product_reads_lies_as_the_old_state(order: tuple[int, ...]) -> None:
    graph = graph_of(seen_twice, *SEEN_TWICE, f32(16, 4, 18))
    state = graph.inputs[-1]
    check(Case(graph, writes={state: 0}, layouts={state: layout(state, order)}))
