"""Training steps of networks of sequences: recurrent layers, attention, embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.loops.library import Library, Program
from benchmarks.works import Array

# Steps of a pass over the data, which is one call of `fit`.
STEPS = 40
LR, MOMENTUM = 0.01, 0.9

TOKENS, WIDTH, HEADS, LAYERS, VOCABULARY, BATCH = 64, 64, 4, 2, 64, 16
BAG_TOKENS, BAG_WORDS, BAG_BATCH, CLASSES = 64, 5000, 32, 4


def _trained(
    library: Library, net: Any, loss: Callable[[Any, Any], Any], data: tuple[Array, Array]
) -> Program:
    """One pass over the data."""
    batch = len(data[0]) // STEPS
    library.equal(net)
    optimizer = library.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM)

    def step(x: Any, t: Any) -> Any:
        optimizer.zero_grad()
        value = loss(net(x), t)
        value.backward()
        optimizer.step()
        return value

    fit = library.fitter(step, batch)
    return Program(lambda: fit(data, 1), net=lambda: net)


def _tokens(rows: int, length: int, words: int) -> Array:
    return np.random.default_rng(5).integers(0, words, (rows, length))


def transformer(library: Library) -> Program:
    """A language model: the next token from those before."""
    nn, words = library.nn, _tokens(STEPS * BATCH, TOKENS + 1, VOCABULARY)
    places = library.from_numpy(np.arange(TOKENS))
    mask = nn.Transformer.generate_square_subsequent_mask(TOKENS)

    class Model(nn.Module):  # type: ignore[misc]
        """Tokens and places, blocks of causal attention, a token again."""

        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(TOKENS, WIDTH)
            block = nn.TransformerEncoderLayer(
                *(WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu"), batch_first=True, norm_first=True
            )
            self.blocks = nn.TransformerEncoder(
                block, LAYERS, nn.LayerNorm(WIDTH), enable_nested_tensor=False
            )
            self.head = nn.Linear(WIDTH, VOCABULARY)

        def forward(self, x: Any) -> Any:
            """[N, L] -> [N, L, words]."""
            h = self.tokens(x) + self.places(places)
            return self.head(self.blocks(h, mask, is_causal=True))

    def loss(y: Any, t: Any) -> Any:
        return nn.functional.cross_entropy(y.reshape(-1, VOCABULARY), t.reshape(-1))

    return _trained(library, Model(), loss, (words[:, :-1].copy(), words[:, 1:].copy()))


def bag(library: Library) -> Program:
    """Texts by the mean of their words' vectors."""
    nn, words = library.nn, _tokens(STEPS * BAG_BATCH, BAG_TOKENS, BAG_WORDS)
    net = nn.Sequential(nn.EmbeddingBag(BAG_WORDS, WIDTH), nn.Linear(WIDTH, CLASSES))
    return _trained(library, net, nn.functional.cross_entropy, (words, words[:, 0] % CLASSES))


CHARACTERS, CHARACTER_WIDTH, CHARACTER_STATE = 80, 64, 128
RECURRENT_BATCH = 32


def recurrent(
    library: Library, kind: str, inputs: int, hidden: int, outputs: int, steps: int
) -> Program:
    """A class for each sequence, from the output of its last step."""
    nn, rng = library.nn, np.random.default_rng(5)
    rows = STEPS * RECURRENT_BATCH
    x = rng.standard_normal((rows, steps, inputs)).astype(np.float32)

    class Model(nn.Module):  # type: ignore[misc]
        """A recurrent layer and a linear one."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = getattr(nn, kind)(inputs, hidden, batch_first=True)
            self.head = nn.Linear(hidden, outputs)

        def forward(self, x: Any) -> Any:
            """[N, L, inputs] -> [N, outputs]."""
            return self.head(self.layer(x)[0][:, -1])

    return _trained(
        library, Model(), nn.functional.cross_entropy, (x, rng.integers(0, outputs, rows))
    )


def characters(library: Library) -> Program:
    """A language model: the next character from those before."""
    nn, words = library.nn, _tokens(STEPS * RECURRENT_BATCH, TOKENS + 1, CHARACTERS)

    class Model(nn.Module):  # type: ignore[misc]
        """Characters as vectors, a recurrent layer, a character again."""

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(CHARACTERS, CHARACTER_WIDTH)
            self.layer = nn.GRU(CHARACTER_WIDTH, CHARACTER_STATE, batch_first=True)
            self.head = nn.Linear(CHARACTER_STATE, CHARACTERS)

        def forward(self, x: Any) -> Any:
            """[N, L] -> [N, L, characters]."""
            return self.head(self.layer(self.table(x))[0])

    def loss(y: Any, t: Any) -> Any:
        return nn.functional.cross_entropy(y.reshape(-1, CHARACTERS), t.reshape(-1))

    return _trained(library, Model(), loss, (words[:, :-1].copy(), words[:, 1:].copy()))
