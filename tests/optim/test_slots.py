"""What optimisers keep, changed from outside as PyTorch's programs do: the same numbers."""

from __future__ import annotations

import collections
import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.errors import MynnError
from mynn.tensor import Parameter

torch = pytest.importorskip("torch")

X = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
STEPS = 24


def same(ours: Any, theirs: Any) -> None:
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(one.numpy(), other.detach().numpy(), rtol=2e-4, atol=1e-5)


def networks() -> tuple[Any, Any]:
    ours, theirs = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def trained(lib: Any, net: Any, optimizer: Any, between: Callable[[int], None]) -> None:
    x = lib.tensor(X)
    for i in range(STEPS):
        optimizer.zero_grad()
        (net(x) ** 2).mean().backward()
        optimizer.step()
        between(i)


def clear(optimizer: Any, net: Any, lib: Any) -> None:
    optimizer.state.clear()


def assign(optimizer: Any, net: Any, lib: Any) -> None:
    optimizer.state = collections.defaultdict(dict)


def delete(optimizer: Any, net: Any, lib: Any) -> None:
    del optimizer.state[net.weight]


def pop(optimizer: Any, net: Any, lib: Any) -> None:
    assert optimizer.state.pop(net.bias)


def begin_anew(optimizer: Any, net: Any, lib: Any) -> None:
    optimizer.state[net.bias] = {}
    optimizer.state.update({net.weight: {}})


def other_values(optimizer: Any, net: Any, lib: Any) -> None:
    slots = optimizer.state[net.weight]
    for name in list(slots):
        if slots[name].shape == net.weight.shape:
            slots[name] = lib.ones_like(net.weight) * 0.25


KINDS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("Adam", {"lr": 0.05}),
    ("NAdam", {"lr": 0.05}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.5}),
]


@pytest.mark.parametrize("mode", ["at once", "tape", "compiled"])
@pytest.mark.parametrize("change", [clear, assign, delete, pop, begin_anew, other_values])
@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_state_changed_from_outside(kind: str, options: Any, change: Any, mode: Any) -> None:
    ours, theirs = networks()
    for lib, net, library in ((torch, theirs, torch.optim), (mynn, ours, optim)):
        optimizer = getattr(library, kind)(net.parameters(), **options)

        def between(i: int, at: Any = (optimizer, net, lib)) -> None:
            if i in (9, 17):
                change(*at)

        if lib is mynn and mode == "compiled":

            @mynn.compile
            def step(x: Any, net: Any = net, optimizer: Any = optimizer) -> Any:
                loss = (net(x) ** 2).mean()
                loss.backward()
                optimizer.step()
                return loss

            for i in range(STEPS):
                step(X)
                between(i)
        else:
            with mynn.eager("tape" if mode == "compiled" else mode):
                trained(lib, net, optimizer, between)
    same(ours, theirs)


def test_a_state_without_entries_begins_as_the_class_does() -> None:
    """PyTorch's optimisers keep nothing before their first step."""
    for kind, options in (("NAdam", {}), ("Rprop", {"lr": 0.05}), ("Adagrad", {"lr": 0.05})):
        ours, theirs = networks()
        reference = getattr(torch.optim, kind)(theirs.parameters(), **options)
        state = {"state": {}, "param_groups": reference.state_dict()["param_groups"]}
        optimizer = getattr(optim, kind)(ours.parameters(), **options)
        trained(mynn, nn.Linear(3, 2), optimizer, lambda i: None)
        optimizer.load_state_dict(state)
        trained(torch, theirs, reference, lambda i: None)
        trained(mynn, ours, optimizer, lambda i: None)
        same(ours, theirs)


