"""The default dtype of floats, as PyTorch sets it."""

from __future__ import annotations

from typing import Any

from mynn.base import recording
from mynn.core.types import as_dtype, default_float, set_default_float
from mynn.errors import DTypeError
from mynn.runtime.store import programs


def set_default_dtype(d: Any) -> None:
    """The dtype of Python's floats, of tensors that are made without one, and of integers that
    become floats: float32 or float64. Programs that were compiled before are made anew.

    Example:
        >>> import mynn
        >>> mynn.set_default_dtype(mynn.float32)
    """
    dtype = as_dtype(d)
    if dtype.kind != "f":
        raise DTypeError(f"set_default_dtype: takes float32 or float64, it was given {dtype}")
    recording.settle()
    if dtype != default_float():
        set_default_float(dtype)
        recording.toggles[0] += 1  # what tapes know of calls is looked at again
        programs().clear()


def get_default_dtype() -> Any:
    """The dtype of floats that say no other."""
    return default_float()
