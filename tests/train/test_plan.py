"""How often a step is traced, and for what."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.core.types import Array
from mynn.errors import ArgumentError, ShapeError
from mynn.jit import stage
from mynn.train.plan import check_count
from tests.train.reference import backends

ROWS, BATCH = 22, 8  # two whole batches, and one of 6


Traces = list[tuple[int, str]]


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Traces:
    """Rows and dtype of the first argument of all that is traced."""
    seen: Traces = []
    trace = stage.stage

    def stage_and_note(function: Any, arguments: Any, *more: Any) -> Any:
        (first, *_) = arguments
        seen.append((len(first), first.dtype.name))
        return trace(function, arguments, *more)

    monkeypatch.setattr(stage, "stage", stage_and_note)
    return seen


class Training:
    """A linear map that learns."""

    def __init__(self, backend: str = "native", dtype: Any = np.float32) -> None:
        mynn.manual_seed(0)
        self.net = nn.Linear(3, 2, dtype=dtype)
        self.optimizer = optim.SGD(self.net.parameters(), lr=0.1)
        self.compiled = mynn.compile(self.step, backend=backend)

    def step(self, x: mynn.Tensor, t: mynn.Tensor) -> mynn.Tensor:
        self.optimizer.zero_grad()
        loss = ((self.net(x) - t) ** 2).mean()
        loss.backward()
        self.optimizer.step()
        return loss

    def fit(self, dtype: Any, **options: Any) -> None:
        mynn.fit(self.compiled, data(dtype), batch_size=BATCH, **options)


def data(dtype: Any, rows: int = ROWS) -> tuple[Array, Array]:
    x = np.random.default_rng(0).normal(size=(rows, 3)).astype(dtype)
    return x, x[:, :2] * 2


@backends
def test_once_for_each_size(backend: str, traces: Traces) -> None:
    one = Training(backend)
    one.fit(np.float32)
    assert traces == [(8, "float32"), (6, "float32")]
    one.fit(np.float32)
    one.fit(np.float32, drop_last=True)
    assert len(traces) == 2


@backends
def test_float64_data_is_traced_as_what_the_parameters_are(backend: str, traces: Traces) -> None:
    """Not once more to learn that."""
    one = Training(backend)
    one.fit(np.float64)
    assert traces == [(8, "float32"), (6, "float32")]
    one.fit(np.float64, epochs=2)
    one.fit(np.float32)
    assert len(traces) == 2


@backends
def test_float64_parameters(backend: str, traces: Traces) -> None:
    """What was tried first is not tried again."""
    one = Training(backend, np.float64)
    one.fit(np.float64)
    assert traces == [(8, "float32"), (8, "float64"), (6, "float64")]
    one.fit(np.float64)
    assert len(traces) == 3


def test_a_program_for_float64_data_of_float32_parameters() -> None:
    """Made by a call; `fit` rounds the data all the same."""
    found = []
    for dtype in (np.float64, np.float32):
        one = Training()
        one.compiled(*data(np.float64, BATCH))
        one.fit(dtype, seed=0)
        found.append(one.net.weight.numpy())
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inference_traces_once_for_each_size(dtype: Any, traces: Traces) -> None:
    net = nn.Linear(3, 2)
    x, _ = data(dtype)
    predicted, measured = mynn.compile(net), mynn.compile(lambda x, t: (net(x) - t).mean())
    for _ in range(2):
        assert mynn.predict(predicted, x, batch_size=BATCH).dtype == np.float32
        mynn.evaluate(measured, data(dtype), batch_size=BATCH)
    assert traces == [(8, "float32"), (6, "float32")] * 2


def test_a_step_that_will_not_do_is_not_compiled() -> None:
    """It is refused once it is traced, before any program is made."""
    net = nn.Linear(3, 2)
    compiled = mynn.compile(lambda x: net(x))
    with pytest.raises(ShapeError, match="evaluate: the function returns"):
        mynn.evaluate(compiled, data(np.float32)[0])
    assert not compiled._programs


class Callable:
    """Takes two arguments, as an object and by its methods."""

    def __call__(self, x: Any, t: Any = 0) -> Any:
        """Two at most."""

    @classmethod
    def of_class(cls, x: Any, *, scale: float = 1.0) -> Any:
        """One."""

    @staticmethod
    def alone(x: Any, *more: Any, key: Any) -> Any:
        """None by position alone."""


def _plain(x: Any, t: Any, *, scale: float = 1.0) -> Any:
    """Two."""


def _rest(x: Any, *more: Any, **named: Any) -> Any:
    """One or more."""


@functools.wraps(_plain)
def _wrapped(*arguments: Any) -> Any:
    """Says that it is another one."""


@pytest.mark.parametrize(
    "function",
    [
        _plain,
        _rest,
        _wrapped,
        Callable(),
        Callable,
        Callable().of_class,
        Callable.alone,
        functools.partial(_plain, 1),
        nn.Linear(2, 2),
        nn.Linear(2, 2).forward,
        len,
    ],
)
def test_arguments_are_counted_as_python_does(function: Any) -> None:
    for count in range(4):
        try:
            inspect.signature(function).bind(*range(count))
        except TypeError:
            with pytest.raises(ArgumentError, match="which does not fit"):
                check_count(function, tuple(range(count)))
        else:
            check_count(function, tuple(range(count)))
