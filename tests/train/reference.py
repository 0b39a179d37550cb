"""What `fit` should do, as a loop in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Callback, History, nn, optim
from mynn.core.types import Array

BACKENDS = ("native", "interpreter")
backends = pytest.mark.parametrize("backend", BACKENDS)


class Problem:
    """A small network with its optimiser and data, the same for each seed."""

    def __init__(
        self, rows: int = 50, dtype: Any = np.float32, optimizer: str = "SGD", lr: float = 0.05
    ) -> None:
        mynn.manual_seed(7)
        self.net = nn.Sequential(
            nn.Linear(3, 6, dtype=dtype), nn.Tanh(), nn.Linear(6, 2, dtype=dtype)
        )
        self.optimizer = getattr(optim, optimizer)(self.net.parameters(), lr=lr)
        rng = np.random.default_rng(1)
        self.x: Array = rng.normal(size=(rows, 3)).astype(dtype)
        self.t: Array = np.sin(self.x[:, :2] * 2).astype(dtype)

    @property
    def data(self) -> tuple[Array, Array]:
        return self.x, self.t

    def step(self, x: Any, t: Any) -> Any:
        """A training step that returns the loss alone."""
        self.optimizer.zero_grad()
        loss = nn.MSELoss()(self.net(x), t)
        loss.backward()
        self.optimizer.step()
        return loss

    def parameters(self) -> list[Array]:
        """Copies of all parameters."""
        return [p.numpy() for p in self.net.parameters()]

    def state(self) -> dict[str, Array]:
        """Copies of everything that training changes."""
        found = {f"net.{k}": np.array(v) for k, v in self.net.state_dict().items()}
        for number, slots in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{number}.{k}": np.array(v) for k, v in slots.items()}
        return found

    def compiled(self, backend: str = "native") -> Any:
        return mynn.compile(self.step, backend=backend)


def shuffle_python(order: list[int], state: int) -> int:
    """The shuffle of `fit`, as Python says it; returns the new state."""
    mask = 2**64 - 1
    for i in range(len(order) - 1, 0, -1):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        z ^= z >> 31
        j = ((z >> 32) * (i + 1)) >> 32
        order[i], order[j] = order[j], order[i]
    return state


def assert_same_state(a: dict[str, Array], b: dict[str, Array]) -> None:
    """Bit for bit."""
    assert list(a) == list(b)
    for key, value in a.items():
        np.testing.assert_array_equal(value, b[key], err_msg=key)


def reference_fit(
    step: Callable[..., Any],
    data: tuple[Array, ...],
    epochs: int,
    batch_size: int,
    shuffle: bool,
    seed: int = 0,
    drop_last: bool = False,
) -> Array:
    """Means of the loss for each epoch; `step` gets arrays and gives a number."""
    rows = len(data[0])
    order = list(range(rows))
    random = seed % 2**64
    losses = []
    for _ in range(epochs):
        if shuffle:
            random = shuffle_python(order, random)
        total = count = 0.0
        for start in range(0, rows, batch_size):
            picked = order[start : start + batch_size]
            if drop_last and len(picked) < batch_size:
                continue
            value = float(np.asarray(step(*(array[picked] for array in data))))
            total += value * len(picked)
            count += len(picked)
        losses.append(total / count)
    return np.array(losses)


def compare(
    problem: Problem, run: Problem, history: History, losses: Array, tolerance: float = 1e-5
) -> None:
    """The parameters of both and the losses agree."""
    np.testing.assert_allclose(history["loss"], losses, rtol=tolerance)
    for a, b in zip(problem.parameters(), run.parameters(), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


class Watch(Callback):
    """Writes down all that happens."""

    def __init__(self, problem: Problem, stop_after: int | None = None) -> None:
        self.problem = problem
        self.stop_after = stop_after
        self.events: list[str] = []
        self.logs: list[dict[str, float]] = []
        self.states: list[dict[str, Array]] = []

    def on_train_begin(self, epochs: int, steps: int) -> None:
        self.events.append(f"begin {epochs} x {steps}")

    def on_progress(self, epoch: int, step: int, logs: dict[str, float]) -> None:
        assert 0 <= step < 50
        assert epoch >= 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        self.events.append(f"epoch {epoch}")
        self.logs.append(logs)
        self.states.append(self.problem.state())
        self.stop = epoch == self.stop_after

    def on_train_end(self, history: History) -> None:
        self.events.append(f"end {history.epochs}")
