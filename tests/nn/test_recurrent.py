"""Recurrent layers: sequences of several lengths, states handed over, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim, tensor
from mynn.errors import ArgumentError, DataError, DTypeError, ShapeError, UsageError
from mynn.nn.utils import rnn
from tests.registry.running import pytorch

RNG = np.random.default_rng(8)
LENGTHS = [2, 5, 1, 4]
X = RNG.normal(size=(5, 4, 3))
KINDS = {
    "RNN": {"num_layers": 2},
    "GRU": {"bidirectional": True},
    "LSTM": {"num_layers": 2, "bidirectional": True, "proj_size": 2},
}


def twins(torch: Any, kind: str) -> tuple[Any, Any]:
    """The layer and PyTorch's, with the same weights, float64."""
    ours = getattr(nn, kind)(3, 4, **KINDS[kind], dtype=np.float64)
    theirs = getattr(torch.nn, kind)(3, 4, **KINDS[kind], dtype=torch.float64)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    return ours, theirs


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_packed_sequences_are_pytorchs(kind: str) -> None:
    torch = pytorch()
    ours, theirs = twins(torch, kind)
    x, y = tensor(X, requires_grad=True), torch.tensor(X, requires_grad=True)
    packed = rnn.pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    expected = torch.nn.utils.rnn.pack_padded_sequence(y, LENGTHS, enforce_sorted=False)
    for name in ("data", "batch_sizes", "sorted_indices", "unsorted_indices"):
        ours_part, theirs_part = getattr(packed, name), getattr(expected, name)
        np.testing.assert_array_equal(ours_part.detach().numpy(), theirs_part.detach().numpy())
    results = []
    for layer, given, library in ((ours, packed, rnn), (theirs, expected, torch.nn.utils.rnn)):
        out, last = layer(given)
        padded, lengths = library.pad_packed_sequence(out, padding_value=0.5, total_length=6)
        states = list(last) if isinstance(last, tuple) else [last]
        (sum((s * s).sum() for s in states) + (padded * padded).sum()).backward()
        results.append([padded, lengths, *states])
    for mine, wanted in zip(*results, strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), wanted.detach().numpy(), rtol=1e-9)
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-8, atol=1e-12)
    for mine, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(mine.grad.numpy(), wanted.grad.numpy(), rtol=1e-8, atol=1e-11)


def test_packed_sequences_in_a_compiled_step() -> None:
    layer = nn.GRU(3, 4, dtype=np.float64)

    def last(x: Any) -> Any:
        packed = rnn.pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
        out, h = layer(packed, np.ones((1, 4, 4)))
        return rnn.pad_packed_sequence(out)[0], h

    for got, expected in zip(mynn.compile(last)(X), last(X), strict=True):
        np.testing.assert_allclose(np.asarray(got), expected.detach().numpy(), rtol=1e-9)
    # A sequence alone is as it is beside others.
    alone, h = layer(X[:2, :1], np.ones((1, 1, 4)))
    np.testing.assert_allclose(last(X)[0].detach().numpy()[:2, :1], alone.detach().numpy())
    np.testing.assert_allclose(last(X)[1].detach().numpy()[:, :1], h.detach().numpy())


def test_sequences_are_packed_and_unpacked() -> None:
    given = [tensor(RNG.normal(size=(n, 2))) for n in LENGTHS]
    packed = rnn.pack_sequence(given, enforce_sorted=False)
    for mine, wanted in zip(rnn.unpack_sequence(packed), given, strict=True):
        np.testing.assert_array_equal(mine.numpy(), wanted.numpy())


def test_a_state_goes_on() -> None:
    layer = nn.LSTM(3, 4, 2, dtype=np.float64)
    whole, last = layer(X)
    first, state = layer(X[:2])
    second, end = layer(X[2:], state)
    np.testing.assert_allclose(whole[2:].detach().numpy(), second.detach().numpy())
    np.testing.assert_array_equal(whole[:2].detach().numpy(), first.detach().numpy())
    for mine, wanted in zip(end, last, strict=True):
        np.testing.assert_allclose(mine.detach().numpy(), wanted.detach().numpy())


def test_a_cell_is_a_step_of_the_layer() -> None:
    for kind in ("RNN", "GRU", "LSTM"):
        layer = getattr(nn, kind)(3, 4, dtype=np.float64)
        cell = getattr(nn, f"{kind}Cell")(3, 4, dtype=np.float64)
        cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
        state: Any = None
        for x in X:
            state = cell(x, state)
        last = layer(X)[1]
        pairs = zip(state, last, strict=True) if kind == "LSTM" else [(state, last)]
        for mine, wanted in pairs:
            np.testing.assert_allclose(mine.detach().numpy(), wanted[0].detach().numpy())


