"""Optimisers whose `step` a user has written, as PyTorch's are, inside compiled functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.errors import UsageError

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
    net(X).sum().backward()
    if made:
        chosen.step()
    before = [(key, id(value)) for slots in chosen.state.values() for key, value in slots.items()]
    weights = net.weight.numpy()
    expected = (
        r"'count'\] to 2, inside.*Keep a count in a tensor" if made else "by one step outside"
    )
    with pytest.raises(UsageError, match=expected):
        mynn.compile(chosen.step)()
    after = [(key, id(value)) for slots in chosen.state.values() for key, value in slots.items()]
    assert after == before
    np.testing.assert_array_equal(net.weight.numpy(), weights)
