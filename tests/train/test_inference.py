"""`evaluate` and `predict`."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import weakref
from collections import namedtuple
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.errors import ArgumentError, DataError, DTypeError, ShapeError, UsageError
from mynn.jit import stage
from tests.train.reference import Problem, assert_same_state, backends

Pair = namedtuple("Pair", ["mean", "largest"])


@backends
@pytest.mark.parametrize("batch_size", [1, 7, 50, 256])
def test_predict(backend: str, batch_size: int) -> None:
    problem = Problem()
    expected = problem.net(problem.x).numpy()
    net = mynn.compile(problem.net, backend=backend)
    got = mynn.predict(net, problem.x, batch_size=batch_size)
    assert got.shape == (50, 2)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    assert got.flags.writeable


@backends
@pytest.mark.parametrize("batch_size", [1, 7, 50, 256])
def test_evaluate(backend: str, batch_size: int) -> None:
    problem = Problem()
    before = problem.state()

    def measure(x: Any, t: Any) -> Any:
        y = problem.net(x)
        return {"loss": nn.MSELoss()(y, t), "near": ((y - t).abs() < 1.0).astype("float32").mean()}

    run = mynn.compile(measure, backend=backend)
    got = mynn.evaluate(run, problem.data, batch_size=batch_size)
    y = problem.net(problem.x).numpy()
    assert list(got) == ["loss", "near"]
    assert all(isinstance(value, float) for value in got.values())
    np.testing.assert_allclose(got["loss"], ((y - problem.t) ** 2).mean(), rtol=1e-5)
    np.testing.assert_allclose(got["near"], (abs(y - problem.t) < 1).mean(), rtol=1e-5)
    assert_same_state(before, problem.state())


def test_structures() -> None:
    x = np.arange(10, dtype=np.float32)
    got = mynn.predict(lambda x: {"a": x, "b": (x * 2, x.reshape(-1, 1))}, x, batch_size=4)
    np.testing.assert_array_equal(got["a"], x)
    np.testing.assert_array_equal(got["b"][0], 2 * x)
    assert got["b"][1].shape == (10, 1)
    measured = mynn.evaluate(lambda x: Pair(x.mean(), x.max()), x, batch_size=5)
    assert measured == {"mean": 4.5, "largest": 6.5}
    both = mynn.predict(lambda d: d["x"] + d["y"], {"x": x, "y": x}, batch_size=3)
    np.testing.assert_array_equal(both, 2 * x)
    one = mynn.evaluate(lambda x: x.mean().reshape(1, 1), x)
    assert one == {"loss": 4.5}


@pytest.mark.one_in(9)
@backends
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint8", "bool"])
@pytest.mark.parametrize("shape", [(), (1,), (5,), (16,), (2, 3), (3, 5, 2), (20, 7), (2, 0)])
def test_results_of_any_shape(backend: str, dtype: str, shape: tuple[int, ...]) -> None:
    """The rows of results lie where their samples do."""
    x = np.random.default_rng(0).integers(0, 2, (11, *shape)).astype(dtype)
    run = mynn.compile(lambda x: (x, x[:, None], x * 1), backend=backend)
    for batch_size in (1, 4, 12):
        same, inner, product = mynn.predict(run, x, batch_size=batch_size)
        np.testing.assert_array_equal(same, x)
        np.testing.assert_array_equal(inner, x[:, None])
        np.testing.assert_array_equal(product, x * 1)
        assert same.dtype == x.dtype
        assert not np.shares_memory(same, x)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("rows", [1, 63, 64, 65, 200])
def test_threads(rows: int) -> None:
    """The same bits for every number of them, and none is left."""
    mynn.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 64, 7))
    x = np.random.default_rng(3).normal(size=(rows, 1, 10, 10)).astype(np.float32)
    t = np.arange(rows) % 7
    running = threading.active_count()

    def measure(x: Any, t: Any) -> Any:
        return nn.CrossEntropyLoss()(net(x), t), (net(x).argmax(1) == t).mean()

    outputs, measured = [], []
    for threads in (1, 2, 3, 4):
        predict = mynn.compile(net, threads=threads)
        outputs.append(mynn.predict(predict, x, batch_size=64))
        run = mynn.compile(measure, threads=threads)
        measured.append(mynn.evaluate(run, (x, t), batch_size=64))
    for other in outputs[1:]:
        np.testing.assert_array_equal(outputs[0], other)
    assert all(other == measured[0] for other in measured)
    assert threading.active_count() == running
    single = mynn.compile(net)
    whole = [single(x[k : k + 64]) for k in range(0, rows, 64)]
    np.testing.assert_array_equal(outputs[0], np.concatenate(whole))


def test_labels_are_looked_at_first() -> None:
    problem = Problem()
    t = np.zeros(50, np.int64)
    t[49] = 2
    with pytest.raises(DataError, match="2"):
        mynn.evaluate(lambda x, t: nn.CrossEntropyLoss()(problem.net(x), t), (problem.x, t))


def test_evaluate_a_module() -> None:
    """In evaluation mode, as `predict` does."""
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.5))
    mean = type("Mean", (nn.Module,), {"forward": lambda self, x: self.inner(x).mean()})()
    mean.inner = net
    assert mynn.evaluate(mean, np.ones((8, 4), np.float32)) == {"loss": 1.0}
    assert all(module.training for module in mean.modules())


def test_float64_data() -> None:
    """Rounded to float32 for parameters in float32, as `fit` does."""
    problem = Problem()
    expected = mynn.predict(problem.net, problem.x)
    got = mynn.predict(problem.net, problem.x.astype(np.float64))
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == np.float32
    assert mynn.predict(lambda x: x * 2.0, np.ones(3)).dtype == np.float64


@pytest.mark.parametrize("compiled", [False, True])
def test_modules_are_in_evaluation_mode(compiled: bool) -> None:
    net = nn.Sequential(nn.Linear(3, 5), nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    net[2].eval()
    x = np.ones((64, 3), np.float32)
    function = mynn.compile(net) if compiled else net
    got = mynn.predict(function, x)
    np.testing.assert_allclose(got, net[0](x).numpy(), rtol=1e-5)
    assert [m.training for m in net.modules()] == [True, True, True, False, False]
    with pytest.raises(ShapeError, match="Linear"):
        mynn.predict(function, np.ones((4, 2), np.float32))
    with pytest.raises(ShapeError, match=r"loss of shape \(64, 5\)"):
        mynn.evaluate(function, x)
    assert [m.training for m in net.modules()] == [True, True, True, False, False]


BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda x: x.sum(), ShapeError, r"\(\).*50.*one row for each sample"),
    (lambda x: x.T, ShapeError, r"\(3, 50\)"),
    (lambda x: {"a": x, "b": x[:7]}, ShapeError, r"\(7, 3\)"),
    (lambda x: None, UsageError, "returns nothing"),
    (lambda x: "text", UsageError, "str"),
    (lambda x, y: x, ArgumentError, "1 array.*'y'"),
    (3, ArgumentError, "int"),
]


@pytest.mark.parametrize(("function", "error", "message"), BAD)
def test_bad_functions_of_predict(function: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mynn.predict(function, Problem().x)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: x, ShapeError, r"loss of shape \(50, 3\).*mean"),
        (lambda x: {"a": x.mean(), "b": x.mean(0)}, ShapeError, r"b of shape \(3,\)"),
        (lambda x: (), UsageError, "returns nothing"),
    ],
)
def test_bad_functions_of_evaluate(function: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mynn.evaluate(function, Problem().x)


def test_bad_data() -> None:
    x = Problem().x
    for batch_size in (0, -1, 2.5, None, True):
        size: Any = batch_size
        with pytest.raises(ArgumentError, match=f"batch_size must be .*{batch_size}"):
            mynn.predict(lambda x: x, x, batch_size=size)
    with pytest.raises(DataError, match="no samples"):
        mynn.predict(lambda x: x, x[:0])
    with pytest.raises(DataError, match="no data"):
        mynn.evaluate(lambda: 1.0, ())
    with pytest.raises(DataError, match="different numbers"):
        mynn.evaluate(lambda x, y: x.mean(), (x, x[:3]))
    with pytest.raises(DTypeError, match=r"data array 0.*complex"):
        mynn.predict(lambda x: x, x * 1j)
    x[3, 1] = np.nan
    with pytest.raises(DataError, match=r"nan at \(3, 1\)"):
        mynn.evaluate(lambda x: x.mean(), x)
    assert np.isnan(mynn.evaluate(lambda x: x.mean(), x, check_finite=False)["loss"])
    assert np.isnan(mynn.predict(lambda x: x, x)).sum() == 1


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = 2.0
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))

    def forward(self, x: Any) -> Any:
        return self.inner(x) * self.scale


def test_a_network_is_traced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = Scaled(), f32_rows(6, 3)
    first = mynn.predict(net, x, batch_size=4)
    monkeypatch.setattr(stage, "stage", None)
    np.testing.assert_array_equal(first, mynn.predict(net, x, batch_size=4))
    with pytest.raises(TypeError):  # another size of a batch
        mynn.predict(net, x, batch_size=5)


@pytest.mark.parametrize(
    "change",
    [
        lambda net: setattr(net, "scale", 3.0),
        lambda net: setattr(net.inner[0].weight, "data", np.ones((4, 3), np.float32)),
        lambda net: net.inner.append(nn.Tanh()),
        lambda net: net.inner[2].running_mean.add_(1.0),
        lambda net: setattr(net, "inner", nn.Linear(3, 2)),
    ],
)
def test_a_changed_network(change: Any) -> None:
    net, x = Scaled(), f32_rows(6, 3)
    before = mynn.predict(net, x)
    change(net)
    got = mynn.predict(net, x)
    np.testing.assert_allclose(got, net.eval()(x).numpy(), rtol=1e-5, atol=1e-6)
    assert got.shape != before.shape or not np.array_equal(got, before)


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))]
)
def test_copies_of_a_network(copied: Any) -> None:
    """A copy predicts with its own options and weights."""
    net, x = Scaled(), f32_rows(6, 3)
    first = mynn.predict(net, x)
    twin = copied(net)
    np.testing.assert_array_equal(mynn.predict(twin, x), first)
    twin.scale = 4.0
    np.testing.assert_allclose(mynn.predict(twin, x), 2 * first, rtol=1e-6)
    np.testing.assert_array_equal(mynn.predict(net, x), first)


def test_a_network_that_is_dropped() -> None:
    """What is kept with a network does not keep it."""
    net, x = Scaled(), f32_rows(6, 3)
    mynn.predict(net, x)
    seen = weakref.ref(net)
    del net
    gc.collect()
    assert seen() is None


def f32_rows(rows: int, columns: int) -> Any:
    return np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)


class Several(nn.Module):
    """A layer whose trace reads its mode and plain values of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.drop = nn.Dropout(0.5)
        self.scale = 2.0
        self.shifts = [1.0, 0.0]

    def forward(self, x: Any) -> Any:
        y = self.drop(self.linear(x)) * self.scale
        return y + self.shifts[0] if self.training else y - self.shifts[1]


