"""What `fit` tells the outside while it runs."""

from __future__ import annotations

from typing import Any

from mynn.train.history import History


class Callback:
    """Base of callbacks.

    `fit` calls these methods; set `stop` to end the training after the present epoch. `run` is the
    run that they are told of: `run.epoch`, `run.steps`, `run.weights()`, `run.load_weights(...)`,
    `run.save(path)`.

    Example:
        >>> import mynn
        >>> class Patience(mynn.Callback):
        ...     best = float("inf")
        ...     def on_epoch_end(self, epoch, logs):
        ...         self.stop = logs["loss"] > self.best
        ...         self.best = min(self.best, logs["loss"])
    """

    stop = False
    # The run that it is told of: a `mynn.train.training.Training`.
    run: Any = None

    def on_train_begin(self, epochs: int, steps: int) -> None:
        """Before the first step; `steps` is the number in an epoch, 0 where it is not known."""

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint is to keep of the callback: numbers, texts, arrays, lists, dicts."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there; called after `on_train_begin` where a run goes on."""

    def on_progress(self, epoch: int, step: int, logs: dict[str, Any]) -> None:
        """About twenty-five times a second; `logs` are means over the present epoch so far."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """After each epoch, with the means over it. The state is that of the end of the epoch."""

    def on_train_end(self, history: History) -> None:
        """After the last step, also where the training was interrupted."""
