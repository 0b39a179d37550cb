"""Bad input to `fit`: told clearly, before anything is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Callback, nn, optim
from mynn.core.types import Array
from mynn.errors import ArgumentError, DataError, DTypeError, ShapeError, UsageError
from tests.train.reference import Problem, Watch, assert_same_state, backends


def x(rows: int = 50) -> Array:
    return np.ones((rows, 3), np.float32)


def t(rows: int = 50) -> Array:
    return np.ones((rows, 2), np.float32)


def with_value(array: Array, value: float) -> Array:
    array[7, 1] = value
    return array


BAD_DATA: dict[str, tuple[Any, type[Exception], str]] = {
    "no arrays": ((), DataError, "no data"),
    "None": (None, DataError, "no data"),
    "no samples": ((x(0), t(0)), DataError, "no samples"),
    "lengths": ((x(50), t(49)), DataError, r"different numbers of samples.*50.*49"),
    "a number": ((x(), 1.0), DataError, r"data array 1.*\(\)"),
    "lists": ((x().tolist(), t().tolist()), DataError, r"array.*\(\).*numpy\.asarray"),
    "lists of rows": (
        (list(x()), list(t())),
        DataError,
        r"3, 3, 3, 3, 3, 3, 3, 3, \.\.\.; .*lists are .*numpy\.asarray",
    ),
    "pairs": (list(zip(x(), t(), strict=True)), DataError, r"3, 2, 3, .*numpy\.asarray"),
    "NaN": ((with_value(x(), np.nan), t()), DataError, r"array 0 holds nan at \(7, 1\)"),
    "infinity": ((x(), with_value(t(), -np.inf)), DataError, r"array 1 holds -inf at \(7, 1\)"),
    "too large": (
        (with_value(x().astype(np.float64), 1e300), t()),
        DataError,
        r"array 0 holds 1e\+300 at \(7, 1\).*float32",
    ),
    "complex": ((x() * 1j, t()), DTypeError, "data array 0.*complex64"),
    "objects": ((x(), t().astype(object)), DTypeError, "data array 1.*object"),
    "strings": ((x(), np.array(["a"] * 50)), DTypeError, "data array 1.*<U1"),
    "half floats": ((x().astype(np.float16), t()), DTypeError, "array 0.*float16.*float32"),
    "a generator of numbers": ((i for i in range(3)), ArgumentError, "1 array.*'t'"),
    "a file name": ("data.csv", DTypeError, "data array 0"),
    "features": ((np.ones((50, 4), np.float32), t()), ShapeError, "0.*Linear.*3.*4"),
    "targets": ((x(), np.ones((50, 3), np.float32)), ShapeError, "mse_loss.*2.*3"),
    "one array too few": ((x(),), ArgumentError, "1 array.*'t'"),
    "one array too many": ((x(), t(), t()), ArgumentError, "3 arrays.*too many"),
    "a dict of arguments": ({"x": x(), "t": t()}, ArgumentError, "1 array.*'t'"),
}


@pytest.mark.one_in(5, each="name")
@pytest.mark.parametrize("check_finite", [True, False])
@pytest.mark.parametrize("name", BAD_DATA)
def test_bad_data(name: str, check_finite: bool) -> None:
    """Nothing is changed by data that cannot be used."""
    data, error, message = BAD_DATA[name]
    if not check_finite and name in ("NaN", "infinity", "too large"):
        return
    problem = Problem(optimizer="Adam")
    mynn.fit(problem.step, problem.data)
    before = problem.state()
    if name == "a generator of numbers":
        data = (i for i in range(3))
    with pytest.raises(error, match=message):
        mynn.fit(problem.step, data, check_finite=check_finite)
    assert_same_state(before, problem.state())


BAD_OPTIONS: list[tuple[dict[str, Any], str]] = [
    *(({"epochs": v}, rf"epochs must be .*{v}") for v in (0, -3, True, 1.0, 2.5, "3", None)),
    *(({"batch_size": v}, rf"batch_size must be .*{v}") for v in (0, -1, False, 32.0, "8", None)),
    *(({"seed": v}, rf"seed must be a whole number.*{v}") for v in (1.5, "0", True)),
    *(({"shuffle": v}, rf"shuffle must be True or False.*{v}") for v in ("no", 0, None)),
    ({"drop_last": "yes"}, "drop_last must be True or False.*yes"),
    ({"check_finite": 1}, "check_finite must be True or False.*1"),
    ({"batch_size": 51, "drop_last": True}, "drop_last.*50 samples.*51"),
    ({"callbacks": [print]}, "callbacks.*print"),
    ({"callbacks": [Callback]}, "callbacks.*class"),
    ({"callbacks": 3}, "callbacks.*3"),
    ({"record": "0"}, "record.*Record"),
    ({"record": True}, "record.*Record"),
    (
        {"record": mynn.Record(layers="9")},
        r"no layer is called '9'; layers are '0', '1', '2', '', 'MSELoss'",
    ),
]


@pytest.mark.parametrize(("options", "message"), BAD_OPTIONS)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    problem = Problem(optimizer="Adam")
    before = problem.state()
    with pytest.raises(ArgumentError, match=message):
        mynn.fit(problem.step, problem.data, **options)
    assert_same_state(before, problem.state())


def test_one_callback_need_not_be_in_a_list() -> None:
    problem = Problem()
    watch: Any = Watch(problem)
    mynn.fit(problem.step, problem.data, callbacks=watch)
    assert watch.events[-1] == "end 1"


@backends
def test_bad_steps(backend: str) -> None:
    problem = Problem()
    net = problem.net

    def returning(result: Callable[[Any], Any]) -> Any:
        def step(x: Any, t: Any) -> Any:
            loss = problem.step(x, t)
            return result(net(x) - t if loss is None else loss)

        return mynn.compile(step, backend=backend)

    before = problem.state()
    cases: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
        (lambda loss: None, UsageError, "returns nothing"),
        (lambda loss: {}, UsageError, "returns nothing"),
        (lambda loss: net(problem.x), ArgumentError, r"loss of shape \(50, 2\).*mean"),
        (lambda loss: {"a": loss, "b": net(problem.x)[0]}, ArgumentError, r"b of shape \(2,\)"),
        (lambda loss: "low", UsageError, "str"),
        (lambda loss: loss if loss < 1 else -loss, UsageError, "truth"),
        (lambda loss: float(loss), UsageError, "traced"),
    ]
    for result, error, message in cases:
        with pytest.raises(error, match=message):
            mynn.fit(returning(result), problem.data)
        assert_same_state(before, problem.state())
    no_callbacks: Any = [problem.net]
    with pytest.raises(ArgumentError, match="Sequential"):
        mynn.fit(problem.net, (problem.x,), callbacks=no_callbacks)
    with pytest.raises(ArgumentError, match="loss of shape"):
        mynn.fit(problem.net, (problem.x,))
    no_function: Any = None
    with pytest.raises(ArgumentError, match="NoneType"):
        mynn.fit(no_function, problem.data)


@backends
@pytest.mark.parametrize("bad", [3, -1])
def test_labels_out_of_range(backend: str, bad: int) -> None:
    net = nn.Linear(3, 3)
    optimizer = optim.Adam(net.parameters())

    def step(x: Any, t: Any) -> Any:
        loss = nn.CrossEntropyLoss()(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    labels = np.arange(50) % 3
    labels[4] = bad
    before = net.weight.numpy()
    with pytest.raises(DataError, match=rf"labels.*0\.\.2.*{bad}"):
        mynn.fit(mynn.compile(step, backend=backend), (x(), labels), batch_size=8, shuffle=False)
    np.testing.assert_array_equal(net.weight.value, before)


def test_a_step_that_trains_nothing_is_told() -> None:
    problem = Problem()

    def step(x: Any, t: Any) -> Any:
        return nn.MSELoss()(problem.net(x), t)

    with pytest.warns(UserWarning, match=r"changes no parameter.*optimizer\.step"):
        mynn.fit(step, problem.data)
