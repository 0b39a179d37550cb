"""Recurrent layers: steps over time, each on the state that the one before has left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mynn.base.recording import recorded
from mynn.functional.control import scan
from mynn.functional.dropout import dropout as drop
from mynn.functional.joining import cat, stack, where
from mynn.functional.linear import linear
from mynn.tensor import Tensor, as_tensor

# The state of a layer: h, and for an LSTM c.
State = tuple[Tensor, ...]
# A step: the products of x and of h with the weights, and the state; gives the next state.
Step = Callable[[Tensor, Tensor, State], State]


def rnn_tanh(x: Tensor, h: Tensor, state: State) -> State:
    """h' = tanh(W_ih x + b_ih + W_hh h + b_hh)."""
    return ((x + h).tanh(),)


def rnn_relu(x: Tensor, h: Tensor, state: State) -> State:
    """h' = max(0, W_ih x + b_ih + W_hh h + b_hh)."""
    return ((x + h).relu(),)


def lstm(x: Tensor, h: Tensor, state: State) -> State:
    """i, f, o = sigmoid(..), g = tanh(..), c' = f c + i g, h' = o tanh(c')."""
    c = state[1]
    i, f, g, o = _parts(x + h, 4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def gru(x: Tensor, h: Tensor, state: State) -> State:
    """r, z = sigmoid(..), n = tanh(x_n + r h_n), h' = (1 - z) n + z h."""
    (x_r, x_z, x_n), (h_r, h_z, h_n) = _parts(x, 3), _parts(h, 3)
    r, z = (x_r + h_r).sigmoid(), (x_z + h_z).sigmoid()
    n = (x_n + r * h_n).tanh()
    return (n + z * (state[0] - n),)


STEPS: dict[str, Step] = {"RNN_TANH": rnn_tanh, "RNN_RELU": rnn_relu, "LSTM": lstm, "GRU": gru}
# How many gates a step computes.
GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}


def _parts(x: Tensor, count: int) -> list[Tensor]:
    size = x.shape[-1] // count
    return [x[..., k * size : (k + 1) * size] for k in range(count)]


def cell(mode: str, input: Tensor, state: State, weights: Sequence[Any]) -> State:
    """One step of a mode on input [N, I] and the state; weights W_ih, W_hh, b_ih, b_hh."""
    w_ih, w_hh, b_ih, b_hh = weights
    return STEPS[mode](linear(input, w_ih, b_ih), linear(state[0], w_hh, b_hh), state)


def _direction(
    mode: str,
    input: Tensor,
    state: State,
    weights: Sequence[Any],
    inside: Any,
    reverse: bool,
) -> tuple[Tensor, State]:
    """One layer in one direction: input [T, N, I] -> [T, N, H], and the last state.

    The products of the inputs of all steps are one product before the loop.
    """
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    step = STEPS[mode]
    if mode != "GRU" and b_hh is not None:  # added up before the loop
        b_ih, b_hh = b_ih + b_hh, None
    x = input.contract(w_ih.T, 0, 1)
    if b_ih is not None:
        x = x + b_ih

    def body(before: State, now: tuple[Tensor, ...]) -> tuple[State, Tensor]:
        after = step(now[0], linear(before[0], w_hh, b_hh), before)
        if w_hr is not None:
            after = (linear(after[0], w_hr), *after[1:])
        y = after[0]
        if len(now) > 1:  # a sequence that has ended keeps its state
            after = tuple([where(now[1], a, b) for a, b in zip(after, before, strict=True)])
            y = where(now[1], y, 0.0)
        return after, y

    xs = (x,) if inside is None else (x, inside)
    last, ys = scan(body, state, xs, reverse=reverse)
    return ys, last


@recorded
def recurrent(
    mode: str,
    input: Any,
    state: Sequence[Any],
    weights: Sequence[Sequence[Any]],
    bidirectional: bool = False,
    dropout: float = 0.0,
    training: bool = False,
    lengths: Any = None,
) -> tuple[Tensor, State]:
    """Layers of a mode one above the other.

    Args:
        mode: "RNN_TANH", "RNN_RELU", "LSTM" or "GRU".
        input: [T, N, I].
        state: h [layers * directions, N, H], for an LSTM c too.
        weights: for each layer and direction W_ih, W_hh, b_ih, b_hh and W_hr, None for what is not
            there.
        dropout: between layers, where training.
        lengths: [N], of sequences that end earlier: their outputs are 0 from there on, and their
            state stays as it is.

    Returns:
        [T, N, directions * H], and the last states.
    """
    x = as_tensor(input)
    directions = 2 if bidirectional else 1
    inside = None
    if lengths is not None:
        steps = np.arange(x.shape[0], dtype=np.int64).reshape(-1, 1, 1)
        inside = steps < as_tensor(lengths).reshape(1, -1, 1)
    lasts: list[State] = []
    for first in range(0, len(weights), directions):
        if first and dropout and training:
            x = drop(x, dropout, True)
        ys = []
        for number in range(first, first + directions):
            own = tuple([part[number] for part in state])
            back = number > first
            y, last = _direction(mode, x, own, weights[number], inside, back)
            ys.append(y)
            lasts.append(last)
        x = ys[0] if directions == 1 else cat(ys, -1)
    return x, tuple([stack(parts) for parts in zip(*lasts, strict=True)])
