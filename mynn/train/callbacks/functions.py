"""Callbacks that call what they are given: functions, a schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mynn.base.arguments import shown
from mynn.errors import ArgumentTypeError
from mynn.optim import lr_scheduler
from mynn.train.callbacks.base import Callback
from mynn.train.callbacks.monitor import Monitor
from mynn.train.history import History


class LRScheduler(Callback):
    """Has a schedule make a step after each epoch.

    A schedule of steps, not of epochs, is called in the step itself.

    Args:
        scheduler: one of `mynn.optim.lr_scheduler`.
        monitor: the number that `ReduceLROnPlateau` is given.

    Example:
        >>> import numpy as np, mynn
        >>> p = mynn.Parameter(np.ones(1, np.float32))
        >>> sgd = mynn.optim.SGD([p], lr=1.0)
        >>> def step(x):
        ...     loss = (p * x).sum()
        ...     loss.backward()
        ...     sgd.step()
        ...     return loss
        >>> schedule = mynn.optim.lr_scheduler.ExponentialLR(sgd, gamma=0.5)
        >>> data = np.ones(4, np.float32)
        >>> _ = mynn.fit(step, data, epochs=3, callbacks=[mynn.LRScheduler(schedule)])
        >>> sgd.lr
        0.125
    """

    def __init__(self, scheduler: Any, monitor: str = "val_loss") -> None:
        if not isinstance(scheduler, lr_scheduler.LRScheduler):
            raise ArgumentTypeError(
                "LRScheduler: scheduler must be one of mynn.optim.lr_scheduler, it is "
                f"{shown(scheduler)}; for a function of the epoch there is lr_scheduler.LambdaLR"
            )
        self.scheduler = scheduler
        self.monitor = Monitor("LRScheduler", monitor, "auto")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """The next step of the schedule."""
        if isinstance(self.scheduler, lr_scheduler.ReduceLROnPlateau):
            self.scheduler.step(self.monitor.value(logs))
        else:
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return self.scheduler.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.scheduler.load_state_dict(state_dict)


class LambdaCallback(Callback):
    """Calls functions, with the arguments of the methods of `Callback` that have their names.

    Example:
        >>> import numpy as np, mynn
        >>> seen = []
        >>> tell = mynn.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs["loss"]))
        >>> step = lambda x: x.mean()
        >>> _ = mynn.fit(step, np.ones(4, np.float32), epochs=2, callbacks=[tell])
        >>> seen
        [1.0, 1.0]
    """

    def __init__(
        self,
        on_epoch_end: Callable[[int, dict[str, Any]], Any] | None = None,
        on_train_begin: Callable[[int, int], Any] | None = None,
        on_train_end: Callable[[History], Any] | None = None,
    ) -> None:
        given = {
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
        }
        for name, function in given.items():
            if function is not None and not callable(function):
                raise ArgumentTypeError(
                    f"LambdaCallback: {name} must be a function, it is {shown(function)}"
                )
        self.given = given

    def on_train_begin(self, epochs: int, steps: int) -> None:
        """Call the function for it."""
        self._call("on_train_begin", epochs, steps)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any]) -> None:
        """Call the function for it."""
        self._call("on_epoch_end", epoch, logs)

    def on_train_end(self, history: History) -> None:
        """Call the function for it."""
        self._call("on_train_end", history)

    def _call(self, name: str, *values: Any) -> None:
        function = self.given[name]
        if function is not None:
            function(*values)
