from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.core.types import Array
from mynn.errors import ArgumentError, ShapeError
from mynn.target.storage import axis_order
from mynn.tensor import Parameter, Tensor
from mynn.trace import tracing
from tests.registry import OPTIMIZERS
from tests.registry.entries import all_cases
from tests.registry.running import BACKENDS, Program, dtypes_of, pytorch
from tests.subset import by_entry

DTYPES = ("float32", "float64")

CASES = all_cases(OPTIMIZERS)
every_case = pytest.mark.parametrize("name", CASES)
every_twin = pytest.mark.parametrize("name", all_cases(e for e in OPTIMIZERS if e.twin))

SHAPES = ((3, 5), (5,), (2, 2, 2), ())


def start(dtype: str) -> list[Array]:
    generator = np.random.default_rng(1)
    return [generator.normal(size=shape).astype(dtype) for shape in SHAPES]


def slopes(dtype: str) -> list[Array]:
    generator = np.random.default_rng(2)
    return [generator.uniform(0.5, 2, shape).astype(dtype) for shape in SHAPES]


def loss_of(params: Iterable[Any], factors: Iterable[Any]) -> Any:
    """The same expression for tensors of both libraries: curved, with gradients of every size."""
    terms = [((p * a).sin() + p * p * a * 0.25).sum() for p, a in zip(params, factors, strict=True)]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def parameters(dtype: str) -> list[Parameter]:
    return [
        Parameter(value, order=(1, 0) if value.ndim == 2 else None, name=f"p{i}")
        for i, value in enumerate(start(dtype))
    ]


def steps(name: str, dtype: str, count: int) -> tuple[list[Parameter], optim.Optimizer]:
    """Parameters after some eager steps, and their optimiser."""
    params = parameters(dtype)
    chosen = CASES[name].call(optim, params)
    for _ in range(count):
        chosen.zero_grad()
        loss_of(params, slopes(dtype)).backward()
        chosen.step()
    return params, chosen


def torch_steps(torch: Any, name: str, dtype: str, count: int) -> tuple[list[Any], Any]:
    params = [torch.nn.Parameter(torch.tensor(value)) for value in start(dtype)]
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))  # that of the numbers that it keeps in its state
    try:
        chosen = CASES[name].call(torch.optim, params)
        for _ in range(count):
            chosen.zero_grad()
            loss_of(params, map(torch.tensor, slopes(dtype))).backward()
            chosen.step()
    finally:
        torch.set_default_dtype(before)
    return params, chosen


def assert_state(params: Iterable[Tensor], expected: Iterable[Any], tolerance: float) -> None:
    for p, q in zip(params, expected, strict=True):
        np.testing.assert_allclose(p.value, np.asarray(q), rtol=tolerance, atol=tolerance)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("dtype", DTYPES)
