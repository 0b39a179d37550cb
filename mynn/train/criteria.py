"""Criteria by which a training ends, compared in the native loop.

`EarlyStopping` and `TerminateOnNaN` look at a number of each epoch. The loop has the same numbers,
and compares them by the same rule (`Watch`); it goes on until a callback would do something: end
the training, or keep the weights. Then Python tells the callbacks of all epochs that have passed,
one after the other, and they find what they would have found after each. So what they say is
theirs, whoever compared first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mynn.compiler.host.control_block import Watch
from mynn.train.callbacks.base import Callback
from mynn.train.callbacks.stopping import EarlyStopping, TerminateOnNaN
from mynn.train.engine.base import Executor


def looks_at_epochs(callback: Callback) -> bool:
    """Whether it is told of something before the training ends."""
    kind = type(callback)
    methods = ("on_epoch_end", "on_progress")
    return any(getattr(kind, name) is not getattr(Callback, name) for name in methods)


class Criteria:
    """What some callbacks watch, as the loop of an executor compares it."""

    def __init__(self, callbacks: Sequence[Callback], executor: Executor) -> None:
        self.callbacks = [callback for callback in callbacks if looks_at_epochs(callback)]
        self.words = np.zeros((len(self.callbacks), Watch.COUNT), np.int64)
        self.reals = self.words.view(np.float64)
        # Whether the loop can do it.
        self.inside = all(
            self._found(number, executor) for number in range(len(self.callbacks))
        ) and (not self.callbacks or executor.watch(self.words))

    def _found(self, number: int, executor: Executor) -> bool:
        """Whether the loop has the number that a callback watches; where it lies is written."""
        callback = self.callbacks[number]
        if type(callback) not in (EarlyStopping, TerminateOnNaN):
            return False
        assert isinstance(callback, EarlyStopping | TerminateOnNaN)
        name, source = callback.monitor.name, executor
        if name.startswith("val_") and executor.validation is not None:
            name, source = name[len("val_") :], executor.validation
        run = source.run
        column = run.columns.get(name)
        if column is None or name.partition(".")[0] in run.metrics:
            return False
        words, reals = self.words[number], self.reals[number]
        words[Watch.SUMS] = source.sums.ctypes.data
        words[Watch.WIDTH], words[Watch.COLUMN] = run.width, column.start
        reals[Watch.SAMPLES] = run.samples
        reals[Watch.SIGN] = 1.0
        words[Watch.FINITE] = isinstance(callback, TerminateOnNaN)
        if isinstance(callback, EarlyStopping):
            reals[Watch.SIGN] = -1.0 if callback.monitor.more else 1.0
            reals[Watch.DELTA] = callback.monitor.delta
            words[Watch.PATIENCE] = max(callback.patience, 1)
            words[Watch.START] = callback.start
            words[Watch.LOOKS] = callback.restore
        return True

    def tell(self) -> None:
        """Have the loop go on from what the callbacks know."""
        for words, reals, callback in zip(self.words, self.reals, self.callbacks, strict=True):
            if isinstance(callback, EarlyStopping):
                words[Watch.WAIT] = callback.wait
                reals[Watch.BEST] = callback.best * reals[Watch.SIGN]
