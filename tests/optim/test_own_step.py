"""Optimisers whose `step` a user has written, as PyTorch's are: what they keep, what groups note,
and what becomes of them inside compiled functions.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Parameter, nn, optim
from mynn.errors import ArgumentError, UsageError

X = np.ones((3, 2), np.float32)


class Momentum(optim.Optimizer):
    """State that the first step makes; a number and a note that are built in."""

    def __init__(self, params: Any, count: bool = False) -> None:
        super().__init__(params, {"lr": 0.1, "beta": 0.9})
        self.counts = count

    @mynn.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if len(state) == 0:
                    state["mean"] = mynn.zeros_like(p)
                    state["scale"] = 1.0
                    state["count"] = 0
                if self.counts:
                    state["count"] += 1
                state["mean"].mul_(group["beta"]).add_(p.grad)
                p.add_(state["mean"] * (-group["lr"] * group.get("more", 1.0) * state["scale"]))


def steps(compiled: bool) -> list[float]:
    mynn.manual_seed(0)
    net = nn.Linear(2, 1)
    chosen = Momentum(net.parameters())

    def step(x: Any) -> Any:
        chosen.zero_grad()
        loss = net(x).square().mean()
        loss.backward()
        chosen.step()
        return loss

    step(mynn.tensor(X))
    run: Any = mynn.compile(step) if compiled else step
    found = []
    for number in range(8):
        found.append(float(run(mynn.tensor(X))))
        if number == 2:
            chosen.param_groups[0]["beta"] = 0.0
        if number == 4:
            chosen.param_groups[0]["more"] = 2.0
        if number == 6:
            chosen.state[net.weight]["scale"] = -1.0
    return found


def test_what_is_built_in_is_looked_at() -> None:
    np.testing.assert_allclose(steps(True), steps(False), rtol=1e-5)


@pytest.mark.parametrize(("count", "made"), [(True, True), (False, False)])
def test_what_happens_once_is_refused(count: bool, made: bool) -> None:
    net = nn.Linear(2, 1)
    chosen = Momentum(net.parameters(), count)

    def step(x: Any) -> Any:
        loss = net(x).sum()
        loss.backward()
        chosen.step()
        return loss

    if made:
        step(X)
    before = [(key, id(value)) for slots in chosen.state.values() for key, value in slots.items()]
    weights = net.weight.numpy()
    expected = (
        r"'count'\] to 2, inside.*Keep a count in a tensor" if made else "by one step outside"
    )
    with pytest.raises(UsageError, match=expected):
        mynn.compile(step)(X)
    after = [(key, id(value)) for slots in chosen.state.values() for key, value in slots.items()]
    assert after == before
    np.testing.assert_array_equal(net.weight.numpy(), weights)


class Scaled(optim.Optimizer):
    """Reads attributes of its own, and lists that its groups note."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {"lr": 0.1})
        self.scale = 1.0
        self.known = {"scale": 1.0}
        self.param_groups[0]["scales"] = [1.0]

    def step(self, closure: Any = None) -> None:
        scale = self.scale * self.known["scale"] * self.param_groups[0]["scales"][0]
        with mynn.no_grad():
            for p in self.param_groups[0]["params"]:
                p.add_(p.grad * (-0.1 * scale))


def test_attributes_and_what_is_changed_in_place_are_looked_at() -> None:
    def run(compiled: bool) -> list[Any]:
        mynn.manual_seed(0)
        net = nn.Linear(2, 1)
        chosen = Scaled(net.parameters())

        def step(x: Any) -> Any:
            net.zero_grad()
            loss = net(x).sum()
            loss.backward()
            chosen.step()
            return loss

        taken = mynn.compile(step) if compiled else step
        found = []
        for number in range(8):
            found.append(float(taken(mynn.tensor(X))))
            if number == 1:
                chosen.scale = 3.0
            if number == 3:
                chosen.known["scale"] = 0.5
            if number == 5:
                chosen.param_groups[0]["scales"][0] = -2.0
        return found

    np.testing.assert_allclose(run(True), run(False), rtol=1e-5)


def test_what_a_step_counts_in_an_attribute_is_said() -> None:
    class Counting(Scaled):
        def step(self, closure: Any = None) -> None:
            self.scale += 1
            super().step(closure)

    net = nn.Linear(2, 1)
    chosen = Counting(net.parameters())

    def step(x: Any) -> None:
        net(x).sum().backward()
        chosen.step()

    with pytest.warns(mynn.TraceWarning, match="scale is changed by a compiled function"):
        mynn.compile(step)(X)


class Written(optim.Optimizer):
    """As PyTorch's documentation has it: the state is what `step` puts there."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        super().__init__(params, {"lr": lr})

    @mynn.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if len(state) == 0:
                    state["step"] = 0
                    state["mean"] = mynn.zeros_like(p)
                state["step"] += 1
                state["mean"].mul_(0.9).add_(p.grad)
                p.add_(state["mean"], alpha=-group["lr"] * group.get("scale", 1.0) / state["step"])


def test_state_that_a_step_makes() -> None:
    def made() -> tuple[list[Parameter], Any]:
        params = [Parameter([1.0, 2.0]), Parameter([3.0])]
        return params, Written([{"params": params[:1], "scale": 0.5}, {"params": params[1:]}])

    def train(params: list[Parameter], chosen: Any, count: int) -> None:
        for _ in range(count):
            chosen.zero_grad()
            sum(((p - 1) ** 2).sum() for p in params).backward()
            chosen.step()

    params, chosen = made()
    train(params, chosen, 3)
    state = copy.deepcopy(chosen.state_dict())
    values = [p.numpy() for p in params]
    assert state["state"][0]["step"] == 3
    assert state["param_groups"][0] == {"lr": 0.1, "scale": 0.5, "params": [0]}
    train(params, chosen, 2)
    again, other = made()
    other.param_groups[0]["scale"] = 7.0
    for p, value in zip(again, values, strict=True):
        p.data = value
    other.load_state_dict(state)
    assert other.param_groups[0]["scale"] == 0.5
    train(again, other, 2)
    for a, b in zip(params, again, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    del other.param_groups[0]["scale"]
    assert "scale" not in other.param_groups[0]


def test_groups_keep_what_is_noted_in_them() -> None:
    """As in PyTorch; but an option that is nearly right is an error."""
    params = [Parameter([1.0]), Parameter([2.0])]
    chosen = optim.Adam([{"params": params[:1], "name": "body"}, {"params": params[1:]}], lr=0.1)
    chosen.param_groups[1]["counter"] = 0
    chosen.param_groups[1]["counter"] += 1
    assert chosen.param_groups[0]["name"] == "body"
    assert dict(chosen.param_groups[1])["counter"] == 1
    assert "name: body" in repr(chosen)
    other = optim.Adam([{"params": params[:1]}, {"params": params[1:]}])
    other.load_state_dict(chosen.state_dict())
    assert (other.param_groups[0]["name"], other.param_groups[1]["counter"]) == ("body", 1)
    assert optim.SGD(chosen.param_groups).param_groups[0]["name"] == "body"
    for wrong in ("weight_decy", "learning_rate", "beta"):
        with pytest.raises(ArgumentError, match="did you mean"):
            chosen.param_groups[0][wrong] = 0.1
        with pytest.raises(ArgumentError, match="did you mean"):
            optim.Adam([{"params": params, wrong: 0.1}])