def _retrain(net: Several) -> None:
    net.train()


def _rescale(net: Several) -> None:
    net.scale = 3.0


def _shift(net: Several) -> None:
    net.shifts[1] = 5.0


def _exchange(net: Several) -> None:
    net.linear = nn.Linear(3, 2)


def _reload(net: Several) -> None:
    net.linear.weight.data = np.ones((2, 3), np.float32)


@pytest.mark.parametrize("change", [_retrain, _rescale, _shift, _exchange, _reload])
def test_a_prediction_again(change: Any) -> None:
    """What is kept ready sees every change, and gives what a network never predicted with gives."""
    net, x = Several(), np.ones((4, 3), np.float32)
    for _ in range(3):
        mynn.predict(net, x)
        net.train()
    change(net)
    fresh = copy.deepcopy(net).eval()
    np.testing.assert_allclose(mynn.predict(net, x), fresh(x).numpy(), rtol=1e-6)
    np.testing.assert_allclose(mynn.predict(net, 2 * x), fresh(2 * x).numpy(), rtol=1e-6)


def test_a_prediction_again_of_other_data() -> None:
    net, x = nn.Linear(3, 2), np.ones((4, 3), np.float32)
    for data in (x, x, x[:3], x.astype(np.float64), x.astype(np.int64), x[::2], x):
        expected = net(np.asarray(data, np.float32)).numpy()
        np.testing.assert_allclose(mynn.predict(net, data), expected, rtol=1e-6)
        np.testing.assert_allclose(mynn.predict(net, data, batch_size=2), expected, rtol=1e-6)
    with pytest.raises(ArgumentError, match="batch_size"):
        mynn.predict(net, x, batch_size=0)
    with pytest.raises(UsageError, match="inside a compiled function"):
        mynn.compile(lambda y: mynn.predict(net, x) + y)(x)


def test_a_prediction_again_from_forgotten_programs() -> None:
    net, x = nn.Linear(3, 2), np.ones((4, 3), np.float32)
    expected = mynn.predict(net, x)
    mynn.programs().clear()
    assert mynn.jit.compile.compiled_of(net).prediction is None
    np.testing.assert_array_equal(mynn.predict(net, x), expected)


def test_a_prediction_again_says_which_label() -> None:
    table, labels = nn.Parameter(np.eye(3, dtype=np.float32)), np.array([0, 1, 2])
    pick = mynn.compile(lambda i: table[i])
    for _ in range(2):
        np.testing.assert_array_equal(mynn.predict(pick, labels), np.eye(3))
    with pytest.raises(mynn.errors.IndexRangeError, match="sample 1 of the data"):
        mynn.predict(pick, np.array([0, 7, 2]))