@every_twin
def test_pytorch_over_many_steps(name: str, dtype: str) -> None:
    """In single precision over 12: what is forgotten shows in double precision."""
    torch = pytorch()
    long = dtype == "float64" and name.split("-")[0] in ("SGD", "Adam", "AdamW")
    count = 50 if long else 12
    params, ours = steps(name, dtype, count)
    others, theirs = torch_steps(torch, name, dtype, count)
    tolerance = {"float32": 1e-5, "float64": 1e-9}[dtype]
    if name.startswith("Muon"):  # PyTorch computes its matrices in bfloat16
        tolerance = 2e-3
    assert all(p.dtype == dtype for p in params)
    assert_state(params, [p.detach().numpy() for p in others], tolerance)
    state, expected = ours.state_dict(), theirs.state_dict()
    assert [g["params"] for g in state["param_groups"]] == [
        g["params"] for g in expected["param_groups"]
    ]
    for number, slots in expected["state"].items():
        for key, value in slots.items():
            if value is not None:
                got = state["state"][number][key]
                np.testing.assert_allclose(got, value, rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.one_in(5, each=by_entry)
@pytest.mark.parametrize("backend", BACKENDS)
@every_case
def test_traced(name: str, backend: str) -> None:
    kind, _, label = name.partition("-")
    known = kind in ("SGD", "Adam", "AdamW")
    for dtype in dtypes_of(name):
        count = 10 if known and label == "plain" else 4
        expected, reference = steps(name, dtype, count)
        params = parameters(dtype)
        chosen = CASES[name].call(optim, params)
        factors = slopes(dtype)

        def step(params: Any = params, chosen: Any = chosen, factors: Any = factors) -> Any:
            loss = loss_of(params, factors)
            loss.backward()
            chosen.step()
            return loss

        program = Program(step, backend)
        for _ in range(count):
            program()
        tolerance = {"float32": 1e-5, "float64": 1e-11}[dtype]
        assert_state(params, [p.value for p in expected], tolerance)
        for p, q in zip(chosen.state, reference.state, strict=True):
            assert chosen.state[p].keys() == reference.state[q].keys()
            for key, slot in chosen.state[p].items():
                other = reference.state[q][key].value
                np.testing.assert_allclose(slot.value, other, rtol=tolerance, atol=tolerance)


def test_slots_lie_as_their_parameters() -> None:
    layer = nn.Linear(5, 25)
    chosen = optim.Adam(layer.parameters(), amsgrad=True)
    for slot in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
        assert chosen.state[layer.weight][slot].value.strides == layer.weight.value.strides
    single = optim.SGD(nn.Linear(5, 1).parameters(), momentum=0.9)
    for p, slots in single.state.items():
        assert slots["momentum_buffer"].value.strides == p.value.strides
        assert axis_order(p.value) == axis_order(slots["momentum_buffer"].value)


@pytest.mark.parametrize("backend", BACKENDS)
def test_learning_rate_is_state(backend: str) -> None:
    p = Parameter(np.array([1.0]))
    chosen = optim.SGD([p], lr=0.5)

    def step() -> Any:
        loss = (p * 2.0).sum()
        loss.backward()
        chosen.step()
        return loss

    program = Program(step, backend)
    values = []
    program()
    values.append(p.item())
    chosen.lr = 0.25
    program()
    values.append(p.item())
    chosen.param_groups[0]["lr"] *= 2
    program()
    values.append(p.item())
    assert values == [0, -0.5, -1.5]
    assert chosen.lr == 0.5
    assert chosen.param_groups[0].get("lr") == 0.5
    assert dict(chosen.param_groups[0])["lr"] == 0.5
    chosen.param_groups[0].update(lr=2.0)
    program()
    assert p.item() == -5.5


@pytest.mark.parametrize("backend", BACKENDS)
def test_learning_rate_can_be_set_inside_a_step(backend: str) -> None:
    p = Parameter(np.array([0.0]))
    chosen = optim.SGD([p], lr=1.0)

    def step() -> Any:
        p.sum().backward()
        chosen.step()
        chosen.param_groups[0]["lr"] = chosen.param_groups[0]["lr"] * 0.5
        return p

    program = Program(step, backend)
    for _ in range(3):
        program()
    assert p.item() == -1.75
    assert chosen.lr == 0.125


def test_groups_and_their_learning_rates() -> None:
    first, second = Parameter([1.0]), Parameter([1.0])
    chosen = optim.SGD([{"params": [first], "lr": 0.5}, {"params": second}], lr=0.25)
    assert [group["lr"] for group in chosen.param_groups] == [0.5, 0.25]
    chosen.lr = 0.125
    assert [group["lr"] for group in chosen.param_groups] == [0.125, 0.125]
    chosen.add_param_group({"params": [Parameter([2.0])]})
    assert chosen.param_groups[2]["lr"] == 0.25


def test_frozen_parameters_and_missing_gradients() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].requires_grad_(False)
    before = copy.deepcopy(net.state_dict())
    chosen = optim.Adam(list(net.parameters()), weight_decay=0.1)
    net[1](net[0](np.ones((1, 2), np.float32))).sum().backward()
    chosen.step()
    after = net.state_dict()
    changed = [key for key in after if not np.array_equal(after[key], before[key])]
    assert changed == ["0.weight", "0.bias"]


def test_late_starters_count_their_own_steps() -> None:
    """As in PyTorch: bias corrections belong to a parameter, not to the optimiser."""
    torch = pytest.importorskip("torch")
    used = [(True, False), (True, False), (True, True), (False, True), (True, True)]
    ours = [Parameter(np.array([1.0])), Parameter(np.array([2.0]))]
    theirs = [torch.nn.Parameter(torch.tensor(p.numpy())) for p in ours]
    for params, chosen in (
        (ours, optim.Adam(ours, lr=0.1)),
        (theirs, torch.optim.Adam(theirs, lr=0.1)),
    ):
        for active in used:
            chosen.zero_grad()
            sum((p * p).sum() for p, on in zip(params, active, strict=True) if on).backward()
            chosen.step()
    assert_state(ours, [p.detach().numpy() for p in theirs], 1e-12)


