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


def scaled(x: Any) -> Any:
    return x * 2


def added(x: Any, y: Any) -> Any:
    return x + y


def swapped(x: Any, y: Any, z: Any) -> Any:
    return z * y, x - z, y


def many(*given: Any) -> Any:
    return tuple(x * number for number, x in enumerate(given))


PROGRAMS = {
    "1 to 1": (scaled, 1),
    "2 to 1": (added, 2),
    "3 to 3": (swapped, 3),
    "9 to 9": (many, 9),
}


@pytest.mark.parametrize("case", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("state", [False, True])
def test_calls_give_what_programs_give(case: Any, state: bool) -> None:
    function, count = case
    layer = mynn.nn.Linear(5, 5)
    whole = (lambda *given: function(layer(given[0]), *given[1:])) if state else function
    given = list(np.random.default_rng(1).normal(size=(count, 3, 5)).astype(np.float32))
    program = mynn.compile(whole).program(*given)
    for _ in range(2):
        expected = program.values(given)
        calls = [program.several(), program.quick()]
        if count == 1:
            direct = program.direct()
            calls.append(lambda arrays, direct=direct: [direct(*arrays)])
        for call in calls:
            for found, wanted in zip(call(given), expected, strict=True):
                np.testing.assert_array_equal(found, wanted)
        given = [one[::-1] for one in given]


def test_checks_that_fail_are_told() -> None:
    program = mynn.compile(lambda x, i: x[i]).program(np.arange(3.0), np.array([0]))
    wrong = np.arange(3.0), np.array([3])
    with pytest.raises(mynn.errors.IndexRangeError, match="3"):
        program.several()(wrong)
    assert program.quick()(wrong) is None
    np.testing.assert_array_equal(program.quick()((np.arange(3.0), np.array([2])))[0], [2.0])


def test_calls_that_write_state_note_it() -> None:
    layer = mynn.nn.BatchNorm1d(4)
    program = mynn.compile(layer).program(np.ones((2, 4), np.float32))
    assert program.quick() is None
    direct = program.direct()
    before = layer.num_batches_tracked.item()
    for _ in range(3):
        direct(np.ones((2, 4), np.float32))
    assert layer.num_batches_tracked.item() == before + 3
