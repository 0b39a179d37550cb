"""Programs that are ready to run for the next call, without looking anything up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mynn.core.types import Array, Shape
from mynn.trace.tracing import activity


class Ready(NamedTuple):
    """The latest program from one array to another, ready to run without looking anything up.

    It may run for arrays of this type, while nothing is traced and no more parts of modules were
    replaced, and `same()`, where there is something to look at.
    """

    shape: Shape
    dtype: Any
    edits: int
    same: Callable[[], bool] | None
    run: Callable[[Array], Any]
    code: Any

    def fits(self, array: Any) -> bool:
        """Whether it may run for this value now."""
        return (
            type(array) is np.ndarray
            and array.dtype is self.dtype
            and array.shape == self.shape
            and activity.watch == self.edits
            and (self.same is None or self.same())
        )


class ReadyForSeveral(NamedTuple):
    """The same for the latest program of several arrays, or from one to several; `bundle` gives
    results in the form that the function returned, None where that is one array.
    """

    shapes: tuple[Shape, ...]
    dtypes: tuple[Any, ...]
    edits: int
    same: Callable[[], bool] | None
    run: Callable[[Sequence[Any]], list[Any]]
    code: Any
    bundle: Callable[[list[Any]], Any] | None

    def fits(self, arrays: tuple[Any, ...]) -> bool:
        """Whether it may run for these values now."""
        shapes, dtypes, edits, same, _, _, _ = self  # the fields by name take longer
        if len(arrays) != len(shapes):
            return False
        if len(arrays) == 2:
            one, other = arrays
            return (
                type(one) is np.ndarray
                and type(other) is np.ndarray
                and one.dtype is dtypes[0]
                and other.dtype is dtypes[1]
                and one.shape == shapes[0]
                and other.shape == shapes[1]
                and activity.watch == edits
                and (same is None or same())
            )
        number = 0
        for array in arrays:  # so does `zip`
            if type(array) is not np.ndarray or array.dtype is not dtypes[number]:
                return False
            if array.shape != shapes[number]:
                return False
            number += 1  # noqa: SIM113
        return activity.watch == edits and (same is None or same())


class ReadyForMany(NamedTuple):
    """The latest program, ready for very many calls: `run` gives None where it does not fit."""

    edits: int
    same: Callable[[], bool] | None
    run: Callable[[tuple[Any, ...]], Array | None]
    code: Any
