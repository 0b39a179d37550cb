"""The data of a training run, checked before anything is computed."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn import staging
from mynn.errors import ArgumentError, DataError
from mynn.graph import Array
from mynn.tensor import Tensor, as_array


def positive(name: str, value: Any) -> int:
    """`value` as a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ArgumentError(f"{name} must be a whole number, it is {value!r}")
    if value < 1:
        raise ArgumentError(f"{name} must be at least 1, it is {value}")
    return int(value)


def load(data: Any, check_finite: bool) -> tuple[tuple[Any, ...], list[Array]]:
    """The arguments as a tuple, and their arrays: contiguous, of equal length, finite if asked.

    Arrays that are contiguous already, memory-mapped ones too, are used where they lie.
    """
    if isinstance(data, np.ndarray | Tensor):
        data = (data,)
    arguments = tuple(data)
    arrays = [as_array(leaf) for leaf in staging.flatten(arguments)]
    if not arrays:
        raise DataError(
            "there is no data: give a tuple of arrays, one for each argument of the step"
        )
    for number, array in enumerate(arrays):
        if array.ndim == 0:
            raise DataError(f"data array {number} has no axis of samples: its shape is ()")
        if len(array) != len(arrays[0]):
            lengths = [len(a) for a in arrays]
            raise DataError(f"the data arrays hold different numbers of samples: {lengths}")
    if not len(arrays[0]):
        raise DataError("the data holds no samples")
    if check_finite:
        for number, array in enumerate(arrays):
            _require_finite(number, array)
    return arguments, [np.ascontiguousarray(array) for array in arrays]


def _require_finite(number: int, array: Array) -> None:
    if array.dtype.kind != "f":
        return
    for start in range(0, len(array), 65536):
        block = np.isfinite(array[start : start + 65536])
        if not block.all():
            place = tuple(int(i) for i in np.argwhere(~block)[0])
            place = (place[0] + start, *place[1:])
            raise DataError(
                f"data array {number} holds {array[place]} at {place}; "
                "clean the data, or pass check_finite=False"
            )
