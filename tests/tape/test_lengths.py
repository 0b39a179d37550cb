"""Paths that differ in a length: the program of a longer one does for them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mynn
import mynn.functional as F
from mynn import Tensor, nn, optim
from mynn.base import recording
from mynn.core.types import Array
from mynn.runtime import store
from mynn.tape.pieces import lengths, piece
from mynn.tape.pieces.lengths import bounds
from mynn.tape.pieces.trial import PATIENCE

RNG = np.random.default_rng(7)
X = RNG.normal(size=(32, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, 32)
WORDS = RNG.integers(0, 9, (4, 32))
COUNTS = (29, 20, 32, 25, 18, 31, 17, 22, 29, 26, 3, 1, 27, 2, 8, 6, 7, 5, 30, 20)


@pytest.fixture(autouse=True)
def tape(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What comes a second time is a program."""
    monkeypatch.setattr(PATIENCE, "piece", 0.0)
    monkeypatch.setattr(PATIENCE, "call", 0.0)
    with mynn.eager("tape"):
        yield recording.current.own


@pytest.fixture
def codes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The code of all programs of tapes."""
    made: list[Any] = []
    make = piece.make_program

    def noted(*args: Any) -> Any:
        program = make(*args)
        made.append(program.code)
        return program

    monkeypatch.setattr(piece, "make_program", noted)
    monkeypatch.setattr(lengths, "make_program", noted)
    return made


class Net(nn.Module):
    """Two layers, and a table of words."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4)
        self.first = nn.Linear(4, 6)
        self.slope = nn.LeakyReLU(0.1)
        self.last = nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        return self.last(self.slope(self.first(x)))


def mask_of(count: int) -> Tensor:
    return Tensor(np.random.default_rng(count).permutation(32) < count)


def masked_rows(net: Any, count: int) -> Any:
    """Rows of a target that the network says."""
    values, mask = mynn.zeros(32), mask_of(count)
    with mynn.no_grad():
        values[mask] = net(Tensor(X[mask.numpy()])).max(1).values
    return ((net(Tensor(X)).max(1).values - (values * 0.9 + 1.0)) ** 2).mean()


def masked_loss(net: Any, count: int) -> Any:
    """A mean over so many rows."""
    return F.cross_entropy(net(Tensor(X[:count])), Tensor(LABELS[:count]))


def through_rows(net: Any, count: int) -> Any:
    """Rows that gradients flow through."""
    mask, out = mask_of(count), mynn.zeros(32, 3)
    out[mask] = net(Tensor(X[mask.numpy()]))
    return (out * out).sum() / 32


def long_texts(net: Any, count: int) -> Any:
    """Along the second axis."""
    return (net(net.table(Tensor(WORDS[:, :count])).tanh().sum(1) / 32) ** 2).mean()


def with_a_number(net: Any, count: int) -> Any:
    """A call that says how many rows there are."""
    return (net(Tensor(X[:count])).view(count * 3) ** 2).sum() / 32


LOSSES = [masked_rows, masked_loss, through_rows, long_texts, with_a_number]


def train(
    mode: Any, loss_of: Callable[[Any, int], Any], counts: Any = COUNTS, times: int = 3
) -> tuple[list[float], list[Array]]:
    mynn.manual_seed(1)
    with mynn.eager(mode):
        net = Net()
        optimizer = optim.Adam(net.parameters(), lr=0.01)
        found = []
        for count in counts:
            for _ in range(times):
                optimizer.zero_grad()
                loss = loss_of(net, count)
                loss.backward()
                optimizer.step()
                found.append(loss.item())
        return found, [one.numpy() for one in net.parameters()]


@pytest.mark.parametrize("loss_of", LOSSES, ids=lambda one: one.__name__)
def test_any_length_as_at_once(loss_of: Any) -> None:
    found, weights = train("tape", loss_of)
    expected, others = train("at once", loss_of)
    np.testing.assert_allclose(found, expected, rtol=2e-4)
    for one, other in zip(weights, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "loss_of", [masked_rows, masked_loss, through_rows, long_texts], ids=lambda one: one.__name__
)
def test_lengths_share_their_programs(loss_of: Any, codes: list[Any]) -> None:
    counts = [29, 31, *range(17, 33)]
    train("tape", loss_of, counts, 8)
    assert 1 <= len({*codes}) <= 4


