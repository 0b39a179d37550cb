"""Values of state dicts: arrays, numbers, lists, tensors of mynn and of PyTorch, of any dtype."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mynn.base.arguments import shown
from mynn.core.types import SHORT_NAMES, Array, Shape
from mynn.errors import ArgumentError, DataError, DTypeError, ShapeError
from mynn.tensor.gradients.history import array_of
from mynn.tensor.promotion import plain_array
from mynn.tensor.tensor import Tensor


def loaded_array(what: str, value: Any, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """A saved value as an array of that shape and dtype.

    Raises:
        DataError: ragged lists, a masked array. ShapeError: another shape. DTypeError: no numbers,
            or numbers that the dtype cannot hold.
    """
    array = numbers_of(what, value)
    if array.shape != shape:
        raise ShapeError(
            f"{what} has shape {shape}, the new value {array.shape}; give one of the same shape"
        )
    with np.errstate(invalid="ignore"):
        result = array.astype(dtype)
    if dtype.kind in "iub" and not np.array_equal(result, array):
        raise DTypeError(f"{what} holds {dtype}, the new value has others than whole numbers of it")
    return result


def numbers_of(what: str, value: Any) -> Array:
    """A saved value as an array of numbers, of any shape."""
    if isinstance(value, Tensor):
        return array_of(value)
    if hasattr(value, "detach") and hasattr(value, "cpu"):  # PyTorch's, on any device
        value = value.detach().cpu()
        if not hasattr(np, str(value.dtype).rpartition(".")[2]):  # bfloat16, float8: no NumPy dtype
            value = value.float()
        value = value.numpy()
    try:
        array = plain_array(value)
        if array.dtype.kind == "V" or array.dtype == np.float16:
            array = array.astype(np.float32)  # bfloat16 of ml_dtypes; half precision
    except DataError as error:
        raise DataError(f"{what}: {error}") from None
    except (TypeError, ValueError):
        array = np.asarray(None)
    if array.dtype.name not in SHORT_NAMES and array.dtype.kind not in "iu":
        raise DTypeError(
            f"{what}: the new value must be an array of numbers, it is {shown(value)}; give what "
            "state_dict() gave"
        )
    return array


def unboxed(value: Any) -> Any:
    """What `np.savez` boxed: a dict or a number in an array without axes; anything else as it is.

    PyTorch's tensors of one number are numbers too.
    """
    if isinstance(value, np.ndarray | np.generic) and value.ndim == 0:
        return value.item()
    if isinstance(value, Tensor) or (hasattr(value, "detach") and hasattr(value, "cpu")):
        return value.item() if not tuple(value.shape) else value
    return value


def checked_mapping(what: str, value: Any) -> Mapping[Any, Any]:
    """`value` as a mapping, or an `ArgumentError` that says what to give."""
    value = unboxed(value)
    if isinstance(value, Mapping):
        return value
    remedy = "give the dict that state_dict() returned"
    if isinstance(value, str) or hasattr(value, "__fspath__"):
        remedy = f"load the file first: with numpy.load({str(value)!r}) as saved: ..."
    raise ArgumentError(f"{what} takes a dict, it was given {shown(value)}; {remedy}")
