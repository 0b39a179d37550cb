"""Training steps of networks of sequences: recurrent layers, attention, embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.loops.library import Library, Program
from benchmarks.works import Array
from examples.moby_dick.models import MODELS

# Steps of a pass over the data, which is one call of `fit`.
STEPS = 40
LR, MOMENTUM = 0.01, 0.9

TOKENS = 64
BAG_WORDS, BAG_WIDTH, BAG_BATCH, CLASSES = 5000, 64, 32, 4
RECURRENT_BATCH = 32
# Steps of the sequence whose class is predicted, those of S1.
PREDICTED_STEPS = 32


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


def language_model(library: Library, model: str, words: int, batch: int) -> Program:
    """The next token from those before, by a model of the example."""
    text = _tokens(STEPS * batch, TOKENS + 1, words)
    net = MODELS[model](library, words, TOKENS)

    def loss(y: Any, t: Any) -> Any:
        return library.nn.functional.cross_entropy(y.reshape(-1, words), t.reshape(-1))

    return _trained(library, net, loss, (text[:, :-1].copy(), text[:, 1:].copy()))


def prediction(library: Library, model: str, words: int) -> Program:
    """The scores of all places of one text, from Python."""
    net = library.equal(MODELS[model](library, words, TOKENS))
    predict, text = library.predictor(net), _tokens(1, TOKENS, words)
    return Program(lambda: predict(text))


def generation(library: Library, words: int) -> Program:
    """One more token of a text by the transformer; keys and values of those before are kept."""
    nn = library.nn
    net = library.equal(MODELS["transformer"](library, words, TOKENS))
    layers = net.blocks.layers
    heads = layers[0].self_attn.num_heads
    places = library.from_numpy(np.arange(TOKENS))

    class Model(nn.Module):  # type: ignore[misc]
        """A token and its place, [2], to scores of the next one [1, words]."""

        def __init__(self) -> None:
            super().__init__()
            self.net = net
            shape = len(layers), heads, TOKENS, net.table.embedding_dim // heads
            for name in ("keys", "values"):
                empty = library.from_numpy(np.zeros(shape, np.float32))
                self.register_buffer(name, empty)

        def forward(self, x: Any) -> Any:
            """What the network gives for the last of all tokens so far."""
            place = x[1:]
            h = net.table(x[:1]) + net.places(place)
            for number, layer in enumerate(layers):
                attention, z = layer.self_attn, layer.norm1(h)
                z = nn.functional.linear(z, attention.in_proj_weight, attention.in_proj_bias)
                q, k, v = z.reshape(3, heads, 1, -1)
                self.keys[number][:, place] = k
                self.values[number][:, place] = v
                y = nn.functional.scaled_dot_product_attention(
                    q, self.keys[number], self.values[number], places <= place
                )
                h = h + attention.out_proj(y.reshape(1, -1))
                h = h + layer.linear2(layer.activation(layer.linear1(layer.norm2(h))))
            return net.head(net.blocks.norm(h))

    predict, tokens = library.stepper(Model()), _tokens(1, TOKENS, words)[0]
    inputs = [np.array([token, place]) for place, token in enumerate(tokens)]
    return Program(lambda: [predict(x) for x in inputs][-1])


def bag(library: Library) -> Program:
    """Texts by the mean of their words' vectors."""
    nn, words = library.nn, _tokens(STEPS * BAG_BATCH, TOKENS, BAG_WORDS)
    net = nn.Sequential(nn.EmbeddingBag(BAG_WORDS, BAG_WIDTH), nn.Linear(BAG_WIDTH, CLASSES))
    return _trained(library, net, nn.functional.cross_entropy, (words, words[:, 0] % CLASSES))


def classifier(nn: Any, kind: str, inputs: int, hidden: int, outputs: int) -> Any:
    """A recurrent layer over sequences, and a class from the output of its last step."""

    class Model(nn.Module):  # type: ignore[misc]
        """A recurrent layer and a linear one."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = getattr(nn, kind)(inputs, hidden, batch_first=True)
            self.head = nn.Linear(hidden, outputs)

        def forward(self, x: Any) -> Any:
            """[N, L, inputs] -> [N, outputs]."""
            return self.head(self.layer(x)[0][:, -1])

    return Model()


def recurrent(
    library: Library, kind: str, inputs: int, hidden: int, outputs: int, steps: int
) -> Program:
    """A class for each sequence."""
    rng = np.random.default_rng(5)
    rows = STEPS * RECURRENT_BATCH
    x = rng.standard_normal((rows, steps, inputs)).astype(np.float32)
    net = classifier(library.nn, kind, inputs, hidden, outputs)
    data = x, rng.integers(0, outputs, rows)
    return _trained(library, net, library.nn.functional.cross_entropy, data)


def predicted(library: Library, kind: str, inputs: int, hidden: int, outputs: int) -> Program:
    """The class of one sequence, from Python."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((1, PREDICTED_STEPS, inputs)).astype(np.float32)
    net = library.equal(classifier(library.nn, kind, inputs, hidden, outputs)).eval()
    call = library.call(net)
    return Program(lambda: call(x))


def generated(library: Library, words: int) -> Program:
    """One more token of a text, the likeliest after the last one; the state is kept."""
    net = library.equal(MODELS["gru"](library, words, TOKENS)).eval()

    def step(token: Any, state: Any) -> Any:
        y, state = net.gru(net.table(token), state)
        return net.head(y).argmax(-1), state

    call = library.call(step)
    now = [np.zeros((1, 1), np.int64), np.zeros((1, 1, 128), np.float32)]

    def more() -> Any:
        now[:] = call(*now)
        return now

    return Program(more)
