"""What is measured between epochs: a function over data that is not trained on, natively."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mynn.base.arguments import in_range, shown
from mynn.base.structure import rebuild
from mynn.core.types import Array
from mynn.errors import ArgumentError, DataError
from mynn.trace.modes import called_in_modes
from mynn.train.engine.base import Executor
from mynn.train.inference import Evaluation


class Validation:
    """A function, and the data that it is measured on after each of so many epochs.

    The plan is made at once, so that what does not fit is said before anything is trained, and
    memory is bound once for all epochs.

    `inside`: whether the loop of the training runs it too, without a return to Python.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        data: Any,
        batch_size: int,
        metrics: Mapping[str, Any],
        check_finite: bool,
        modules: Iterable[Any],
        epochs: int,
    ) -> None:
        if not callable(function):
            raise ArgumentError(
                f"validate must be a function of a batch that returns what is measured, it is "
                f"{shown(function)}"
            )
        fixed = function, data, batch_size, metrics, check_finite
        self.evaluation = Evaluation(*fixed, modules)
        self.executor = self.evaluation.epochs(epochs)
        self.inside = False

    def go_inside(self, training: Executor) -> None:
        """Have the loop of the training run it, where it can."""
        self.inside = self.executor is not None and training.validate_with(self.executor)

    def refresh(self) -> None:
        """Take another program where what decided it was changed between epochs."""
        if self.executor is not None:
            called_in_modes(self.evaluation.modes, self.executor.refresh)

    def measure(self, epoch: int) -> dict[str, Any]:
        """The measures after an epoch, with "val_" before their names."""
        executor = self.executor
        if executor is None:
            return _named(self.evaluation.measure())
        if not self.inside:
            self.refresh()
            executor.run_epoch(epoch)
        return _named(executor.means(epoch))

    def columns(self, first: int, end: int) -> dict[str, Array]:
        """The measures after the epochs from `first` to `end`, where the loop has run them."""
        assert self.executor is not None
        found = self.executor.columns(first)
        return _named({name: values[: end - first] for name, values in found.items()})

    def finish(self) -> None:
        """The run is over."""
        if self.executor is not None:
            self.executor.finish()


def _named(measures: Mapping[str, Any]) -> dict[str, Any]:
    return {f"val_{name}": value for name, value in measures.items()}


def split(
    arguments: tuple[Any, ...], arrays: list[Array], given: float
) -> tuple[tuple[tuple[Any, ...], list[Array]], tuple[Any, ...]]:
    """The samples to train on, as arguments and arrays, and the last ones, to measure."""
    share = in_range("validation_split", given, 0.0, 1.0)
    count = len(arrays[0])
    first = math.floor(count * (1 - share) + 1e-9)
    if not 0 < first < count:
        raise DataError(
            f"validation_split: {share:g} of {count} samples leaves "
            f"{first} to train on and {count - first} to measure; there must be some of both"
        )
    training = [array[:first] for array in arrays]
    held: tuple[Any, ...] = rebuild(arguments, (array[first:] for array in arrays))
    return (rebuild(arguments, iter(training)), training), held
