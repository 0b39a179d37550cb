"""The whole of a run in one file: the cursor, the state, the history; from which it goes on.

The file is what `mynn.save` writes of

    {"checkpoint": 1, "run": facts, "cursor": Cursor.to_dict(), "state": {name: array},
     "validation": [{name: number}], "callbacks": [state_dict], "seconds": number}

with a checksum. It is written by a thread, beside the old one, synced, and put in its place.
"""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from mynn.base import sharing
from mynn.base.arguments import in_range, positive, shown
from mynn.core.types import Array
from mynn.errors import (
    ArgumentError,
    ArgumentTypeError,
    DataError,
    FileMissingError,
    MynnError,
)
from mynn.runtime.signals import uninterrupted
from mynn.serialization import file, objects
from mynn.tensor import Tensor
from mynn.train.engine.cursor import Cursor
from mynn.train.plan import Run

_PARTS = ("checkpoint", "run", "cursor", "state", "validation", "callbacks", "seconds")


class Checkpoint:
    """When `fit` writes its whole state to a file, from which another `fit` goes on.

    Args:
        path: the file; it is replaced whole, so that there is always one that can be read.
        seconds: so often, between two steps; None: never by time.
        steps: after so many steps each time.
        epochs: after so many epochs each time.

    It is written at the end too, and where Ctrl-C ends the training. `fit(resume=path)` goes on
    from it with the same bits as if the training had not ended, also in another process and with
    another number of threads: state of the network and the optimiser, schedules that step in the
    step, random numbers, the order of the samples, history, what is measured between epochs, and
    what callbacks keep (`Callback.state_dict`). Data, step and arguments must be given again.

    Raises:
        ArgumentError: an argument out of its range, a folder that is not there. OSError: the file
            cannot be written; the old one is still there.

    Example:
        >>> import os, tempfile, numpy as np, mynn
        >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
        >>> rate = mynn.Tensor(1.0)
        >>> def step(x):
        ...     rate.assign(rate * 0.5)
        ...     return rate * x.mean()
        >>> x = np.ones(8, np.float32)
        >>> _ = mynn.fit(step, x, epochs=2, checkpoint=mynn.Checkpoint(path, epochs=1))
        >>> rate.assign(1.0)
        >>> mynn.fit(step, x, epochs=3, resume=path)["loss"].tolist()
        [0.5, 0.25, 0.125]
    """

    def __init__(
        self,
        path: Any,
        seconds: float | None = 30.0,
        steps: int | None = None,
        epochs: int | None = None,
    ) -> None:
        if not isinstance(path, str | os.PathLike):
            raise ArgumentTypeError(
                f"checkpoint must be a path or a mynn.Checkpoint, it is {shown(path)}"
            )
        self.path = os.path.abspath(os.fspath(path))
        folder = os.path.dirname(self.path)
        if not os.path.isdir(folder) or os.path.isdir(self.path):
            raise ArgumentError(
                f"checkpoint: {self.path!r} must be a file in a folder that is there; make the "
                "folder first"
            )
        self.seconds = None if seconds is None else in_range("Checkpoint: seconds", seconds, 0.0)
        self.steps = None if steps is None else positive("Checkpoint: steps", steps)
        self.epochs = None if epochs is None else positive("Checkpoint: epochs", epochs)


def checked(given: Any) -> Checkpoint | None:
    """What was given for `checkpoint`."""
    return given if given is None or isinstance(given, Checkpoint) else Checkpoint(given)


class Keeper:
    """Writes the checkpoints of one run, by a thread."""

    def __init__(self, given: Any) -> None:
        checkpoint = checked(given)
        assert checkpoint is not None
        self.given = checkpoint
        self.thread: threading.Thread | None = None
        self.failed: BaseException | None = None
        self.at = 0.0
        self.epoch = self.step = 0

    def begin(self, training: Any) -> None:
        """The run begins, or goes on."""
        self.at, self.epoch, self.step = time.perf_counter(), training.epoch, training.steps

    def most(self, training: Any) -> list[int]:
        """In how many steps a checkpoint is due by their number."""
        found = []
        if self.given.steps is not None:
            found.append(self.given.steps - training.steps % self.given.steps)
        if self.given.epochs is not None:
            executor = training.executor
            left = self.given.epochs - training.epoch % self.given.epochs
            found.append(left * training.batches - executor.batch)
        return found

    def keep(self, training: Any) -> None:
        """Write one, where it is due."""
        given, steps, epoch = self.given, training.steps, training.epoch
        due = given.steps is not None and steps % given.steps == 0 and steps > self.step
        if given.epochs is not None and training.executor.batch == 0:
            due |= epoch % given.epochs == 0 and epoch > self.epoch
        if given.seconds is not None:
            due |= time.perf_counter() - self.at >= given.seconds
        if due:
            self._start(training)
        elif self.failed is not None:
            self.wait()

    def end(self, training: Any) -> None:
        """Write the last one."""
        self._start(training)
        self.wait()

    def save(self, training: Any) -> None:
        """Write one now."""
        self._start(training)
        self.wait()

    def _start(self, training: Any) -> None:
        """Copy the state, and have the thread write it."""
        self.wait()
        self.at, self.epoch, self.step = time.perf_counter(), training.epoch, training.steps
        content = content_of(training)
        self.thread = threading.Thread(target=self._write, args=(content,), name="checkpoint")
        self.thread.start()

    def _write(self, content: dict[str, Any]) -> None:
        try:
            file.replace(self.given.path, objects.packed(content, checksum=True))
        except BaseException as error:
            self.failed = error

    def wait(self) -> None:
        """Have the file written; raise what went wrong."""
        if self.thread is not None:  # until it has ended, also where Ctrl-C ends the waiting
            self.thread.join()
            self.thread = None
        failed, self.failed = self.failed, None
        if failed is not None:
            raise failed


