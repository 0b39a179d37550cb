"""What `fit` measures between epochs, and the history of it."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import functional as F
from mynn import metrics, nn, optim
from mynn.errors import ArgumentError, DataError, MynnError, UsageError
from mynn.train.engine.native import NativeExecutor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
T = (X[:, 0] > 0).astype(np.int64)
XV, TV = RNG.normal(size=(30, 4)).astype(np.float32), np.arange(30) % 2
QUIET = {"batch_size": 8, "seed": 0, "verbose": False}


def training(backend: str = "native") -> tuple[Any, Any, Any]:
    mynn.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2))
    adam = optim.Adam(net.parameters(), lr=0.01)
    matrix = metrics.ConfusionMatrix()

    def step(x: Any, t: Any) -> Any:
        y = net(x)
        loss = F.cross_entropy(y, t)
        loss.backward()
        adam.step()
        return {"loss": loss, "matrix": matrix.parts(y, t)}

    def measure(x: Any, t: Any) -> Any:
        y = net(x)
        return {"loss": F.cross_entropy(y, t), "matrix": matrix.parts(y, t)}

    given = {"validate": measure, "metrics": {"matrix": matrix}}
    return net, mynn.compile(step, backend=backend), given


@pytest.mark.parametrize("backend", ["interpreter", "native"])
def test_measured_after_each_epoch_in_evaluation_mode(backend: str) -> None:
    net, step, given = training(backend)
    rows: list[Any] = []

    class Look(mynn.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            outputs = mynn.predict(net, XV)
            loss = F.cross_entropy(mynn.Tensor(outputs), mynn.Tensor(TV)).item()
            table = metrics.confusion_matrix(outputs, TV)
            assert logs["val_loss"] == pytest.approx(loss, rel=1e-5)
            assert (logs["val_matrix"] == table).all()
            rows.append(table)

    history = mynn.fit(
        step, (X, T), epochs=3, callbacks=[Look()], validation_data=(XV, TV), **given, **QUIET
    )
    assert net.training
    assert history.metrics.keys() == {"loss", "matrix", "val_loss", "val_matrix"}
    np.testing.assert_array_equal(history["val_matrix"], rows)
    assert history["matrix"].shape == (3, 2, 2)
    assert (history["matrix"].sum((1, 2)) == 60).all()
    assert history["matrix"].dtype == np.int64
    plain, again, _ = training(backend)  # measuring changes nothing
    mynn.fit(again, (X, T), epochs=3, metrics=given["metrics"], **QUIET)
    for name, value in plain.state_dict().items():
        np.testing.assert_array_equal(value, net.state_dict()[name])


def test_the_last_samples_are_held_back() -> None:
    _, step, given = training()
    history = mynn.fit(step, (X, T), validation_split=0.25, **given, **QUIET)
    assert (history["matrix"].sum(), history["val_matrix"].sum()) == (45, 15)
    _, step, given = training()
    other = mynn.fit(step, (X[:45], T[:45]), validation_data=(X[45:], T[45:]), **given, **QUIET)
    for name, values in history.metrics.items():
        np.testing.assert_array_equal(other[name], values)


def test_the_history_as_dict_table_and_picture() -> None:
    _, step, given = training()
    history = mynn.fit(step, (X, T), epochs=2, validation_split=0.25, **given, **QUIET)
    assert json.loads(json.dumps(history.to_dict()))["val_loss"] == list(history["val_loss"])
    assert "matrix" not in repr(history)
    if pytest.importorskip("matplotlib", reason="Matplotlib is not installed"):
        figure = history.plot()
        (panel,) = figure.axes
        assert [line.get_label() for line in panel.lines] == ["loss", "val_loss"]
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    table = history.frame()
    assert isinstance(table, pandas.DataFrame)
    assert list(table.columns) == list(history.metrics)
    assert list(table["loss"]) == list(history["loss"])


def test_what_does_not_fit_is_said_before_anything_is_trained() -> None:
    net, step, given = training()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(UsageError, match="give validate="):
        mynn.fit(step, (X, T), validation_split=0.5, metrics=given["metrics"], **QUIET)
    with pytest.raises(UsageError, match="without validation_data or validation_split"):
        mynn.fit(step, (X, T), **given, **QUIET)
    with pytest.raises(DataError, match="leaves 0 to train on and 60 to measure"):
        mynn.fit(step, (X, T), validation_split=0.999, **given, **QUIET)
    with pytest.raises(ArgumentError, match="validation_split must be in"):
        mynn.fit(step, (X, T), validation_split=1.0, **given, **QUIET)
    with pytest.raises(MynnError, match="its last axis must hold in_features=4"):
        mynn.fit(step, (X, T), validation_data=(XV[:, :3], TV), **given, **QUIET)
    with pytest.raises(ArgumentError, match="validate must be a function"):
        mynn.fit(step, (X, T), validation_data=(XV, TV), **{**given, "validate": 3}, **QUIET)
    given["validate"] = step
    with pytest.raises(UsageError, match="evaluate: the function changes"):
        mynn.fit(step, (X, T), validation_data=(XV, TV), **given, **QUIET)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_weights_of_samples_and_classes_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    weights = RNG.random(60).astype(np.float32)
    mynn.manual_seed(0)
    net = nn.Linear(4, 2)
    other = torch.nn.Linear(4, 2)
    other.load_state_dict({k: torch.tensor(v) for k, v in net.state_dict().items()})
    sgd = optim.SGD(net.parameters(), lr=0.1)
    model = mynn.Model(net, nn.CrossEntropyLoss(), sgd, metrics=["accuracy", "f1"])
    history = model.fit(
        X, T, batch_size=15, epochs=2, shuffle=False, verbose=False,
        sample_weight=weights, class_weight={1: 3.0}, validation_split=0.5,
    )  # fmt: skip
    their_sgd = torch.optim.SGD(other.parameters(), lr=0.1)
    total = torch.tensor(weights * np.where(T == 1, 3, 1).astype(np.float32))
    for _ in range(2):
        for start in (0, 15):
            rows = slice(start, start + 15)
            their_sgd.zero_grad()
            logits = other(torch.tensor(X[rows]))
            each = torch.nn.functional.cross_entropy(
                logits, torch.tensor(T[rows]), reduction="none"
            )
            (each * total[rows]).mean().backward()
            their_sgd.step()
    np.testing.assert_allclose(net.weight.numpy(), other.weight.detach().numpy(), rtol=1e-5)
    assert history.metrics.keys() == {
        "loss", "accuracy", "f1", "val_loss", "val_accuracy", "val_f1"
    }  # fmt: skip
    assert model.evaluate(X, T).keys() == {"loss", "accuracy", "f1"}
    with pytest.raises(MynnError, match="sample_weight has shape"):
        model.fit(X, T, sample_weight=weights[:5])
    with pytest.raises(MynnError, match="finite and at least 0"):
        model.fit(X, T, sample_weight=-weights)
    with pytest.raises(MynnError, match="the targets must be labels"):
        mynn.Model(net, "mse", sgd).fit(X, X[:, :2], class_weight={0: 1.0})
    own = mynn.Model(net, lambda y, t: y.mean(), sgd)
    with pytest.raises(MynnError, match='has no reduction="none"'):
        own.fit(X, T, sample_weight=weights)


# -- inside the native loop ------------------------------------------------------------------------


class Nothing(mynn.Callback):
    """Python is asked after each epoch."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        assert logs.keys() >= {"val_loss", "val_matrix"}


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps of each run of a native loop."""
    found: list[int] = []
    inner = NativeExecutor._run

    def run(self: NativeExecutor, workers: int, budget: int) -> int:
        found.append(inner(self, workers, budget))
        return found[-1]

    monkeypatch.setattr(NativeExecutor, "_run", run)
    return found


def fitted(backend: str = "native", **options: Any) -> tuple[Any, mynn.History]:
    net, step, given = training(backend)
    options = {"epochs": 12, "validation_data": (XV, TV), **given, **QUIET, **options}
    return net, mynn.fit(step, (X, T), **options)


def assert_same(first: tuple[Any, mynn.History], second: tuple[Any, mynn.History]) -> None:
    assert first[1].metrics.keys() == second[1].metrics.keys()
    for name, values in first[1].metrics.items():
        np.testing.assert_array_equal(values, second[1][name], name)
        assert values.dtype == second[1][name].dtype
    for name, value in first[0].state_dict().items():
        np.testing.assert_array_equal(value, second[0].state_dict()[name])


@pytest.mark.one_in(3)
@pytest.mark.parametrize("size", [7, 30])
def test_the_loop_measures_without_a_return_to_python(
    turns: list[int], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYNN_THREADS", "1")
    given = {"validation_data": (XV[:size], TV[:size])}
    inside = fitted(**given)
    assert sum(turns) == 12 * 8
    assert len(turns) < 12
    turns.clear()
    apart = fitted(callbacks=[Nothing()], **given)
    assert len(turns) >= 12
    assert_same(inside, apart)
    assert inside[1]["val_matrix"].shape == (12, 2, 2)
    monkeypatch.setenv("MYNN_THREADS", "2")
    assert_same(inside, fitted(**given))
    _, interpreted = fitted("interpreter", **given)
    assert (interpreted["val_matrix"].sum((1, 2)) == size).all()
    np.testing.assert_allclose(interpreted["val_loss"], inside[1]["val_loss"], rtol=0.05)


def test_a_run_that_measures_inside_is_gone_on_from(tmp_path: Any) -> None:
    whole = fitted()
    path = tmp_path / "run"
    fitted(epochs=5, checkpoint=mynn.Checkpoint(path, steps=3))
    assert_same(whole, fitted(resume=path))


def test_a_label_out_of_range_ends_the_run_after_the_epoch(turns: list[int]) -> None:
    wrong = TV.copy()
    wrong[17] = 2
    net, step, given = training()
    with pytest.raises(DataError, match="sample 17 of the data"):
        mynn.fit(step, (X, T), epochs=9, validation_data=(XV, wrong), **given, **QUIET)
    plain, other, _ = training()
    mynn.fit(other, (X, T), epochs=1, metrics=given["metrics"], **QUIET)
    for name, value in plain.state_dict().items():
        np.testing.assert_array_equal(value, net.state_dict()[name])


def test_a_check_that_warns_says_so_once_and_all_is_measured() -> None:
    net = nn.Linear(4, 1)
    sgd = optim.SGD(net.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        loss = (net(x) ** 2).mean()
        loss.backward()
        sgd.step()
        return loss

    def measure(x: Any) -> Any:
        return F.binary_cross_entropy_with_logits(net(x), x[:, :1])

    options = {"epochs": 4, "validate": measure, "validation_data": XV, **QUIET}
    start = copy.deepcopy(net.state_dict())
    with pytest.warns(UserWarning, match="outside") as noted:
        first = mynn.fit(step, X, **options)
    assert len(noted) == 1
    net.load_state_dict(start)
    second = mynn.fit(step, X, **options, callbacks=[mynn.Callback()])
    np.testing.assert_array_equal(first["val_loss"], second["val_loss"])


def test_what_draws_is_measured_between_turns(turns: list[int]) -> None:
    """Steps that are repeated after a loss that is not finite must find the generator as it was."""
    net, step, given = training()

    def noisy(x: Any, t: Any) -> Any:
        return {"loss": mynn.random.uniform(()) + x.mean() * 0, "matrix": given["metrics"][
            "matrix"].parts(net(x), t)}  # fmt: skip

    options = {**given, **QUIET, "validate": noisy, "epochs": 5}
    history = mynn.fit(step, (X, T), validation_data=(XV, TV), **options)
    assert len(turns) >= 5
    assert len(set(history["val_loss"])) == 5
