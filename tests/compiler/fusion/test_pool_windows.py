"""Small reductions as expressions, and windows that are put side by side."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mynn import functional
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.parallel import split
from mynn.compiler.rules.expressions import Expressions, Names
from mynn.tensor import Tensor
from mynn.transform.grad import grad
from tests.compiler.harness import Case, layout
from tests.compiler.lowering.test_schedules import MACHINES, check, machine, text
from tests.compiler.parallel.test_split import run_shared
from tests.helpers import assert_close, f32, graph_of

__all__ = ["machine"]

LAST = (0, 2, 3, 1)


def pooled(pool: Callable[..., Tensor], *options: Any, **named: Any) -> Callable[..., Any]:
    """The result of pooling and the gradient of a sum of different multiples of it."""

    def both(x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        def loss(x: Tensor) -> Tensor:
            return (pool(x.relu(), *options, **named) * g).sum()

        return pool(x.relu(), *options, **named), grad(loss)(x)

    return both


def case_of(shape: tuple[int, ...], last: bool, pool: Any, *options: Any, **named: Any) -> Case:
    forward = graph_of(lambda x: pool(x, *options, **named), f32(*shape))
    graph = graph_of(pooled(pool, *options, **named), f32(*shape), f32(*forward.outputs[0].shape))
    layouts = {x: layout(x, LAST) for x in graph.inputs} if last else {}
    return Case(graph, layouts=layouts)


def kernels(case: Case) -> list[str]:
    return [re.sub(r"\[.*?\]", "", kernel.comment) for kernel in case.lowered.kernels]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("channels", [3, 17])
@pytest.mark.parametrize(
    ("extents", "size", "named"),
    [
        ((4, 6), 2, {}),
        ((2, 2), 2, {}),
        ((6, 9), 3, {}),
        ((4, 9), (2, 3), {}),
        ((4, 34), (1, 2), {}),
        ((5, 7), 2, {}),
        ((5, 7), 2, {"ceil_mode": True}),
        ((5, 7), 3, {"stride": 2, "padding": 1}),
        ((8, 8), 4, {}),
        ((10, 5), 5, {}),
    ],
)
def test_pooling(
    extents: tuple[int, int], size: Any, named: dict[str, Any], channels: int, last: bool
) -> None:
    """Windows side by side, overlapping, cut off, of more values than are written out."""
    case = case_of((2, channels, *extents), last, functional.max_pool2d, size, **named)
    check(case, evaluate=channels == 3)


@pytest.mark.parametrize("last", [True, False])
def test_mean_of_windows(last: bool) -> None:
    check(case_of((2, 5, 6, 8), last, functional.avg_pool2d, 2))
    check(case_of((2, 5, 6, 8), last, functional.adaptive_avg_pool2d, (3, 2)))


def test_gradient_of_pooling_is_one_kernel() -> None:
    case = case_of((2, 16, 8, 12), True, functional.max_pool2d, 2)
    assert kernels(case) == ["max", "where"]
    assert not re.search("remainder|quotient", text(case))
    assert text(case).count("not_equal(") == 4  # each value once


def test_ties() -> None:
    case = case_of((1, 8, 4, 4), True, functional.max_pool2d, 2)
    x = np.random.default_rng(0).integers(0, 3, (1, 8, 4, 4)).astype(np.float32)
    g = np.random.default_rng(1).standard_normal((1, 8, 2, 2)).astype(np.float32)
    assert_close(case.native([x, g]), case.interpreted([x, g]))


@pytest.mark.parametrize(("vector_bytes", "registers"), MACHINES)
def test_machines(vector_bytes: int, registers: int, machine: Callable[..., None]) -> None:
    machine(vector_bytes, registers)
    check(case_of((1, 9, 4, 6), True, functional.max_pool2d, 2), evaluate=False)
    check(case_of((1, 9, 4, 34), False, functional.max_pool2d, 2), evaluate=False)


def test_any_order_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "SMALL", 0)
    case = case_of((3, 9, 4, 6), True, functional.max_pool2d, 2)
    for workers, order in [(2, (1, 0)), (3, (2, 0, 1)), (4, (3, 1, 2, 0))]:
        run_shared(case, workers, order)


@pytest.mark.parametrize("n", [1, 2, 7, 16, 17, 33])
def test_small_reductions(n: int) -> None:
    for function in (
        lambda x: x.sum(1) * 2.0,
        lambda x: x.amax(1) - x.amin(1),
        lambda x: functional.softmax(x, 1),
        lambda x: x - x.mean(1, keepdims=True),
        lambda x: x.sum((0, 1)),
        lambda x: x.sum(1).reshape(-1),
    ):
        check(Case(graph_of(function, f32(2, 3, n))))


def test_what_others_read_too_is_stored() -> None:
    """A part of a block's expression that is also an operand of a product, or a result."""

    def function(x: Tensor, g: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        share = g / (x.windows((2, 3), (2, 2), (2, 2), (1, 1)) > 0).astype(np.float32).sum((4, 5))
        blocks = share.reshape((*share.shape, 1, 1)).broadcast_to((*share.shape, 2, 2)).exp()
        y = blocks.permute(0, 1, 2, 4, 3, 5).reshape((2, 8, 4, 6))
        return y * x, share.reshape((2, 48)) @ w

    check(Case(graph_of(function, f32(2, 8, 4, 6), f32(2, 8, 2, 3), f32(48, 5))))


def test_pixels_are_shuffled_without_divisions() -> None:
    def function(x: Tensor) -> Tensor:
        y = (x * 2.0 + 1.0).reshape((2, 2, 2, 5, 4, 17))
        return y.permute(0, 3, 1, 4, 2, 5).reshape((2, 10, 8, 17))

    case = Case(graph_of(function, f32(2, 20, 4, 17)))
    assert not re.search(r"remainder\(i|quotient\(i", text(case))
    check(case)


def test_division_of_an_index() -> None:
    """What is known of a quotient or a remainder is not computed."""
    names = Names()
    e, i, j = Expressions(names), Affine.var(names.fresh("i", 12)), Affine.var("j")
    assert e.divide(i * 2 + 1, 2, 12) == i
    assert e.divide(i * 2 + 1, 1, 2) == Affine(1)
    assert e.divide(Affine(17), 3, 4) == Affine(1)
    assert e.divide(i * 6 + j * 3 + 4, 3, 1000).terms != (i * 2 + j + 1).terms
    assert e.divide(i + 1, 1, 13) == i + 1
    assert e.divide(i + 1, 1, 12) not in (i + 1, i)
    assert len(e.quotients) == 2
