"""Kernels split among workers: whatever the order in which they run, the values are the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.evaluate import evaluate_kernel
from mynn.compiler.loop_ir.ir import Buffer, Const, For, Kernel, Local, Statement, Store, buffers_of
from mynn.compiler.loop_ir.machine import Machine
from mynn.compiler.loop_ir.repeat import Moving, Repeat, nest_function, table_bytes
from mynn.compiler.loop_ir.verify import verify_kernel
from mynn.compiler.loop_ir.walk import statements
from mynn.compiler.lowering.contraction import blocks, pieces
from mynn.compiler.parallel import split
from mynn.compiler.parallel.barriers import barrier_intervals, list_schedule
from mynn.compiler.parallel.footprint import Footprints
from mynn.functional.control import scan
from mynn.functional.recurrent import recurrent
from mynn.ops.contraction import contract
from mynn.target.target import host
from mynn.tensor import Tensor, apply
from mynn.transform.grad import grad
from tests.compiler.graph.rewriting import with_indices
from tests.compiler.harness import Case, Memory, shared_kernels
from tests.compiler.lowering.test_schedules import KINDS, grad_of_convolution, step_case
from tests.helpers import assert_close, f32, graph_of, random_arrays

ONE = Const(1.0, "f32")


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

    if isinstance(kernel, Repeat):
        return _share_of_loop(kernel, worker, workers)
    return Kernel(kernel.name, tuple(own(kernel.body)))


def _share_of_loop(loop: Repeat, worker: int, workers: int) -> Repeat:
    """Its share of each kernel in every step, or all of them for the last worker."""
    if workers not in loop.together:
        return loop if worker == workers - 1 else replace(loop, rounds=0, before=())
    each = [
        tuple(share(kernel, worker, workers) for kernel in some)
        for some in (loop.before, loop.kernels)
    ]
    return replace(loop, before=each[0], kernels=each[1])


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


@pytest.mark.one_in(3)
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
    monkeypatch.setattr(blocks, "_CACHE_BYTES", 64)

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
        machine = Machine([nest_function(loop, {})], {"k": ran.append})
        machine.share(table)
        machine.run("loop", table.ctypes.data, worker, workers)
        assert bool(ran) == any(footprint.share(worker, workers))


def test_long_sums_in_panels_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker has groups of columns, or of rows, from the first block to the last."""
    for name, value in {"TERMS": 20, "EXTENT": 12, "BLOCK": 2}.items():
        monkeypatch.setattr(blocks, f"_LEAST_{name}", value)
    monkeypatch.setattr(blocks, "_PANEL_BYTES", 200)
    target = replace(host(), vector_bytes=32, vector_registers=16)
    for rows, columns, cut in ((12, 64, "columns"), (24, 20, "rows")):

        def product(a: Tensor, b: Tensor, m: Tensor) -> Tensor:
            return 0.9 * m + apply(contract, a.permute(2, 0, 1), b, batch=0, summed=2)

        given = f32(4, 5, rows), f32(4, 5, columns), f32(rows, columns)
        case = Case(graph_of(product, *given), target=target)
        for workers, order in [(2, (1, 0)), (3, (2, 0, 1))]:
            run_shared(case, workers, order)
        (kernel,) = shared_kernels(case.lowered)
        (loop,) = kernel.body
        assert isinstance(loop, For)
        assert loop.kind == "parallel"
        assert loop.var.startswith(cut)

    def products(a: Tensor, b: Tensor) -> Tensor:
        return apply(contract, a.permute(0, 2, 1), b, batch=1, summed=1)

    for ways in (0, 64):  # with copies, and without
        monkeypatch.setattr(pieces, "_WAYS", ways)
        case = Case(graph_of(products, f32(3, 20, 12), f32(3, 20, 16)), target=target)
        assert any(b.storage == "scratch" for b in locals_of(case)) == (ways == 0)
        for workers, order in [(2, (1, 0)), (3, (2, 0, 1))]:
            run_shared(case, workers, order)


def locals_of(case: Case) -> list[Buffer]:
    """The buffers that its kernels make for themselves."""
    every = [s for k in case.lowered.kernels for s in statements(k.body)]
    return [s.buffer for s in every if isinstance(s, Local)]


