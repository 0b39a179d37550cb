"""Traced tensors that are kept: used in another trace, and outside of any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.errors import ShapeError, UsageError
from mynn.tape.mode import MODES

X = np.ones((2, 3), np.float32)
LATER = np.ones((4, 3), np.float32)


class Keeps(nn.Module):
    """A network that keeps what it computed last in a plain attribute."""

    def __init__(self, use: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.h: Any = None
        self.use = use

    def forward(self, x: Any) -> Any:
        y = self.linear(x)
        if self.h is not None:
            y = self.use(y, self.h)
        self.h = y.tanh()
        return y


USES: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda y, h: y + h.sum(),
    "returned": lambda y, h: h,
    "slice": lambda y, h: y + h[0],
    "backward": lambda y, h: h.sum().backward() or y,
    "in place": lambda y, h: h.add_(1.0),
}


@pytest.mark.parametrize("use", USES)
def test_used_in_the_next_trace(use: str) -> None:
    net = nn.Sequential(Keeps(USES[use]))
    compiled = mynn.compile(net)
    compiled(X)
    with pytest.raises(UsageError, match=r"register_buffer\('h'") as caught:
        compiled(LATER)
    assert "kept as 0.h of Keeps" in str(caught.value)
    assert __file__ in str(caught.value)


def test_argument_kept() -> None:
    net = Keeps(lambda y, h: y)
    compiled = mynn.compile(lambda x: setattr(net, "kept", x) or net(x).sum())
    compiled(X)
    again = mynn.compile(lambda: net(X).sum() + net.kept.sum())
    with pytest.raises(UsageError, match="kept as kept of Keeps"):
        again()


@pytest.mark.parametrize("mode", MODES)
def test_used_outside(mode: Any) -> None:
    net = Keeps(lambda y, h: y)
    mynn.compile(net)(X)
    with mynn.eager(mode):
        for _ in range(3):
            mynn.tensor(X).sum().item()
        outside(net)


def outside(net: Keeps) -> None:
    with pytest.raises(UsageError, match=r"made while the function was traced.*test_leaks"):
        net.h.sum().item()
    with pytest.raises(UsageError, match="made while the function was traced"):
        net.h.sum().backward()
    with pytest.raises(UsageError, match="made while the function was traced"):
        print(bool(net.h.sum() > 0))


class Remembers(nn.Module):
    """The remedy: a buffer keeps its value from call to call."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("h", np.zeros(3, np.float32))
        self.register_buffer("count", np.zeros((), np.int64))
        self.register_buffer("none", None)

    def forward(self, x: Any) -> Any:
        self.h = self.h * 0.5 + x.sum(0)
        self.count = self.count + 1
        return self.h.sum()


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_buffer_assigned_in_a_step(backend: str) -> None:
    eager, net = Remembers(), Remembers()
    compiled = mynn.compile(net, backend=backend)
    for _ in range(3):
        assert compiled(X) == eager(mynn.Tensor(X)).item()
    assert compiled(LATER) == eager(mynn.Tensor(LATER)).item()
    assert net.h.tolist() == eager.h.tolist()
    assert net.count.item() == eager.count.item() == 4


def test_buffer_keeps_its_shape_and_dtype() -> None:
    net = Remembers()

    def step(value: Any) -> Callable[[Any], Any]:
        return lambda x: (setattr(net, *value(x)), x)[1]

    for value in (lambda x: ("h", x.sum()), lambda x: ("count", x.sum())):
        with pytest.raises(ShapeError, match="state keeps its shape and dtype"):
            mynn.compile(step(value))(X)
    with pytest.raises(UsageError, match=r"none is None.*register_buffer"):
        mynn.compile(step(lambda x: ("none", x)))(X)
