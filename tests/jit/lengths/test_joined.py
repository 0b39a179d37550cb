"""Joined graphs compute what the graphs of either size compute: values, gradients, new state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import functional as F
from mynn import nn, optim
from mynn.core import interpreter
from mynn.core.graph import verify
from mynn.core.types import Array
from mynn.jit.lengths.axis import NotAlike
from mynn.jit.lengths.joined import Joined, join
from mynn.jit.stage import Staged, stage

WHOLE = 12
FEWER = (11, 8, 5, 2)


def numbers(*shape: int) -> Array:
    return np.random.default_rng(3).normal(size=(WHOLE, *shape)).astype(np.float32)


def labels(high: int, *shape: int) -> Array:
    return np.random.default_rng(4).integers(0, high, (WHOLE, *shape))


class Last(nn.Module):
    """A recurrent layer, and a linear map of its last output."""

    def __init__(self, kind: Any, **options: Any) -> None:
        super().__init__()
        self.recurrent = kind(3, 5, **options)
        self.out = nn.Linear(10 if options.get("bidirectional") else 5, 4)
        self.first = options.get("batch_first", False)

    def forward(self, x: Any) -> Any:
        return self.out(self.recurrent(x if self.first else x.transpose(0, 1))[0].mean(self.first))


class Encoder(nn.Module):
    """A transformer of one layer over indices."""

    def __init__(self, drop: float) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=drop, batch_first=True)
        self.out = nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        return self.out(self.layer(self.table(x)).mean(1))


def dense() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 4))


def normalised() -> nn.Module:
    return nn.Sequential(
        *(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 4))
    )


def images() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.GELU(), nn.Dropout2d(0.2), nn.Flatten()),
        nn.Linear(16, 4),
    )


def grouped() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv1d(2, 4, 3, groups=2), nn.GroupNorm(2, 4), nn.SiLU(), nn.AvgPool1d(2)),
        *(nn.Flatten(), nn.LayerNorm(12), nn.Softplus(), nn.Linear(12, 4)),
    )


Loss = Callable[..., Any]
CLASSES = labels(4)
CASES: dict[str, tuple[Callable[[], nn.Module], Loss, tuple[Array, Array]]] = {
    "dense": (dense, nn.MSELoss(), (numbers(3), numbers(4))),
    "sums": (dense, nn.MSELoss(reduction="sum"), (numbers(3), numbers(4))),
    "smooth": (dense, nn.SmoothL1Loss(), (numbers(3), numbers(4))),
    "classes": (dense, nn.CrossEntropyLoss(label_smoothing=0.1), (numbers(3), CLASSES)),
    "binary": (dense, nn.BCEWithLogitsLoss(), (numbers(3), (numbers(4) > 0).astype(np.float32))),
    "normalised": (normalised, nn.CrossEntropyLoss(), (numbers(3), CLASSES)),
    "images": (images, nn.CrossEntropyLoss(), (numbers(2, 8, 8), CLASSES)),
    "grouped": (grouped, nn.CrossEntropyLoss(), (numbers(2, 8), CLASSES)),
    "GRU": (
        lambda: Last(nn.GRU, batch_first=True),
        nn.CrossEntropyLoss(),
        (numbers(6, 3), CLASSES),
    ),
    "LSTM": (
        lambda: Last(nn.LSTM, num_layers=2, bidirectional=True),
        nn.CrossEntropyLoss(),
        (numbers(6, 3), CLASSES),
    ),
    "transformer": (lambda: Encoder(0.0), nn.CrossEntropyLoss(), (labels(9, 6), CLASSES)),
    "dropout": (lambda: Encoder(0.2), nn.CrossEntropyLoss(), (labels(9, 6), CLASSES)),
}


def weighted(x: Any, t: Any) -> Any:
    """A loss in which rows meet in several ways."""
    spread = (x - x.mean(0)) / (x.std(0) + 0.1)
    share = F.softmax(x[:, 0], 0)
    return (spread * t).sum() / x.shape[0] + (share * t[:, 1]).sum() + x.amax(0).sum()


def unit(x: Any, t: Any) -> Any:
    """Differences divided by their length: where they are 0 that is not finite."""
    apart = x - t
    return (apart / apart.square().sum(1, keepdim=True).sqrt()).mean()


LOSSES: dict[str, Loss] = {"weighted": weighted, "unit": unit}


def step_of(net: nn.Module, loss: Loss) -> Callable[..., Any]:
    # Gradients that are 0 but for rounding (of the keys' bias) do not become steps of 0.01.
    optimizer = optim.Adam(net.parameters(), lr=0.01, eps=1e-3)

    def step(x: Any, t: Any) -> Any:
        optimizer.zero_grad()
        value = loss(net(x), t)
        value.backward()
        optimizer.step()
        return value

    return step


Axes = tuple[int | None, ...]


def cut(data: tuple[Array, ...], axes: Axes, index: Any) -> list[Array]:
    """Of each array these places of its axis; None: all of it."""
    pairs = zip(data, axes, strict=True)
    return [x if axis is None else x[(slice(None),) * axis + (index,)] for x, axis in pairs]


def traced(function: Any, data: tuple[Array, ...], rows: int, axes: Axes | None = None) -> Staged:
    return stage(function, tuple(cut(data, axes or (0,) * len(data), slice(rows))))


def computed(staged: Staged, arguments: list[Array], graph: Any) -> list[Array]:
    state = [tensor.numpy() for tensor in staged.state]
    return [np.asarray(value) for value in interpreter.evaluate(graph, [*arguments, *state])]


def padded(
    data: tuple[Array, ...], axes: Axes, rows: int, source: int | None = None
) -> list[Array]:
    """Rows, and behind them copies of the last one or of another one that is there."""
    index = np.arange(WHOLE)
    index[rows:] = rows - 1 if source is None else source
    return cut(data, axes, index)


def check(step: Any, data: tuple[Array, ...], axes: Axes | None = None) -> list[Joined]:
    """For each size: as the graph of this size, whichever rows stand behind the last one."""
    axes = axes or (0,) * len(data)
    traced(step, data, WHOLE, axes)  # slots of the optimiser are made
    whole = traced(step, data, WHOLE, axes)
    found = []
    for rows in FEWER:
        fewer = traced(step, data, rows, axes)
        joined = join(whole.graph, fewer.graph, len(whole.arguments))
        verify(joined.graph)
        found.append(joined)
        expected = computed(fewer, cut(data, axes, slice(rows)), fewer.graph)
        results = computed(whole, [*padded(data, axes, rows), *joined.fewer], joined.graph)
        for value, right in zip(results, expected, strict=True):
            kept = value[tuple(map(slice, right.shape))]
            scale = max(float(np.abs(np.asarray(right, np.float64)).max(initial=0)), 1e-3)
            np.testing.assert_allclose(kept, right, rtol=1e-4, atol=2e-6 * scale)
        if not any(node.primitive.draws for node in joined.graph.nodes()):
            others = computed(whole, [*padded(data, axes, rows, 0), *joined.fewer], joined.graph)
            for value, other in zip(results, others, strict=True):
                if WHOLE not in value.shape:
                    np.testing.assert_array_equal(value, other)
        plain = computed(whole, list(data), whole.graph)
        full = computed(whole, [*data, *joined.whole], joined.graph)
        for value, right in zip(full, plain, strict=True):
            np.testing.assert_array_equal(value, right)
    return found


@pytest.mark.parametrize("name", CASES)
def test_training_steps(name: str) -> None:
    mynn.manual_seed(0)
    build, loss, data = CASES[name]
    check(step_of(build(), loss), data)


class Tagger(nn.Module):
    """A recurrent layer over vectors or indices, and a linear map of each output, or the last."""

    def __init__(self, kind: Any, last: bool = False, words: int = 0, **options: Any) -> None:
        super().__init__()
        self.table = nn.Embedding(words, 3) if words else nn.Identity()
        self.recurrent = kind(3, 5, batch_first=True, **options)
        self.out = nn.Linear(10 if options.get("bidirectional") else 5, 4)
        self.last = last

    def forward(self, x: Any) -> Any:
        y, state = self.recurrent(self.table(x))
        if self.last:
            return self.out(y[:, -1]) + self.out(state[0][-1] if isinstance(state, tuple) else 0)
        return self.out(y)


def tagged(y: Any, t: Any) -> Any:
    return F.cross_entropy(y.transpose(1, 2), t)


def sequences(*shape: int) -> Array:
    """[4, WHOLE, ...]"""
    return np.random.default_rng(5).normal(size=(4, WHOLE, *shape)).astype(np.float32)


TAGS = np.random.default_rng(6).integers(0, 4, (4, WHOLE))
# Where the steps of a loop are the rows.
STEPS: dict[str, tuple[Callable[[], nn.Module], Loss, tuple[Array, Array], Axes]] = {
    "all of a GRU": (lambda: Tagger(nn.GRU), tagged, (sequences(3), TAGS), (1, 1)),
    "words": (lambda: Tagger(nn.RNN, words=4), tagged, (TAGS, TAGS), (1, 1)),
    "the last of an LSTM": (
        lambda: Tagger(nn.LSTM, last=True, num_layers=2),
        nn.CrossEntropyLoss(),
        (sequences(3), TAGS[:, 0]),
        (1, None),
    ),
    "both ways": (
        lambda: Tagger(nn.GRU, bidirectional=True),
        tagged,
        (sequences(3), TAGS),
        (1, 1),
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_of_loops(name: str) -> None:
    mynn.manual_seed(0)
    build, loss, data, axes = STEPS[name]
    joined = check(step_of(build(), loss), data, axes)
    assert len({str(one.graph) for one in joined}) == 1


def rolled(x: Any) -> Any:
    """Loops with and without inputs, forwards and backwards, whose outputs are 0 nowhere."""

    def body(c: Any, x: Any) -> Any:
        c = (c + x).sin() + 2.0
        return c, {"c": c, "x": x * c}

    last, ys = mynn.scan(body, mynn.zeros(3), x)
    first, back = mynn.scan(body, last, ys["c"].log(), reverse=True)
    count, _ = mynn.scan(lambda c, _: (c * 1.5, None), 1.0, length=x.shape[0])
    ends = (last / first).sum() + count
    return ends + (back["x"] / ys["c"]).sum() + (1 / ys["c"]).amax() + ys["c"].log().mean()


def test_loops_as_users_write_them() -> None:
    def step(x: Any) -> Any:
        x = mynn.as_tensor(x).requires_grad_()
        loss = rolled(x)
        return {"loss": loss, "gradient": mynn.autograd.grad(loss, [x])[0]}

    check(step, (numbers(3),))


def test_indices_that_a_loop_made_are_in_range() -> None:
    """Where a step is not there it gives 0, which is no index here once it is taken from 11."""
    table = mynn.tensor(np.arange(9, dtype=np.float32))

    def step(x: Any) -> Any:
        _, ys = mynn.scan(lambda c, x: (c, (x * c).abs().clip(3.0, 11.0)), mynn.ones(3), x)
        return table[(11.0 - ys).long()].sum()

    check(step, (numbers(3) * 6,))


@pytest.mark.parametrize("name", LOSSES)
def test_losses_in_which_rows_meet(name: str) -> None:
    mynn.manual_seed(0)
    check(step_of(dense(), LOSSES[name]), (numbers(3), numbers(4)))


def test_the_last_row() -> None:
    def step(x: Any) -> Any:
        x = mynn.as_tensor(x).requires_grad_()
        loss = (x[-1] * x.sin()).sum() + (x[-1:, 1:] / x[:, 1:]).mean()
        return {"loss": loss, "gradient": mynn.autograd.grad(loss, [x])[0], "last": x[-1]}

    check(step, (numbers(3),))


def test_outputs_have_their_rows() -> None:
    net = dense().eval()
    joined = check(lambda x: {"y": net(x), "top": net(x).argmax(1)}, (numbers(3),))
    assert [rows and rows.axis for rows in joined[0].rows] == [0, 0]


def test_one_choice_does_for_a_backward_pass() -> None:
    """The graph of a dense network takes a factor where the loss begins, and no more."""
    mynn.manual_seed(0)
    joined = check(step_of(dense(), nn.MSELoss()), (numbers(3), numbers(4)))[0]
    present = next(node for node in joined.graph.inputs if node.name == "present")
    reshaped = [node for node in joined.graph.nodes() if present in node.inputs]
    assert len(reshaped) == 1


def test_the_graph_does_not_depend_on_the_smaller_size() -> None:
    mynn.manual_seed(0)
    every = check(step_of(normalised(), nn.CrossEntropyLoss()), CASES["normalised"][2])
    texts = {str(joined.graph) for joined in every}
    assert len(texts) == 1
    assert len({joined.fewer[1].tobytes() for joined in every}) == len(FEWER)


APART: dict[str, Callable[[Any], Any]] = {
    "products of rows": lambda x: x @ x.transpose(0, 1),
    "first rows": lambda x: x[:2].sum() * x,
    "last rows": lambda x: x[-2:].sum() + x,
    "other order": lambda x: x.flip(0),
    "running sums": lambda x: x.cumsum(0),
    "sorted": lambda x: x.sort(0)[0],
    "picked": lambda x: x[x[:, 0].argsort()],
    "taken apart": lambda x: x.reshape(3, -1).transpose(0, 1),
    "a decision": lambda x: x.exp() if x.shape[0] > 10 else x.sin(),
    "an array": lambda x: x * np.linspace(0, 1, x.shape[0], dtype=np.float32)[:, None],
    "a number too large": lambda x: x + (mynn.tensor(2**53 + x.shape[0]) % 7).to(mynn.float32),
    "a power": lambda x: x[:, : x.shape[0] // 6].sum(1),
    "drawn columns": lambda x: x * mynn.rand(3, x.shape[0]).transpose(0, 1),
}


@pytest.mark.parametrize("name", APART)
def test_what_needs_two_programs(name: str) -> None:
    whole, fewer = (traced(APART[name], (numbers(3),), rows) for rows in (12, 9))
    with pytest.raises(NotAlike):
        join(whole.graph, fewer.graph, 1)
