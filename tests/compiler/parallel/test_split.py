"""Kernels split among workers: whatever the order in which they run, the values are the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.evaluate import evaluate_kernel
from mynn.compiler.loop_ir.ir import Buffer, Const, For, Kernel, Statement, Store, buffers_of
from mynn.compiler.loop_ir.machine import Machine
from mynn.compiler.loop_ir.repeat import Repeat, repeat_function
from mynn.compiler.loop_ir.verify import verify_kernel
from mynn.compiler.lowering.contraction import schedule
from mynn.compiler.parallel import split
from mynn.compiler.parallel.barriers import barrier_intervals, list_schedule
from mynn.compiler.parallel.footprint import Footprints
from mynn.ops.contraction import contract
from mynn.tensor import Tensor, apply
from tests.compiler.graph.rewriting import with_indices
from tests.compiler.harness import Case, Memory, shared_kernels
from tests.compiler.lowering.test_schedules import KINDS, grad_of_convolution, step_case
from tests.helpers import assert_close, f32, graph_of, random_arrays


def share(kernel: Kernel, worker: int, workers: int) -> Kernel:
    """What a worker runs of a kernel."""

    def own(body: tuple[Statement, ...]) -> Iterator[Statement]:
        for statement in body:
            if isinstance(statement, For) and statement.kind == "parallel":
                first = statement.extent * worker // workers
                last = statement.extent * (worker + 1) // workers
                yield from (_round(statement, i) for i in range(first, last))
            elif isinstance(statement, For):
                yield replace(statement, body=tuple(own(statement.body)))
            else:
                yield statement

    return Kernel(kernel.name, tuple(own(kernel.body)))


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
    kernels = shared_kernels(case.lowered)
    for kernel in kernels:
        verify_kernel(kernel)
    turns = list_schedule(kernels, Footprints(case.lowered.plan.location))
    for phase in barrier_intervals(turns, workers):
        for worker in order:
            for kernel in phase:
                evaluate_kernel(share(kernel, worker, workers), memory.flat)
    assert_close(case.outputs(memory), case.interpreted(arguments), 4)
    return memory


@pytest.fixture
def small_kernels_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "SMALL", 0)


@pytest.mark.usefixtures("small_kernels_too")
@pytest.mark.parametrize("name", KINDS)
def test_any_order_of_workers(name: str) -> None:
    case = KINDS[name].case(7)
    for workers, order in [(2, (1, 0)), (3, (2, 0, 1))]:
        run_shared(case, workers, order)


@pytest.mark.usefixtures("small_kernels_too")
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_stages_of_a_long_sum(order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Partial sums in memory are cleared, added to and read: no worker begins before another one
    is done with them.
    """
    monkeypatch.setattr(schedule, "_CACHE_BYTES", 64)

    def product(a: Tensor, b: Tensor) -> Tensor:
        return apply(contract, a.permute(2, 0, 1), b, batch=0, summed=2)

    case = Case(graph_of(product, f32(3, 4, 50), f32(3, 4, 16)))
    assert any("partial" in b.name for k in case.lowered.kernels for b in buffers_of(k)[1])
    run_shared(case, 2, order)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_loop_around_kernels_is_run_by_who_has_its_round(workers: int) -> None:
    """Kernels of one round need no barrier between them: one and the same worker runs them all."""
    buffer = Buffer("x", "f32", 4)
    inner = Kernel("k", (Store(buffer, Affine(), Const(1.0, "f32")),))
    loop = Repeat("loop", (), rounds=2, kernels=(inner,), shared=True)
    footprint = Footprints(lambda buffer: (buffer, 0)).of(loop)
    table = np.zeros(1, np.uint64)
    for worker in range(workers):
        ran: list[int] = []
        machine = Machine([repeat_function(loop, {})], {"k": ran.append})
        machine.share(table)
        machine.run("loop", table.ctypes.data, worker, workers)
        assert bool(ran) == any(footprint.share(worker, workers))


@pytest.mark.usefixtures("small_kernels_too")
def test_any_order_of_workers_in_a_step() -> None:
    for order in itertools.permutations(range(3)):
        run_shared(step_case(4, 9, (1, 0)), 3, order)


@pytest.mark.usefixtures("small_kernels_too")
def test_blocked_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums that are kept in memory between blocks."""
    monkeypatch.setattr(schedule, "_CACHE_BYTES", 64)
    for types in [(f32(1, 2, 5, 4), f32(60, 2, 2, 2)), (f32(2, 1, 5, 4), f32(60, 1, 1, 1))]:
        case = Case(graph_of(grad_of_convolution, *types))
        run_shared(case, 2, (1, 0))
        run_shared(case, 3, (1, 2, 0))