def test_a_length_in_between_is_not_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    made, stage = [], piece.stage

    def noted(*args: Any) -> Any:
        made.append(args)
        return stage(*args)

    train("tape", masked_rows, [29, 31], 12)
    monkeypatch.setattr(lengths, "stage", noted)
    monkeypatch.setattr(piece, "stage", noted)
    mynn.manual_seed(1)
    net = Net()
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    traced = []
    for count in (29, 31, 20, 24):
        before = len(made)
        for _ in range(12):
            optimizer.zero_grad()
            masked_rows(net, count).backward()
            optimizer.step()
        traced.append(len(made) - before)
    assert traced[0] >= 1
    assert traced[1] == 2  # the most rows that there is room for, and the fewest
    assert traced[2:] == [0, 0]


def test_results_and_gradients_have_their_rows() -> None:
    net = Net()
    for count in (29, 31, 20, 24, 32, 17):
        for _ in range(6):
            x = Tensor(X[:count], requires_grad=True)
            y = net(x)
            (y**2).sum().backward()
            assert y.shape == (count, 3)
            gradient = x.grad
            assert gradient is not None
            assert gradient.shape == (count, 4)
        with mynn.eager("at once"):
            other = Tensor(X[:count], requires_grad=True)
            expected = net(other)
            (expected**2).sum().backward()
        np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)
        assert gradient is not None
        assert other.grad is not None
        np.testing.assert_allclose(gradient.numpy(), other.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_what_is_edited_is_traced_again() -> None:
    def work(net: Any, counts: Any) -> list[Any]:
        return [net(Tensor(X[:count])).sum().item() for count in counts for _ in range(6)]

    counts = (29, 31, 20, 24)
    net = Net()
    work(net, counts)
    net.slope.negative_slope = 0.5
    found = work(net, counts)
    with mynn.eager("at once"):
        expected = work(net, counts)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_programs_that_the_store_drops_are_made_anew() -> None:
    net = Net()

    def work() -> list[Any]:
        return [net(Tensor(X[:n])).sum().item() for n in (29, 31, 20, 24) for _ in range(6)]

    before = work()
    store.STORE.clear()
    np.testing.assert_allclose(work(), before, rtol=1e-5)


def test_networks_are_not_kept() -> None:
    net = Net()
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    for count in (29, 31, 20, 24):
        for _ in range(8):
            optimizer.zero_grad()
            masked_rows(net, count).backward()
            optimizer.step()
    gone = weakref.ref(net)
    del net, optimizer
    gc.collect()
    assert gone() is None


def test_dropout_draws_for_the_rows_that_are_there() -> None:
    def work(mode: Any) -> list[Any]:
        mynn.manual_seed(3)
        with mynn.eager(mode):
            return [
                F.dropout(Tensor(X[:count]) * 2.0, 0.5).sum().item()
                for count in (29, 31, 20, 24, 32)
                for _ in range(6)
            ]

    np.testing.assert_allclose(work("tape"), work("at once"), rtol=1e-4, atol=1e-4)


def test_rooms() -> None:
    for rows in range(1, 200):
        size, least = bounds(rows)
        assert least <= rows <= size
        assert bounds(size) == bounds(least) == (size, least)
        assert size <= 2 * rows


def test_lengths_of_other_axes_are_other_programs() -> None:
    """Of the same calls on layers of another width, which differ in a length of another axis."""

    def result(rows: int, width: int) -> Any:
        x = Tensor(X[:rows, :1] * np.ones(width, np.float32))
        return (((x * 2).tanh() + x).exp() * 3).numpy()

    sizes = ((7, 7), (7, 6), (7, 5), (5, 7), (5, 6), (5, 5), (6, 8), (6, 7))
    found = [[result(*size) for _ in range(6)][-1] for size in sizes]
    with mynn.eager("at once"):
        for size, one in zip(sizes, found, strict=True):
            np.testing.assert_allclose(one, result(*size), rtol=1e-6)
