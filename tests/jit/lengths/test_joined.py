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
    # The gradient of a key's bias is 0 but for rounding, which a small eps would make large.
    optimizer = optim.Adam(net.parameters(), lr=0.01, eps=1e-3)

    def step(x: Any, t: Any) -> Any:
        optimizer.zero_grad()
        value = loss(net(x), t)
        value.backward()
        optimizer.step()
        return value

    return step


def traced(function: Any, data: tuple[Array, ...], rows: int) -> Staged:
    return stage(function, tuple(array[:rows] for array in data))


def computed(staged: Staged, arguments: list[Array], graph: Any) -> list[Array]:
    state = [tensor.numpy() for tensor in staged.state]
    return [np.asarray(value) for value in interpreter.evaluate(graph, [*arguments, *state])]


def padded(data: tuple[Array, ...], rows: int, source: int | None = None) -> list[Array]:
    """Rows, and behind them copies of the last one or of another one that is there."""
    index = np.arange(WHOLE)
    index[rows:] = rows - 1 if source is None else source
    return [array[index] for array in data]


def check(step: Any, data: tuple[Array, ...]) -> list[Joined]:
    """For each size: as the graph of this size, whichever rows stand behind the last one."""
    traced(step, data, WHOLE)  # slots of the optimiser are made
    whole = traced(step, data, WHOLE)
    found = []
    for rows in FEWER:
        fewer = traced(step, data, rows)
        joined = join(whole.graph, fewer.graph, len(whole.arguments))
        verify(joined.graph)
        found.append(joined)
        expected = computed(fewer, [array[:rows] for array in data], fewer.graph)
        results = computed(whole, [*padded(data, rows), *joined.fewer], joined.graph)
        for value, right in zip(results, expected, strict=True):
            kept = value[: len(right)] if value.shape != right.shape else value
            scale = max(float(np.abs(np.asarray(right, np.float64)).max(initial=0)), 1e-3)
            np.testing.assert_allclose(kept, right, rtol=1e-4, atol=2e-6 * scale)
        if not any(node.primitive.draws for node in joined.graph.nodes()):
            others = computed(whole, [*padded(data, rows, 0), *joined.fewer], joined.graph)
            for value, other in zip(results, others, strict=True):
                if value.shape[:1] != (WHOLE,):
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


@pytest.mark.parametrize("name", LOSSES)
def test_losses_in_which_rows_meet(name: str) -> None:
    mynn.manual_seed(0)
    check(step_of(dense(), LOSSES[name]), (numbers(3), numbers(4)))


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
    "last row": lambda x: x[-1] + x,
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
