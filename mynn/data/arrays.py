"""The arrays of a data set, checked before anything is computed. NumPy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import as_strided

from mynn.core.types import Array
from mynn.errors import DataError

_BLOCK_ROWS = 65536


def checked(arrays: Sequence[Array], check_finite: bool, nested: bool = False) -> list[Array]:
    """The arrays, each sample contiguous; samples lie along the first axis of each.

    Arrays that are so already, memory-mapped ones and windows of a series too, are used where they
    lie. `nested` says that some were in lists or tuples, so that an error can tell what those mean.

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
    return [array if _rows_lie(array) else np.ascontiguousarray(array) for array in arrays]


def _rows_lie(array: Array) -> bool:
    """Whether native code finds the rows: contiguous, one after the other, in any distance."""
    return array.flags.c_contiguous or (
        array.flags.aligned
        and array[0].flags.c_contiguous
        and array.strides[0] > 0
        and array.strides[0] % array.itemsize == 0
    )


def _memory_of(array: Array) -> Array | None:
    """What overlapping rows lie in, flat; None where they do not overlap."""
    row = array.nbytes // max(len(array), 1)
    step = array.strides[0] if array.ndim else 0
    if not (_rows_lie(array) and 0 < step < row):
        return None
    size = ((len(array) - 1) * step + row) // array.itemsize
    return as_strided(array, (size,), (array.itemsize,), writeable=False)


def first_not_finite(array: Array) -> tuple[int, ...] | None:
    """The index of the first value that is NaN or infinite, block by block."""
    if array.dtype.kind != "f":
        return None
    memory = _memory_of(array)
    if memory is not None:  # each value once
        found = first_not_finite(memory)
        if found is None:
            return None
        past = (found[0] + 1) * array.itemsize - array[0].nbytes
        row = max(0, -(-past // array.strides[0]))
        return (row, *[int(i) for i in np.argwhere(~np.isfinite(array[row]))[0]])
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
        single = [_single(a) if a.dtype == np.float64 else a for a in arrays]
    if check_finite:
        for number, (array, rounded) in enumerate(zip(arrays, single, strict=True)):
            index = first_not_finite(rounded)
            if index is not None:
                raise DataError(
                    f"data array {number} holds {array[index]} at {index}, too large for the "
                    "float32 of the parameters; scale the data, or use float64 parameters"
                )
    return single


def _single(array: Array) -> Array:
    memory = _memory_of(array)
    if memory is None:
        return array.astype(np.float32)
    strides = tuple(step // 2 for step in array.strides)
    return as_strided(memory.astype(np.float32), array.shape, strides, writeable=False)