def gru(h: Tensor, x: Tensor, w: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Sequences through a gated unit: the last state, and a gradient of all of them."""
    weights = [(w, w, b, b, None)]
    last = recurrent("GRU", x, (h,), weights)[1][0]
    gradient = grad(lambda w: recurrent("GRU", x, (h,), [(w, w, b, b, None)])[0].square().sum())(w)
    return last, gradient


@pytest.mark.one_in(3)
@pytest.mark.usefixtures("small_kernels_too")
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_loops_around_kernels_are_run_together(order: tuple[int, ...]) -> None:
    """Each worker goes through all steps with its own rows of the batch."""
    target = replace(host(), vector_bytes=32, vector_registers=16)
    given = f32(1, 8, 16), f32(2, 8, 16), f32(48, 16), f32(48)
    case = Case(graph_of(gru, *given), target=target)
    loops = [k for k in shared_kernels(case.lowered) if isinstance(k, Repeat)]
    assert len(loops) > 1
    assert all(2 in loop.together for loop in loops)
    run_shared(case, 2, order)


@pytest.mark.usefixtures("small_kernels_too")
def test_a_loop_in_which_workers_would_meet_is_run_by_one() -> None:
    """Each step needs all rows of the one before."""

    def function(h: Tensor, w: Tensor) -> Tensor:
        return scan(lambda h, _: ((w @ h).tanh(), None), h, None, length=3)[0]

    case = Case(graph_of(function, f32(8, 24), f32(8, 8)))
    (loop,) = (k for k in shared_kernels(case.lowered) if isinstance(k, Repeat))
    assert not loop.together
    for workers, order in [(2, (1, 0)), (3, (2, 0, 1))]:
        run_shared(case, workers, order)


@pytest.mark.parametrize(("workers", "together"), [(1, {2}), (2, {2}), (3, {2, 4}), (4, {2, 4})])
def test_workers_of_a_loop_have_tables_of_their_own(workers: int, together: set[int]) -> None:
    """Each moves its views itself; who runs the loop alone has all rounds of its kernels."""
    words = 8
    whole, view = Buffer("x", "f32", 12), Buffer("seen", "f32", 4)
    scratch = Buffer("scratch", "u8", 64 + table_bytes(3))
    inner = Kernel("k", (For("i", 4, (Store(view, Affine.var("i"), ONE),), "parallel"),))
    loop = Repeat(
        *("loop", ()),
        rounds=3,
        kernels=(inner,),
        moving=(Moving(view, whole, 0, 4),),
        shared=True,
        together=frozenset(together),
    )
    verify_kernel(loop)
    memory = np.zeros(workers * scratch.elements // words, np.uint64)
    table = np.array([1000, 0, 0], np.uint64)
    calls: list[tuple[int, int, int, int]] = []

    def called(own: int, number: int, count: int) -> None:
        start = (own - machine.share(memory)) // words
        calls.append((*map(int, memory[[start + 1, start + 2]]), number, count))

    machine = Machine(
        [nest_function(loop, {whole: 0, view: 1, scratch: 2}, scratch)], {"k": called}
    )
    table[2] = base = machine.share(memory)
    for worker in range(workers):
        calls.clear()
        machine.run("loop", machine.share(table), worker, workers)
        if workers in together:
            assert calls == [(1000 + 16 * step, base, worker, workers) for step in range(3)]
        elif worker == workers - 1:
            own = base + worker * scratch.elements
            assert calls == [(1000 + 16 * step, own, 0, 1) for step in range(3)]
        else:
            assert not calls
    assert table[1] == 0


@pytest.mark.usefixtures("small_kernels_too")
def test_any_order_of_workers_in_a_step() -> None:
    for order in itertools.permutations(range(3)):
        run_shared(step_case(4, 9, (1, 0)), 3, order)


@pytest.mark.usefixtures("small_kernels_too")
def test_blocked_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums that are kept in memory between blocks."""
    monkeypatch.setattr(blocks, "_CACHE_BYTES", 64)
    for types in [(f32(1, 2, 5, 4), f32(60, 2, 2, 2)), (f32(2, 1, 5, 4), f32(60, 1, 1, 1))]:
        case = Case(graph_of(grad_of_convolution, *types))
        run_shared(case, 2, (1, 0))
        run_shared(case, 3, (1, 2, 0))
