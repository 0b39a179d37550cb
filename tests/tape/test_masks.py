"""Masks as indices on a tape: recorded where they choose as many values as before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
import mynn.functional as F
from mynn import Tensor, nn, optim
from mynn.errors import IndexRangeError

X = np.random.default_rng(3).normal(size=(8, 6, 4)).astype(np.float32)


def similarities(framework: Any, z: Any) -> Any:
    """Those of different rows: the diagonal is left out by a mask that is made each time."""
    mask = framework.eye(6, dtype=framework.bool)
    return (z @ z.T)[~mask].view(6, 5)


def train(mode: Any, choose: Any, changes: bool = False) -> tuple[list[Any], bool]:
    mynn.manual_seed(1)
    net = nn.Linear(4, 3)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    found: list[Any] = []
    with mynn.eager(mode):
        for number, x in enumerate(X):
            optimizer.zero_grad()
            y = choose(net(Tensor(x)), number if changes else 0)
            loss = (y * y).mean()
            loss.backward()
            waits = loss.pending is not None and loss.pending.tape is not None
            optimizer.step()
            found.append(loss.item())
    return found, waits


CHOICES = {
    "made each time": lambda y, _: similarities(mynn, y),
    "known": lambda y, _: y[Tensor([True, False, True, True, False, False])],
    "of the second axis": lambda y, _: y[:, Tensor([True, False, True])],
    "with places": lambda y, _: y[Tensor([0, 1, 2]), Tensor([True, True, True])],
}


@pytest.mark.parametrize("choose", CHOICES.values(), ids=CHOICES)
def test_masks_that_choose_as_many_each_time_are_recorded(choose: Any) -> None:
    found, waits = train("tape", choose)
    assert waits
    np.testing.assert_allclose(found, train("at once", choose)[0], rtol=1e-5)


@pytest.mark.parametrize("again", [False, True])
def test_masks_that_choose_as_many_as_never_before_are_looked_at(again: bool) -> None:
    def choose(y: Any, number: int) -> Any:
        return y[Tensor(np.arange(18).reshape(6, 3) <= number % (4 if again else 8))]

    found, waits = train("tape", choose, changes=True)
    assert waits is again
    np.testing.assert_allclose(found, train("at once", choose, changes=True)[0], rtol=1e-5)


def test_masks_of_results_of_the_network_are_looked_at() -> None:
    """What made them reads parameters, and is not run twice."""

    def choose(y: Any, _: int) -> Any:
        return y[y.detach() > -100]

    found, waits = train("tape", choose)
    assert not waits
    np.testing.assert_allclose(found, train("at once", choose)[0], rtol=1e-5)


def test_masks_of_drawn_numbers_are_those_that_are_drawn() -> None:
    def masks(mode: Any) -> list[Any]:
        mynn.manual_seed(4)
        with mynn.eager(mode):
            return [
                F.dropout(mynn.ones(6), 0.5)[F.dropout(mynn.ones(6), 0.5) > -1].tolist()
                for _ in range(6)
            ]

    assert masks("tape") == masks("at once")


def test_as_many_elsewhere_are_others() -> None:
    """The number of values is part of what is recorded, not which they are."""
    with mynn.eager("tape"):
        for number in range(8):
            mask = np.zeros(8, bool)
            mask[[number, (number + 3) % 8]] = True
            x = Tensor(np.arange(8.0)) * 2
            assert x[Tensor(mask)].tolist() == (2 * np.flatnonzero(mask)).tolist()


def test_masks_of_other_extents_are_refused_as_ever() -> None:
    with mynn.eager("tape"):
        for _ in range(4):
            y = Tensor(X[0]) * 2
            with pytest.raises(IndexRangeError, match=r"a mask of shape \(5,\) does not fit"):
                y[Tensor([True] * 5)].tolist()


def test_the_values_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    with mynn.eager("tape"):
        for x in X:
            got = similarities(mynn, Tensor(x) * 1)
            np.testing.assert_allclose(
                got.numpy(), similarities(torch, torch.tensor(x)).numpy(), rtol=1e-5
            )


ARRAYS = {
    "one": lambda y, i: y[np.array([0, 2, 2, 5])],
    "of the second axis": lambda y, i: y[:, np.array([2, 0])],
    "of both, int32": lambda y, i: y[np.array([0, 1], np.int32), np.array([2, i % 3], np.int32)],
    "from the end": lambda y, i: y[np.array([[-1, i % 6]])],
}


@pytest.mark.parametrize("choose", ARRAYS.values(), ids=ARRAYS)
def test_arrays_of_whole_numbers_are_recorded(choose: Any) -> None:
    found, waits = train("tape", choose, True)
    assert waits
    np.testing.assert_allclose(found, train("at once", choose, True)[0], rtol=1e-5)


def test_arrays_are_read_as_they_are_at_the_call() -> None:
    with mynn.eager("tape"):
        for number in range(4):
            index = np.array([0, 1, number])
            y = (Tensor(X[0]) * 2)[index]
            index[...] = 5
            np.testing.assert_array_equal(y.numpy(), (X[0] * 2)[[0, 1, number]])


def test_arrays_that_are_out_of_range_are_told() -> None:
    with mynn.eager("tape"):
        for number in (0, 1, 2, 7):
            y = (Tensor(X[0]) * 2)[np.array([number])]
            if number < 6:
                y.numpy()
        with pytest.raises(IndexRangeError, match="7"):
            y.numpy()
