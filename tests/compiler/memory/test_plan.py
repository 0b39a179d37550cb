"""Planning: updates in place, old values, shared memory, and its verifier."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Buffer, Const, For, Kernel, Let, Load, Op, Store, buffers_of
from mynn.compiler.lowering import equal_groups
from mynn.compiler.lowering.inline import Place
from mynn.compiler.memory import arena as arena_module
from mynn.compiler.memory.arena import live_spans
from mynn.compiler.memory.places import Result
from mynn.compiler.memory.plan import Plan, verify_plan
from mynn.core.graph import Graph, Node, apply, input_node
from mynn.core.types import Type
from mynn.errors import VerifyError
from mynn.ops import contraction, movement
from mynn.runtime.artifact import make_artifact
from mynn.target.storage import ALIGNMENT, SLACK
from mynn.tensor import Tensor
from tests.compiler.harness import Case, layout
from tests.helpers import assert_close, f32, graph_of, random_arrays


def stateful(function: Callable[..., Any], *types: Type, arguments: int = 0) -> Case:
    """A program in which the inputs after the arguments are state: the last outputs become their
    new values, in order."""
    graph = graph_of(function, *types)
    state = graph.inputs[arguments:]
    first = len(graph.outputs) - len(state)
    return Case(graph, {node: first + i for i, node in enumerate(state)})


def names_in_place(case: Case) -> set[str | None]:
    return {node.name for node in case.lowered.plan.in_place}


def check_steps(case: Case, steps: int = 3) -> None:
    """Several runs by the evaluator and natively, where each starts from the state it left."""
    first = random_arrays(case.graph)
    for run in (case.evaluated, case.native):
        arguments = list(first)
        for _ in range(steps):
            expected = case.interpreted(arguments)
            assert_close(run(arguments), expected)
            for state, number in case.writes.items():
                arguments[case.graph.inputs.index(state)] = expected[number]


# -- in place --------------------------------------------------------------------------------------


def test_elementwise_update_is_in_place() -> None:
    case = stateful(lambda g, p: p - 0.1 * g, f32(5, 17), f32(5, 17), arguments=1)
    assert names_in_place(case) == {"y"}
    assert len(case.lowered.kernels) == 1
    assert not case.lowered.plan.arena
    check_steps(case)


def test_update_inside_a_product_is_in_place() -> None:
    """The weight's gradient never reaches memory."""
    case = stateful(
        lambda x, g, w: w - 0.1 * (x.T @ g), f32(4, 3), f32(4, 17), f32(3, 17), arguments=2
    )
    assert names_in_place(case) == {"z"}
    assert len(case.lowered.kernels) == 1
    assert not case.lowered.plan.arena
    check_steps(case)


