"""Picks and puts of values one by one, of every length, beside NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

import mynn
from mynn.errors import IndexRangeError

LENGTHS = (*range(1, 20), 63, 64, 65, 127, 1000, 1003)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_values_put_one_by_one(dtype: type) -> None:
    rng = np.random.default_rng(0)
    for n in LENGTHS:
        x, y = (rng.integers(-9, 9, n).astype(dtype) for _ in range(2))
        i = rng.integers(0, n, n)
        call = mynn.compile(
            lambda x, i, y: (
                x.scatter(0, i, y),
                x.scatter_add(0, i, y),
                x.index_add(0, i, y),
                x.index_select(0, i),
            )
        )
        put, added = x.copy(), x.copy()
        for at, value in zip(i, y, strict=True):
            put[at] = value
            added[at] += value
        for got, want in zip(call(x, i, y), (put, added, added, x[i]), strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("backend", ["native", "interpreter"])
@pytest.mark.parametrize("wrong", [-1, 9, -(2**63), 2**63 - 1])
def test_no_index_is_outside(backend: str, wrong: int) -> None:
    pick = mynn.compile(lambda x, i: x.index_select(0, i), backend=backend)
    x = np.arange(9.0, dtype=np.float32)
    np.testing.assert_array_equal(pick(x, np.array([8, 0])), [8.0, 0.0])
    with pytest.raises(IndexRangeError, match=str(wrong)):
        pick(x, np.array([8, wrong]))
