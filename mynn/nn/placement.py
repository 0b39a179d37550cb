"""`device` and `dtype` of a layer: where and in which precision its parameters are."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.core.types import default_float, supported
from mynn.errors import ArgumentError, DTypeError
from mynn.tensor import Tensor


def parameter_dtype(layer: str, device: Any, dtype: Any) -> np.dtype[Any]:
    """The dtype of a layer's parameters, that of `set_default_dtype` where None; the processor is
    the one device.
    """
    if device is not None and str(getattr(device, "type", device)).partition(":")[0] != "cpu":
        raise ArgumentError(f'{layer}: device must be "cpu" or None, it is {device!r}')
    try:
        chosen = supported(np.dtype(default_float() if dtype is None else dtype))
    except TypeError as error:
        raise DTypeError(f"{layer}: dtype {dtype!r} is none: {error}") from None
    if chosen.kind != "f":
        raise DTypeError(f"{layer}: dtype must be float32 or float64, it is {chosen}")
    return chosen


def like_state(layer: Any, x: Tensor) -> Tensor:
    """The input in the dtype of the layer's floats; as it is, but as floats, where it has none."""
    for table in (layer._parameters, layer._buffers):
        for tensor in table.values():
            if tensor is not None and tensor.dtype.kind == "f":
                return x.astype(tensor.dtype)
    return x.floating()
