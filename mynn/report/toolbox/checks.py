"""What the toolbox checks before it computes or changes anything."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.core.types import Array
from mynn.errors import DataError, DTypeError, ShapeError
from mynn.tensor import plain_array


def real_array(value: Any, what: str, dtype: np.dtype[Any]) -> Array:
    """A copy of `value` as a contiguous array of `dtype`.

    Raises:
        DTypeError: complex, object or text values.
        DataError: no values, NaN or infinity.
    """
    if type(value) is np.ndarray and value.dtype == dtype and value.size:
        copy = value.copy()
        if np.isfinite(copy).all():
            return copy
    try:
        array = plain_array(value)
    except ValueError as error:
        raise DTypeError(f"{what} is not a regular array of numbers: {error}") from None
    if array.dtype.kind not in "fiub":
        raise DTypeError(
            f"{what} holds {array.dtype} values; use real numbers, for example "
            "array.astype(numpy.float32)"
        )
    if array.size == 0:
        raise DataError(f"{what} is empty: its shape is {array.shape}")
    with np.errstate(over="ignore"):
        result = np.array(array, dtype=dtype, order="C")
    if not np.isfinite(result).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(result))[0])
        raise DataError(
            f"{what} holds {result[place]} at index {place} ({np.sum(~np.isfinite(result))} values "
            "that are not finite in all)"
        )
    return result


def samples(value: Any, what: str, features: int, layer: str, dtype: np.dtype[Any]) -> Array:
    """`value` as one sample of shape (features,) or as a batch of shape (B, features), checked."""
    array = real_array(value, what, dtype)
    if array.ndim not in (1, 2) or array.shape[-1] != features:
        raise ShapeError(
            f"{layer} takes {features} features: {what} must be of shape ({features},) for one "
            f"sample or (B, {features}) for a batch, it is {array.shape}"
        )
    return array


def is_same_memory(value: Any, array: Array) -> bool:
    """Whether a value is an array that looks at the very elements of another one."""
    return (
        isinstance(value, np.ndarray)
        and (value.shape, value.strides, value.dtype) == (array.shape, array.strides, array.dtype)
        and value.ctypes.data == array.ctypes.data
    )
