"""Targets that are no probabilities: a warning that says where, and the training goes on."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import functional as F
from mynn import nn, optim
from mynn.base import notices
from mynn.core.types import Array
from mynn.errors import DataError
from tests.train.test_ranges import BATCH, ROWS, inputs


def soft(row: int, value: float) -> Array:
    t = np.full((ROWS, 1), 0.5, np.float32)
    t[row] = value
    return t


class Logistic:
    """Soft targets that the step derives; each instance has a line of its own to warn of."""

    def __init__(self) -> None:
        mynn.manual_seed(5)
        self.net = nn.Linear(4, 1)
        self.optimizer = optim.Adam(self.net.parameters(), lr=0.01)

    def step(self, x: Any, t: Any) -> Any:
        loss = F.binary_cross_entropy_with_logits(self.net(x), t * 1.0)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss


@pytest.fixture
def warned(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What is said from here on, though it was said before."""
    monkeypatch.setattr(notices, "_said", set())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught


def said(warned: Any) -> str:
    (one,) = warned
    assert issubclass(one.category, UserWarning)
    assert one.filename == __file__
    return str(one.message)


@pytest.mark.one_in(5)
@pytest.mark.parametrize(("value", "shown"), [(1.5, "1.5"), (-0.25, "-0.25")])
@pytest.mark.parametrize("row", [0, 16, 49])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_targets_that_are_no_probabilities(
    warned: Any, value: float, shown: str, row: int, threads: int, backend: str
) -> None:
    """One warning in a run, which goes on: each step counts once."""
    problem, other = Logistic(), Logistic()
    step = mynn.compile(problem.step, backend=backend, threads=threads)
    data = inputs(), soft(row, value)
    history = mynn.fit(step, data, epochs=3, batch_size=BATCH, shuffle=False)
    assert f"targets must lie in 0..1, there is {shown} at ({row % BATCH}, 0)" in said(warned)
    assert history.steps == 12
    one = mynn.compile(other.step, backend=backend)
    losses = []
    for _ in range(3):
        for start in range(0, ROWS, BATCH):
            x, t = (array[start : start + BATCH] for array in data)
            losses.append(float(one(x, t)) * len(x))
    np.testing.assert_allclose(
        history["loss"], np.array(losses).reshape(3, 4).sum(1) / ROWS, rtol=1e-6
    )
    np.testing.assert_array_equal(problem.net.weight.numpy(), other.net.weight.numpy())
    assert len(warned) == 1


def test_targets_eagerly_and_in_a_call(warned: Any) -> None:
    """As PyTorch, the loss has a value."""
    for _ in range(2):
        assert F.binary_cross_entropy_with_logits([0.0, 1.0], [2.0, 0.5]).item() < 1
    assert "there is 2 at (0,)" in said(warned)
    warned.clear()
    for backend in ("native", "interpreter"):
        problem = Logistic()
        step = mynn.compile(problem.step, backend=backend)
        for _ in range(2):
            step(inputs()[:3], soft(1, 9.0)[:3])
    assert "there is 9 at (1, 0)" in said(warned)


def test_targets_while_evaluating(warned: Any) -> None:
    loss = mynn.compile(lambda x, t: F.binary_cross_entropy_with_logits(x[:, :1], t))
    data = inputs(), soft(20, 1.5)
    mean = mynn.evaluate(loss, data, batch_size=BATCH)
    assert "there is 1.5 at (4, 0)" in said(warned)
    assert mean["loss"] == pytest.approx(mynn.evaluate(loss, data, batch_size=ROWS)["loss"])


def test_no_warning_for_probabilities(warned: Any) -> None:
    problem = Logistic()
    data = inputs(), np.linspace(0, 1, ROWS, dtype=np.float32)[:, None]
    mynn.fit(problem.step, data, epochs=2, batch_size=BATCH)
    assert not warned


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_an_error_goes_before_a_warning(warned: Any, backend: str) -> None:
    def step(x: Any, t: Any, i: Any) -> Any:
        return F.binary_cross_entropy_with_logits(x[:, 0], t) + F.cross_entropy(x, i)

    compiled = mynn.compile(step, backend=backend)
    x, t = np.zeros((3, 2), np.float32), np.float32([0, 1, 3])
    for _ in range(2):
        with pytest.raises(DataError, match="cross_entropy: labels"):
            compiled(x, t, np.array([0, 2, 1]))
    assert not warned
    compiled(x, t, np.array([0, 1, 1]))
    assert "there is 3 at (2,)" in said(warned)
