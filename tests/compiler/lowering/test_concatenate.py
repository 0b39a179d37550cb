"""Concatenations of many values: right for every axis and width, split, in place; O(T) work."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import functional as F
from mynn.compiler.loop_ir.ir import For, Let, Statement, Store
from mynn.compiler.loop_ir.walk import sub_expressions
from mynn.compiler.parallel import split
from mynn.tensor import Tensor
from tests.compiler.harness import Case
from tests.compiler.parallel.test_split import run_shared
from tests.helpers import assert_close, f32, graph_of, random_arrays

WIDTHS = ((1, 1, 1, 1), (16, 16, 16, 16), (3, 17, 1, 31, 2), (0, 5, 4, 0, 33, 1), (7, 57), (1, 15))


def shapes(axis: int, widths: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [tuple(n if i == axis else e for i, e in enumerate((3, 5, 7))) for n in widths]


def joined(axis: int) -> Any:
    def function(*parts: Tensor) -> Tensor:
        return F.concatenate([part.tanh() for part in parts], axis) * 2 + 1

    return function


@pytest.mark.one_in(3)
@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_axis(monkeypatch: pytest.MonkeyPatch, axis: int, widths: tuple[int, ...]) -> None:
    monkeypatch.setattr(split, "SMALL", 0)
    case = Case(graph_of(joined(axis), *(f32(*shape) for shape in shapes(axis, widths))))
    arguments = random_arrays(case.graph)
    expected = case.interpreted(arguments)
    assert_close(case.evaluated(arguments), expected, 1, "evaluated")
    assert_close(case.native(arguments), expected, 1, "native")
    for workers, order in [(2, (1, 0)), (3, (2, 0, 1))]:
        run_shared(case, workers, order)


@pytest.mark.parametrize("widths", WIDTHS)
def test_one_axis(widths: tuple[int, ...]) -> None:
    case = Case(graph_of(joined(0), *(f32(n) for n in widths)))
    arguments = random_arrays(case.graph)
    expected = case.interpreted(arguments)
    assert_close(case.evaluated(arguments), expected, 1, "evaluated")
    assert_close(case.native(arguments), expected, 1, "native")


@pytest.mark.parametrize("axis", [0, 1])
def test_an_update_in_place(axis: int) -> None:
    """What a value stores may not spill into state that the next one has not read yet."""
    shape = (5, 12) if axis else (12, 5)
    state = mynn.Parameter(np.ones(shape, np.float32))
    parts = [np.full((5, n) if axis else (n, 5), n, np.float32) for n in (3, 1, 5, 3)]

    @mynn.compile
    def step(*given: Tensor) -> Tensor:
        with mynn.no_grad():
            state.assign(state * 2 + F.concatenate(list(given), axis))
        return state.sum()

    step(*parts)
    step(*parts)
    assert np.array_equal(state.numpy(), 4 + 3 * np.concatenate(parts, axis))


def work(body: Iterable[Statement]) -> int:
    """Loads, stores and operations that statements do in all rounds of their loops."""
    total = 0
    for statement in body:
        if isinstance(statement, For):
            total += statement.extent * work(statement.body)
        elif isinstance(statement, Let | Store):
            total += len(list(sub_expressions(statement.value)))
    return total


def gradient_work(steps: int, function: Any) -> int:
    """What the gradient of a loop over so many slices does."""
    gradient = mynn.compile(mynn.grad(function))
    program = gradient.program(np.zeros((8, steps, 16), np.float32))
    return sum(work(kernel.body) for kernel in program.lowered.kernels)


def chain(x: Tensor) -> Tensor:
    h = x[:, 0] * 0.0
    for t in range(x.shape[1]):
        h = (h + x[:, t]).tanh()
    return (h * h).sum()


def outputs(x: Tensor) -> Tensor:
    h, found = x[:, 0] * 0.0, []
    for t in range(x.shape[1]):
        h = (h * 0.5 + x[:, t]).tanh()
        found.append(h)
    return (F.stack(found, 1) * x).sum()


@pytest.mark.parametrize("function", [chain, outputs])
def test_the_work_of_a_loop_over_slices_grows_with_its_length(function: Any) -> None:
    few, many = gradient_work(10, function), gradient_work(40, function)
    assert many < 4.6 * few


@pytest.mark.parametrize("function", [chain, outputs])
def test_gradients_of_loops_over_slices(function: Any) -> None:
    x = np.random.default_rng(0).normal(size=(4, 9, 5)).astype(np.float32)
    tensor = Tensor(x, requires_grad=True)
    function(tensor).backward()
    assert tensor.grad is not None
    compiled = mynn.compile(mynn.grad(function))(x)
    np.testing.assert_allclose(compiled, tensor.grad.numpy(), rtol=1e-5, atol=1e-6)
    torch = pytest.importorskip("torch")
    leaf = torch.tensor(x, requires_grad=True)
    h, found = leaf[:, 0] * 0.0, []
    for t in range(9):
        h = (h + leaf[:, t]).tanh() if function is chain else (h * 0.5 + leaf[:, t]).tanh()
        found.append(h)
    loss = (h * h).sum() if function is chain else (torch.stack(found, 1) * leaf).sum()
    loss.backward()
    np.testing.assert_allclose(compiled, leaf.grad.numpy(), rtol=1e-5, atol=1e-6)
