"""Which nodes share a kernel, and which values are stored."""

from __future__ import annotations

import numpy as np
import pytest

from mynn.compiler import pipeline
from mynn.core.types import Type
from mynn.target.target import host
from mynn.tensor import Tensor
from tests.compiler.harness import Case
from tests.helpers import assert_close, f32, graph_of, random_arrays

PLACES = Type((4096,), np.dtype(np.int64))


def test_what_a_take_picks_from_is_computed_once() -> None:
    """64 sums of 8 values and 4096 loads, not 4096 sums."""
    graph = graph_of(lambda x, i: x.sum(0).gather_rows(i, clip=True), f32(8, 64), PLACES)
    case = Case(graph)
    sums, picks = case.lowered.kernels
    assert sums.operations == 8 * 64
    assert picks.operations <= 4096
    assert "add" not in str(picks)
    arguments = random_arrays(graph)
    arguments[1][:] = np.arange(4096) % 64
    assert_close(case.native(arguments), case.interpreted(arguments))


@pytest.mark.parametrize("function", [lambda x: x.tanh(), lambda x: x / (x * x + 1.0)])
def test_costly_values_are_stored_before_they_are_repeated(function: object) -> None:
    assert callable(function)

    def take(x: Tensor, i: Tensor) -> Tensor:
        result: Tensor = function(x).gather_rows(i, clip=True)
        return result

    lowered = pipeline.lower(graph_of(take, f32(64, 8), PLACES), host(), check=True)
    assert len(lowered.kernels) == 2
    few = pipeline.lower(
        graph_of(take, f32(64, 8), Type((16,), np.dtype(np.int64))), host(), check=True
    )
    assert len(few.kernels) == 1


def test_values_that_are_loaded_together_make_one_kernel() -> None:
    """The updates of Adam behind a norm, which needs all gradients: g, m and v are loaded once."""

    def step(g: Tensor, m: Tensor, v: Tensor, p: Tensor) -> tuple[Tensor, ...]:
        scaled = g.exp()
        scaled = scaled.transpose(0, 1) * (1 / ((scaled * scaled).sum() + 1.0))
        m = m * 0.9 + scaled * 0.1
        v = v * 0.99 + scaled * scaled * 0.01
        return m, v, p - m / (v.sqrt() + 1e-8)

    graph = graph_of(step, f32(20, 30), *3 * [f32(30, 20)])
    case = Case(graph)
    assert sum("[30, 20]" in kernel.comment for kernel in case.lowered.kernels) == 1
    arguments = [abs(x) for x in random_arrays(graph)]
    assert_close(case.native(arguments), case.interpreted(arguments))


def test_a_value_is_not_put_beside_one_that_needs_it() -> None:
    """b needs the sum over a's kernel, so that both cannot be one, whatever they load."""

    def both(x: Tensor) -> tuple[Tensor, ...]:
        e = x.exp()
        a = e + 1.0
        return e, a, e * a.sum()

    graph = graph_of(both, f32(20, 30))
    case = Case(graph)
    arguments = random_arrays(graph)
    assert_close(case.native(arguments), case.interpreted(arguments))
