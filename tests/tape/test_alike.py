"""New networks of a structure that is known: nothing is traced again, and all is as if it were."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.jit import known
from mynn.optim import at_once
from mynn.tape.calls import alike
from mynn.tape.gradients import training
from mynn.tape.pieces import piece

STEPS = 8


@pytest.fixture(autouse=True)
def nothing_is_known() -> Iterator[None]:
    known.KNOWN._families.clear()
    alike._outcomes.clear()
    alike._found.clear()
    at_once._patterns.clear()
    with mynn.eager("tape"):
        yield


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is traced: pieces, outcomes of calls, updates."""
    found: list[str] = []

    def noting(where: Any, name: str) -> None:
        own = getattr(where, name)

        def call(*args: Any) -> Any:
            found.append(name)
            return own(*args)

        monkeypatch.setattr(where, name, call)

    for where, name in ((piece, "stage"), (training, "stage"), (at_once, "_made")):
        noting(where, name)
    noting(alike, "outcome_of")
    return found


def plain(width: int = 5, slope: float = 0.1) -> nn.Module:
    return nn.Sequential(nn.Linear(3, width), nn.LeakyReLU(slope), nn.Linear(width, 2))


def in_place() -> nn.Module:
    """Its values are changed in place, and its statistics by each call."""
    layers = nn.Linear(3, 6), nn.ReLU(inplace=True), nn.BatchNorm1d(6), nn.Dropout(0.2)
    return nn.Sequential(*layers, nn.Linear(6, 2))


class Tied(nn.Module):
    """Two parts share their parameters, and its calls are recorded one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.last = nn.Parameter(mynn.ones(3, 2))
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Any) -> Any:
        return (self.norm(self.second(self.first(x).tanh())) @ self.last).exp()


class Steps(nn.Module):
    """A recurrent layer, of which a call has several results."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(3, 4)
        self.last = nn.Linear(4, 2)

    def forward(self, x: Any) -> Any:
        out, (h, _) = self.cell(x)
        return self.last(out + h[0])


def usual(net: nn.Module, make: Callable[..., Any] = optim.Adam) -> list[bytes]:
    """Some steps of training, with the values looked at; all that has changed."""
    optimizer = make(net.parameters(), lr=0.01)
    rng = np.random.default_rng(3)
    found: list[bytes] = []
    for _ in range(STEPS):
        x = mynn.tensor(rng.normal(size=(4, 3)).astype(np.float32))
        t = mynn.tensor(rng.normal(size=(4, 2)).astype(np.float32))
        loss = nn.functional.mse_loss(net(x), t)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.numpy().tobytes())
    return found + [one.numpy().tobytes() for one in net.state_dict().values()]


def clipped(net: nn.Module) -> list[bytes]:
    """Gradients that are read: the steps are another sequence of calls."""
    optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
    rng = np.random.default_rng(3)
    for _ in range(STEPS):
        optimizer.zero_grad()
        net(mynn.tensor(rng.normal(size=(4, 3)).astype(np.float32))).square().mean().backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        optimizer.step()
    return [one.numpy().tobytes() for one in net.state_dict().values()]


def by_hand(net: nn.Module) -> list[bytes]:
    """Gradients that are asked for, and parameters that are assigned to."""
    parameters = list(net.parameters())
    rng = np.random.default_rng(3)
    for _ in range(3 * STEPS):
        loss = net(mynn.tensor(rng.normal(size=(4, 3)).astype(np.float32))).square().mean()
        gradients = mynn.autograd.grad(loss, parameters)
        with mynn.no_grad():
            for one, gradient in zip(parameters, gradients, strict=True):
                one -= 0.01 * gradient
        loss.item()
    return [one.numpy().tobytes() for one in net.state_dict().values()]


def trained(make: Callable[[], nn.Module], train: Callable[[nn.Module], Any], seed: int) -> Any:
    mynn.manual_seed(seed)
    return train(make())


