"""Memory of tensors in the hands of the user: what was recorded reads it as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor, nn, optim
from mynn.base import recording
from tests.helpers import own_tape


@pytest.fixture
def tape() -> Iterator[Any]:
    with mynn.eager("tape"):
        yield own_tape()


GIVEN: dict[str, Callable[[Any], Any]] = {
    "the array": mynn.from_numpy,
    "a part of it": lambda array: mynn.as_tensor(array[2:]),
    "twice": lambda array: (mynn.from_numpy(array), mynn.from_numpy(array))[1],
    "a view of the tensor": lambda array: mynn.from_numpy(array)[1:].detach(),
}


@pytest.mark.parametrize("given", GIVEN)
def test_arrays_that_the_user_gave_and_changes(tape: Any, given: str) -> None:
    for number in range(6):
        array = np.ones(8, np.float32)
        x = GIVEN[given](array)
        y = (x * 2.0).tanh() + x
        array[:] = number
        z = x + 1.0
        array[:] = 9.0
        assert y.tolist() == pytest.approx([np.tanh(2.0) + 1.0] * len(x))
        assert z.tolist() == [number + 1.0] * len(x)
        assert x.tolist() == [9.0] * len(x)


SEEN: dict[str, Callable[[], Any]] = {
    "an array that was given": lambda: mynn.from_numpy(np.ones(8, np.float32)),
    "a tensor": lambda: Tensor(np.ones(8, np.float32)),
    "a view": lambda: Tensor(np.ones(9, np.float32))[1:],
}


@pytest.mark.parametrize("seen", SEEN)
def test_arrays_that_look_at_tensors_and_are_changed(tape: Any, seen: str) -> None:
    for number in range(6):
        x = SEEN[seen]()
        array = np.asarray(x)
        y = (x * 2.0).tanh() + x
        array[:] = number
        z = x + 1.0
        array[:] = 9.0
        assert y.tolist() == pytest.approx([np.tanh(2.0) + 1.0] * len(x))
        assert z.tolist() == [number + 1.0] * len(x)
        assert x.tolist() == [9.0] * len(x)


@pytest.mark.parametrize("parts", [False, True])
def test_results_of_calls_at_once_do_not_expose_what_they_look_at(tape: Any, parts: bool) -> None:
    """Nor do the nodes that remember where they came from."""
    array = np.ones((4, 2), np.float32)
    x = mynn.from_numpy(array[1:] if parts else array)
    del array
    with mynn.eager("at once"):
        weight = mynn.Parameter(np.ones(2, np.float32))
        views = [x.T, x[1:], x.expand(2, *x.shape), x.reshape(-1)]
        loss = (x.T.sum(1) * weight).sum()
    assert not recording.is_exposed(x)
    assert loss.requires_grad
    assert len(views) == 4


def test_equal_trainings_have_equal_bits(tape: Any) -> None:
    """The first one too, whose first updates run call by call, and look at an array as given."""

    def losses() -> list[float]:
        mynn.manual_seed(0)
        net = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 4))
        adam = optim.Adam(net.parameters(), lr=0.01)
        rows = np.random.default_rng(0).normal(size=(64, 1)).astype(np.float32)
        x, t = mynn.from_numpy(rows), mynn.from_numpy(np.sin(rows).reshape(64, 1))
        del rows
        found = []
        for _ in range(12):
            mean = net(x)
            difference = (t.expand_as(mean) - mean) * mynn.reciprocal(mean.exp() + 1.0)
            loss = mynn.log(mynn.sum(difference * difference, dim=1) + 1.0).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
            found.append(loss.item())
        return found

    assert losses() == losses()


def test_arrays_that_nobody_else_has_are_as_good_as_others(tape: Any) -> None:
    waits = []
    for _ in range(5):
        array = np.ones(8, np.float32)
        x = mynn.from_numpy(array)
        del array
        waits.append((x * 2.0).pending is not None)
    assert waits[-1]
    assert id(x) not in recording.arrays
    number = id(mynn.from_numpy(np.ones(2)))
    assert number not in recording.arrays
