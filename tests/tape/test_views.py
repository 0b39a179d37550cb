"""Results that look at memory of others: which program makes them, and what one look leaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor
from mynn.tape.pieces.output import Later
from mynn.tape.pieces.piece import Piece
from mynn.tape.pieces.trial import PATIENCE
from tests.helpers import own_tape

X = np.random.default_rng(4).normal(size=(3, 4)).astype(np.float32)


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(PATIENCE, "piece", 0.0)
    monkeypatch.setattr(PATIENCE, "call", 0.0)
    with mynn.eager("tape"):
        yield own_tape()


def pieces(tape: Any) -> list[Piece]:
    """All programs of a tape's tree."""
    steps, found = [tape.root], []
    for step in steps:
        steps += [one for one in step.children.values() if hasattr(one, "pieces")]
        found += [piece for piece in step.pieces.values() if type(piece) is Piece]
    return found


@pytest.mark.parametrize("asked", [False, True])
def test_one_program_whichever_views_are_held(tape: Any, asked: bool) -> None:
    weight = Tensor(X, requires_grad=asked)
    for number in range(16):
        x = weight if asked else Tensor(X + number)
        y = x.exp()
        first, second = y[0], y[1]
        if number % 4 == 1:
            del first
        elif number % 4 == 2:
            del second
        elif number % 4 == 3:
            del first, second
        expected = np.exp(x.detach().numpy() if asked else X + number)
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5)
        if number % 4 == 1:
            np.testing.assert_allclose(second.numpy(), expected[1], rtol=1e-5)
    assert len(pieces(tape)) == 1


def test_a_view_through_which_a_gradient_flows_is_another_set_of_results(tape: Any) -> None:
    """Where nothing else asks for one, no run is remembered without it."""
    for number in range(12):
        leaf = Tensor(X, requires_grad=True)
        part = leaf[1]
        total = (Tensor(X) * 2).sum()
        if number % 2:
            total.item()
            part.sum().backward()
            assert leaf.grad is not None
            np.testing.assert_array_equal(leaf.grad.numpy(), [[0] * 4, [1] * 4, [0] * 4])
        else:
            del part
            assert total.item() == pytest.approx(2 * X.sum(), rel=1e-5)


def test_one_look_notes_nothing_and_sees_what_is_there_now(tape: Any) -> None:
    for _ in range(6):
        y = Tensor(X).exp()
        part = y[2, 3]
        assert part.item() == pytest.approx(np.exp(X[2, 3]), rel=1e-5)
    assert type(part.pending) is Later
    y[2, 3] = 7.0
    assert part.item() == 7.0
    np.testing.assert_array_equal(part.numpy(), np.float32(7))
    assert part.pending is None
    with pytest.raises(mynn.errors.ShapeError, match="not one value"):
        y[2].item()