@pytest.mark.parametrize("make", [plain, in_place, Tied, Steps])
@pytest.mark.parametrize("train", [usual, clipped])
def test_a_network_of_a_known_structure_is_not_traced(
    make: Callable[[], nn.Module], train: Callable[[nn.Module], Any], traces: list[str]
) -> None:
    first, *_ = [trained(make, train, 1) for _ in range(3)]  # and what runs at once at first
    assert traces
    traces.clear()
    assert trained(make, train, 1) == first
    assert trained(make, train, 2) != first
    assert not traces


def test_gradients_that_are_asked_for_are_found_for_each_network(traces: list[str]) -> None:
    first = trained(Tied, by_hand, 1)
    traces.clear()
    assert trained(Tied, by_hand, 1) == first
    assert "stage" not in traces


def test_networks_of_other_structures_are_traced(traces: list[str]) -> None:
    usual(plain())
    for make in (lambda: plain(6), lambda: plain(5, 0.3), lambda: plain().double(), in_place):
        traces.clear()
        net = make()
        x = mynn.zeros(4, 3, dtype=next(net.parameters()).dtype)
        for _ in range(5):
            net(x).sum().item()
        assert "outcome_of" in traces


def test_other_values_give_other_results() -> None:
    """Slopes, modes, what is trained, and options are in the descriptions."""

    def variants() -> Iterator[tuple[nn.Module, Callable[..., Any]]]:
        for slope in (0.1, 0.4):
            yield plain(5, slope), optim.Adam
        yield in_place(), optim.Adam
        yield in_place().eval(), optim.Adam
        frozen = plain()
        frozen[0].requires_grad_(False)
        yield frozen, optim.Adam
        yield plain(), lambda some, lr: optim.Adam(some, lr=lr, weight_decay=0.5)
        yield plain(), lambda some, lr: optim.Adam(some, lr=lr, amsgrad=True)
        yield plain(), optim.SGD

    def all_of() -> list[list[bytes]]:
        found = []
        generator = variants()
        while True:
            mynn.manual_seed(5)
            one = next(generator, None)
            if one is None:
                return found
            found.append(usual(*one))

    together = all_of()
    with mynn.eager("at once"):
        at_once_found = all_of()
    assert len({tuple(one) for one in together}) == len(together)
    for one, other in zip(together, at_once_found, strict=True):
        for a, b in zip(one, other, strict=True):
            if len(a) == len(b) == 8:  # counts of batches
                continue
            values = np.frombuffer(a, np.float32), np.frombuffer(b, np.float32)
            np.testing.assert_allclose(*values, rtol=1e-4, atol=1e-6)


def test_what_changes_after_binding_is_seen() -> None:
    """Values that the trace has built in are compared for each network."""
    usual(plain())
    net = plain()
    x = mynn.tensor(np.array([[1.0, -2.0, 3.0]], np.float32))
    for _ in range(60):
        before = net(x).sum().item()
    activation: Any = net[1]
    activation.negative_slope = 0.9
    got = net(x).sum().item()
    with mynn.eager("at once"):
        assert got == pytest.approx(net(x).sum().item(), rel=1e-6)
    assert got != before


def test_a_wrong_value_in_place_is_refused_for_each_network() -> None:
    class Wrong(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 3)

        def forward(self, x: Any) -> Any:
            y = self.first(x).exp()
            y.mul_(2.0)
            return y

    for _ in range(3):
        net = Wrong()
        for _ in range(4):
            loss = net(mynn.ones(2, 3)).sum()
            with pytest.raises(mynn.errors.MynnError, match="changed"):
                loss.backward()


def test_networks_are_not_kept() -> None:
    usual(in_place())
    gone = []
    for _ in range(3):
        net = in_place()
        usual(net)
        gone.append(weakref.ref(net[0].weight))
        del net
    mynn.zeros(1).exp().item()
    gc.collect()
    assert [one() for one in gone] == [None] * 3
