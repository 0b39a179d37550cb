"""The number of workers is found by trying."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.runtime import autotune
from mynn.runtime import threads as counts
from mynn.runtime.autotune import Autotuner
from mynn.train.engine import native


class Machine:
    """Steps take what `seconds` says for each number of workers; time is simulated."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds = seconds
        self.now = 0.0
        self.steps: dict[int, int] = dict.fromkeys(seconds, 0)

    def clock(self) -> float:
        return self.now

    def run(self, workers: int, steps: int) -> int:
        self.now += steps * self.seconds[workers]
        self.steps[workers] += steps
        return steps

    def train(self, tuner: Autotuner, seconds: float) -> float:
        """Steps a second, in chunks of a twenty-fifth of a second."""
        start, before = self.now, sum(self.steps.values())
        while self.now < start + seconds:
            tuner.run(max(1, int(0.04 / self.seconds[tuner.workers])), self.run)
        return (sum(self.steps.values()) - before) / (self.now - start)


def test_doctest() -> None:
    assert doctest.testmod(autotune).failed == 0


def test_counts() -> None:
    assert [Autotuner(n).counts for n in (1, 2, 3, 6)] == [(1,), (1, 2), (1, 2, 3), (1, 2, 4, 6)]


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({1: 1e-5, 2: 6e-6}, 2),
        ({1: 1e-5, 2: 1e-3}, 1),
        ({1: 1e-5, 2: 6e-6, 4: 9e-6}, 2),
        ({1: 0.1, 2: 0.05}, 2),
        ({1: 0.1, 2: 0.3}, 1),
    ],
)
def test_the_fastest_number(seconds: dict[int, float], best: int) -> None:
    machine = Machine(seconds)
    tuner = Autotuner(max(seconds), machine.clock)
    machine.train(tuner, 5)
    assert tuner.workers == best
    assert machine.train(tuner, 30) > 0.9 / seconds[best]


def test_a_processor_is_taken_and_given_back() -> None:
    machine = Machine({1: 1e-5, 2: 6e-6})
    tuner = Autotuner(2, machine.clock)
    machine.train(tuner, 1)
    machine.seconds[2] = 1e-3
    machine.train(tuner, 12)
    assert tuner.workers == 1
    assert machine.train(tuner, 30) > 0.9 / 1e-5
    machine.seconds[2] = 6e-6
    machine.train(tuner, 22)
    assert tuner.workers == 2


def test_nothing_runs_after_the_end() -> None:
    tuner = Autotuner(2)
    tuner.run(5, lambda workers, steps: 0)
    assert tuner.workers == 2


def train(threads: Any, monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    monkeypatch.setattr(counts, "processors", lambda: 3)
    monkeypatch.setattr(counts, "OPERATIONS_PER_THREAD", 1)
    mynn.manual_seed(1)
    net = nn.Sequential(nn.Linear(20, 40), nn.ReLU(), nn.Linear(40, 5))
    optimizer = optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    criterion = nn.CrossEntropyLoss()

    @mynn.compile(threads=threads)
    def step(x: mynn.Tensor, t: mynn.Tensor) -> mynn.Tensor:
        loss = criterion(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    rng = np.random.default_rng(3)
    x = rng.normal(size=(330, 20)).astype(np.float32)
    t = rng.integers(0, 5, 330)
    history = mynn.fit(step, (x, t), epochs=60, batch_size=32, verbose=False)
    return [history["loss"], *(p.numpy() for p in net.parameters())]


def test_same_bits_whatever_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    one = train(1, monkeypatch)
    tried: list[int] = []

    class Restless(Autotuner):
        """Another number for every few steps."""

        def run(self, budget: int, run: Any) -> None:
            while budget > 0:
                workers = self.counts[len(tried) % len(self.counts)]
                tried.append(workers)
                if not run(workers, min(budget, 7)):
                    return
                budget -= 7

    monkeypatch.setattr(native, "Autotuner", Restless)
    several = train("auto", monkeypatch)
    assert set(tried) == {1, 2, 3}
    for a, b in zip(one, several, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_number_that_was_asked_for_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(most: int) -> Autotuner:
        raise AssertionError("nothing is to be found out")

    monkeypatch.setattr(native, "Autotuner", refuse)
    train(2, monkeypatch)
    with pytest.raises(AssertionError, match="nothing"):
        train("auto", monkeypatch)
