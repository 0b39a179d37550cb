"""`x[index] = value`, and writing to chosen rows.

Numbers, slices, None and `...` choose a view, to which the values are copied. Where arrays choose,
each position of x is told which of the values it gets: the last one that is written there.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from mynn.core.graph import CONSTANT
from mynn.core.types import Shape
from mynn.errors import DTypeError, IndexRangeError, ShapeError, UsageError
from mynn.ops.rules import normalize_axes
from mynn.tensor.history import graph_node
from mynn.tensor.indexing import plan as indexing_plan
from mynn.tensor.inplace import InPlace
from mynn.tensor.movement import basic_part, checked_index
from mynn.tensor.promotion import as_tensor
from mynn.tensor.value import AnyTensor, Value
from mynn.tensor.view import value_of
from mynn.tensor.write import replace, write
from mynn.trace import tracing

T = TypeVar("T", bound="SetItem[Any]")

_NAME = "x[index] = value"


class SetItem(InPlace[T]):
    """`x[index] = value`, and methods that write to chosen rows."""

    __slots__ = ()

    def __setitem__(self: T, index: Any, value: Any) -> None:
        """x[index] = value: the values are broadcast and converted to the dtype of x."""
        values = as_tensor(value, like=self)
        entries = index if isinstance(index, tuple) else (index,)
        arrays = [entry for entry in entries if _is_array(entry)]
        if not arrays:
            part = self[index]
            if not _is_same(part, values):  # As it is after x[index] += y.
                part.copy_(_fitting(values, part.shape))
        elif all(_is_known(entry) for entry in arrays):
            _set_known(self, tuple(_known(entry) for entry in entries), values)
        elif any(isinstance(entry, Value) and entry.dtype.kind == "b" for entry in arrays):
            _set_masked(self, entries, values)
        else:
            _set_rows(self, index, values)

    def index_copy_(self: T, dim: int, index: Any, source: Any) -> T:
        """The entries of `source` along `dim` at the positions `index` [K]."""
        axis, picked = _axis_and_index(self, dim, index, "index_copy_")
        _set_picked(self, picked, axis, _same_dtype(self, source, "index_copy_"), "index_copy_")
        return self

    def index_fill_(self: T, dim: int, index: Any, value: Any) -> T:
        """One number at the positions `index` [K] along `dim`."""
        axis, picked = _axis_and_index(self, dim, index, "index_fill_")
        number = as_tensor(value, like=self)
        if number.ndim:
            raise ShapeError(f"index_fill_: takes one number, it was given shape {number.shape}")
        _set_picked(self, picked, axis, number, "index_fill_")
        return self

    def index_add_(self: T, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> T:
        """The entries of `source` along `dim`, times `alpha`, added at positions `index` [K]."""
        axis, picked = _axis_and_index(self, dim, index, "index_add_")
        added = _same_dtype(self, source, "index_add_")
        wanted = (*self.shape[:axis], picked.numel(), *self.shape[axis + 1 :])
        if added.shape != wanted:
            raise ShapeError(f"index_add_: source has shape {added.shape}, it must be {wanted}")
        if not picked.numel():
            return self
        total = added.scatter_rows(picked, axis, self.shape[axis], clip=True)
        return replace(self, self + (total if alpha == 1 else total * alpha), "index_add_")

    def scatter_add_(self: T, dim: int, index: Any, src: Any) -> T:
        """`src` added along `dim` at the positions `index`: see `scatter_add`."""
        return replace(self, self.scatter_add(dim, index, src), "scatter_add_")


def _is_array(entry: Any) -> bool:
    return isinstance(entry, Value | np.ndarray | list | tuple | bool | np.bool_)


def _is_known(entry: Any) -> bool:
    """Whether the values of an index are known: outside a trace, or as a constant in it."""
    if not isinstance(entry, Value) or tracing.active() is None:
        return True
    return entry._value is None and entry.node is not None and entry.node.primitive is CONSTANT


def _known(entry: Any) -> Any:
    """An entry as NumPy understands it."""
    if not _is_array(entry) or isinstance(entry, bool | np.bool_):
        return entry
    if isinstance(entry, Value):
        array = np.asarray(graph_node(entry).value if value_of(entry) is None else value_of(entry))
    else:
        array = np.asarray(entry)
    if not array.size and not isinstance(entry, Value | np.ndarray):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub":
        raise DTypeError(
            f"{_NAME}: an index holds {array.dtype}; indices are integers, masks bools"
        )
    return array


def _is_same(x: AnyTensor, y: AnyTensor) -> bool:
    """Whether two views look at the same values."""
    a, b = x._view, y._view
    return a is not None and b is not None and a.base is b.base and a.steps == b.steps


def _fitting(values: Any, shape: Shape, name: str = _NAME) -> Any:
    """The values without leading axes of extent 1 that the chosen part does not have."""
    while values.ndim > len(shape) and values.shape[0] == 1:
        values = values.reshape(values.shape[1:])
    try:
        fits = np.broadcast_shapes(values.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(
            f"{name}: values of shape {values.shape} cannot be broadcast to the chosen "
            f"part, whose shape is {shape}"
        )
    return values


def _set_known(x: T, index: tuple[Any, ...], values: Any) -> None:
    """Indices that are known: the positions are found by NumPy, once."""
    count = x.numel()
    try:
        positions = np.arange(count).reshape(x.shape)[index]
    except IndexError as error:
        raise IndexRangeError(f"{_NAME}, where x has shape {x.shape}: {error}") from None
    values = _fitting(values, positions.shape).astype(x.dtype)
    if not positions.size:
        return
    flat = values.broadcast_to(positions.shape).reshape(-1)
    source = np.full(count, -1)
    source[positions.reshape(-1)] = np.arange(positions.size)
    new = _written(x.reshape(-1), as_tensor(source), flat, 0)
    write(x, new.reshape(x.shape), _NAME, derived=True)


def _written(x: T, source: Any, values: Any, axis: int) -> Any:
    """x, with entry source[i] of the values at position i of an axis; where it is -1, x itself."""
    chosen = (source >= 0).reshape((-1,) + (1,) * (x.ndim - axis - 1))
    rows = values.gather_rows(source, axis, clip=True)
    return chosen.choose(rows, x)


def _set_masked(x: T, entries: tuple[Any, ...], values: Any) -> None:
    """A mask that a trace knows as a node: only values that fit every position can be chosen."""
    mask: Any = next(e for e in entries if isinstance(e, Value) and e.dtype.kind == "b")
    if len(entries) > 1 or mask.shape != x.shape[: mask.ndim]:
        raise ShapeError(
            f"x[mask] = value in a traced function: the mask must be the only index, and its shape "
            f"that of x or of its first axes; they are {mask.shape} and {x.shape}; else write "
            "mynn.where(mask, value, x)"
        )
    if values.ndim > x.ndim - mask.ndim:
        raise UsageError(
            f"x[mask] = value in a traced function: how many values of shape {values.shape} are "
            "needed depends on the mask; give one for every place, with mynn.where(mask, values, x)"
        )
    values = _fitting(values, x.shape[mask.ndim :]).astype(x.dtype)
    wide = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
    write(x, wide.choose(values, x), _NAME, derived=True)


def _set_rows(x: T, index: Any, values: Any) -> None:
    """One array of integers that a trace knows as a node."""
    steps = indexing_plan(index, x.shape)
    assert steps.take_axis is not None
    part = basic_part(x, steps)
    picked = checked_index(steps.take_index, part.shape[steps.take_axis], _NAME, steps.take_axis)
    _set_picked(part, picked, steps.take_axis, values, _NAME)


def _set_picked(x: T, index: Any, axis: int, values: Any, name: str) -> None:
    """Write values at the positions `index` of an axis; the last of several for one holds."""
    count = index.numel()
    shape = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    values = _fitting(values, shape, name).astype(x.dtype).broadcast_to(shape)
    if not count:
        return
    rows = values.reshape((*x.shape[:axis], count, *x.shape[axis + 1 :]))
    flat = index.reshape(-1).astype(np.int64)
    later = np.arange(count) > np.arange(count).reshape(-1, 1)
    again = (flat.reshape(-1, 1) == flat.reshape(1, -1)) & later
    number = again.astype(np.int64).amax(1).astype(bool).choose(0, np.arange(1, count + 1))
    source = number.scatter_rows(flat, 0, x.shape[axis], clip=True) - 1
    write(x, _written(x, source, rows, axis), name, derived=True)


def _axis_and_index(x: T, dim: int, index: Any, name: str) -> tuple[int, Any]:
    if not x.ndim:
        raise ShapeError(f"{name}: the tensor has no axes; reshape it to (1,)")
    axis = normalize_axes(dim, x.ndim, name)[0]
    picked = as_tensor(index)
    if picked.ndim > 1:
        raise ShapeError(f"{name}: index must be [K], its shape is {picked.shape}")
    return axis, checked_index(picked.reshape(-1), x.shape[axis], name, axis)


def _same_dtype(x: T, source: Any, name: str) -> Any:
    tensor = as_tensor(source, like=x)
    if tensor.dtype != x.dtype:
        raise DTypeError(
            f"{name}: source is {tensor.dtype}, the tensor {x.dtype}; convert it with .astype"
        )
    return tensor
