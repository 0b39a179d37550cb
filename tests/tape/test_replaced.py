"""Leaves that wait for a new value: gradients that need the old one, memory of users, errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn.base import recording
from mynn.errors import UsageError
from mynn.tape.pieces.trial import PATIENCE
from tests.tape.test_leaves import FIRST, leaves, loss_of

REFUSED = "modified by an inplace operation"


@pytest.fixture(autouse=True)
def tape(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What comes a second time is a program."""
    monkeypatch.setattr(PATIENCE, "piece", 0.0)
    monkeypatch.setattr(PATIENCE, "call", 0.0)
    with mynn.eager("tape"):
        yield recording.current.own


def test_what_was_there_before_is_refused_to_gradients() -> None:
    """A loss that needs the values of a leaf that was changed since, as at once."""
    w, b = leaves(mynn)
    for _ in range(6):
        loss = loss_of(mynn, w * w, b)
        other = (b * 2.0).sum()
        with mynn.no_grad():
            w -= 0.1
        with pytest.raises(UsageError, match=REFUSED):
            loss.backward()
        with mynn.no_grad():
            b -= 0.1
        other.backward()  # needs no value
        assert b.grad.tolist() == [2.0, 2.0]
        b.grad = None


def test_gradients_whose_rules_need_no_old_value_are_found() -> None:
    """Although the program that finds them computes once more what went before."""

    def found() -> list[Any]:
        w, b = leaves(mynn)
        kept, gradients = None, []
        for _ in range(20):
            loss = loss_of(mynn, w, b)
            loss.backward()
            with mynn.no_grad():
                b.copy_(b - 0.1 * b.grad)
                w -= 0.1 * w.grad
            if kept is not None:
                kept.backward()
            gradients.append(w.grad.numpy())
            w.grad = b.grad = None
            kept = loss
        return gradients

    with mynn.eager("at once"):
        wanted = found()
    np.testing.assert_allclose(found(), wanted, rtol=1e-5, atol=1e-6)


def test_gradients_after_a_look_come_to_the_leaf() -> None:
    w, b = leaves(mynn)
    for _ in range(16):
        kept = (w * 3.0).sum() + b.sum()
        kept.item()
        with mynn.no_grad():
            w.mul_(0.5)
        kept.backward()
        assert w.grad.tolist() == np.full((4, 2), 3.0).tolist()
        assert b.grad.tolist() == [1.0, 1.0]
        w.grad = b.grad = None


def test_memory_in_the_hands_of_the_user_is_written_at_once() -> None:
    given = FIRST.copy()
    w = mynn.from_numpy(given)
    w.requires_grad_()
    for _ in range(6):
        (w * w).sum().backward()
        before = given.copy()
        with mynn.no_grad():
            w -= 0.25 * w.grad
        w.grad = None
        np.testing.assert_allclose(given, 0.5 * before)
    inside = w.value
    with mynn.no_grad():
        w.zero_()
    assert not inside.any()


def test_a_leaf_in_place_with_gradients_is_refused() -> None:
    w, b = leaves(mynn)
    for _ in range(5):
        loss_of(mynn, w, b).backward()
        with mynn.no_grad():
            w -= 0.1 * w.grad
        with pytest.raises(UsageError, match="leaf Variable"):
            w -= 1.0
        with pytest.raises(UsageError, match="leaf Variable"):
            w.mul_(2.0)
        w.grad = None


def test_where_calls_fail_leaves_are_as_they_were() -> None:
    w, b = leaves(mynn)
    for last in (1, 1, 1, 1, 99, 1):
        before = w.numpy()
        loss_of(mynn, w, b).backward()
        with mynn.no_grad():
            picked = w.grad.index_select(0, mynn.tensor([0, last]))
            w -= 0.1 * picked.sum()
        if last == 99:
            assert w.pending is not None
            with pytest.raises(IndexError, match="99"):
                w.numpy()
            assert w.tolist() == before.tolist()
        else:
            assert w.tolist() != before.tolist()
        assert w.requires_grad
        assert w.is_leaf
        w.grad = None


def test_copies_are_copies() -> None:
    w, b = leaves(mynn)
    for _ in range(5):
        loss_of(mynn, w, b).backward()
        with mynn.no_grad():
            other = w - 0.1 * w.grad
            w.copy_(other)
            other += 1.0
        np.testing.assert_allclose(other.numpy() - w.numpy(), 1.0, rtol=1e-5)
        w.data = other.detach()
        other.mul_(0.0)
        assert w.detach().abs().sum().item() > 0.0
        w.grad = None