def test_signature_changes_with_what_a_trace_builds_in() -> None:
    p, q = Parameter([1.0]), Parameter([1.0])
    chosen = optim.Adam([p, q])
    first = chosen.signature
    chosen.lr = 0.5
    assert chosen.signature == first
    q.requires_grad = False
    frozen = chosen.signature
    assert frozen != first
    chosen.param_groups[0]["weight_decay"] = 0.1
    assert chosen.signature != frozen
    with tracing.tracing() as trace:
        (p * 2.0).sum().backward()
        chosen.step()
    assert trace.guards.properties[chosen, "signature"] == chosen.signature


def test_options_can_change_between_steps() -> None:
    p = Parameter(np.array([1.0]))
    chosen = optim.SGD([p], lr=0.5)
    chosen.param_groups[0]["momentum"] = 0.5
    for _ in range(2):
        chosen.zero_grad()
        p.sum().backward()
        chosen.step()
    assert p.item() == 1 - 0.5 - 0.75


@pytest.mark.one_in(3)
@every_case
def test_state_dict_continues_a_run(name: str) -> None:
    expected, _ = steps(name, "float64", 7)
    params, first = steps(name, "float64", 4)
    state = copy.deepcopy(first.state_dict())
    chosen = CASES[name].call(optim, params)
    chosen.load_state_dict(state)
    for _ in range(3):
        chosen.zero_grad()
        loss_of(params, slopes("float64")).backward()
        chosen.step()
    assert_state(params, [p.value for p in expected], 1e-14)


@pytest.mark.one_in(3)
@every_twin
def test_state_dict_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    others, theirs = torch_steps(torch, name, "float64", 5)
    params = [Parameter(p.detach().numpy()) for p in others]
    chosen = CASES[name].call(optim, params)
    chosen.load_state_dict(theirs.state_dict())
    chosen.zero_grad()
    loss_of(params, slopes("float64")).backward()
    chosen.step()
    expected, _ = steps(name, "float64", 6)
    tolerance = 2e-3 if name.startswith("Muon") else 1e-9
    assert_state(params, [p.value for p in expected], tolerance)


def test_state_with_different_counts() -> None:
    params = [Parameter([1.0]), Parameter([1.0]), Parameter([1.0])]
    chosen = optim.Adam(params)
    state = chosen.state_dict()
    for number, count in enumerate((3.0, 5.0, 3.0)):
        state["state"][number]["step"] = np.array(count)
    chosen.load_state_dict(state)
    assert [chosen.state[p]["step"].item() for p in params] == [3, 5, 3]
    sum((p.sum() for p in params), Tensor(0.0)).backward()
    chosen.step()
    assert [chosen.state[p]["step"].item() for p in params] == [4, 6, 4]


def test_state_that_does_not_fit_changes_nothing() -> None:
    params, chosen = steps("Adam-plain", "float64", 2)
    other = [Parameter(np.zeros(3)) for _ in params]
    before = copy.deepcopy(chosen.state_dict())
    with pytest.raises(ShapeError, match=r"exp_avg.*\(3, 5\).*\(3,\)"):
        chosen.load_state_dict(optim.Adam(other).state_dict())
    with pytest.raises(ArgumentError, match=r"\[2\].*\[4\]"):
        chosen.load_state_dict(optim.Adam(other[:2]).state_dict())
    bad = copy.deepcopy(before)
    bad["param_groups"][0]["lr"] = -1.0
    with pytest.raises(ArgumentError, match="lr"):
        chosen.load_state_dict(bad)
    after = chosen.state_dict()
    for number, slots in before["state"].items():
        for key, value in slots.items():
            np.testing.assert_array_equal(after["state"][number][key], value)


def test_zero_grad() -> None:
    p = Parameter([1.0, 2.0])
    chosen = optim.SGD([p])
    (p * p).sum().backward()
    chosen.zero_grad(set_to_none=False)
    assert p.grad is not None
    assert p.grad.tolist() == [0, 0]
    chosen.zero_grad()
    assert p.grad is None


