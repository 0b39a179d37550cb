"""Kernels split among workers: whatever the order in which they run, the values are the same."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from mynn.compiler import parallel
from mynn.compiler.evaluate import evaluate_kernel
from mynn.compiler.loops import Affine, Buffer, Const, For, Kernel, Statement, Store, verify_kernel
from mynn.compiler.parallel import barriers, is_serial, parallelise
from mynn.compiler.schedule import contraction
from tests.compiler.harness import Case, Memory
from tests.compiler.rewriting import with_indices
from tests.compiler.test_schedules import KINDS, grad_of_convolution, step_case
from tests.helpers import assert_close, f32, graph_of, random_arrays


def shares(kernel: Kernel, workers: int) -> list[Kernel]:
    """What each worker runs of a kernel."""
    result = []
    for worker in range(workers):
        body: list[Statement] = []
        for loop in kernel.body:
            assert isinstance(loop, For)
            assert loop.kind == "parallel"
            first = loop.extent * worker // workers
            last = loop.extent * (worker + 1) // workers
            body += [_round(loop, i) for i in range(first, last)]
        result.append(Kernel(kernel.name, tuple(body)))
    return result


def _round(loop: For, number: int) -> For:
    """One round of a loop, as a loop whose variable is 0: the rest moves into the indices."""

    def index(at: Affine) -> Affine:
        step = at.coefficient(loop.var)
        return at.without(loop.var) + step * number

    return For(loop.var, 1, tuple(with_indices(s, index) for s in loop.body))


def run_shared(case: Case, workers: int, order: tuple[int, ...]) -> Memory:
    """Between two barriers, each worker in turn runs all that is its own."""
    arguments = random_arrays(case.graph)
    memory = case.memory(arguments)
    kernels = [parallelise(kernel) for kernel in case.lowered.kernels]
    for kernel in kernels:
        verify_kernel(kernel)
    meetings = barriers(kernels, case.lowered.plan.overlap)
    phases: list[list[Kernel]] = [[]]
    for kernel, meet in zip(kernels, meetings, strict=True):
        if meet:
            phases.append([])
        phases[-1].append(kernel)
    for phase in phases:
        for worker in order:
            for kernel in phase:
                evaluate_kernel(shares(kernel, workers)[worker], memory.flat)
    assert_close(case.outputs(memory), case.interpreted(arguments), 4)
    return memory


@pytest.fixture
def small_kernels_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "SMALL", 0)


@pytest.mark.usefixtures("small_kernels_too")
@pytest.mark.parametrize("name", KINDS)
def test_any_order_of_workers(name: str) -> None:
    case = KINDS[name].case(7)
    for workers, order in [(2, (1, 0)), (3, (2, 0, 1))]:
        run_shared(case, workers, order)


@pytest.mark.usefixtures("small_kernels_too")
def test_any_order_of_workers_in_a_step() -> None:
    for order in itertools.permutations(range(3)):
        run_shared(step_case(4, 9, (1, 0)), 3, order)


@pytest.mark.usefixtures("small_kernels_too")
def test_blocked_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums that are kept in memory between blocks."""
    monkeypatch.setattr(contraction, "_CACHE_BYTES", 64)
    for types in [(f32(1, 2, 5, 4), f32(60, 2, 2, 2)), (f32(2, 1, 5, 4), f32(60, 1, 1, 1))]:
        case = Case(graph_of(grad_of_convolution, *types))
        run_shared(case, 2, (1, 0))
        run_shared(case, 3, (1, 2, 0))


def test_small_kernels_are_left_alone() -> None:
    case = KINDS["map"].case(17)
    kernels = [parallelise(kernel) for kernel in case.lowered.kernels]
    assert all(is_serial(kernel) for kernel in kernels)
    assert not any(barriers(kernels, case.lowered.plan.overlap))
    run_shared(case, 2, (1, 0))


def test_barriers() -> None:
    """They stand where a kernel touches what another one may still be writing."""
    a, b, c = (Buffer(name, "f32", 8) for name in "abc")
    at = Affine.var("i")

    def fill(target: Buffer) -> Kernel:
        body = Store(target, at, Const(0.0, "f32"))
        return Kernel(target.name, (For("i", 8, (body,), "parallel"),))

    def never(x: Buffer, y: Buffer) -> bool:
        return False

    assert barriers([fill(a), fill(b), fill(c)], never) == [False] * 3
    assert barriers([fill(a), fill(a), fill(a)], never) == [False, True, True]
    assert barriers([fill(a), fill(b), fill(a)], never) == [False, False, True]
    assert barriers([fill(a), fill(b)], lambda x, y: True) == [False, True]
    assert np.array(barriers([], never)).size == 0
