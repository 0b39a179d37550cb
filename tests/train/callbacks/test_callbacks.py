"""Callbacks: what they stop, keep, write and restore."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.errors import ArgumentError, ArgumentTypeError, KeyNameError, UsageError
from mynn.optim import lr_scheduler

X = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
QUIET = {"batch_size": 8, "seed": 0, "verbose": False}


def training(lr: float = 0.1) -> tuple[Any, Any, Any]:
    mynn.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    sgd = optim.SGD(net.parameters(), lr=lr, momentum=0.9)

    def step(x: Any) -> Any:
        loss = ((net(x) - x[:, :2]) ** 2).mean()
        loss.backward()
        sgd.step()
        return loss

    return net, sgd, step


class Told(mynn.Callback):
    """Tells the others what the epochs measured."""

    def __init__(self, values: list[float], net: Any) -> None:
        self.values, self.net, self.seen = values, net, []

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        logs["told"] = self.values[epoch]
        self.seen.append({k: v.numpy() for k, v in self.net.state_dict().items()})


@pytest.mark.parametrize("restore", [False, True])
def test_early_stopping_brings_the_best_weights_back(restore: bool) -> None:
    net, _, step = training()
    told = Told([5.0, 3.0, 4.0, 2.95, 3.5, 3.6, 1.0], net)
    stop = mynn.EarlyStopping("told", 0.1, 2, restore_best_weights=restore)
    history = mynn.fit(step, X, epochs=7, callbacks=[told, stop], **QUIET)
    assert (history.epochs, stop.stopped_epoch, stop.best_epoch, stop.best) == (4, 3, 1, 3.0)
    wanted = told.seen[1] if restore else told.seen[-1]
    for name, value in net.state_dict().items():  # running statistics too
        np.testing.assert_array_equal(value, wanted[name], err_msg=name)
    more = mynn.EarlyStopping("told", mode="max", patience=1, baseline=4.5, start_from_epoch=1)
    assert mynn.fit(step, X, epochs=7, callbacks=[told, more], **QUIET).epochs == 2


def test_not_finite_ends_the_training() -> None:
    _, _, step = training(lr=1e12)
    ends = [mynn.TerminateOnNaN()]
    history = mynn.fit(step, X, epochs=50, callbacks=ends, check_finite=False, **QUIET)
    assert 1 <= history.epochs < 50
    assert not np.isfinite(history["loss"][-1])


def test_files_of_weights_and_of_the_run(tmp_path: Path) -> None:
    net, _, step = training()
    told = Told([3.0, 1.0, 2.0], net)
    best = mynn.ModelCheckpoint(
        tmp_path / "best-{epoch}.st", "told", save_best_only=True, save_weights_only=True
    )
    runs = mynn.ModelCheckpoint(str(tmp_path / "run-{epoch:02d}-{told:.1f}.st"))
    history = mynn.fit(step, X, epochs=3, callbacks=[told, best, runs], **QUIET)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "best-1.st", "best-2.st", "run-01-3.0.st", "run-02-1.0.st", "run-03-2.0.st"
    ]  # fmt: skip
    weights = mynn.load(tmp_path / "best-2.st")
    assert weights.keys() == net.state_dict().keys()
    for name, value in weights.items():
        np.testing.assert_array_equal(value.numpy(), told.seen[1][name])
    other, _, again = training()
    told, seen = Told([3.0, 1.0, 2.0], other), copy.deepcopy(net.state_dict())
    best = mynn.ModelCheckpoint(tmp_path / "best-{epoch}.st", "told", save_best_only=True)
    runs = mynn.ModelCheckpoint(tmp_path / "x{epoch}.st")
    path = tmp_path / "run-02-1.0.st"
    called = [told, best, runs]
    resumed = mynn.fit(again, X, epochs=3, callbacks=called, resume=path, **QUIET)
    np.testing.assert_array_equal(resumed["loss"], history["loss"])
    for name, value in other.state_dict().items():
        np.testing.assert_array_equal(value, seen[name])
    assert best.best == 1.0


def test_a_table_of_all_epochs(tmp_path: Path) -> None:
    _, _, step = training()
    path = tmp_path / "log.csv"
    history = mynn.fit(step, X, epochs=2, callbacks=[mynn.CSVLogger(path, ";")], **QUIET)
    more = mynn.fit(step, X, epochs=1, callbacks=mynn.CSVLogger(path, ";", append=True), **QUIET)
    head, *rows = (line.split(";") for line in path.read_text().splitlines())
    assert head == ["epoch", "loss"]
    assert [int(row[0]) for row in rows] == [0, 1, 0]
    assert [float(row[1]) for row in rows] == [*history["loss"], *more["loss"]]


def test_schedules_step_after_epochs() -> None:
    _, sgd, step = training(lr=1e-3)
    schedule = lr_scheduler.StepLR(sgd, 2, 0.5)
    plateau = lr_scheduler.ReduceLROnPlateau(sgd, factor=0.1, patience=1)
    told = Told([1.0, 1.0, 1.0, 1.0], nn.Linear(1, 1))
    called = [told, mynn.LRScheduler(schedule), mynn.LRScheduler(plateau, "told")]
    mynn.fit(step, X, epochs=4, callbacks=called, **QUIET)
    assert sgd.lr == pytest.approx(1e-3 * 0.25 * 0.1, rel=1e-12)
    assert (schedule.last_epoch, plateau.last_epoch) == (4, 4)


def test_functions_are_called() -> None:
    _, _, step = training()
    seen: list[Any] = []
    tell = mynn.LambdaCallback(
        on_train_begin=lambda epochs, steps: seen.append((epochs, steps)),
        on_epoch_end=lambda epoch, logs: seen.append((epoch, *logs)),
        on_train_end=lambda history: seen.append(history.epochs),
    )
    mynn.fit(step, X, epochs=2, callbacks=[tell], **QUIET)
    assert seen == [(2, 3), (0, "loss"), (1, "loss"), 2]


def test_tensorboard_needs_its_package(tmp_path: Path) -> None:
    try:
        import tensorboard  # noqa: F401
    except ModuleNotFoundError:
        with pytest.raises(UsageError, match="the package tensorboard is not installed"):
            mynn.TensorBoard(tmp_path)
        return
    _, _, step = training()
    mynn.fit(step, X, epochs=2, callbacks=[mynn.TensorBoard(tmp_path / "logs")], **QUIET)
    assert list((tmp_path / "logs").iterdir())


def test_what_is_wrong_is_refused(tmp_path: Path) -> None:
    _, _, step = training()
    with pytest.raises(KeyNameError, match="EarlyStopping: the epoch has no 'val_loss'"):
        mynn.fit(step, X, callbacks=[mynn.EarlyStopping()], **QUIET)
    with pytest.raises(ArgumentError, match='mode must be "auto"'):
        mynn.EarlyStopping("loss", mode="least")
    with pytest.raises(ArgumentError, match="patience must be at least 0"):
        mynn.EarlyStopping("loss", patience=-1)
    with pytest.raises(ArgumentError, match="make it first"):
        mynn.ModelCheckpoint(tmp_path / "none" / "net.st")
    with pytest.raises(ArgumentError, match="known are epoch, loss"):
        mynn.fit(step, X, callbacks=[mynn.ModelCheckpoint(tmp_path / "{val}.st")], **QUIET)
    with pytest.raises(ArgumentTypeError, match="must be a path"):
        mynn.CSVLogger(3)
    with pytest.raises(ArgumentTypeError, match="scheduler must be one of"):
        mynn.LRScheduler(lambda epoch: 0.1)
    with pytest.raises(ArgumentTypeError, match="on_epoch_end must be a function"):
        mynn.LambdaCallback(on_epoch_end=3)
