"""Attention: masks, hints, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.core.types import Array
from mynn.errors import ArgumentError, DTypeError, MynnError, ShapeError
from tests.registry.running import pytorch

MASKS: dict[str, dict[str, Any]] = {
    "padding": {"key_padding_mask": np.arange(10).reshape(2, 5) % 5 > 2},
    "padding added": {"key_padding_mask": np.linspace(-1, 1, 10, dtype=np.float32).reshape(2, 5)},
    "of every head": {"attn_mask": np.arange(60).reshape(4, 3, 5) % 7 == 1},
    "both": {
        "attn_mask": np.arange(15).reshape(3, 5) % 4 == 3,
        "key_padding_mask": np.arange(10).reshape(2, 5) % 5 > 3,
    },
    "nothing to see": {"attn_mask": np.ones((3, 5), np.bool_), "need_weights": False},
}


def inputs() -> list[Array]:
    rng = np.random.default_rng(4)
    return [rng.normal(size=(n, 2, 4)).astype(np.float32) for n in (3, 5, 5)]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True, "add_zero_attn": True}])
def test_masks(name: str, options: dict[str, Any]) -> None:
    """As in PyTorch, for results and shares."""
    torch = pytorch()
    ours = nn.MultiheadAttention(4, 2, **options)
    theirs = torch.nn.MultiheadAttention(4, 2, **options)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    given = {k: torch.tensor(v) if k != "need_weights" else v for k, v in MASKS[name].items()}
    expected = theirs(*map(torch.tensor, inputs()), **given)
    for got, want in zip(ours(*inputs(), **MASKS[name]), expected, strict=True):
        if want is None:
            assert got is None
        else:
            np.testing.assert_allclose(got.numpy(), want.detach().numpy(), atol=1e-6)


def test_a_causal_mask_hides_what_comes_later() -> None:
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    layer = nn.TransformerEncoderLayer(6, 3, 8, dropout=0.0, batch_first=True)
    x = np.random.default_rng(0).normal(size=(2, 4, 6)).astype(np.float32)
    whole = layer(x, mask).numpy()
    np.testing.assert_allclose(layer(x, mask, is_causal=True).numpy(), whole, atol=1e-6)
    for length in (1, 2, 3):
        part = layer(x[:, :length], mask[:length, :length]).numpy()
        np.testing.assert_allclose(part, whole[:, :length], atol=1e-6)


def test_a_transformer_learns_inside_fit() -> None:
    """Tokens that are the ones before: a causal attention can look them up."""
    mynn.manual_seed(0)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(5, 16), nn.Embedding(8, 16)
            self.block = nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True)
            self.head = nn.Linear(16, 5)

        def forward(self, x: Any) -> Any:
            mask = nn.Transformer.generate_square_subsequent_mask(8)
            h = self.tokens(x) + self.places(np.arange(8))
            return self.head(self.block(h, mask, is_causal=True))

    net = Net()
    optimizer = optim.Adam(net.parameters(), lr=0.01)

    def step(x: Any, t: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x)[:, 1:].reshape((-1, 5)), t.reshape(-1))
        loss.backward()
        optimizer.step()
        return loss

    x = np.random.default_rng(1).integers(0, 5, (64, 8))
    history = mynn.fit(step, (x, x[:, :-1]), epochs=40, batch_size=16, seed=0)
    assert history["loss"][0] > 1.3
    assert history["loss"][-1] < 0.1


X = np.zeros((3, 2, 4), np.float32)
REFUSED: dict[str, tuple[Any, type[MynnError], str]] = {
    "heads": (lambda: nn.MultiheadAttention(5, 2), ArgumentError, "5 and 2"),
    "dropout": (lambda: nn.MultiheadAttention(4, 2, 2.0), ArgumentError, "it is 2.0"),
    "features": (
        lambda: nn.MultiheadAttention(4, 2)(X, X[..., :3], X),
        ShapeError,
        "the key has shape .* kdim=4",
    ),
    "lengths": (lambda: nn.MultiheadAttention(4, 2)(X, X[:2], X), ShapeError, "same length"),
    "axes": (lambda: nn.MultiheadAttention(4, 2)(X, X[0], X[0]), ShapeError, "3 axes"),
    "mask": (
        lambda: nn.MultiheadAttention(4, 2)(X, X, X, attn_mask=np.zeros((2, 3))),
        ShapeError,
        r"\[3, 3\] or \[4, 3, 3\], it has \[2, 3\]",
    ),
    "mask of scores": (
        lambda: nn.functional.scaled_dot_product_attention(X, X, X, np.zeros((5, 5))),
        ShapeError,
        "a row for each of 2 queries and a column for each of 2 keys",
    ),
    "numbers for scores": (
        lambda: nn.functional.scaled_dot_product_attention(X, X, X, np.ones((2, 2), np.int64)),
        DTypeError,
        "bools or floats, it holds int64",
    ),
    "padding": (
        lambda: nn.MultiheadAttention(4, 2)(X, X, X, np.zeros((3, 2))),
        ShapeError,
        r"\[2, 3\], of batch and keys",
    ),
    "numbers": (
        lambda: nn.MultiheadAttention(4, 2)(X, X, X, np.zeros((2, 3), np.int64)),
        DTypeError,
        "bools or floats",
    ),
    "hint alone": (
        lambda: nn.MultiheadAttention(4, 2)(X, X, X, is_causal=True),
        ArgumentError,
        "give that mask too",
    ),
    "activation": (
        lambda: nn.TransformerEncoderLayer(4, 2, activation="tanh"),
        ArgumentError,
        "'relu', 'gelu'",
    ),
    "no layer": (lambda: nn.TransformerEncoder(nn.Linear, 2), ArgumentError, "must be a layer"),
    "batches": (
        lambda: nn.Transformer(4, 2, 1, 1, 8)(X, X[:, :1]),
        ShapeError,
        "same number of sequences",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, kind, text = REFUSED[name]
    with pytest.raises(kind, match=text):
        call()
