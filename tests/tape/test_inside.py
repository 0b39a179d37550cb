"""Layers of mynn whose arguments no key tells, as packed sequences: their calls are recorded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor, nn, optim
from mynn.nn.utils import rnn

X = np.random.default_rng(5).normal(size=(6, 4, 3)).astype(np.float32)
LENGTHS = [[6, 4, 2, 1], [5, 6, 6, 3], [1, 2, 3, 4]]


class First(nn.Module):
    """A layer of the user's that gives a layer of mynn's what it was given."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, packed: Any) -> Any:
        return self.layer(packed)


LAYERS = {
    "recurrent": lambda: nn.GRU(3, 4),
    "in a container": lambda: nn.Sequential(nn.GRU(3, 4)),
    "in a layer of the user's": lambda: First(nn.Sequential(nn.LSTM(3, 4))),
}


def train(mode: Any, make: Any) -> tuple[list[Any], bool]:
    mynn.manual_seed(1)
    found: list[Any] = []
    with mynn.eager(mode):
        net = make()
        optimizer = optim.SGD(net.parameters(), lr=0.5)
        for number in range(9):
            optimizer.zero_grad()
            x = Tensor(X) * 1.0
            lengths = LENGTHS[number % 3]
            out, _ = net(rnn.pack_padded_sequence(x, lengths, enforce_sorted=False))
            y, _ = rnn.pad_packed_sequence(out)
            loss = (y * y).sum()
            loss.backward()
            waits = loss.pending is not None and loss.pending.tape is not None
            optimizer.step()
            found.append(loss.item())
    return found, waits


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_calls_on_packed_sequences_are_recorded(make: Any) -> None:
    found, waits = train("tape", make)
    assert waits
    np.testing.assert_allclose(found, train("at once", make)[0], rtol=1e-5)


def test_arrays_as_arguments_run_at_once() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    with mynn.eager("tape"):
        for _ in range(4):
            y = net(X[0])
            assert y.pending is None or y.pending.tape is None
