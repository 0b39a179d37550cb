"""What a tape remembers has bounds, whatever the user's program does."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor
from mynn.base import recording
from mynn.errors import UsageError
from mynn.tape.calls import following
from mynn.tape.calls.step import SETS, Step
from mynn.tape.pieces import lengths


def own_tape() -> Any:
    (Tensor([1.0]) * 2.0).numpy()
    return recording.current.tape


def test_numbers_of_many_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_SEEN", 8)
    with mynn.eager("tape"):
        tape = own_tape()
        for n in range(1, 60):
            (Tensor(np.ones(n, np.float32)) * 0.5).numpy()
            assert len(tape.numbers) <= 8


@pytest.mark.parametrize("grows", [False, True])
def test_sets_of_results_that_are_held(grows: bool) -> None:
    """Each time others are kept of one sequence of calls."""
    random = np.random.default_rng(0)
    x = Tensor(np.ones(3, np.float32), requires_grad=grows)
    with mynn.eager("tape"):
        tape = own_tape()
        for _ in range(4 * SETS):
            y, kept = x, []
            for _ in range(10):
                y = y * 1.5
                if random.random() < 0.5:
                    kept.append(y)
            np.testing.assert_allclose(y.detach().numpy(), 1.5**10, rtol=1e-5)
        steps = [one for one in gc.get_objects() if type(one) is Step and one.parent is not None]
    assert tape.root.children
    assert max(len(step.pieces) for step in steps) <= SETS
    assert max(len(step.passes) for step in steps) <= SETS


def test_programs_that_cannot_be_made_are_not_tried_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries = []

    def refuse(self: Any, path: Any) -> Any:
        tries.append(path)
        raise UsageError("not as a program")

    monkeypatch.setattr(lengths.Lengths, "piece", refuse)
    with mynn.eager("tape"):
        x = Tensor(np.ones((300, 300), np.float32))
        for _ in range(200):
            np.testing.assert_array_equal((x @ x)[0, :2].numpy(), [300, 300])
    assert 1 <= len(tries) < 100