def test_momentum_is_in_place() -> None:
    def step(g: Tensor, p: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        new = v * 0.9 + g
        return p - 0.1 * new, new

    case = stateful(step, f32(33), f32(33), f32(33), arguments=1)
    assert names_in_place(case) == {"y", "z"}
    check_steps(case)


def test_new_value_that_moves_elements_is_not_in_place() -> None:
    for function, type in [
        (lambda p: p.flip(0), f32(17)),
        (lambda p: p.T + 0.0, f32(5, 5)),
        (lambda p: p * p.sum(), f32(17)),
        (lambda p: p - p[0], f32(17)),
        (lambda p: (p @ p).tanh(), f32(5, 5)),
    ]:
        check_steps(stateful(function, type))


def test_the_only_element_is_the_same_one() -> None:
    """However it is counted: from behind, or as the one that a sum is made of."""
    functions: list[Callable[..., Any]] = [
        lambda p: p.flip(0) * 0.5,
        lambda p: p + p.flip((0, 1)),
        lambda p: (p.exp().sum(0), p * 2.0),
    ]
    for function in functions:
        check_steps(stateful(function, f32(1, 1)))


def test_overwriting_waits_for_readers() -> None:
    """The old weight is needed by another product: it runs first, or the update is not in place."""

    def step(x: Tensor, g: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        return x @ w, g @ w.T, w - 0.1 * (x.T @ g)

    case = stateful(step, f32(4, 3), f32(4, 5), f32(3, 5), arguments=2)
    check_steps(case)
    plan = case.lowered.plan
    state = plan.places[case.graph.inputs[2]].buffer
    touching = [
        [s.name for s in buffers_of(k)[1]] for k in plan.kernels if state in buffers_of(k)[0]
    ]
    assert names_in_place(case) == {"z"}
    assert touching[-1] == [state.name]
    assert all(state.name not in names for names in touching[:-1])


def test_results_that_are_old_state() -> None:
    cases: list[tuple[Callable[..., Any], int]] = [
        (lambda p: (p, p * 0.5), 1),
        (lambda p: (p, p, p + 1.0), 1),
        (lambda p, q: (p, q, p + q, q - p), 2),
        (lambda p: (p.T, p + 1.0), 1),
        (lambda p: (p.sum(), p[1:3], p * 2.0), 1),
    ]
    for function, count in cases:
        check_steps(stateful(function, *[f32(7, 7)] * count))


def test_results_that_are_new_state() -> None:
    def step(p: Tensor) -> tuple[Tensor, ...]:
        new = p * 0.5
        return new, new + 1.0, new

    check_steps(stateful(step, f32(17)))


def test_states_swap_and_rotate() -> None:
    check_steps(stateful(lambda p, q: (q, p), f32(17), f32(17)))
    check_steps(stateful(lambda p, q, r: (q, r, p), *[f32(3, 5)] * 3))
    check_steps(stateful(lambda p, q: (q, p * q), f32(17), f32(17)))
    check_steps(stateful(lambda p, q: (q + 1.0, p + 1.0), f32(17), f32(17)))


def test_one_value_for_two_states() -> None:
    def step(p: Tensor, q: Tensor) -> tuple[Tensor, ...]:
        new = p + q
        return new, new

    check_steps(stateful(step, f32(17), f32(17)))


def test_state_set_to_arguments_and_constants() -> None:
    check_steps(stateful(lambda x, p: x, f32(17), f32(17), arguments=1))
    check_steps(
        stateful(lambda x, p: Tensor(np.zeros(17, np.float32)), f32(17), f32(17), arguments=1)
    )
    check_steps(stateful(lambda x, p: x.sum().broadcast_to((17,)), f32(17), f32(17), arguments=1))


def test_layouts_of_state() -> None:
    """A weight that is stored input-major is updated in place where it lies."""
    graph = graph_of(lambda x, g, w: w - 0.1 * (g.T @ x), f32(4, 3), f32(4, 17), f32(17, 3))
    weight = graph.inputs[2]
    case = Case(graph, {weight: 0}, {weight: layout(weight, (1, 0))})
    assert names_in_place(case) == {"z"}
    assert case.lowered.plan.places[weight].strides == (1, 32)
    check_steps(case)


# -- shared memory ---------------------------------------------------------------------------------


def chain(x: Tensor, *weights: Tensor) -> Tensor:
    for w in weights:
        x = (x @ w).tanh()
    return x


def test_few_bytes_are_not_shared() -> None:
    plan = Case(graph_of(chain, f32(8, 33), *[f32(33, 33)] * 7)).lowered.plan
    assert len(set(plan.arena.values())) == 6


def test_arena_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of six hidden layers at most two are needed at a time."""
    monkeypatch.setattr(arena_module, "_ROOM", 0)
    case = Case(graph_of(chain, f32(8, 33), *[f32(33, 33)] * 7))
    plan = case.lowered.plan
    assert len(plan.arena) == 6
    assert len(set(plan.arena.values())) == 2
    one = 8 * 48 * 4 + SLACK
    assert plan.arena_bytes == 2 * one
    arguments = [0.1 * array for array in random_arrays(case.graph)]
    assert_close(case.evaluated(arguments), case.interpreted(arguments))
    assert_close(case.native(arguments), case.interpreted(arguments))


@pytest.mark.parametrize("compared", [0, 256])
@pytest.mark.parametrize("seed", range(20))
def test_random_spans_share_memory(
    compared: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No two buffers lie on each other at the same time; little more is taken than is live."""
    monkeypatch.setattr(arena_module, "_ROOM", 0)
    monkeypatch.setattr(arena_module, "_COMPARED", compared)
    rng = np.random.default_rng(seed)
    kernels: list[list[Buffer]] = [[] for _ in range(40)]
    for number in range(60):
        buffer = Buffer(f"b{number}", "f32", int(rng.choice([32, 64, 500, 4096])))
        start = int(rng.integers(40))
        for time in {start, min(39, start + int(rng.integers(12)))}:
            kernels[time].append(buffer)
    made = [
        Kernel(f"k{i}", tuple(Store(b, Affine(), Const(0.0, "f32")) for b in buffers))
        for i, buffers in enumerate(kernels)
    ]
    offsets, total = arena_module.arena(made, set())
    spans = live_spans(made, set())
    ends = {b: offsets[b] + b.nbytes + SLACK for b in spans}
    for a, b in itertools.combinations(spans, 2):
        if spans[a][0] <= spans[b][1] and spans[b][0] <= spans[a][1]:
            assert ends[a] <= offsets[b] or ends[b] <= offsets[a]
    assert all(offset % ALIGNMENT == 0 for offset in offsets.values())
    live = [
        sum(b.nbytes + SLACK for b, (start, end) in spans.items() if start <= time <= end)
        for time in range(40)
    ]
    assert max(ends.values()) <= total <= 1.6 * (max(live) + ALIGNMENT * len(spans))


@pytest.mark.parametrize("seed", range(5))
def test_no_live_buffers_overlap(seed: int) -> None:
    """Said again, byte by byte, for values of many sizes that live long and short."""
    rng = np.random.default_rng(seed)

    def function(x: Tensor, *weights: Tensor) -> Tensor:
        values = [x]
        for w in weights:
            picked = values[int(rng.integers(len(values)))]
            values.append((picked @ w).tanh())
        return sum((v.sum() for v in values), Tensor(0.0))

    case = Case(graph_of(function, f32(5, 9), *[f32(9, 9)] * 8))
    plan = case.lowered.plan
    owner: dict[tuple[int, int], Buffer] = {}
    for buffer, (start, end) in live_spans(plan.kernels, plan.lasting(case.graph.inputs)).items():
        assert plan.arena[buffer] % ALIGNMENT == 0
        for line in range(plan.arena[buffer], plan.arena[buffer] + buffer.elements * 4, 4):
            for time in range(start, end + 1):
                assert owner.setdefault((time, line), buffer) is buffer
    arguments = random_arrays(case.graph)
    assert_close(case.evaluated(arguments), case.interpreted(arguments))


def test_values_made_of_nothing_lie_in_the_arena() -> None:
    """An operand that no input goes into is stored like any other."""
    counted = apply(movement.iota, shape=(31, 16), axis=0, dtype=np.dtype(np.float32))
    x = input_node(f32(7, 31), "x")
    case = Case(Graph((x,), (apply(contraction.matmul, x, counted),)))
    table = case.lowered.table
    made = make_artifact(case.lowered.plan, table, case.graph.inputs)
    assert sorted(slot.role for slot in made.slots) == ["arena", "input", "result"]
    arguments = random_arrays(case.graph)
    assert_close(case.native(arguments), case.interpreted(arguments))


# -- the verifier ----------------------------------------------------------------------------------


def small_plan() -> tuple[Plan, Graph, dict[Node, int]]:
    """Two kernels by hand: h = -x in the arena, the result is h + p, the state p becomes h."""
    x, p = input_node(f32(4), "x"), input_node(f32(4), "p")
    place = {n: Place(Buffer(str(n.name), "f32", 4), (1,)) for n in (x, p)}
    hidden, out = Buffer("h", "f32", 4), Buffer("out", "f32", 4)
    at = Affine.var("i")
    negate = Store(hidden, at, Op("neg", (Load(place[x].buffer, at),), "f32"))
    total = Op("add", (Load(hidden, at), Load(place[p].buffer, at)), "f32")
    last = (Let("t", total), Store(out, at, Load(hidden, at)), Store(place[p].buffer, at, total))
    kernels = [
        Kernel("k0", (For("i", 4, (negate,)),)),
        Kernel("k1", (For("i", 4, last),)),
    ]
    result = Result(x, Place(out, (1,)))
    plan = Plan(kernels, place, {hidden: 0}, 192, {}, [result], [p])
    return plan, Graph((x, p), (x, p)), {p: 1}


def test_good_plan() -> None:
    verify_plan(*small_plan())


def broken(change: Callable[[Plan], Plan]) -> None:
    plan, graph, writes = small_plan()
    verify_plan(change(plan), graph, writes)


def overlapping(plan: Plan) -> Plan:
    other = Buffer("other", "f32", 4)
    store = Store(other, Affine(), Const(0.0, "f32"))
    kernels = [Kernel("k", (store,)), *plan.kernels, Kernel("k2", (store,))]
    return replace(plan, kernels=kernels, arena={**plan.arena, other: 64}, arena_bytes=512)


def changing_input(plan: Plan) -> Plan:
    x = next(iter(plan.places.values())).buffer
    return replace(
        plan, kernels=[*plan.kernels, Kernel("bad", (Store(x, Affine(), Const(0.0, "f32")),))]
    )


def stray(plan: Plan) -> Plan:
    store = Store(Buffer("other", "f32", 4), Affine(), Const(0.0, "f32"))
    return replace(plan, kernels=[*plan.kernels, Kernel("bad", (store,))])


BROKEN: dict[str, tuple[Callable[[Plan], Plan], str]] = {
    "alignment": (lambda p: replace(p, arena=dict.fromkeys(p.arena, 32)), "h lies badly"),
    "outside": (lambda p: replace(p, arena_bytes=100), "h lies badly"),
    "overlap": (overlapping, "share memory"),
    "order": (lambda p: replace(p, kernels=p.kernels[::-1]), "k1 reads h, which nobody has set"),
    "input changed": (changing_input, "bad changes x"),
    "no place": (stray, "bad touches other, which has no place"),
    "nothing set": (lambda p: replace(p, kernels=p.kernels[:1]), "no kernel sets out"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_verifier_refuses(name: str) -> None:
    change, message = BROKEN[name]
    with pytest.raises(VerifyError, match=message):
        broken(change)


def test_groups_are_lowered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where state cannot be updated in place."""
    names: list[str] = []
    lower_group = equal_groups.lower_group

    def counted(name: str, context: Any) -> Any:
        names.append(name)
        return lower_group(name, context)

    monkeypatch.setattr(equal_groups, "lower_group", counted)
    # A rotation of state: each new value needs another old one, so that many are refused.
    count = 12
    graph = graph_of(
        lambda *s: tuple((s[i] @ s[i - 1]).tanh() for i in range(count)),
        *(f32(9, 9) for _ in range(count)),
    )
    writes = {node: number for number, node in enumerate(graph.inputs)}
    case = Case(graph, writes)
    assert len(names) == len(set(names)) <= count
    arguments = random_arrays(graph)
    assert_close(case.native(arguments), case.interpreted(arguments))
