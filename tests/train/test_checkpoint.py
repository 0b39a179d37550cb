"""Checkpoints: the rest of a training has the same bits, files are whole, others are refused."""

from __future__ import annotations

import copy
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mynn
from mynn.errors import ArgumentError, ArgumentTypeError, DataError, UsageError
from mynn.serialization import file
from tests.train import stops
from tests.train.stops import Training

posix = pytest.mark.skipif(os.name != "posix", reason="signals and permissions of POSIX")


@pytest.fixture(scope="module")
def whole() -> dict[str, np.ndarray]:
    training = Training()
    return training.result(training.fit())


def same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


class Stop(mynn.Callback):
    """Interrupts a training after so many steps, as Ctrl-C does."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_progress(self, epoch: int, step: int, logs: dict[str, Any]) -> None:
        if self.run.steps >= self.steps:
            raise KeyboardInterrupt


@pytest.mark.one_in(3)
@pytest.mark.parametrize("until", [1, 6, 17, 30])
def test_an_interrupted_training_goes_on(
    until: int, tmp_path: Path, whole: dict[str, np.ndarray]
) -> None:
    """After Ctrl-C, in the middle of an epoch and at its end; the file is that of the last step."""
    path = tmp_path / "run.st"
    first = Training()
    with pytest.raises(KeyboardInterrupt):
        first.fit(
            callbacks=[first.stop, Stop(until)],
            checkpoint=mynn.Checkpoint(path, seconds=None, steps=1),
        )
    second = Training(threads=2)
    history = second.fit(callbacks=[second.stop, Stop(10**6)], checkpoint=path, resume=True)
    same(second.result(history), whole)
    third = Training()  # the file is that of the complete training now
    again = third.fit(callbacks=[third.stop, Stop(10**6)], resume=path)
    same(third.result(again), whole)
    assert again.steps == history.steps == 36


@pytest.mark.wide
def test_in_other_processes(tmp_path: Path, whole: dict[str, np.ndarray]) -> None:
    draw = random.Random(int.from_bytes(os.urandom(4), "little"))
    points = [draw.randrange(1, 36)]
    found = stops.chain(tmp_path, points, [2, 1])
    same(found, whole)


@posix
def test_killed_while_saving(tmp_path: Path) -> None:
    stops.killed(tmp_path, [random.random() * 0.1])


def test_more_epochs_than_before(tmp_path: Path) -> None:
    path = tmp_path / "run.st"
    Training().fit(epochs=3, checkpoint=path)
    long, more = Training(), Training()
    expected = long.fit(epochs=5)
    history = more.fit(epochs=5, resume=path)
    for name, values in expected.metrics.items():
        np.testing.assert_array_equal(history[name], values)
    assert history.seconds > 0


def test_the_old_file_stays_where_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.st"
    Training().fit(epochs=1, checkpoint=path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(file.os, "fsync", full)
    training = Training()
    with pytest.raises(OSError, match="No space left"):
        training.fit(epochs=2, checkpoint=mynn.Checkpoint(path, epochs=1))
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["run.st"]


def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run.st"
    Training().fit(epochs=1, checkpoint=path)
    other = Training(width=9)
    before = copy.deepcopy(other.net.state_dict())
    with pytest.raises(ArgumentError, match=r"'0.weight' is \(8, 5\) float32 there and \(9, 5\)"):
        other.fit(resume=path)
    for name, value in other.net.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    with pytest.raises(ArgumentError, match="with rows=90, here it is 96"):
        Training().fit(resume=path, validation_split=0.2)
    more = Training()
    called = [more.stop, mynn.TerminateOnNaN()]
    with pytest.raises(ArgumentError, match="the state of 1 callbacks, here are"):
        more.fit(resume=path, callbacks=called)
    with pytest.raises(ArgumentError, match="one of a run with shuffle=True, here it is False"):
        Training().fit(resume=path, shuffle=False)
    mynn.save({"weight": mynn.Tensor([1.0])}, tmp_path / "weights.st")
    with pytest.raises(DataError, match="is no checkpoint"):
        Training().fit(resume=tmp_path / "weights.st")
    for error in (ArgumentError, FileNotFoundError):
        with pytest.raises(error, match=r"no file '.*none.st'; give checkpoint=.* and resume=True"):
            Training().fit(resume=tmp_path / "none.st")
    with pytest.raises(UsageError, match="give both"):
        Training().fit(resume=True)
    with pytest.raises(ArgumentTypeError, match="resume must be a path"):
        Training().fit(resume=3)
    with pytest.raises(ArgumentError, match="make the folder first"):
        mynn.Checkpoint(tmp_path / "none" / "run.st")
    with pytest.raises(ArgumentError, match="steps must be at least 1"):
        mynn.Checkpoint(path, steps=0)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """Bits, bytes and ends that are others: a checksum tells."""
    read, longest, most = stops.mutated(tmp_path, 300, random.Random(5))
    assert most < 2
    assert read < 30
    assert longest < 1
