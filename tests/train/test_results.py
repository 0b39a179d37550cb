"""What a step returns, and the history of it."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from tests.train.reference import Problem, backends

Parts = collections.namedtuple("Parts", ["main", "rest"])

RESULTS: list[tuple[str, Callable[[Any], Any], list[str]]] = [
    ("number", lambda x: x.mean(), ["loss"]),
    ("tuple", lambda x: (x.mean(), x.mean() * 2), ["loss", "loss1"]),
    ("dict", lambda x: {"a": x.mean(), "b": x.mean() * 2}, ["a", "b"]),
    ("nested", lambda x: {"a": x.mean(), "b": {"c": x.mean() * 2}}, ["a", "b.c"]),
    ("lists in a dict", lambda x: {"a": [x.mean(), x.mean() * 2]}, ["a", "a1"]),
    ("same names", lambda x: [{"a": x.mean()}, {"a": x.mean() * 2}], ["a", "a1"]),
    ("named tuple", lambda x: Parts(x.mean(), x.mean() * 2), ["main", "rest"]),
    ("numbers as keys", lambda x: {0: x.mean(), 1: x.mean() * 2}, ["0", "1"]),
    ("one element", lambda x: (x.mean().reshape(1), x.mean().reshape(1, 1) * 2), ["loss", "loss1"]),
    ("with None", lambda x: (x.mean(), None, x.mean() * 2), ["loss", "loss1"]),
]


@pytest.mark.one_in(3, each="name")
@backends
@pytest.mark.parametrize(("name", "function", "names"), RESULTS, ids=[r[0] for r in RESULTS])
def test_results(backend: str, name: str, function: Any, names: list[str]) -> None:
    x = np.arange(10, dtype=np.float32)
    history = mynn.fit(mynn.compile(function, backend=backend), x, epochs=2, batch_size=4)
    assert list(history.metrics) == names
    for factor, metric in enumerate(names, 1):
        np.testing.assert_allclose(history[metric], [4.5 * factor] * 2)
        assert history[metric].dtype == np.float64
        assert history[metric].shape == (2,)


@pytest.mark.one_in(3)
@backends
@pytest.mark.parametrize("dtype", ["uint8", "uint32", "int32", "int64", "bool", "float64"])
def test_results_of_any_dtype(backend: str, dtype: str) -> None:
    """Unsigned numbers above half their range too."""
    value = {"uint8": 200, "uint32": 2**32 - 7, "bool": True}.get(dtype, -3)
    x = np.full(6, value, dtype)
    run = mynn.compile(lambda x: {"loss": x[0], "max": x.max()}, backend=backend)
    if dtype == "bool":
        run = mynn.compile(lambda x: {"loss": x[0], "max": x[1]}, backend=backend)
    history = mynn.fit(run, x, batch_size=4, drop_last=True)
    assert history["loss"] == history["max"] == [float(value)]


def test_numbers_that_are_no_tensors() -> None:
    history = mynn.fit(lambda x: {"a": x.mean(), "b": 2.5, "c": 3}, np.ones(4, np.float32))
    assert [float(history[k][0]) for k in "abc"] == [1, 2.5, 3]


def test_means_weigh_batches_by_their_size() -> None:
    x = np.arange(10, dtype=np.float32) ** 2
    for batch_size in (1, 3, 4, 10):
        history = mynn.fit(lambda x: x.mean(), x, batch_size=batch_size)
        np.testing.assert_allclose(history["loss"], x.mean())


def test_history() -> None:
    problem = Problem()
    history = mynn.fit(problem.step, problem.data, epochs=3)
    assert repr(history).startswith("History(3 epochs, 6 steps, ")
    assert f"loss={history['loss'][-1]:.6g}" in repr(history)
    with pytest.raises(KeyError):
        history["accuracy"]
    assert history.records == []
    assert history.compile_seconds > 0


def test_a_compiled_step_is_compiled_once() -> None:
    problem = Problem()
    step = problem.compiled()
    first = mynn.fit(step, problem.data)
    program = step.program(problem.x[:32], problem.t[:32])
    second = mynn.fit(step, problem.data)
    assert step.program(problem.x[:32], problem.t[:32]) is program
    assert second["loss"] < first["loss"]
