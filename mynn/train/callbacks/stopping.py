"""Callbacks that end a training."""

from __future__ import annotations

import math
from typing import Any

from mynn.base.arguments import flag, number, whole_number
from mynn.core.types import Array
from mynn.errors import ArgumentError
from mynn.train.callbacks.base import Callback
from mynn.train.callbacks.monitor import Monitor
from mynn.train.history import History


class EarlyStopping(Callback):
    """Ends a training when a number has got no better for `patience` epochs.

    Args:
        monitor: its name in the history.
        min_delta: by how much better counts.
        patience: epochs that may pass without getting better.
        mode: "min", "max", or "auto": max for accuracies, F1, AUC and the like.
        baseline: a value that must be passed to count as better at first.
        restore_best_weights: whether parameters and buffers are those of the best epoch in the end,
            however the training ends.
        start_from_epoch: epochs that do not count.

    Example:
        >>> import numpy as np, mynn
        >>> size = mynn.Tensor(4.0)
        >>> def step(x):
        ...     size.assign(size - 1)
        ...     return size * size * x.mean()
        >>> stop = mynn.EarlyStopping("loss", patience=2)
        >>> history = mynn.fit(step, np.ones(1, np.float32), epochs=20, callbacks=[stop])
        >>> history["loss"].tolist(), stop.best_epoch
        ([9.0, 4.0, 1.0, 0.0, 1.0, 4.0], 3)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        self.monitor = Monitor("EarlyStopping", monitor, mode, min_delta)
        self.patience = whole_number("EarlyStopping: patience", patience)
        if self.patience < 0:
            raise ArgumentError(f"EarlyStopping: patience must be at least 0, it is {patience}")
        self.baseline = None if baseline is None else number("EarlyStopping: baseline", baseline)
        self.restore = flag("EarlyStopping: restore_best_weights", restore_best_weights)
        self.start = whole_number("EarlyStopping: start_from_epoch", start_from_epoch)
        self.on_train_begin(0, 0)

    def on_train_begin(self, epochs: int, steps: int) -> None:
        """Begin anew."""
        self.best = self.monitor.worst if self.baseline is None else self.baseline
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None
        self.wait = 0
        self.weights: dict[str, Array] | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Compare; keep the weights where they are the best."""
        value = self.monitor.value(logs)
        if epoch < self.start:
            return
        if self.monitor.better(value, self.best):
            self.best, self.best_epoch, self.wait = value, epoch, 0
            if self.restore:
                self.weights = self.run.weights()
            return
        self.wait += 1
        if self.wait >= max(self.patience, 1):
            self.stop, self.stopped_epoch = True, epoch

    def on_train_end(self, history: History) -> None:
        """Put the best weights back."""
        if self.restore and self.weights is not None:
            self.run.load_weights(self.weights)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        kept = ("best", "best_epoch", "wait", "weights", "stopped_epoch")
        return {name: getattr(self, name) for name in kept}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        vars(self).update(state_dict)
        self.stop = self.stopped_epoch is not None


class TerminateOnNaN(Callback):
    """Ends a training after the epoch in which a number has become NaN or infinite.

    It is of use with `fit(check_finite=False)`; otherwise `fit` stops at the step itself, with an
    error that says where it arose.

    Args:
        monitor: the name of the number.

    Example:
        >>> import numpy as np, mynn
        >>> step = lambda x: x.mean() / 0
        >>> data = np.ones(4, np.float32)
        >>> given = {"check_finite": False, "callbacks": [mynn.TerminateOnNaN()]}
        >>> mynn.fit(step, data, epochs=9, **given).epochs
        1
    """

    def __init__(self, monitor: str = "loss") -> None:
        self.monitor = Monitor("TerminateOnNaN", monitor, "auto")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Look at the number."""
        self.stop = self.stop or not math.isfinite(self.monitor.value(logs))
