"""What is measured between epochs: a function over data that is not trained on, natively."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mynn.base.arguments import in_range, shown
from mynn.base.structure import rebuild
from mynn.core.types import Array
from mynn.errors import ArgumentError, DataError
from mynn.train.inference import Evaluation


class Validation:
    """A function, and the data that it is measured on after each epoch.

    The plan is made at once, so that what does not fit is said before anything is trained.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        data: Any,
        batch_size: int,
        metrics: Mapping[str, Any],
        check_finite: bool,
        modules: Iterable[Any],
    ) -> None:
        if not callable(function):
            raise ArgumentError(
                f"validate must be a function of a batch that returns what is measured, it is "
                f"{shown(function)}"
            )
        fixed = function, data, batch_size, metrics, check_finite
        self.evaluation = Evaluation(*fixed, modules)

    def measure(self) -> dict[str, Any]:
        """The measures now, with "val_" before their names."""
        return {f"val_{name}": value for name, value in self.evaluation.measure().items()}


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
