"""Calls from one large array to one array: read where they lie, written where nobody reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn

SIZES = (4095, 16_384, 32_767, 32_768, 32_769, 40_000, 65_536, 100_003)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_results_are_right_wherever_arrays_end(dtype: Any) -> None:
    """Also where the last page ends with the array, so that it has to be copied."""
    for size in SIZES:
        step = mynn.compile(lambda x: x * 3 + 1)
        for start in (0, 1, 5):
            x = np.arange(size + 8).astype(dtype)[start : start + size]
            before = x.copy()
            for _ in range(3):
                np.testing.assert_array_equal(step(x), before * 3 + 1)
            np.testing.assert_array_equal(x, before)


def test_results_are_ones_own() -> None:
    step = mynn.compile(lambda x: x + 1)
    x = np.zeros(100_000, np.float32)
    first = step(x)
    second = step(first)
    third = step(second)
    first[:] = 7
    assert (second == 2).all()
    assert (third == 3).all()
    assert first.flags.writeable
    assert third.flags.c_contiguous
    assert third.ctypes.data % 64 == 0


@pytest.mark.parametrize("shape", [(300, 200), (512, 128), (3, 50_000), (50_000, 3)])
def test_axes(shape: tuple[int, ...]) -> None:
    step = mynn.compile(lambda x: x.transpose(0, 1) * 2)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    for given in (x, np.asfortranarray(x), x[::-1], np.repeat(x, 2, 1)[:, ::2]):
        for _ in range(3):
            np.testing.assert_array_equal(step(given), given.T * 2)
