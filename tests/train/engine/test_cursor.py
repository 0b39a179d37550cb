"""A training is stopped at any step, stored, and goes on elsewhere: the same bits."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mynn.errors import ArgumentError, UsageError
from mynn.train.engine.cursor import Cursor
from tests.train.engine.trainings import STEPS, Training, advance, put_back, rest_of, stored

TRAININGS = {
    "native": Training(),
    "native, in order": Training(shuffle=False),
    "native, drop_last": Training(drop_last=True),
    "native, 2 threads": Training(threads=2),
    "native, recorded": Training(record=4),
    "native, SGD without dropout": Training(optimizer="SGD", dropout=False),
    "interpreted": Training(backend="interpreter"),
    "interpreted, recorded": Training(backend="interpreter", record=3),
}


def assert_equal(found: Any, expected: Any) -> None:
    """The same structure, and arrays with the same bits."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_equal(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_equal(a, b)
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert found.tobytes() == expected.tobytes()
    else:
        assert found == expected


def is_plain(value: Any) -> bool:
    """Numbers, and arrays of numbers."""
    return isinstance(value, int | float) or (
        isinstance(value, np.ndarray) and value.dtype.kind in "fiu"
    )


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", TRAININGS)
def test_the_rest_is_the_same_from_any_step(name: str) -> None:
    training = TRAININGS[name]
    expected = rest_of(training.executor())
    steps = STEPS - 3 if training.drop_last else STEPS
    assert expected["cursor"]["steps"] == steps
    rng = np.random.default_rng(len(name))
    for stop in (0, 6, steps, *rng.integers(1, steps, 3)):
        executor = training.executor()
        advance(executor, int(stop))
        data = pickle.loads(pickle.dumps(stored(executor)))
        assert all(map(is_plain, data["cursor"].values()))
        for elsewhere in (False, True):
            if elsewhere:
                executor = training.executor(seed=1)
            advance(executor, int(rng.integers(0, 5)))
            put_back(executor, data)
            assert executor.steps == stop
            found = rest_of(executor)
            records = [r for r in expected["records"] if r["step"] >= stop]
            assert_equal(found, {**expected, "records": records})


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", ["native, 2 threads", "native, recorded", "interpreted"])
def test_the_rest_is_the_same_in_another_process(name: str) -> None:
    training = TRAININGS[name]
    executor = training.executor()
    advance(executor, 8)
    data = stored(executor)
    expected = rest_of(executor)
    child = subprocess.run(
        [sys.executable, "-m", "tests.train.engine.trainings"],
        input=pickle.dumps((training, data)),
        capture_output=True,
        cwd=Path(__file__).parents[3],
        timeout=120,
    )
    assert not child.returncode, child.stderr.decode()
    assert_equal(pickle.loads(child.stdout), expected)


def test_the_number_of_threads_may_be_another() -> None:
    one, two = Training(), Training(threads=2)
    executor = one.executor()
    advance(executor, 7)
    data, expected = stored(executor), rest_of(executor)
    other = two.executor(seed=2)
    put_back(other, data)
    assert_equal(rest_of(other), expected)


def test_taking_a_cursor_changes_nothing() -> None:
    expected = rest_of(Training().executor())
    watched = Training().executor()
    for _ in range(STEPS):
        watched.cursor()
        advance(watched, 1)
    assert_equal(rest_of(watched), expected)


def test_a_cursor_stays_as_it_is() -> None:
    executor = Training().executor()
    advance(executor, 3)
    cursor = executor.cursor()
    before = pickle.dumps(cursor.to_dict())
    rest_of(executor)
    assert pickle.dumps(cursor.to_dict()) == before


def cursor(**changed: Any) -> dict[str, Any]:
    executor = Training().executor()
    advance(executor, 8)
    data = executor.cursor().to_dict() | changed
    return {name: value for name, value in data.items() if value is not None}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"order": None}, "a cursor has order too"),
        ({"epoch": 1.5}, "epoch of a cursor is a whole number from 0 to .* not 1.5"),
        ({"steps": -1}, "steps of a cursor is a whole number"),
        ({"sums": np.zeros(3)}, "sums of a cursor is an array of float64 with 2 axes, not float64"),
        ({"order": np.arange(3.0)}, "order of a cursor is an array of int64"),
    ],
)
def test_what_is_no_cursor(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Cursor.from_dict(cursor(**changed))


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"epoch": 4}, "it has 4 epochs, this run has at most 3"),
        ({"batch": 6}, "it has 6 batches, this run has fewer than 6"),
        ({"order": np.arange(5)}, "it has 5 rows in its order, this run has 23"),
        ({"sums": np.zeros((1, 2))}, "sums"),
        ({"generators": np.zeros((0, 2), np.uint32)}, "it has 0 generators, this run has 1"),
    ],
)
def test_a_cursor_of_another_run(changed: dict[str, Any], message: str) -> None:
    executor = Training().executor()
    with pytest.raises(UsageError, match=f"the cursor is one of another run: .*{message}"):
        executor.go_to(Cursor.from_dict(cursor(**changed)))
    assert executor.steps == 0
