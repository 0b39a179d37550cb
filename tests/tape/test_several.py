"""Calls with several results, run one by one: made once, as at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.base import recording
from mynn.nn import recurrent as layers
from mynn.tape.pieces import piece
from mynn.trace import tracing


@pytest.fixture(autouse=True)
def _never_a_program(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("mynn.tape.pieces.waiting.Trial.over", lambda *args, **named: False)
    with mynn.eager("tape"):
        yield


def steps(way: str, held: str, monkeypatch: pytest.MonkeyPatch) -> tuple[list[bytes], int]:
    """What steps of a recurrent network give, and how often its layer computes in the last one."""
    mynn.manual_seed(1)
    layer = nn.LSTM(3, 4)
    calls = [0]
    own = layers.recurrent

    def counted(*args: Any) -> Any:
        calls[0] += tracing.active() is None
        return own(*args)

    found = []
    rng = np.random.default_rng(0)
    with mynn.eager(way), monkeypatch.context() as patch:  # type: ignore[arg-type]
        patch.setattr(layers, "recurrent", counted)
        for _ in range(6):
            x = mynn.tensor(rng.normal(size=(5, 2, 3)).astype(np.float32), requires_grad=True)
            calls[0] = 0
            out, (h, c) = layer(x)
            parts = {"all": out.sum() + (h * c).sum(), "first": out.sum(), "last": c.sum()}
            parts[held].backward()
            found += [x.grad.numpy().tobytes(), layer.weight_hh_l0.grad.numpy().tobytes()]
    return found, calls[0]


@pytest.mark.parametrize("held", ["all", "first", "last"])
def test_they_are_made_once(held: str, monkeypatch: pytest.MonkeyPatch) -> None:
    together, count = steps("tape", held, monkeypatch)
    at_once, one = steps("at once", held, monkeypatch)
    assert together == at_once
    assert count == one == 1


def test_calls_that_are_alike_are_made_each() -> None:
    x = mynn.tensor(np.arange(6.0).reshape(2, 3))
    y = mynn.tensor(np.arange(6.0).reshape(2, 3)[::-1].copy())
    for _ in range(4):
        (a, i), (b, j) = x.max(1), y.max(1)
        (c, k), (d, m) = x.max(0), x.max(1)
        assert a.pending is None or a.pending.tape is recording.current.tape
        got = [one.tolist() for one in (a, i, b, j, c, k, d, m)]
        assert got[:4] == [[2.0, 5.0], [2, 2], [5.0, 2.0], [2, 2]]
        assert got[4:] == [[3.0, 4.0, 5.0], [1, 1, 1], [2.0, 5.0], [2, 2]]


def test_they_are_one_program_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    made = []
    own = piece.stage
    monkeypatch.setattr(piece, "stage", lambda *args: (made.append(1), own(*args))[1])
    x = mynn.tensor(np.arange(6.0).reshape(2, 3))
    for _ in range(12):
        values, places = x.max(1)
        assert (values + places).tolist() == [4.0, 7.0]
    assert made