def test_dropout_between_layers_is_the_same_eagerly_and_compiled() -> None:
    layer = nn.GRU(3, 4, 3, dropout=0.5)
    x = X.astype(np.float32)
    mynn.manual_seed(5)
    expected = layer(x)[0].detach().numpy()
    mynn.manual_seed(5)
    got = mynn.compile(lambda x: layer(x)[0])(x)
    np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-4, atol=1e-6)
    assert not np.allclose(layer.eval()(x)[0].detach().numpy(), expected)


def test_it_learns_to_count() -> None:
    """The sum of a sequence, natively and interpreted alike."""
    x = RNG.integers(0, 2, (64, 6, 1)).astype(np.float32)
    t = x.sum((1, 2))
    losses = []
    for backend in ("native", "interpreter"):
        mynn.manual_seed(1)
        layer, head = nn.GRU(1, 8, batch_first=True), nn.Linear(8, 1)
        adam = optim.Adam([*layer.parameters(), *head.parameters()], lr=0.02)

        def step(x: Any, t: Any, layer: Any = layer, head: Any = head, adam: Any = adam) -> Any:
            loss = ((head(layer(x)[1][0]).squeeze(1) - t) ** 2).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            return loss

        epochs = 60 if backend == "native" else 2
        compiled = mynn.compile(step, backend=backend)
        losses.append(mynn.fit(compiled, (x, t), epochs=epochs, batch_size=16, seed=3)["loss"])
    np.testing.assert_allclose(losses[0][:2], losses[1], rtol=1e-4)
    assert losses[0][-1] < 0.05 * losses[0][0]


GRU = nn.GRU(3, 4, 2)
LSTM = nn.LSTM(3, 4)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.GRU(3, 0), ArgumentError, "hidden_size must be at least 1, it is 0"),
        (lambda: nn.GRU(3, 4, proj_size=2), ArgumentError, "proj_size"),
        (lambda: nn.LSTM(3, 4, proj_size=4), ArgumentError, "less than hidden_size=4"),
        (lambda: nn.LSTM(3, 4, dropout=2), ArgumentError, "a number from 0 to 1"),
        (lambda: nn.RNN(3, 4, nonlinearity="elu"), ArgumentError, '"tanh" or "relu"'),
        (lambda: GRU(X[..., :2]), ShapeError, "must hold input_size=3 values"),
        (lambda: GRU(X[0, 0]), ShapeError, "must have 2 axes"),
        (lambda: GRU((X * 9).astype(int)), DTypeError, "must hold floats"),
        (lambda: GRU(X, np.zeros((1, 4, 4))), ShapeError, "h_0 must be (2, 4, 4), for 2 layers"),
        (lambda: LSTM(X, np.zeros((1, 4, 4))), ArgumentError, "a pair (h_0, c_0)"),
        (lambda: nn.LSTMCell(3, 4)(X[0], X), ArgumentError, "a pair (h_0, c_0)"),
        (lambda: nn.GRUCell(3, 4)(X[0], X[0]), ShapeError, "h_0 must be (4, 4) for an input"),
        (lambda: rnn.pack_padded_sequence(X, LENGTHS), DataError, "enforce_sorted=False"),
        (
            lambda: rnn.pack_padded_sequence(X, [9, 2, 1, 1]),
            DataError,
            "must lie in 1..5, that of sequence 0 is 9",
        ),
        (lambda: rnn.pack_padded_sequence(X, [2, 1]), ShapeError, "must be [4]"),
        (
            lambda: rnn.pad_packed_sequence(rnn.pack_sequence([X[0], X[0]]), total_length=2),
            ArgumentError,
            "total_length must be at least 4",
        ),
        (
            lambda: mynn.compile(lambda x, n: rnn.pack_padded_sequence(x, n).data)(
                X, np.array([5, 4, 3, 2])
            ),
            UsageError,
            "lengths must be known",
        ),
    ],
)
def test_refusals(call: Any, error: Any, words: str) -> None:
    with pytest.raises(error) as caught:
        call()
    text = str(caught.value)
    assert words in text
    for name in ("GRU", "LSTM", "RNN", "GRUCell"):
        assert f"{name}: {name}: " not in text


def test_dropout_of_one_layer_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="does nothing with num_layers=1"):
        nn.GRU(3, 4, dropout=0.5)
