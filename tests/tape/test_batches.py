"""Loops over batches that are cut from data: one program, wherever the batch lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import functional as F
from mynn import nn, optim
from mynn.tape.pieces.piece import Piece

ROWS, BATCH = 48, 6
Batches = Callable[[Any, Any], Iterator[tuple[Any, Any]]]


def rows(x: Any, t: Any) -> Iterator[tuple[Any, Any]]:
    for i in range(0, ROWS, BATCH):
        yield x[i : i + BATCH], t[i : i + BATCH]


def columns(x: Any, t: Any) -> Iterator[tuple[Any, Any]]:
    turned = x.t().contiguous()
    for i in range(0, ROWS, BATCH):
        yield turned[:, i : i + BATCH].t(), t[i : i + BATCH]


def shuffled(x: Any, t: Any) -> Iterator[tuple[Any, Any]]:
    order = mynn.arange(ROWS).flip(0)
    for i in range(0, ROWS, BATCH):
        places = order[i : i + BATCH]
        yield x[places], t[places]


def single(x: Any, t: Any) -> Iterator[tuple[Any, Any]]:
    for i in range(ROWS):
        yield x[i].unsqueeze(0), t[i].unsqueeze(0)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []
    before = Piece.__init__

    def noted(self: Piece, step: Any, *args: Any) -> None:
        made.append(step)
        before(self, step, *args)

    monkeypatch.setattr(Piece, "__init__", noted)
    return made


def trained(batches: Batches, clip: bool = False) -> tuple[list[float], list[Any]]:
    rng = np.random.default_rng(0)
    x = mynn.tensor(rng.normal(size=(ROWS, 3)).astype(np.float32))
    t = mynn.tensor(rng.integers(0, 2, ROWS))
    mynn.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    losses = []
    for _ in range(5):
        for xb, tb in batches(x, t):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(xb), tb)
            loss.backward()
            if clip:
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
    return losses, [p.numpy().copy() for p in net.parameters()]


@pytest.mark.parametrize("batches", [rows, columns, shuffled, single])
def test_batches_cut_from_data(batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    with mynn.eager("at once"):
        expected, weights = trained(batches)
    made = counted(monkeypatch)
    with mynn.eager("tape"):
        losses, found = trained(batches)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for one, other in zip(found, weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    updates = [step for step in made if step.stepped]
    assert 1 <= len(updates) <= 2


def test_loops_over_steps_of_data_are_recorded_still() -> None:
    """Where it is looked at in one place after each call, that is part of a program."""
    x = mynn.tensor(np.random.default_rng(0).normal(size=(2, 9, 3)).astype(np.float32))
    cell = nn.RNNCell(3, 4)
    with mynn.eager("tape"):
        for _ in range(6):
            h = mynn.zeros(2, 4)
            for step in range(9):
                h = cell(x[:, step], h)
            waits = h.pending is not None
            h.sum().item()
    assert waits


def test_data_that_is_about_to_change_is_looked_at_afterwards() -> None:
    x = mynn.zeros(8, 2)
    seen = []
    with mynn.eager("tape"):
        for i in range(8):
            x.add_(1.0)
            seen.append(x[i].sum().item())
    assert seen == [2.0 * (i + 1) for i in range(8)]


def test_paths_that_seldom_come_again_are_not_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Branches on numbers lead another way each time."""
    made = counted(monkeypatch)
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3))
    optimizer = optim.SGD(net.parameters(), lr=0.01)
    rng = np.random.default_rng(1)
    x = mynn.ones(2, 3)
    with mynn.eager("tape"):
        for _ in range(150):
            y = net(x)
            for _ in range(6):
                y = y.tanh() if rng.random() < 0.5 else y.sigmoid()
            optimizer.zero_grad()
            y.sum().backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
    assert len(made) < 20