# -- what lies in it -------------------------------------------------------------------------------


def named_state(run: Run) -> dict[str, Tensor]:
    """The state that steps read or change, but for keys of random numbers, by different names."""
    keys = set(run.generators)
    found: dict[str, Tensor] = {}
    for number, tensor in enumerate(run.state):
        if tensor not in keys:
            name = unique = tensor.name or f"state{number}"
            count = 1
            while unique in found:
                count += 1
                unique = f"{name}#{count}"
            found[unique] = tensor
    return found


def facts_of(run: Run) -> dict[str, Any]:
    """What must be the same where a run goes on."""
    columns = {name: at.stop - at.start for name, at in run.columns.items()}
    return {
        "rows": run.rows,
        "batch_size": run.whole.rows,
        "remainder": run.remainder,
        "shuffle": bool(run.shuffle),
        "results": columns,
    }


def content_of(training: Any) -> dict[str, Any]:
    """Copies of all that a run goes on from."""
    executor = training.executor
    run = executor.run
    tensors = named_state(run)

    def taken() -> tuple[dict[str, Array], dict[str, Any]]:
        natives = run.natives
        state = {name: natives[tensor].copy() for name, tensor in tensors.items()}
        return state, executor.cursor().to_dict()

    state, cursor = sharing.run_whole(taken, run.state)
    training.catch_up(cursor["epoch"])
    return {
        "checkpoint": 1,
        "run": facts_of(run),
        "cursor": cursor,
        "state": state,
        "validation": list(training.measured),
        "callbacks": [callback.state_dict() for callback in training.callbacks],
        "seconds": training.seconds,
    }


def read(path: Any) -> dict[str, Any]:
    """What lies in a file, its form checked.

    Raises:
        FileMissingError: there is no such file. DataError: it is no checkpoint, or damaged.
        OSError: it cannot be read.
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentTypeError(f"resume must be a path, True or False, it is {shown(path)}")
    where = repr(os.fspath(path))
    if not os.path.exists(path):
        raise FileMissingError(
            f"resume: there is no file {where}; give checkpoint={where} and resume=True to begin "
            "anew where it is not there yet, or leave resume out"
        )
    with open(path, "rb") as opened:
        content = objects.unpacked(opened, where, checksum=True)
    if not isinstance(content, dict) or any(part not in content for part in _PARTS):
        raise DataError(
            f"resume: {where} is no checkpoint of mynn.fit; for weights alone there are mynn.load "
            "and load_state_dict"
        )
    return content


def restore(training: Any, content: dict[str, Any], where: Any) -> None:
    """Put a run where a checkpoint was taken; nothing is changed where it does not fit.

    Raises:
        ArgumentError: it is one of another network, other data or other arguments.
    """
    try:
        cursor = Cursor.from_dict(content["cursor"])
        _restore(training, content, cursor, repr(str(where)))
    except MynnError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"resume: {str(where)!r} is damaged: {error!r}. Nothing of it was used"
        ) from None


def _restore(training: Any, content: dict[str, Any], cursor: Cursor, where: str) -> None:
    executor = training.executor
    run = executor.run
    tensors, state = named_state(run), content["state"]
    _check_state(where, tensors, state)
    own = facts_of(run)
    for name, value in own.items():
        if content["run"].get(name) != value:
            raise ArgumentError(
                f"resume: the checkpoint {where} is one of a run with {name}="
                f"{content['run'].get(name)}, here it is {value}; give the same data, step and "
                "arguments"
            )
    executor._check_cursor(cursor)
    kept = content["callbacks"]
    if kept and len(kept) != len(training.callbacks):
        names = ", ".join(type(one).__name__ for one in training.callbacks) or "none"
        if any(kept) or any(one.state_dict() for one in training.callbacks):
            raise ArgumentError(
                f"resume: the checkpoint {where} has the state of {len(kept)} callbacks, here are "
                f"{names}; give the same callbacks in the same order"
            )
        kept = []
    measured = [dict(row) for row in content["validation"]]
    if training.validation is not None and len(measured) != cursor.epoch:
        raise ArgumentError(
            f"resume: the checkpoint {where} was measured on validation data after "
            f"{len(measured)} of {cursor.epoch} epochs; give validation data to both runs or none"
        )

    def put() -> None:
        for name, tensor in tensors.items():
            tensor.to_native()[...] = state[name]
        executor.go_to(cursor)

    with uninterrupted():
        sharing.run_whole(put, run.state, write=True)
    training.measured = measured
    training.reported = cursor.epoch
    training.before = float(content["seconds"])
    training.kept = kept


def _check_state(where: str, tensors: dict[str, Tensor], state: dict[str, Array]) -> None:
    """Raise where names, shapes or dtypes are others."""
    wrong = []
    for name in dict.fromkeys([*tensors, *state]):
        mine = f"{tensors[name].shape} {tensors[name].dtype}" if name in tensors else "missing"
        theirs = f"{state[name].shape} {state[name].dtype}" if name in state else "missing"
        if mine != theirs:
            wrong.append(f"{name!r} is {theirs} there and {mine} here")
    if wrong:
        more = f", and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise ArgumentError(
            f"resume: the checkpoint {where} is one of another network or optimizer: "
            f"{'; '.join(wrong[:4])}{more}; build what it was saved from"
        )
