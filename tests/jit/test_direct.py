"""Calls from one large array to one array: read where they lie, written where nobody reads."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.errors import MynnError

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


def test_read_only_arrays() -> None:
    step = mynn.compile(lambda x: x.cumsum(0).sum())
    x = np.ones(40_000, np.float64)
    x.flags.writeable = False
    for _ in range(3):
        assert step(x) == 40_000 * 40_001 / 2


def test_what_fails_is_explained_by_the_array() -> None:
    step = mynn.compile(lambda i: mynn.tensor(np.arange(10.0))[i])
    good, bad = np.arange(20_000) % 10, np.arange(20_000) % 10
    bad[77] = 12
    for _ in range(3):
        np.testing.assert_array_equal(step(good), good)
    with pytest.raises(MynnError, match=r"12 at .*77"):
        step(bad)
    np.testing.assert_array_equal(step(good), good)


def test_threads_share_no_memory() -> None:
    step = mynn.compile(lambda x: x * 2, threads=1)
    step(np.zeros(50_000, np.float32))
    wrong: list[int] = []

    def run(number: int) -> None:
        x = np.full(50_000, number, np.float32)
        for _ in range(50):
            if not (step(x) == 2 * number).all():
                wrong.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_several_arguments_and_results() -> None:
    """Large and small ones, of other strides, and those that a check refuses."""
    rng = np.random.default_rng(0)
    step = mynn.compile(lambda x, i, b: (x.index_select(0, i) + b, x.sum(), (x * b).T))
    x, i = rng.normal(size=(40_000, 2)).astype(np.float32), rng.integers(0, 40_000, 40_000)
    b = np.float32([0.5, 2.0])
    for given in (x, np.asfortranarray(x), x[::-1]):
        for _ in range(2):
            before = given.copy(), i.copy()
            picked, total, turned = step(given, i, b)
            np.testing.assert_array_equal(picked, given[i] + b)
            np.testing.assert_allclose(total, given.sum(dtype=np.float64), rtol=1e-4, atol=1e-2)
            np.testing.assert_array_equal(turned, (given * b).T)
            np.testing.assert_array_equal(given, before[0])
            np.testing.assert_array_equal(i, before[1])
    first = step(x, i, b)[0]
    kept = first.copy()
    step(x * 2, i, b)
    np.testing.assert_array_equal(first, kept)
    i[7] = 40_000
    with pytest.raises(MynnError, match=r"index 40000 at \(7,\)"):
        step(x, i, b)
    i[7] = 0
    np.testing.assert_array_equal(step(x, i, b)[0], x[i] + b)


def test_several_results_where_modes_decide() -> None:
    """What decides is looked at in each call, also where the program is kept ready."""
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.999999))
    both = mynn.compile(lambda x: {"y": net(x), "twice": (x * 2, x)})
    pair = mynn.compile(lambda x, z: (net(x), x + z))
    x = np.ones((2, 3), np.float32)
    for training in (True, True, True, False, False, True, True):
        net.train(training)
        one, (first, total) = both(x), pair(x, x)
        assert list(one) == ["y", "twice"]
        np.testing.assert_array_equal(one["twice"][0], 2 * x)
        np.testing.assert_array_equal(total, 2 * x)
        for y in (one["y"], first):
            assert (y == 0).all() == training
