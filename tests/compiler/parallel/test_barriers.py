"""Where workers meet: never too seldom, and seldom enough."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import pytest

from mynn.compiler import pipeline
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Buffer, Const, Expr, For, Kernel, Let, Load, Store, Var
from mynn.compiler.parallel import barriers
from mynn.compiler.parallel.barriers import COUNTS, barrier_intervals, list_schedule
from mynn.compiler.parallel.footprint import Footprint, Footprints
from mynn.compiler.parallel.split import is_serial
from mynn.target.target import host, named
from mynn.tensor import Tensor
from mynn.transform.grad import grad
from tests.compiler.harness import Case, layout, shared_kernels
from tests.compiler.lowering.test_equal_groups import deep
from tests.compiler.lowering.test_schedules import step_case
from tests.compiler.parallel.test_split import run_shared
from tests.helpers import f32, graph_of

A, B, C, D = (Buffer(name, "f32", 64) for name in "abcd")
E, F = (Buffer(name, "f32", 64, pitch=8) for name in "ef")
AT_I, AT_J = Affine.var("i"), Affine.var("j")
ZERO = Const(0.0, "f32")


def own_memory(buffer: Buffer) -> tuple[Hashable, int]:
    return buffer, 0


def kernel(to: Buffer, *origins: tuple[Buffer, Affine], rounds: int = 8, name: str = "k") -> Kernel:
    """Rows of 64 / rounds elements, the rounds shared; each also loads from the `origins`."""
    size = 64 // rounds
    lets = tuple(Let(f"x{n}", Load(buffer, index)) for n, (buffer, index) in enumerate(origins))
    row = For("j", size, (Store(to, AT_I * size + AT_J, ZERO),))
    return Kernel(name, (For("i", rounds, (*lets, row), "parallel"),))


def meet(*kernels: Kernel, workers: int = 2) -> list[bool]:
    return [turn.has_barrier(workers) for turn in list_schedule(kernels, Footprints(own_memory))]


def test_rows_of_ones_own() -> None:
    assert meet(kernel(A), kernel(B, (A, AT_I * 8)), kernel(C, (B, AT_I * 8 + 7))) == [False] * 3


def test_a_row_of_the_next_one() -> None:
    assert meet(kernel(A), kernel(B, (A, AT_I * 8 + 8))) == [False, True]


def test_everything() -> None:
    assert meet(kernel(A), kernel(B, (A, AT_J * 0))) == [False, True]


@pytest.mark.parametrize(
    ("rounds", "expected"),
    [(16, {2: False, 3: True, 4: False}), (4, {2: False, 3: True, 4: False}), (1, {2: True})],
)
def test_other_rounds_with_the_same_shares(rounds: int, expected: dict[int, bool]) -> None:
    """Halves are halves, whether of 8 rows or of 16; a third of 8 is not one of 16."""
    for workers, meets in expected.items():
        pair = kernel(A), kernel(B, (A, AT_I * (64 // rounds)), rounds=rounds)
        assert meet(*pair, workers=workers) == [False, meets]


def test_more_workers_than_are_looked_at() -> None:
    chain = kernel(A), kernel(B, (A, AT_I * 8))
    assert meet(*chain, workers=max(COUNTS)) == [False, False]
    assert meet(*chain, workers=max(COUNTS) + 1) == [False, True]


def test_writing_what_another_one_reads() -> None:
    assert meet(kernel(B, (A, AT_J * 0)), kernel(A)) == [False, True]
    assert meet(kernel(A), kernel(A, rounds=2)) == [False, False]
    assert meet(kernel(A), kernel(A, rounds=1)) == [False, True]


def test_buffers_that_share_memory() -> None:
    def shifted(buffer: Buffer) -> tuple[Hashable, int]:
        return "arena", {A: 0, B: 128, C: 256}[buffer]

    turns = list_schedule([kernel(A), kernel(B), kernel(C)], Footprints(shifted))
    assert [turn.has_barrier(2) for turn in turns] == [False, True, True]


def test_a_place_that_depends_on_data() -> None:
    picked: Expr = Load(D, Affine.var("x0"))
    body = (Let("x0", Load(C, AT_I)), Let("y", picked), Store(B, AT_I, Var("y", "f32")))
    gather = Kernel("g", (For("i", 8, body, "parallel"),))
    assert meet(kernel(D), gather) == [False, True]


def test_one_worker_needs_no_meeting() -> None:
    alone = kernel(A, rounds=1), kernel(B, (A, AT_J * 0), rounds=1)
    assert meet(*alone) == [False, False]
    assert meet(*alone, workers=9) == [False, False]


def test_a_kernel_comes_earlier_where_that_saves_a_meeting() -> None:
    chain = [
        kernel(A, name="a"),
        kernel(B, (A, AT_J * 0), name="b"),  # needs all of a
        kernel(C, name="c"),
        kernel(D, (C, AT_J * 0), name="d"),  # needs all of c
    ]
    turns = list_schedule(chain, Footprints(own_memory))
    assert [turn.kernel.name for turn in turns] == ["a", "c", "b", "d"]
    assert [turn.has_barrier(2) for turn in turns] == [False, False, True, False]
    assert [[k.name for k in phase] for phase in barrier_intervals(turns, 2)] == [
        ["a", "c"],
        ["b", "d"],
    ]


def test_the_order_keeps_what_depends_on_it() -> None:
    chain = [kernel(A, name="a"), kernel(B, (A, AT_J * 0), name="b"), kernel(A, name="again")]
    assert [turn.kernel.name for turn in list_schedule(chain, Footprints(own_memory))] == [
        "a",
        "b",
        "again",
    ]


def test_bytes_read() -> None:
    footprints = Footprints(lambda buffer: (buffer, 0))
    apart, once = kernel(B, (A, AT_I * 8)), kernel(B, (A, AT_I * 0), (C, AT_I))
    assert footprints.bytes_read(apart, 0, 2) == 3 * 32 + 4  # first to last of four
    assert footprints.bytes_read(once, 1, 2) == 4 + 16


def test_rows_of_a_network() -> None:
    """Layers and losses go row by row; workers meet for the gradients of the weights only."""

    def loss(x: Tensor, w: Tensor, v: Tensor, t: Tensor) -> Tensor:
        y = (x @ w).relu() @ v
        return (y - t).exp() / 2

    case = Case(graph_of(loss, f32(32, 24), f32(24, 40), f32(40, 6), f32(32, 6)))
    kernels = shared_kernels(case.lowered)
    assert not any(is_serial(kernel) for kernel in kernels)
    assert not any(
        turn.has_barrier(2)
        for turn in list_schedule(kernels, Footprints(case.lowered.plan.location))
    )
    for order in [(0, 1), (1, 0)]:
        run_shared(case, 2, order)


def test_a_whole_step_in_any_order() -> None:
    case = step_case(8, 17, (0, 1))
    wide = replace(case, target=named("x86-64-v4")).lowered
    turns = list_schedule(shared_kernels(wide), Footprints(wide.plan.location))
    assert len(barrier_intervals(turns, 2)) <= 3
    for workers, order in [(2, (1, 0)), (3, (2, 1, 0)), (4, (3, 0, 2, 1)), (6, (5, 4, 3, 2, 1, 0))]:
        run_shared(case, workers, order)


def column(to: Buffer, *origins: tuple[Buffer, Affine], rounds: int = 4) -> Kernel:
    """As `kernel`, but the rounds share the columns of rows of 8 elements."""
    size = 8 // rounds
    lets = tuple(Let(f"x{n}", Load(buffer, index)) for n, (buffer, index) in enumerate(origins))
    place = Store(to, AT_I * size + AT_J + Affine.var("r", 8), ZERO)
    rows = For("r", 8, (For("j", size, (place,)),))
    return Kernel("c", (For("i", rounds, (*lets, rows), "parallel"),))


def test_columns_of_ones_own() -> None:
    assert meet(column(E), column(F, (E, AT_I * 2 + 1))) == [False, False]
    assert meet(column(E), column(F, (E, AT_I * 2 + 16))) == [False, False]
    assert meet(column(E), column(F, (E, AT_I * 2 + 2))) == [False, True]
    assert meet(column(E), column(F, (E, AT_I * 4), rounds=2)) == [False, False]
    assert meet(column(E), column(F, (E, AT_I * 8))) == [False, True]
    assert meet(column(E), kernel(E)) == [False, True]
    assert meet(column(E), column(E, rounds=8), workers=3) == [False, True]


@pytest.mark.wide
def test_results_along_the_batch() -> None:
    """Each class is a row: workers share its columns, then go on with rows of the batch."""

    def loss(x: Tensor, w: Tensor, v: Tensor, t: Tensor) -> Tensor:
        y = (x @ w).relu() @ v
        return ((y - y.amax(1, keepdims=True)).exp() * t) @ v.T

    graph = graph_of(loss, f32(32, 24), f32(24, 64), f32(64, 4), f32(32, 4))
    case = Case(graph, layouts={graph.inputs[2]: layout(graph.inputs[2], (1, 0))})
    turns = list_schedule(shared_kernels(case.lowered), Footprints(case.lowered.plan.location))
    assert len(barrier_intervals(turns, 2)) <= 2
    for workers, order in [(2, (0, 1)), (2, (1, 0)), (3, (2, 0, 1)), (4, (3, 2, 1, 0))]:
        run_shared(case, workers, order)


def test_comparisons_grow_with_the_number_of_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with its square: kernels that touch no common memory are not compared."""
    count = 0
    needs_barrier = barriers.needs_barrier

    def counted(earlier: Footprint, later: Footprint, workers: int | None) -> bool:
        nonlocal count
        count += 1
        return needs_barrier(earlier, later, workers)

    monkeypatch.setattr(barriers, "needs_barrier", counted)

    def comparisons(layers: int) -> int:
        nonlocal count

        def loss(x: Any, *weights: Any) -> Any:
            for weight in weights:
                x = (x @ weight).tanh()
            return x.sum()

        def gradients(*values: Any) -> Any:
            return grad(loss, argnums=tuple(range(1, layers + 1)))(*values)

        lowered = pipeline.lower(
            graph_of(gradients, f32(64, 48), *(f32(48, 48) for _ in range(layers))), host()
        )
        count = 0
        pipeline.finish(lowered, split=True)
        return count

    few, many = comparisons(4), comparisons(12)
    assert few < many < 4 * few


def test_what_holds_for_a_pair_holds_for_all_like_it() -> None:
    """What was found for kernels of the same kinds is what each pair by itself gives."""
    made = pipeline.finish(pipeline.lower(deep(5), host()), split=True)
    locate = made.plan.location
    together = [made.footprints.of(kernel) for kernel in made.kernels]
    assert len({one.kind for one in together}) < len(together)
    for later in together:
        for earlier in together:
            alone = (Footprints(locate).of(one.kernel) for one in (earlier, later))
            found = barriers.needs_barrier(earlier, later, 2)
            assert found is barriers.needs_barrier(*alone, workers=2)
