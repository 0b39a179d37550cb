"""Criteria in the native loop end a training where callbacks that are told of each epoch do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Callback, History, nn, optim
from mynn.core.types import Array
from mynn.train.engine.native import NativeExecutor

EPOCHS = 300


class Told(mynn.EarlyStopping):
    """The same, told of each epoch: it is not of the very class that the loop knows."""


class ToldOfNaN(mynn.TerminateOnNaN):
    """The same."""


class Training:
    """A small network that soon knows its data by heart."""

    def __init__(self, threads: int = 1, rate: float = 0.1) -> None:
        mynn.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
        self.optimizer = optim.SGD(self.net.parameters(), lr=rate)
        self.compiled = mynn.compile(self.step, threads=threads)

    def step(self, x: Any, t: Any) -> Any:
        self.optimizer.zero_grad()
        loss = ((self.net(x) - t) ** 2).mean()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss, "accuracy": ((self.net(x) - t).abs() < 0.5).to(mynn.float32).mean()}

    def error(self, x: Any, t: Any) -> Any:
        return ((self.net(x) - t) ** 2).mean()

    def fit(self, *callbacks: Callback, **options: Any) -> History:
        rng = np.random.default_rng(0)
        x, t = (rng.normal(size=(44, n)).astype(np.float32) for n in (5, 1))
        fixed: dict[str, Any] = {"epochs": EPOCHS, "batch_size": 8, "verbose": False, "seed": 3}
        if "val" in options:
            fixed |= {"validate": self.error, "validation_split": 0.25}
            del options["val"]
        return mynn.fit(self.compiled, (x, t), callbacks=list(callbacks), **(fixed | options))

    def weights(self) -> list[Array]:
        return [parameter.numpy() for parameter in self.net.parameters()]


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many turns native code had."""
    counted: list[int] = []
    run = NativeExecutor._run

    def counting(self: NativeExecutor, workers: int, budget: int) -> int:
        counted.append(budget)
        return run(self, workers, budget)

    monkeypatch.setattr(NativeExecutor, "_run", counting)
    return counted


OPTIONS: dict[str, dict[str, Any]] = {
    "validation": {"monitor": "val_loss", "patience": 5},
    "training": {"monitor": "loss", "patience": 3, "min_delta": 1e-3},
    "more": {"monitor": "accuracy", "patience": 6},
    "late": {"monitor": "val_loss", "mode": "max", "patience": 4, "start_from_epoch": 3},
    "at once": {"monitor": "loss", "patience": 0},
    "baseline": {"monitor": "loss", "patience": 7, "baseline": 0.1},
    "best weights": {"monitor": "val_loss", "patience": 9, "restore_best_weights": True},
    "never": {"monitor": "loss", "patience": EPOCHS},
}


def assert_same(a: Training, b: Training, first: History, second: History) -> None:
    assert (first.epochs, first.steps) == (second.epochs, second.steps)
    for name in first.metrics:
        np.testing.assert_array_equal(first[name], second[name])
    for x, y in zip(a.weights(), b.weights(), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", OPTIONS)
def test_early_stopping_is_the_same(name: str, threads: int) -> None:
    a, b = Training(threads), Training(threads)
    one, other = mynn.EarlyStopping(**OPTIONS[name]), Told(**OPTIONS[name])
    first, second = a.fit(one, val=True), b.fit(other, val=True)
    assert (first.epochs == EPOCHS) == (name == "never")
    assert_same(a, b, first, second)
    told, expected = one.state_dict(), other.state_dict()
    for each in (told, expected):
        each["weights"] = sorted(each["weights"] or {})
    assert told == expected


@pytest.mark.parametrize("kind", [mynn.EarlyStopping, Told])
def test_the_loop_goes_on_by_itself(kind: Any, turns: list[int]) -> None:
    history = Training().fit(kind("loss", patience=EPOCHS), val=True)
    assert history.epochs == EPOCHS
    assert (len(turns) < EPOCHS // 4) == (kind is mynn.EarlyStopping)


@pytest.mark.parametrize("kind", [mynn.TerminateOnNaN, ToldOfNaN])
def test_numbers_that_are_not_finite(kind: Any, turns: list[int]) -> None:
    history = Training(rate=3.0).fit(kind(), check_finite=False)
    assert history.epochs < EPOCHS
    assert np.isfinite(history["loss"][:-1]).all()
    assert not np.isfinite(history["loss"][-1])


def test_several_criteria_and_a_callback_that_looks_at_nothing() -> None:
    class Silent(Callback):
        ended = 0

        def on_train_end(self, history: History) -> None:
            self.ended += 1

    def criteria(kind: Any) -> list[Callback]:
        return [kind("loss", patience=40), kind("val_loss", patience=6), mynn.TerminateOnNaN()]

    a, b, silent = Training(), Training(), Silent()
    first = a.fit(*criteria(mynn.EarlyStopping), silent, val=True)
    second = b.fit(*criteria(Told), val=True)
    assert_same(a, b, first, second)
    assert silent.ended == 1
    assert first.epochs < EPOCHS


def test_another_callback_is_told_of_each_epoch() -> None:
    epochs: list[int] = []

    class Notes(Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
            epochs.append(epoch)

    history = Training().fit(mynn.EarlyStopping("loss", patience=2), Notes())
    assert epochs == list(range(history.epochs))


def test_stopped_by_hand_the_training_ends_with_the_epoch() -> None:
    """Whoever sets `stop` in between, a handler of a signal say."""

    class Once(Callback):
        def on_progress(self, epoch: int, step: int, logs: dict[str, Any]) -> None:
            stopper.stop = True

    stopper = mynn.EarlyStopping("loss", patience=EPOCHS)
    assert Training().fit(stopper, Once()).epochs < EPOCHS


def test_a_training_that_goes_on_knows_what_it_knew(tmp_path: Path) -> None:
    """From a checkpoint, in the middle of the patience."""

    def stopper() -> mynn.EarlyStopping:
        return mynn.EarlyStopping("val_loss", patience=8)

    whole, first, second = Training(), Training(), Training()
    expected = whole.fit(stopper(), val=True)
    early = expected.epochs - 4
    first.fit(stopper(), val=True, epochs=early, checkpoint=tmp_path / "run")
    history = second.fit(stopper(), val=True, resume=tmp_path / "run")
    assert history.epochs == expected.epochs
    for x, y in zip(whole.weights(), second.weights(), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_misspelt_number_is_named() -> None:
    def fit(name: str) -> Callable[[], History]:
        return lambda: Training().fit(mynn.EarlyStopping(name))

    with pytest.raises(KeyError, match="did you mean 'loss'"):
        fit("los")()
