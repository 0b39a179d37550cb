"""The arrays of a data set, checked before anything is computed. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mynn.core.types import Array
from mynn.errors import DataError

_BLOCK_ROWS = 65536


def checked(arrays: Sequence[Array], check_finite: bool, nested: bool = False) -> list[Array]:
    """The arrays, contiguous; samples lie along the first axis of each.

    Arrays that are contiguous already, memory-mapped ones too, are used where they lie. `nested`
    says that some were in lists or tuples, so that an error can tell what those mean.

    Raises:
        DataError: no arrays, one without an axis of samples, different numbers of samples or none;
            with `check_finite`, a value that is NaN or infinite.

    Example:
        >>> [array.flags.c_contiguous for array in checked([np.ones((2, 3)).T], True)]
        [True]
    """
    if not arrays:
        raise DataError(
            "there is no data: give a tuple of arrays, one for each argument of the step"
        )
    for number, array in enumerate(arrays):
        if array.ndim == 0:
            raise DataError(
                f"data array {number} has no axis of samples: its shape is (). "
                "give an array of samples, and make arrays of lists with numpy.asarray"
            )
    lengths = [len(array) for array in arrays]
    if len(set(lengths)) != 1:
        shown = ", ".join(map(str, lengths[:8])) + (", ..." if len(lengths) > 8 else "")
        hint = "; lists are structures of arrays here, make arrays of them with numpy.asarray"
        raise DataError(
            f"the data arrays hold different numbers of samples: {shown}; they must be equal"
            f"{hint if nested else ''}"
        )
    if not lengths[0]:
        raise DataError("the data holds no samples; give at least one")
    if check_finite:
        for number, array in enumerate(arrays):
            index = first_not_finite(array)
            if index is not None:
                raise DataError(
                    f"data array {number} holds {array[index]} at {index}; "
                    "clean the data, or pass check_finite=False"
                )
    return [np.ascontiguousarray(array) for array in arrays]


def first_not_finite(array: Array) -> tuple[int, ...] | None:
    """The index of the first value that is NaN or infinite, block by block."""
    if array.dtype.kind != "f":
        return None
    for start in range(0, len(array), _BLOCK_ROWS):
        block = np.isfinite(array[start : start + _BLOCK_ROWS])
        if not block.all():
            index = [int(i) for i in np.argwhere(~block)[0]]
            return (index[0] + start, *index[1:])
    return None


def to_single(arrays: Sequence[Array], check_finite: bool = False) -> list[Array]:
    """Float64 arrays rounded to float32, others as they are.

    Raises:
        DataError: with `check_finite`, a value that float32 cannot hold.

    Example:
        >>> [array.dtype.name for array in to_single([np.zeros(2), np.zeros(2, np.int64)])]
        ['float32', 'int64']
    """
    with np.errstate(over="ignore"):
        single = [a.astype(np.float32) if a.dtype == np.float64 else a for a in arrays]
    if check_finite:
        for number, (array, rounded) in enumerate(zip(arrays, single, strict=True)):
            index = first_not_finite(rounded)
            if index is not None:
                raise DataError(
                    f"data array {number} holds {array[index]} at {index}, too large for the "
                    "float32 of the parameters; scale the data, or use float64 parameters"
                )
    return single
