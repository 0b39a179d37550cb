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
from mynn.errors import ShapeError
from mynn.tensor.gradients.grad_mode import grad_enabled
from mynn.tensor.gradients.history import changed
from mynn.tensor.promotion import as_tensor
from mynn.tensor.value import AnyTensor, Value
from mynn.tensor.view import value_of
from mynn.trace import tracing

# An index as NumPy has it.
Places = tuple[Any, ...]
_NUMBERS = (bool, int, float)


def set_rows(x: Any, index: Any, value: Any) -> bool:
    """x[index] = value, where that is rows of plain memory, or of a result that waits for a tape;
    whether it could be done so.

    What is wrong is left to those who say it.
    """
    if x._is_state or tracing.active() is not None:
        return False
    if x.pending is not None:
        return _set_waiting(x, index, value)
    if x._requires_grad or x._view is not None or (x.node is not None and x.node.inputs):
        return False
    places = chosen(index, x)
    if places is None:
        return False
    memory = recording.value_before(x)
    if memory is None:
        return False
    if type(value) in _NUMBERS:
        return _holds(memory.dtype, value) and _write(x, places, value)
    values: Any = value if isinstance(value, Value) else as_tensor(value, like=x)
    if values.dtype != memory.dtype:
        values = values.astype(memory.dtype)
    tape = recording.current.tape
    if values.requires_grad and grad_enabled():
        return tape is not None and tape.put_grown(x, places, values)
    pending = values.pending
    waits = pending is not None and pending.tape is not None and tape is not None
    if waits and tape.put_rows(x, places, values):
        return True
    array = value_of(values)
    if array is None:
        return False
    return _write(x, places, array if values._view is None else array.copy())


def _set_waiting(x: AnyTensor, index: Any, value: Any) -> bool:
    """The same of a result that waits."""
    tape = recording.current.tape
    if tape is None or x.pending.tape is not tape or (x.requires_grad and x.is_leaf):
        return False
    places = chosen(index, x)
    if places is None:
        return False
    values = as_tensor(value, like=x)
    if values.dtype != x.dtype:
        values = values.astype(x.dtype)
    return tape.put_within(x, places, values)


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


# The positions of all elements of a few shapes.
_numbered: dict[Shape, Array] = {}
_FEW = 32


def positions(shape: Shape, places: Places) -> Array | None:
    """The positions, among all elements, of those that an index chooses; None where it chooses
    what is not there.
    """
    numbers = _numbered.get(shape)
    if numbers is None:
        if len(_numbered) >= _FEW:
            _numbered.clear()
        numbers = _numbered[shape] = np.arange(math.prod(shape)).reshape(shape)
    try:
        return np.ascontiguousarray(numbers[places])
    except IndexError:
        return None


def assigned(x: Any, values: Any, chosen: Any) -> Any:
    """x with other values at some positions, the last one where several have the same."""
    given = fitting(values, chosen.shape).broadcast_to(chosen.shape)
    new = x.reshape(-1).scatter_along(chosen.reshape(-1), given.reshape(-1), 0, "set")
    return new if x.ndim == 1 else new.reshape(x.shape).clone()


def fitting(values: Any, shape: Shape, name: str = "x[index] = value") -> Any:
    """The values without leading axes of extent 1 that the chosen part does not have."""
    while values.ndim > len(shape) and values.shape[0] == 1:
        values = values.reshape(values.shape[1:])
    if not _are_broadcast(values.shape, shape):
        raise ShapeError(
            f"{name}: values of shape {values.shape} cannot be broadcast to the chosen "
            f"part, whose shape is {shape}"
        )
    return values


def fits(values: Shape, rows: Shape) -> bool:
    """Whether values of a shape can be given to rows."""
    while len(values) > len(rows) and values[0] == 1:
        values = values[1:]
    return values == rows or _are_broadcast(values, rows)


def _are_broadcast(values: Shape, shape: Shape) -> bool:
    try:
        return np.broadcast_shapes(values, shape) == shape
    except ValueError:
        return False


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
