"""Programs whose calls come in another order each time: few programs, and the same numbers."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import mynn
from mynn.base import recording
from mynn.tape.calls.step import Recorded
from mynn.tape.pieces import credit, piece, results, waiting
from mynn.tape.pieces.trial import PATIENCE, SOON, Trial

STEPS = 60
RNG = np.random.default_rng(3)
X = RNG.normal(size=(STEPS, 6, 5)).astype(np.float32)
T = RNG.integers(0, 3, (STEPS, 6))


@pytest.fixture(autouse=True)
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs are run by the interpreter, so that nothing waits for a compiler."""
    monkeypatch.setattr(piece, "native_available", lambda: False)


def network(lib: Any) -> Any:
    """Five layers that may be left out, between two that are always there."""

    class Network(lib.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = lib.nn.Linear(5, 8)
            self.layers = lib.nn.ModuleList([lib.nn.Linear(8, 8) for _ in range(5)])
            self.last = lib.nn.Linear(8, 3)

        def forward(self, x: Any, taken: list[bool]) -> Any:
            x = self.first(x)
            for layer, is_taken in zip(self.layers, taken, strict=True):
                if is_taken:
                    x = x + lib.tanh(layer(x))
            return self.last(x)

    made = Network()
    rng = np.random.default_rng(1)
    for parameter in made.parameters():
        values = rng.normal(size=tuple(parameter.shape)).astype(np.float32) / 3
        with lib.no_grad():
            parameter.copy_(lib.from_numpy(values))
    return made


def ways(seed: int = 0) -> list[list[bool]]:
    """Which layers are taken in each step."""
    rng = random.Random(seed)
    return [[rng.random() < 0.6 for _ in range(5)] for _ in range(STEPS)]


Optimizers = Callable[[Any, Any], Any]
OPTIMIZERS: dict[str, Optimizers] = {
    "SGD": lambda lib, ps: lib.optim.SGD(ps, lr=0.05),
    "momentum": lambda lib, ps: lib.optim.SGD(
        ps, lr=0.02, momentum=0.9, weight_decay=1e-2, nesterov=True
    ),
    "Adam": lambda lib, ps: lib.optim.Adam(ps, lr=1e-2),
    "AdamW amsgrad": lambda lib, ps: lib.optim.AdamW(ps, lr=1e-2, amsgrad=True),
    "RMSprop": lambda lib, ps: lib.optim.RMSprop(ps, lr=1e-3, momentum=0.5),
    "Adagrad": lambda lib, ps: lib.optim.Adagrad(ps, lr=1e-2, lr_decay=1e-2),
}


def trained(lib: Any, make: Optimizers, taken: list[list[bool]]) -> tuple[list[float], list[Any]]:
    """Losses, and the parameters after all steps."""
    net = network(lib)
    optimizer = make(lib, net.parameters())
    losses = []
    for x, t, way in zip(X, T, taken, strict=False):
        optimizer.zero_grad()
        out = net(lib.from_numpy(x.copy()), way)
        loss = lib.nn.functional.cross_entropy(out, lib.from_numpy(t.copy()))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, [one.detach().numpy() for one in net.parameters()]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_layers_that_are_left_out_at_random(name: str) -> None:
    make = OPTIMIZERS[name]
    with mynn.eager("tape"):
        taped = trained(mynn, make, ways())
    with mynn.eager("at once"):
        once = trained(mynn, make, ways())
    expected = trained(torch, make, ways())
    for found in (taped, once):
        np.testing.assert_allclose(found[0], expected[0], rtol=2e-3, atol=1e-4)
        for one, other in zip(found[1], expected[1], strict=True):
            np.testing.assert_allclose(one, other, rtol=5e-3, atol=5e-4)


def test_most_of_random_ways_is_run_by_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    singly: list[int] = []
    make_program, call_by_call = piece.make_program, results.call_by_call

    def noted(*args: Any, **named: Any) -> Any:
        made.append(args)
        return make_program(*args, **named)

    def counted(step: Any, *args: Any) -> None:
        singly.append(len(step.calls))
        call_by_call(step, *args)

    monkeypatch.setattr(piece, "make_program", noted)
    monkeypatch.setattr(waiting, "call_by_call", counted)
    monkeypatch.setattr(credit, "STRAYED", 100.0)
    with mynn.eager("tape"):
        net = network(mynn)
        optimizer = OPTIMIZERS["Adam"](mynn, net.parameters())
        taken = ways(1) + ways(2)
        for number, way in enumerate(taken):
            if number == 2 * STEPS - 30:
                singly.clear()
                made.clear()
            optimizer.zero_grad()
            out = net(mynn.Tensor(X[number % STEPS]), way)
            loss = mynn.functional.cross_entropy(out, mynn.Tensor(T[number % STEPS]))
            loss.backward()
            optimizer.step()
            loss.item()
    # Of 30 steps of about 12 calls; one by one it would be about 360.
    assert sum(singly) < 60
    assert len(made) < 5


def test_what_takes_no_part_stays_as_it_is() -> None:
    """Bit for bit, though a program computes what it would be."""
    with mynn.eager("tape"):
        net = network(mynn)
        optimizer = mynn.optim.Adam(net.parameters(), lr=1e-2)
        for number, way in enumerate(ways(4)):
            left_out = [i for i, is_taken in enumerate(way) if not is_taken]
            before = [
                [
                    one.numpy().copy()
                    for p in net.layers[i].parameters()
                    for one in _all_of(p, optimizer)
                ]
                for i in left_out
            ]
            optimizer.zero_grad()
            out = net(mynn.Tensor(X[number]), way)
            mynn.functional.cross_entropy(out, mynn.Tensor(T[number])).backward()
            optimizer.step()
            for i, kept in zip(left_out, before, strict=True):
                now = [one for p in net.layers[i].parameters() for one in _all_of(p, optimizer)]
                for one, other in zip(now, kept, strict=True):
                    np.testing.assert_array_equal(one.numpy(), other)


def test_parameters_that_come_later_are_trained_too() -> None:
    """A group that is added once an update of some is a program."""

    def run(lib: Any) -> list[Any]:
        net = network(lib)
        *early, late = net.layers
        first = [p for part in (net.first, net.last, *early) for p in part.parameters()]
        optimizer = lib.optim.SGD(first, lr=0.02, momentum=0.5)
        for number, way in enumerate(ways(5) + ways(6) + ways(7)):
            if number == 100:
                optimizer.add_param_group({"params": list(late.parameters())})
            x, t = X[number % STEPS].copy(), T[number % STEPS].copy()
            optimizer.zero_grad()
            late.zero_grad()
            out = net(lib.from_numpy(x), way)
            lib.nn.functional.cross_entropy(out, lib.from_numpy(t)).backward()
            optimizer.step()
        return [one.detach().numpy() for one in net.parameters()]

    with mynn.eager("tape"):
        found = run(mynn)
    for one, other in zip(found, run(torch), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def _all_of(parameter: Any, optimizer: Any) -> list[Any]:
    slots = optimizer.state[parameter]
    return [parameter, *[slots[name] for name in sorted(slots)]]


def test_gradients_that_are_not_numbers_stay_with_their_parameters() -> None:
    """What a program computes of parameters without gradients touches no others."""
    with mynn.eager("tape"):
        ps = [mynn.nn.Parameter(np.full(3, i, np.float32)) for i in range(6)]
        optimizer = mynn.optim.SGD(ps, lr=0.5, momentum=0.9)
        rng = random.Random(0)
        for number in range(60):
            for p in ps:
                p.grad = None
            chosen = rng.sample(range(1, 6), rng.randint(1, 4))
            for i in chosen:
                ps[i].grad = mynn.ones(3)
            if number == 59:
                ps[0].grad = mynn.full((3,), np.inf)
            optimizer.step()
        assert not np.isfinite(ps[0].numpy()).any()
        assert all(np.isfinite(p.numpy()).all() for p in ps[1:])


def test_rows_of_tables_are_left_to_those_who_know_them() -> None:
    """A sparse gradient among others that come and go."""
    found = []
    for mode in ("tape", "at once"):
        with mynn.eager(mode):
            mynn.manual_seed(0)
            table = mynn.nn.Embedding(9, 4, sparse=True)
            layers = [mynn.nn.Linear(4, 4) for _ in range(4)]
            ps = [table.weight, *[p for one in layers for p in one.parameters()]]
            optimizer = mynn.optim.SGD(ps, lr=0.1)
            rng = random.Random(0)
            for _ in range(60):
                optimizer.zero_grad()
                y = table(mynn.tensor([rng.randrange(9), 3]))
                for layer in rng.sample(layers, rng.randint(1, 3)):
                    y = mynn.tanh(layer(y))
                (y * y).sum().backward()
                optimizer.step()
            found.append([p.numpy() for p in ps])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_each_further_program_of_an_optimizer_waits_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PATIENCE, "piece", 0.02)
    monkeypatch.setattr(PATIENCE, "call", 0.001)
    table = Recorded()
    table.count = 100

    def times(programs: int) -> int:
        table.programs, trial = programs, Trial()
        while not trial.over(20, True, table):
            trial.add(0.004)
        return trial.times

    found = [times(programs) for programs in (0, SOON, SOON + 1, SOON + 2, SOON + 10)]
    assert found[0] == 1
    assert found == sorted(found)
    assert found[-1] >= 20


def test_a_training_begins_without_what_others_strayed() -> None:
    """Whether its ways are taken for random is up to itself, as are its last bits."""
    with mynn.eager("tape"):
        optimizer = OPTIMIZERS["momentum"](mynn, network(mynn).parameters())
        tape = recording.current.tape
        tape.credit.stray(10**6)
        assert tape.credit.strays
        for parameter in optimizer.state:
            parameter.grad = mynn.ones(parameter.shape)
        optimizer.step()
        assert not tape.credit.strays
