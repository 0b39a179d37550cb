"""Axes that a reshape merged: loops over whole periods of them, in which neighbours are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn

SHAPES = [(a, b) for a in (1, 2, 5) for b in (1, 3, 8, 16, 17, 31, 32, 33, 64, 100, 1003)]
CASES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "repeat": (lambda x: x.repeat(2, 3), lambda x: np.tile(x, (2, 3))),
    "repeat flat": (lambda x: x.reshape(-1).repeat(3), lambda x: np.tile(x.reshape(-1), 3)),
    "interleave": (lambda x: x.repeat_interleave(20, 1), lambda x: np.repeat(x, 20, 1)),
    "transpose": (lambda x: x.T.reshape(-1), lambda x: x.T.reshape(-1)),
    "flip": (lambda x: x.flip(1).reshape(-1), lambda x: x[:, ::-1].reshape(-1)),
}


@pytest.mark.one_in(3, each=["name", "dtype"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_are_those_of_numpy(name: str, dtype: type, shape: tuple[int, int]) -> None:
    function, want = CASES[name]
    x = np.random.default_rng(0).integers(0, 9, shape).astype(dtype)
    np.testing.assert_array_equal(mynn.compile(function)(x), want(x))


def test_nothing_is_divided() -> None:
    text = mynn.compile(lambda x: x.repeat(3, 2)).program(np.ones((5, 1003), np.float32)).loop_ir
    assert "quotient" not in text
    assert "remainder" not in text
