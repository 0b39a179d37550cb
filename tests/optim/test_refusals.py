"""Options and states that optimisers refuse, and forms of states that they take."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.core.types import Array
from mynn.errors import ArgumentError, DTypeError, MynnError, UsageError
from mynn.optim.optimizer import Optimizer, ParamGroup
from mynn.tensor import Parameter


def setter(key: str, value: Any) -> Callable[[Any], None]:
    return lambda optimizer: optimizer.param_groups[0].__setitem__(key, value)


def attribute(name: str, value: Any) -> Callable[[Any], None]:
    return lambda optimizer: setattr(optimizer, name, value)


REFUSED: list[tuple[Callable[[Any], None], str]] = [
    (setter("momentum", -5), "momentum must be at least 0.*-5"),
    (setter("momentum", "0.9x"), "momentum must be a number.*0.9x"),
    (setter("weight_decay", float("nan")), "weight_decay.*nan"),
    (setter("dampening", None), "dampening must be a number.*None"),
    (setter("nesterov", "no"), "nesterov must be True or False.*'no'"),
    (setter("maximize", "yes"), "maximize must be True or False.*'yes'"),
    (setter("momentun", 0.9), "no option 'momentun'.*did you mean \"momentum\""),
    (setter("learning_rate", 0.9), "no option 'learning_rate'.*did you mean \"lr\""),
    (setter("params", []), "cannot be replaced.*add_param_group"),
    (attribute("learning_rate", 5), "no attribute 'learning_rate'.*5.*optimizer.lr = 5"),
    (attribute("Lr", 5), "no attribute 'Lr'.*optimizer.lr = 5"),
    (attribute("momentum", 0.5), r"no attribute 'momentum'.*param_groups: group\[\"momentum\"\]"),
    (attribute("wieght_decay", 0.5), r"no attribute 'wieght_decay'.*group\[\"weight_decay\"\]"),
    (attribute("lr", "fast"), "lr must be a number.*'fast'"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_refused_after_construction(change: Callable[[Any], None], message: str) -> None:
    optimizer = optim.SGD([Parameter([1.0])], lr=0.1, momentum=0.9)
    before = dict(optimizer.param_groups[0])
    with pytest.raises(MynnError, match=message):
        change(optimizer)
    assert dict(optimizer.param_groups[0]) == before


def test_what_pytorch_notes_in_groups_is_taken() -> None:
    optimizer = optim.SGD([Parameter([1.0])], lr=0.1)
    optimizer.param_groups[0]["initial_lr"] = 0.1
    assert optimizer.param_groups[0]["initial_lr"] == 0.1


def test_attributes_of_a_subclass_may_have_any_name() -> None:
    class Own(Optimizer):
        def __init__(self, params: Any) -> None:
            super().__init__(params, {"lr": 0.1, "weight_decay": 0.0, "momentum": 0.0})
            self.momentun = 0.5

        def update(self, group: ParamGroup, params: list[Parameter]) -> None:
            self.rates = group["lr"]

    optimizer = Own([Parameter([1.0])])
    optimizer.notes = "kept"
    assert optimizer.momentun == 0.5


def test_momentum_above_one_warns() -> None:
    with pytest.warns(UserWarning, match=r"momentum is 1.5.*0\.9"):
        optim.SGD([Parameter([1.0])], momentum=1.5)


# -- state dicts -----------------------------------------------------------------------------------


def trained(kind: Any, steps: int = 3, **options: Any) -> tuple[list[Parameter], Any]:
    params = [Parameter(np.ones((2, 2), np.float32)), Parameter(np.ones(3, np.float32))]
    optimizer = kind(params, lr=0.1, **options)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(((p**3).sum() for p in params), mynn.Tensor(0.0)).backward()
        optimizer.step()
    return params, optimizer


def listed(value: Any) -> Any:
    return value.tolist()


def through_json(state: Any) -> Any:
    return json.loads(json.dumps(state, default=listed))


def through_savez(state: Any) -> Any:
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    return np.load(file, allow_pickle=True)


def boxed(state: Any) -> Any:
    return np.array(state, dtype=object)


def as_tensors(state: Any) -> Any:
    slots = {
        number: {name: mynn.Tensor(value) for name, value in entry.items()}
        for number, entry in state["state"].items()
    }
    return {**state, "state": slots}


FORMS = {"json": through_json, "savez": through_savez, "boxed": boxed, "tensors": as_tensors}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "sgd": (optim.SGD, {"momentum": 0.9}),
    "dampening": (optim.SGD, {"momentum": 0.9, "dampening": 0.3}),
    "adam": (optim.Adam, {"betas": (0.8, 0.9)}),
    "amsgrad": (optim.Adam, {"amsgrad": True}),
    "adamw": (optim.AdamW, {"weight_decay": 0.1}),
}


def values(optimizer: Any) -> list[Array]:
    return [slot.numpy() for slots in optimizer.state.values() for slot in slots.values()]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_state_goes_through(form: str, kind: str) -> None:
    """Moments, counts and options arrive, whatever the state went through."""
    make, options = KINDS[kind]
    _, first = trained(make, **options)
    _, second = trained(make, steps=0, **options)
    second.load_state_dict(FORMS[form](first.state_dict()))
    for a, b in zip(values(first), values(second), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
        assert a.dtype == b.dtype
    assert [dict(g, params=0) for g in first.param_groups] == [
        dict(g, params=0) for g in second.param_groups
    ]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_state_of_another_class_is_refused(kind: str, other: str) -> None:
    if KINDS[kind][0] is KINDS[other][0]:
        return
    _, first = trained(KINDS[kind][0], **KINDS[kind][1])
    _, second = trained(KINDS[other][0], **KINDS[other][1])
    before = values(second), [dict(g, params=0) for g in second.param_groups]
    with pytest.raises(ArgumentError, match=r"load_state_dict of .*another"):
        second.load_state_dict(first.state_dict())
    for a, b in zip(before[0], values(second), strict=True):
        np.testing.assert_array_equal(a, b)
    assert before[1] == [dict(g, params=0) for g in second.param_groups]


def damaged(change: Callable[[dict[str, Any]], Any]) -> Callable[[], Any]:
    def make() -> Any:
        state = trained(optim.Adam)[1].state_dict()
        found = change(state)
        return state if found is None else found

    return make


BAD_STATES: dict[str, tuple[Callable[[], Any], str]] = {
    "none": (lambda: None, "takes a dict.*None"),
    "path": (lambda: "net.npz", r"takes a dict.*numpy.load\('net.npz'\)"),
    "module": (lambda: nn.Linear(2, 2).state_dict(), '"state" and "param_groups".*weight'),
    "names": (
        damaged(lambda s: {**s, "state": {"a": s["state"][0]}}),
        "parameters have numbers.*'a'",
    ),
    "unknown number": (
        damaged(lambda s: {**s, "state": {7: s["state"][0]}}),
        "parameter 7 belongs to no group",
    ),
    "missing slot": (damaged(lambda s: s["state"][1].update(exp_avg=None)), "lacks exp_avg"),
    "more slots": (
        damaged(lambda s: s["state"][1].update(max_exp_avg_sq=np.ones(3))),
        "has max_exp_avg_sq",
    ),
    "text": (damaged(lambda s: s["state"][0].update(exp_avg="abc")), "exp_avg.*numbers.*'abc'"),
    "ragged": (
        damaged(lambda s: s["state"][0].update(exp_avg=[[1.0], [1.0, 2.0]])),
        "exp_avg.*equally long",
    ),
    "shape": (
        damaged(lambda s: s["state"][1].update(exp_avg_sq=np.ones(4))),
        r"exp_avg_sq.*\(3,\).*\(4,\)",
    ),
    "option": (damaged(lambda s: s["param_groups"][0].update(eps=-1)), "eps.*-1"),
    "groups": (damaged(lambda s: {**s, "param_groups": "all"}), "param_groups.*'all'"),
    "unknown option": (damaged(lambda s: s["param_groups"][0].update(rho=1)), "rho.*another"),
}


@pytest.mark.parametrize("name", BAD_STATES)
def test_bad_state_changes_nothing(name: str) -> None:
    make, message = BAD_STATES[name]
    _, optimizer = trained(optim.Adam)
    optimizer.param_groups[0]["eps"] = 0.25
    optimizer.lr = 0.5
    before = values(optimizer)
    with pytest.raises(MynnError, match=message):
        optimizer.load_state_dict(make())
    for a, b in zip(before, values(optimizer), strict=True):
        np.testing.assert_array_equal(a, b)
    assert optimizer.param_groups[0]["eps"] == 0.25
    assert optimizer.lr == 0.5


def test_state_with_other_options_brings_its_slots() -> None:
    _, first = trained(optim.Adam, amsgrad=True)
    _, second = trained(optim.Adam)
    second.load_state_dict(first.state_dict())
    assert second.param_groups[0]["amsgrad"] is True
    for a, b in zip(values(first), values(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_states_move_to_pytorch_and_back() -> None:
    torch = pytest.importorskip("torch")
    params, ours = trained(optim.AdamW, weight_decay=0.1)
    others = [torch.nn.Parameter(torch.tensor(p.numpy())) for p in params]
    theirs = torch.optim.AdamW(others)
    state = ours.state_dict()
    tensors = {
        number: {name: torch.tensor(value) for name, value in entry.items()}
        for number, entry in state["state"].items()
    }
    theirs.load_state_dict({**state, "state": tensors})
    for p in others:
        p.grad = torch.ones_like(p)
    theirs.step()
    ours.load_state_dict(theirs.state_dict())
    assert ours.state[params[0]]["step"].item() == 4


def test_load_state_dict_inside_a_step_is_refused() -> None:
    _, optimizer = trained(optim.Adam)
    state = optimizer.state_dict()

    def step(x: Any) -> Any:
        optimizer.load_state_dict(state)
        return x

    with pytest.raises(UsageError, match="call it outside"):
        mynn.compile(step)(np.ones(2, np.float32))


# -- state dicts of modules ------------------------------------------------------------------------


def test_module_takes_parameters_and_any_float_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Linear(3, 2)
    ours = nn.Linear(3, 2)
    for dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        other = theirs.to(dtype)
        ours.load_state_dict(dict(other.named_parameters()))
        expected = other.weight.detach().float().numpy()
        np.testing.assert_allclose(ours.weight.numpy(), expected, rtol=1e-6)
    ours.load_state_dict({"weight": [[1, 2, 3], [4, 5, 6]], "bias": [0.5, 1.5]})
    assert ours.weight.tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (None, "takes a dict.*None"),
        ("net.npz", "takes a dict.*numpy.load"),
        ({"weight": "abc", "bias": np.ones(2)}, "weight.*numbers.*'abc'"),
        ({"weight": np.ones((2, 3), complex), "bias": np.ones(2)}, "weight.*numbers"),
        ({"weight": np.ones((2, 3)), "bias": None}, "bias.*numbers.*None"),
        ({"weight": np.ones((2, 3)), "bias": np.ones(3)}, r"bias.*\(2,\).*\(3,\)"),
        ({"weight": np.ones((2, 3)), "bias": [[1.0], [1.0, 2.0]]}, "bias.*equally long"),
    ],
)
def test_bad_state_of_a_module_changes_nothing(state: Any, message: str) -> None:
    layer = nn.Linear(3, 2)
    before = copy.deepcopy(layer.state_dict())
    with pytest.raises(MynnError, match=message):
        layer.load_state_dict(state)
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_counts_of_a_module_are_whole() -> None:
    layer = nn.BatchNorm1d(2)
    state = {**layer.state_dict(), "num_batches_tracked": 3.5}
    with pytest.raises(DTypeError, match=r"num_batches_tracked.*whole"):
        layer.load_state_dict(state)
    layer.load_state_dict({**state, "num_batches_tracked": 3.0})
    assert layer.num_batches_tracked.item() == 3
