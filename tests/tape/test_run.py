"""Gradients of what a program made, asked for later, where state has changed in between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor, nn
from mynn.tensor.value import Value

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(2, 12, 4)).astype(np.float32)


def gradients(looks: bool, rounds: int = 6) -> list[Any]:
    """Those of a forward pass in evaluation, after one in training has changed the statistics."""
    mynn.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    found = []
    for _ in range(rounds):
        net.zero_grad()
        net.eval()
        measured = (net(Tensor(X[0])) ** 2).mean()
        if looks:
            measured.item()
        net.train()
        loss = (net(Tensor(X[1])) ** 2).mean()
        found.append(loss.item())
        measured.backward()
        found += [p.grad.numpy() for p in net.parameters() if p.grad is not None]
        loss.backward()
        found += [p.grad.numpy() for p in net.parameters() if p.grad is not None]
    return found


@pytest.mark.parametrize("looks", [True, False])
def test_statistics_that_a_later_pass_changes(looks: bool) -> None:
    """The earlier pass has the gradient of the statistics that it read."""
    found = {}
    for mode in ("at once", "tape"):
        with mynn.eager(mode):  # type: ignore[arg-type]
            found[mode] = gradients(looks)
    for one, other in zip(found["tape"], found["at once"], strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def test_what_waits_has_every_field_that_is_not_put_off() -> None:
    """A field that tensors have got since is set where a tape makes tensors, too."""
    with mynn.eager("tape"):
        for _ in range(3):
            y = mynn.Tensor([1.0, 2.0]) * 2.0
        missing = set[str]()
        for name in Value.__slots__:
            try:
                Value.__dict__[name].__get__(y, type(y))
            except AttributeError:
                missing.add(name)
    assert missing == {"_value", "node", "hooks"}


@pytest.mark.parametrize("times", [1, 2])
def test_a_parameter_that_is_changed_in_place_before_the_gradient(times: int) -> None:
    """The gradient is that of the values that there were, as at once."""
    w = np.array([0.5, -1.0, 2.0], np.float32)
    p, x = mynn.Parameter(w), Tensor(np.array([1.0, 2.0, 3.0], np.float32))
    with mynn.eager("tape"):
        for _ in range(20):
            before = p.numpy()
            loss = ((p.tanh() + p) * x).sum()
            for _ in range(times):
                with mynn.no_grad():
                    p *= 0.9
            (found,) = mynn.autograd.grad(loss, [p])
            expected = (2 - np.tanh(before) ** 2) * x.numpy()
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)
