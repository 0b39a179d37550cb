"""Cotangents of slices: what is joined has the sum of what was padded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn.core.placed import Placed, total
from mynn.tensor import Tensor

SHAPE = (6, 7)

SLICES: dict[str, list[Any]] = {
    "rows": [np.s_[i] for i in range(6)],
    "columns": [np.s_[:, j] for j in range(7)],
    "with a gap": [np.s_[0], np.s_[2:4], np.s_[5]],
    "the ends only": [np.s_[:, :1], np.s_[:, 6:]],
    "a grid": [np.s_[i, j] for i in range(6) for j in range(7)],
    "part of a grid": [np.s_[i : i + 2, j] for i in (0, 2, 4) for j in (1, 2, 5)],
    "overlapping": [np.s_[i : i + 3] for i in range(4)],
    "every second": [np.s_[::2], np.s_[1::2]],
    "backwards": [np.s_[::-1], np.s_[2]],
    "the same twice": [np.s_[3], np.s_[3]],
    "nested": [np.s_[1:5, 1:6], np.s_[2:3], np.s_[:, 3]],
    "empty": [np.s_[2:2], np.s_[0], np.s_[1]],
    "all": [np.s_[:], np.s_[0], np.s_[1]],
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("kind", SLICES)
def test_gradients_of_slices(kind: str, compiled: bool) -> None:
    slices = SLICES[kind]
    rng = np.random.default_rng(0)
    x = rng.normal(size=SHAPE)
    weights = [rng.normal(size=x[one].shape) for one in slices]
    expected = np.zeros(SHAPE)
    for one, weight in zip(slices, weights, strict=True):
        expected[one] += 2 * weight * x[one]

    def function(t: Tensor) -> Tensor:
        total = t.sum() * 0.0
        for one, weight in zip(slices, weights, strict=True):
            total = total + (t[one] * t[one] * weight).sum()
        return total

    gradient = mynn.grad(function)
    found = mynn.compile(gradient)(x) if compiled else gradient(Tensor(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


class Counted:
    """A value with the operators of `total`, which counts the elements that additions touch."""

    added = 0

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array, self.shape = array, array.shape

    def pad(self, widths: Any, value: float) -> Counted:
        return Counted(np.pad(self.array, [w[:2] for w in widths], constant_values=value))

    def concatenate(self, others: list[Counted], axis: int) -> Counted:
        return Counted(np.concatenate([self.array, *(x.array for x in others)], axis))

    def __add__(self, other: Counted) -> Counted:
        Counted.added += self.array.size
        return Counted(self.array + other.array)


def test_parts_beside_each_other_are_not_added() -> None:
    parts = [Placed(Counted(np.full((1, 2), i)), (10, 2), (i, 0), (1, 1)) for i in range(10)]
    Counted.added = 0
    assert total(parts).array[:, 0].tolist() == list(range(10))
    assert Counted.added == 0
    dense = Counted(np.ones((10, 2)))
    assert total([dense, *parts]).array[:, 1].tolist() == list(range(1, 11))
    assert Counted.added == 20
