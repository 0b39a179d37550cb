"""Long reductions, vectors that run backwards, long concatenations: right at every length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn

# Around whole vectors, and around four accumulators of them, for all widths of vectors.
LENGTHS = (1, 3, 8, 9, 31, 127, 128, 129, 255, 256, 263, 515, 1030)


def _values(length: int, dtype: str) -> Any:
    drawn = np.random.default_rng(length).integers(-9, 9, (3, length))
    return drawn % 2 == 0 if dtype == "bool" else drawn.astype(dtype)


@pytest.mark.one_in(9, each="dtype")
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_reductions(length: int, dtype: str) -> None:
    """Whole numbers, so that sums are the same in every order."""
    x = _values(length, dtype)
    compiled: Any = mynn.compile(
        lambda x: (x.sum(1), x.amax(1), x.amin(1), x.sum(), (x * x).sum(1), x[:, :1].sum())
    )
    expected = (x.sum(1), x.max(1), x.min(1), x.sum(), (x * x).sum(1), x[:, :1].sum())
    for found, wanted in zip(compiled(x), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    compiled = mynn.compile(lambda x: (x.amax(), x.reshape(-1).sum(), x.T.sum(0)))
    for found, wanted in zip(compiled(x), (x.max(), x.sum(), x.sum(1)), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.one_in(9, each="dtype")
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "bool", "uint8"])
def test_backwards_and_rolled(length: int, dtype: str) -> None:
    x = _values(length, dtype)
    compiled: Any = mynn.compile(
        lambda x: (x.flip(1), x.flip((0, 1)), x.roll(7, 1), x.roll(1), x[:, 1:].flip(1))
    )
    expected = (x[:, ::-1], x[::-1, ::-1], np.roll(x, 7, 1), np.roll(x, 1), x[:, :0:-1])
    for found, wanted in zip(compiled(x), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("place", [0, 130, 511, 514])
def test_a_nan_is_the_largest_and_the_smallest(place: int) -> None:
    x = np.ones(515, np.float32)
    x[place] = np.nan
    compiled: Any = mynn.compile(lambda x: (x.amax(), x.amin(), x.sum()))
    assert np.isnan(compiled(x)).all()
