"""Rows that are written where they lie: `x[index] = value` of a tensor without a history.

    memory[t] = state        errors[mask] = 0        priorities[indices] = new

That is what buffers are filled by. NumPy writes them, and where the values wait for a tape, it does
so once that has run (`Written.put_rows`). All else goes by primitives (`setitem.py`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn.base import recording, sharing
from mynn.core.types import Array, Shape
from mynn.tensor.grad_mode import grad_enabled
from mynn.tensor.history import changed
from mynn.tensor.promotion import as_tensor
from mynn.tensor.value import AnyTensor, Value
from mynn.tensor.view import value_of
from mynn.trace import tracing

# An index as NumPy has it.
Places = tuple[Any, ...]
_NUMBERS = (bool, int, float)


def set_rows(x: AnyTensor, index: Any, value: Any) -> bool:
    """x[index] = value, where that is rows of plain memory; whether it could be done so.

    What is wrong is left to those who say it.
    """
    if x.pending is not None or x._requires_grad or x._view is not None or x._is_state:
        return False
    if tracing.active() is not None or (x.node is not None and x.node.inputs):
        return False
    places = chosen(index, x)
    if places is None:
        return False
    if type(value) in _NUMBERS and _holds(x.dtype, value):
        return _write(x, places, value)
    values = as_tensor(value, like=x)
    if values.requires_grad and grad_enabled():
        return False
    if values.dtype != x.dtype:
        values = values.astype(x.dtype)
    pending = values.pending
    if pending is not None and pending.tape is not None:
        tape = recording.current.tape
        return tape is not None and tape.put_rows(x, places, values)
    array = value_of(values)
    if array is None:
        return False
    return _write(x, places, array if values._view is None else array.copy())


def _holds(dtype: np.dtype[Any], number: float) -> bool:
    """Whether NumPy converts a number as PyTorch does, and without a word."""
    if dtype.kind == "f":
        return abs(number) < 1e38 or not math.isfinite(number)
    return dtype.kind == "b" or (isinstance(number, int) and abs(number) < 128)


def chosen(index: Any, x: AnyTensor) -> Places | None:
    """An index of x as NumPy has it, so that it chooses views, or places of arrays; None where it
    has another meaning there, or where what chooses is not known yet.

    In PyTorch numbers choose before arrays do, in NumPy they are arrays themselves.
    """
    found: list[Any] = []
    numbers = arrays = rest = False
    for entry in index if type(index) is tuple else (index,):
        if type(entry) is int:
            numbers = True
        elif entry is Ellipsis:
            rest = True
        elif type(entry) is not slice and entry is not None:
            entry = _known(entry, x)
            if entry is None:
                return None
            arrays = arrays or entry.ndim > 0
            numbers = numbers or not entry.ndim
            entry = entry if entry.ndim else int(entry)
        found.append(entry)
    if numbers and arrays:
        return None
    # With `...` what is chosen is an array also where it has no axes.
    return tuple(found) if rest else (*found, Ellipsis)


def _known(entry: Any, x: AnyTensor) -> Array | None:
    """An index, or a mask, as an array."""
    if isinstance(entry, list | range | np.integer):
        entry = np.asarray(entry)
    elif isinstance(entry, Value):
        pending, view = entry.pending, entry._view
        if entry is x or (pending is not None and pending.tape is not None):
            return None
        if view is not None and view.base is x:
            return None
        entry = value_of(entry)
    if not isinstance(entry, np.ndarray):
        return None
    kind = entry.dtype.kind
    return entry if kind in "iu" or (kind == "b" and entry.ndim) else None


def shape_of_rows(memory: Array, places: Places) -> Shape | None:
    """The shape of what an index chooses; None where it chooses nothing that is there."""
    try:
        return memory[places].shape
    except IndexError:
        return None


def _write(x: AnyTensor, places: Places, values: Any) -> bool:
    try:
        write_rows(x, places, values)
    except (IndexError, ValueError):
        return False
    return True


def write_rows(x: AnyTensor, places: Places, values: Any) -> None:
    """Write to the memory of a tensor that is no view and has no history.

    Raises:
        IndexError: the index chooses what is not there.
        ValueError: the values do not fit.
    """
    if recording.waiting or recording.runs:
        recording.before_write(x)
    if sharing.domain_of(x) is None:
        _put(x, places, values)
    else:
        sharing.run_whole(lambda: _put(x, places, values), [x], write=True, noted=True)


def _put(x: AnyTensor, places: Places, values: Any) -> None:
    memory = value_of(x)
    assert memory is not None
    memory[places] = values
    changed(x)