@pytest.mark.one_in(7)
@pytest.mark.parametrize("way", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
@every_case
def test_copies(name: str, way: Any) -> None:
    """A copy of parameters and optimiser goes on as they do, and shares nothing with them."""
    expected, _ = steps(name, "float64", 4)
    params, chosen = steps(name, "float64", 2)
    before = [p.numpy() for p in params]
    twins, twin = way((params, chosen))
    assert repr(twin) == repr(chosen)
    for _ in range(2):
        twin.zero_grad()
        loss_of(twins, slopes("float64")).backward()
        twin.step()
    assert_state(twins, [p.value for p in expected], 1e-13)
    assert_state(params, before, 0)


@pytest.mark.parametrize(
    "name", [f"{entry.name}-{next(iter(entry.cases))}" for entry in OPTIMIZERS]
)
def test_fit(name: str) -> None:
    """Ten steps of `fit` leave what ten eager steps leave."""
    expected, _ = steps(name, "float32", 10)
    params = parameters("float32")
    chosen = CASES[name].call(optim, params)
    factors = [Tensor(value) for value in slopes("float32")]

    def step(x: Any) -> Any:
        chosen.zero_grad()
        loss = loss_of(params, factors) + x.sum()
        loss.backward()
        chosen.step()
        return loss

    mynn.fit(step, np.zeros(5, np.float32), epochs=2, batch_size=1)
    assert_state(params, [p.value for p in expected], 1e-5)


def test_repr_and_copies() -> None:
    p = Parameter([1.0])
    chosen = optim.SGD([p], lr=0.5, momentum=0.9)
    assert "lr: 0.5" in repr(chosen)
    assert "momentum: 0.9" in repr(chosen)
    twin_p, twin = copy.deepcopy((p, chosen))
    twin_p.sum().backward()
    twin.step()
    assert twin_p.item() == 0.5
    assert p.item() == 1
    twin.lr = 0.25
    assert chosen.lr == 0.5


BAD = (-1.0, math.nan, math.inf)
P = [Parameter([1.0])]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        *((lambda v=v: optim.SGD(P, lr=v), f"lr.*{v}") for v in BAD),
        *((lambda v=v: optim.Adam(P, lr=v), f"lr.*{v}") for v in BAD),
        *((lambda v=v: optim.SGD(P, momentum=v), f"momentum.*{v}") for v in BAD),
        *((lambda v=v: optim.SGD(P, weight_decay=v), f"weight_decay.*{v}") for v in BAD),
        *((lambda v=v: optim.AdamW(P, weight_decay=v), f"weight_decay.*{v}") for v in BAD),
        *((lambda v=v: optim.Adam(P, eps=v), f"eps.*{v}") for v in BAD),
        *((lambda v=v: optim.Adam(P, betas=(v, 0.9)), rf"betas\[0\].*{v}") for v in (*BAD, 1.0)),
        *((lambda v=v: optim.Adam(P, betas=(0.9, v)), rf"betas\[1\].*{v}") for v in (*BAD, 1.0)),
        (lambda: optim.SGD(P, lr="fast"), "lr.*'fast'"),
        (lambda: optim.Adam(P, betas=(0.9,)), "two"),
        (lambda: optim.SGD(P, dampening=math.nan), "dampening"),
        (lambda: optim.SGD(P, nesterov=True), "nesterov"),
        (lambda: optim.SGD(P, momentum=0.9, dampening=0.1, nesterov=True), "nesterov"),
        (lambda: optim.SGD([]), "empty"),
        (lambda: optim.SGD([P[0], P[0]]), "twice"),
        (lambda: optim.SGD([np.ones(2)]), "float tensors"),
        (lambda: optim.SGD([Tensor([1, 2])]), "float tensors"),
        (lambda: optim.SGD([{"params": P, "rate": 1.0}]), "rate"),
        (lambda: optim.SGD([{"lr": 1.0}]), "params"),
        (lambda: optim.SGD([{"params": P, "lr": -2.0}]), "lr.*-2"),
    ],
)
def test_bad_arguments(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()


@pytest.mark.parametrize("value", BAD)
def test_bad_learning_rate_later(value: float) -> None:
    chosen = optim.SGD(P, lr=0.5)
    with pytest.raises(ArgumentError, match=f"lr.*{value}"):
        chosen.lr = value
    with pytest.raises(ArgumentError, match=f"lr.*{value}"):
        chosen.param_groups[0]["lr"] = value
    assert chosen.lr == 0.5


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled_step_follows_freezing_and_options(backend: str) -> None:
    """The same changes between steps, eager and compiled."""

    def trained(compiled: bool) -> list[Array]:
        params = parameters("float64")
        chosen = optim.Adam(params, lr=0.1)

        def step() -> Any:
            chosen.zero_grad()
            loss = loss_of(params, slopes("float64"))
            loss.backward()
            chosen.step()
            return loss

        run = Program(step, backend) if compiled else step
        for number in range(8):
            params[0].requires_grad = number not in (2, 3)
            if number == 4:
                chosen.param_groups[0]["weight_decay"] = 0.1
            if number == 6:
                chosen.lr = 0.01
            run()
        return [p.numpy() for p in params]

    for got, expected in zip(trained(True), trained(False), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-11)
