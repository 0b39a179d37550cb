"""`x[index] = value`, and `put`, in place and not.

Numbers, slices, None and `...` choose a view, to which the values are copied. Where arrays choose,
they are put there one after the other: the last one that is written to a place holds.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from mynn.errors import DTypeError, IndexRangeError, ShapeError, UsageError
from mynn.tensor.methods.indexing import Plan, is_known, is_mask, merged
from mynn.tensor.methods.indexing import plan as indexing_plan
from mynn.tensor.methods.inplace import InPlace
from mynn.tensor.methods.movement import basic_part, checked_index, picked_axis
from mynn.tensor.methods.rows import fitting, set_rows
from mynn.tensor.promotion import as_tensor
from mynn.tensor.value import AnyTensor
from mynn.tensor.write import replace, write

T = TypeVar("T", bound="SetItem[Any]")

_NAME = "x[index] = value"


class SetItem(InPlace[T]):
    """`x[index] = value`, and methods that write to chosen rows."""

    __slots__ = ()

    def __setitem__(self: T, index: Any, value: Any) -> None:
        """x[index] = value: the values are broadcast and converted to the dtype of x."""
        if set_rows(self, index, value):
            return
        values = as_tensor(value, like=self)
        mask = _only_mask(index)
        if mask is not None and (not values.ndim or not is_known(mask)):
            _set_masked(self, as_tensor(mask), values)
            return
        steps = indexing_plan(index, self.shape)
        part = basic_part(self, steps)
        if steps.picks:
            _set_picked(part, steps, values, _NAME)
        elif not _is_same(part, values):  # As it is after x[index] += y.
            part.copy_(fitting(values, part.shape))

    def index_put_(self: T, indices: Any, values: Any, accumulate: bool = False) -> T:
        """x[indices] = values, or with `accumulate` all of them added."""
        return replace(self, self.index_put(indices, values, accumulate), "index_put_")

    def index_put(self: T, indices: Any, values: Any, accumulate: bool = False) -> T:
        """A copy of x in which x[indices] = values, or to which they are added."""
        added = _same_dtype(self, values, "index_put")
        steps = indexing_plan(tuple(indices), self.shape)
        copy: T = self + 0 if self.dtype.kind != "b" else self | False
        mode = "add" if accumulate else "set"
        _set_picked(basic_part(copy, steps), steps, added, "index_put", mode)
        return copy

    def put_(self: T, index: Any, source: Any, accumulate: bool = False) -> T:
        """The values of `source` at positions `index` of the flattened tensor."""
        return replace(self, self.put(index, source, accumulate), "put_")

    def put(self: T, index: Any, source: Any, accumulate: bool = False) -> T:
        """A copy of x with the values of `source` at positions `index` of the flattened tensor."""
        picked, values = as_tensor(index), _same_dtype(self, source, "put")
        if picked.numel() != values.numel():
            raise ShapeError(
                f"put: {picked.numel()} indices and {values.numel()} values must be equally many"
            )
        flat = self.reshape(-1)
        places = checked_index(picked.reshape(-1), flat.numel(), "put", 0)
        mode = "add" if accumulate else "set"
        return flat.scatter_along(places, values.reshape(-1), 0, mode).reshape(self.shape)


def _only_mask(index: Any) -> Any:
    """The mask, where an index is nothing else."""
    if isinstance(index, tuple) and len(index) == 1:
        index = index[0]
    if isinstance(index, list):
        index = np.asarray(index)
    axes: int = getattr(index, "ndim", 0)
    return index if axes and is_mask(index) else None


def _is_same(x: AnyTensor, y: AnyTensor) -> bool:
    """Whether two views look at the same values."""
    a, b = x._view, y._view
    return a is not None and b is not None and a.base is b.base and a.steps == b.steps


def _set_masked(x: T, mask: Any, values: Any) -> None:
    """Values that fit every position, where a mask is true."""
    if mask.shape != x.shape[: mask.ndim]:
        raise IndexRangeError(
            f"x[mask] = value: the mask has shape {mask.shape}, it must have that of x, "
            f"{x.shape}, or of its first axes"
        )
    if values.ndim > x.ndim - mask.ndim:
        raise UsageError(
            f"x[mask] = value in a traced function: how many values of shape {values.shape} are "
            "needed depends on the mask; give one for every place, with mynn.where(mask, values, x)"
        )
    values = fitting(values, x.shape[mask.ndim :], _NAME).astype(x.dtype)
    wide = mask.reshape(mask.shape + (1,) * (x.ndim - mask.ndim))
    write(x, wide.choose(values, x), _NAME, derived=True)


def _set_picked(part: T, steps: Plan, values: Any, name: str, mode: str = "set") -> None:
    """Write values where arrays pick; the last of several for one place holds."""
    single = [not getattr(pick.index, "ndim", 1) for pick in steps.picks]
    if any(single) and not all(single):
        raise UsageError(
            f"{name}: an index without axes beside arrays is a number, which is not known while "
            "tracing; give a Python int, or an index of shape (1,)"
        )
    x, picked, axis = picked_axis(part, steps.picks, name)
    shape = (*x.shape[:axis], *picked.shape, *x.shape[axis + 1 :])
    values = fitting(values, shape, name).astype(x.dtype).broadcast_to(shape)
    if not values.numel():
        return
    rows = (*x.shape[:axis], picked.numel(), *x.shape[axis + 1 :])
    column = picked.reshape((1,) * axis + (-1,) + (1,) * (x.ndim - axis - 1))
    new: Any = x.scatter_along(column.broadcast_to(rows), values.reshape(rows), axis, mode)
    if len(steps.picks) > 1:
        order = merged(part.shape, tuple(pick.axis for pick in steps.picks)).order
        new = new.reshape(tuple(part.shape[one] for one in order))
        new = new.permute(tuple(order.index(one) for one in range(len(order))))
    write(part, new, name, derived=True)


def _same_dtype(x: T, source: Any, name: str) -> Any:
    tensor = as_tensor(source, like=x)
    if tensor.dtype != x.dtype:
        raise DTypeError(
            f"{name}: source is {tensor.dtype}, the tensor {x.dtype}; convert it with .astype"
        )
    return tensor
