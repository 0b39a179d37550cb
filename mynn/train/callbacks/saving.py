"""Callbacks that write files: weights and whole runs, tables, TensorBoard's logs."""

from __future__ import annotations

import csv
import importlib.util
import os
from typing import Any

import numpy as np

from mynn.base.arguments import flag, shown
from mynn.errors import ArgumentError, ArgumentTypeError, UsageError
from mynn.serialization import save
from mynn.tensor import Tensor
from mynn.train.callbacks.base import Callback
from mynn.train.callbacks.monitor import Monitor
from mynn.train.history import History


def _path(owner: str, given: Any) -> str:
    if not isinstance(given, str | os.PathLike):
        raise ArgumentTypeError(f"{owner}: the file must be a path, it is {shown(given)}")
    path = os.fspath(given)
    if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
        raise ArgumentError(f"{owner}: the folder of {path!r} is not there; make it first")
    return path


class ModelCheckpoint(Callback):
    """Writes a file after each epoch, or after those that are better than all before.

    Args:
        filepath: where; `{epoch}` and names of the history are filled in: "net-{epoch:02d}.st".
        monitor: the number that says which epoch is better.
        save_best_only: write only then.
        mode: "min", "max", or "auto" as for `EarlyStopping`.
        save_weights_only: the weights under their names in the network, which
            `net.load_state_dict(mynn.load(path))` takes; otherwise the whole run, from which
            `fit(resume=path)` goes on.
        network: whose `state_dict` is written; left out, the weights that the step uses.

    Example:
        >>> import os, tempfile, numpy as np, mynn
        >>> path = os.path.join(tempfile.mkdtemp(), "net.safetensors")
        >>> net = mynn.nn.Linear(1, 1)
        >>> sgd = mynn.optim.SGD(net.parameters(), lr=0.1)
        >>> def step(x):
        ...     loss = (net(x) ** 2).mean()
        ...     loss.backward()
        ...     sgd.step()
        ...     return loss
        >>> keep = mynn.ModelCheckpoint(path, "loss", save_best_only=True, save_weights_only=True)
        >>> _ = mynn.fit(step, np.ones((8, 1), np.float32), epochs=3, callbacks=[keep])
        >>> sorted(mynn.load(path))
        ['bias', 'weight']
    """

    def __init__(
        self,
        filepath: Any,
        monitor: str = "val_loss",
        save_best_only: bool = False,
        mode: str = "auto",
        save_weights_only: bool = False,
        network: Any = None,
    ) -> None:
        self.filepath = _path("ModelCheckpoint", filepath)
        self.monitor = Monitor("ModelCheckpoint", monitor, mode)
        self.best_only = flag("ModelCheckpoint: save_best_only", save_best_only)
        self.weights_only = flag("ModelCheckpoint: save_weights_only", save_weights_only)
        self.network = network
        self.on_train_begin(0, 0)

    def on_train_begin(self, epochs: int, steps: int) -> None:
        """Begin anew."""
        self.best = self.monitor.worst

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Write, where it is due."""
        if self.best_only:
            value = self.monitor.value(logs)
            if not self.monitor.better(value, self.best):
                return
            self.best = value
        try:
            path = self.filepath.format(**{**logs, "epoch": epoch + 1})
        except (KeyError, IndexError) as error:
            raise ArgumentError(
                f"ModelCheckpoint: {self.filepath!r} names {error}, known are epoch, "
                f"{', '.join(logs)}"
            ) from None
        if not self.weights_only:
            self.run.save(path)
            return
        if self.network is not None:
            save(self.network.state_dict(), path)
            return
        weights = self.run.weights()
        save({name: Tensor.from_value(value) for name, value in weights.items()}, path)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.best = state_dict["best"]


class CSVLogger(Callback):
    """Writes a line of a table after each epoch: its number, and all single numbers.

    Args:
        filename: the file; it is replaced, or with `append` gets further lines.
        separator: between the columns.
        append: go on with a file that is there, as a training that goes on does.

    Example:
        >>> import os, pathlib, tempfile, numpy as np, mynn
        >>> path = os.path.join(tempfile.mkdtemp(), "log.csv")
        >>> step = lambda x: x.mean()
        >>> data = np.ones(4, np.float32)
        >>> _ = mynn.fit(step, data, epochs=2, callbacks=[mynn.CSVLogger(path)])
        >>> pathlib.Path(path).read_text().splitlines()
        ['epoch,loss', '0,1.0', '1,1.0']
    """

    def __init__(self, filename: Any, separator: str = ",", append: bool = False) -> None:
        self.filename = _path("CSVLogger", filename)
        if not isinstance(separator, str) or len(separator) != 1:
            raise ArgumentError(f"CSVLogger: separator must be one character, it is {separator!r}")
        self.separator = separator
        self.append = flag("CSVLogger: append", append)
        self.names: list[str] | None = None

    def on_train_begin(self, epochs: int, steps: int) -> None:
        """Empty the file, or see what columns it has; where a run goes on, keep its epochs."""
        rows: list[list[str]] = []
        if (self.append or self.run.steps) and os.path.exists(self.filename):
            with open(self.filename, newline="", encoding="utf-8") as file:
                rows = list(csv.reader(file, delimiter=self.separator))
        self.names = rows[0][1:] if rows else None
        if not self.append:
            rows = rows[:1] + [row for row in rows[1:] if row and int(row[0]) < self.run.epoch]
        with open(self.filename, "w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=self.separator, lineterminator="\n").writerows(rows)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Write a line."""
        numbers = {name: float(value) for name, value in logs.items() if np.ndim(value) == 0}
        with open(self.filename, "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=self.separator, lineterminator="\n")
            if self.names is None:
                self.names = list(numbers)
                writer.writerow(["epoch", *self.names])
            writer.writerow([epoch, *(numbers.get(name, "") for name in self.names)])


class TensorBoard(Callback):
    """Writes all single numbers of each epoch to a log of TensorBoard, whose package must be there.

    Args:
        log_dir: the folder of the log.

    Raises:
        UsageError: the package `tensorboard` is not installed.
    """

    def __init__(self, log_dir: Any = "logs") -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise UsageError(
                "TensorBoard: the package tensorboard is not installed; install it, or write a "
                "table with mynn.CSVLogger"
            )
        self.log_dir = os.fspath(log_dir)

    def on_train_begin(self, epochs: int, steps: int) -> None:
        """Open the log."""
        from tensorboard.summary import Writer  # type: ignore[import-not-found, unused-ignore]

        self.writer = Writer(self.log_dir)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Write the numbers."""
        for name, value in logs.items():
            if np.ndim(value) == 0:
                self.writer.add_scalar(name, float(value), epoch)

    def on_train_end(self, history: History) -> None:
        """Close the log."""
        self.writer.close()