def made_by_hand(lib: Any) -> Any:
    """An optimiser in PyTorch's habit: it keeps what it likes, from its first step on."""

    class Own(lib.optim.Optimizer):  # type: ignore[misc]
        def __init__(self, params: Any, lr: float = 0.1) -> None:
            super().__init__(params, {"lr": lr})

        def step(self, closure: Any = None) -> None:
            with lib.no_grad():
                for group in self.param_groups:
                    for p in group["params"]:
                        state = self.state[p]
                        if not state:
                            state["step"], state["mean"] = 0, lib.zeros_like(p)
                        state["step"] += 1
                        state["mean"] = 0.9 * state["mean"] + p.grad
                        p.add_(state["mean"], alpha=-group["lr"] / state["step"] ** 0.5)

    return Own


@pytest.mark.parametrize("mode", ["at once", "tape"])
def test_optimizers_that_keep_what_they_like(mode: Any) -> None:
    ours, theirs = networks()
    for lib, net in ((torch, theirs), (mynn, ours)):
        with mynn.eager(mode):
            kind = made_by_hand(lib)
            optimizer = kind(net.parameters())
            trained(lib, net, optimizer, lambda i: None)
            state = copy.deepcopy(optimizer.state_dict())
            assert state["state"][0]["step"] == STEPS
            other = kind(net.parameters())
            other.load_state_dict(state)
            trained(lib, net, other, lambda i: None)
            other.state.clear()
            trained(lib, net, other, lambda i: None)
    same(ours, theirs)


def test_copies_keep_their_own_state() -> None:
    net, _ = networks()
    optimizer = optim.Adam(net.parameters(), lr=0.1)
    trained(mynn, net, optimizer, lambda i: None)
    for again, other in (
        copy.deepcopy((net, optimizer)),
        pickle.loads(pickle.dumps((net, optimizer))),
    ):
        before = other.state_dict()["state"][0]["exp_avg"].numpy()
        other.state.clear()
        assert (optimizer.state[net.weight]["exp_avg"].numpy() == before).all()
        assert not other.state[again.weight]["exp_avg"].numpy().any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda o, p: o.param_groups[0]["params"].append(p), "add_param_group"),
        (lambda o, p: o.param_groups[0]["params"].__setitem__(0, p), "add_param_group"),
        (lambda o, p: o.state.__delitem__(p), "Adam: state is kept for its parameters alone"),
        (lambda o, p: o.state.__setitem__("p", {}), "its parameters alone, this is 'p'"),
        (lambda o, p: setattr(o, "state", 3), "state must be a dict.*it is 3"),
        (lambda o, p: setattr(o, "state", {p: {}}), "its parameters alone"),
        (
            lambda o, p: o.state[o.param_groups[0]["params"][0]].update(exp_avg=np.ones(3)),
            "exp_avg has shape .2,., the new value .3,.",
        ),
        (
            lambda o, p: o.state[o.param_groups[0]["params"][0]].update(
                exp_avg=np.ones(2), exp_avg_sq=np.ones(3)
            ),
            "exp_avg_sq has shape .2,., the new value .3,.",
        ),
        (
            lambda o, p: setattr(
                o, "state", {o.param_groups[0]["params"][0]: {"exp_avg_sq": np.ones(3)}}
            ),
            "exp_avg_sq has shape .2,., the new value .3,.",
        ),
    ],
)
def test_refused(wrong: Any, message: str) -> None:
    parameter = Parameter(np.ones(2, np.float32))
    optimizer = optim.Adam([parameter])
    parameter.grad = mynn.ones(2)
    optimizer.step()
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(MynnError, match=message):
        wrong(optimizer, Parameter([1.0]))
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    for name, value in before["state"][0].items():
        np.testing.assert_array_equal(after["state"][0][name], value)


def test_groups_that_are_taken_out_and_given_again() -> None:
    net, _ = networks()
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    trained(mynn, net, optimizer, lambda i: None)
    optimizer.param_groups.pop()
    optimizer.add_param_group({"params": list(net.parameters()), "lr": 0.5})
    trained(mynn, net, optimizer, lambda i: None)
    assert optimizer.lr == 0.5
