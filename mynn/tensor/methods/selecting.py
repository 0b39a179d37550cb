"""Values picked and put by indices and masks, as methods: gather, scatter, take, masked_fill...

What has as many values as a mask says, or as are not zero, has a shape that depends on data: it
looks at its values, and is refused in a trace with what to write instead.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, DTypeError, ShapeError, UsageError
from mynn.ops import along
from mynn.ops.rules import normalize_axes
from mynn.tensor.argument_aliases import required
from mynn.tensor.checks import require_range
from mynn.tensor.gradients.history import array_of
from mynn.tensor.methods.movement import Movement, checked_index
from mynn.tensor.promotion import RANK, apply, as_tensor, broadcast
from mynn.trace import tracing

T = TypeVar("T", bound="Selecting[Any]")

# PyTorch's names of ways to combine, and those of the primitive.
_REDUCTIONS = {
    "sum": "add",
    "add": "add",
    "prod": "mul",
    "multiply": "mul",
    "amax": "max",
    "amin": "min",
}


class Selecting(Movement[T]):
    """Gathers and scatters along an axis; masks."""

    __slots__ = ()

    def filled(self, value: Any, dtype: Any = None) -> T:
        """One number in the shape of x, and in its dtype where none is given."""
        number = as_tensor(np.asarray(value, self.dtype if dtype is None else dtype))
        return number.broadcast_to(self.shape)

    def take_along(self, index: Any, axis: int) -> T:
        """The primitive: indices are held to the axis."""
        return apply(along.take_along, self, as_tensor(index), axis=axis)

    def scatter_along(self, index: Any, updates: Any, axis: int, mode: str) -> T:
        """The primitive: indices are held to the axis."""
        values = as_tensor(updates, like=self)
        if self.dtype.kind == "b" and mode != "set":  # sums are `or`, products `and`
            least = mode in ("mul", "min")
            small = self.astype(np.uint8), values.astype(np.uint8)
            combined = small[0].scatter_along(index, small[1], axis, "min" if least else "max")
            return combined.astype(np.bool_)
        return apply(along.scatter_along, self, as_tensor(index), values, axis=axis, mode=mode)

    @recorded
    @explained
    def gather(
        self: T,
        dim: int | None = None,
        index: Any = None,
        *,
        sparse_grad: bool = False,
        axis: int | None = None,
    ) -> T:
        """y[.., k, ..] = x[.., index[.., k, ..], ..] along `dim`.

        `index` holds integers and has as many axes as x; it reaches no further in the others.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([[1.0, 2.0], [3.0, 4.0]]).gather(1, [[0, 0], [1, 0]])
            tensor([[1., 1.],
                    [4., 3.]])
        """
        chosen, picked = _place("gather", self, required("gather", dim, axis), index)
        if not self.ndim or not picked.ndim or not picked.numel():
            return _single("gather", self, picked).reshape(as_tensor(index).shape)
        return self.take_along(picked, chosen)

    @recorded
    @explained
    def take_along_dim(
        self: T, indices: Any = None, dim: int | None = None, *, axis: int | None = None
    ) -> T:
        """Like `gather`, with x and the indices broadcast in the other axes; flattened without dim.

        Negative indices count from the end.
        """
        picked = as_tensor(indices)
        if dim is None and axis is None:
            return self.reshape(-1).take_along_dim(picked.reshape(-1), 0)
        chosen = normalize_axes(required("take_along_dim", dim, axis), self.ndim, "take_along_dim")
        if picked.ndim != self.ndim:
            raise ShapeError(
                f"take_along_dim: indices {picked.shape} must have as many axes as {self.shape}"
            )
        one = chosen[0]
        extents = list(np.broadcast_shapes(_without(picked.shape, one), _without(self.shape, one)))
        x = self.broadcast_to((*extents[:one], self.shape[one], *extents[one + 1 :]))
        picked = picked.broadcast_to((*extents[:one], picked.shape[one], *extents[one + 1 :]))
        return x.take_along(checked_index(picked, self.shape[one], "take_along_dim", one), one)

    @recorded
    @explained
    def scatter(
        self: T,
        dim: int | None = None,
        index: Any = None,
        src: Any = None,
        *,
        value: Any = None,
        reduce: str | None = None,
        axis: int | None = None,
    ) -> T:
        """x with `src` put along `dim` at `index`: y[.., index[.., k, ..], ..] = src[.., k, ..].

        `src` is a tensor that reaches as far as `index`, or a number, which may be named `value`.
        Of several values for one place the last one holds. `reduce` is "add" or "multiply".

        Example:
            >>> from mynn import Tensor
            >>> Tensor([1.0, 2.0, 3.0]).scatter(0, [2, 0], 9.0)
            tensor([9., 2., 9.])
        """
        if reduce not in (None, "add", "multiply"):
            raise ArgumentError(
                f"scatter: reduce must be 'add' or 'multiply', it is {reduce!r}; scatter_reduce "
                "has others"
            )
        given = value if src is None else src
        mode = "set" if reduce is None else _REDUCTIONS[reduce]
        return _scattered("scatter", self, required("scatter", dim, axis), index, given, mode)

    @recorded
    @explained
    def scatter_add(
        self: T,
        dim: int | None = None,
        index: Any = None,
        src: Any = None,
        *,
        axis: int | None = None,
    ) -> T:
        """x with `src` added along `dim` at the positions `index`.

        y = x; y[.., index[.., i, ..], ..] += src[.., i, ..]. `index` and `src` have as many axes as
        x; `index` may be smaller than `src`, and than x in the other axes.
        """
        chosen = required("scatter_add", dim, axis)
        return _scattered("scatter_add", self, chosen, index, src, "add")

    @recorded
    @explained
    def scatter_reduce(
        self: T,
        dim: int | None = None,
        index: Any = None,
        src: Any = None,
        reduce: str = "sum",
        *,
        include_self: bool = True,
        axis: int | None = None,
    ) -> T:
        """x with `src` combined along `dim` at `index`: "sum", "prod", "mean", "amax" or "amin".

        Without `include_self` what was there before is left out where something arrives.
        """
        if reduce not in ("sum", "prod", "mean", "amax", "amin"):
            raise ArgumentError(
                f"scatter_reduce: reduce must be 'sum', 'prod', 'mean', 'amax' or 'amin', it is "
                f"{reduce!r}"
            )
        name, chosen = "scatter_reduce", required("scatter_reduce", dim, axis)
        x = self
        if not include_self:
            x = _scattered(name, x, chosen, index, _nothing(reduce, x.dtype), "set")
        result = _scattered(name, x, chosen, index, src, _REDUCTIONS.get(reduce, "add"))
        if reduce != "mean":
            return result
        counts = x.filled(1)
        if not include_self:
            counts = _scattered(name, counts, chosen, index, 0, "set")
        counts = _scattered(name, counts, chosen, index, 1, "add").clip(1)
        if x.dtype.kind == "f":
            return result / counts
        return (result.astype(np.float64) / counts).floor().astype(x.dtype)

    @recorded
    @explained
    def index_add(self: T, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> T:
        """x with the entries of `source` along `dim`, times `alpha`, added at `index` [K]."""
        added = as_tensor(source, like=self)
        if added.dtype != self.dtype:
            raise DTypeError(
                f"index_add: source is {added.dtype}, the tensor {self.dtype}; convert it with "
                ".astype"
            )
        return _rows("index_add", self, dim, index, added if alpha == 1 else added * alpha, "add")

    @recorded
    @explained
    def index_copy(self: T, dim: int, index: Any, source: Any) -> T:
        """x with the entries of `source` along `dim` at the positions `index` [K]."""
        return _rows("index_copy", self, dim, index, as_tensor(source, like=self), "set")

    @recorded
    @explained
    def index_fill(self: T, dim: int, index: Any, value: Any) -> T:
        """x with one number at the positions `index` [K] along `dim`."""
        number = as_tensor(value, like=self)
        if number.ndim:
            raise ShapeError(f"index_fill: takes one number, it was given shape {number.shape}")
        return _rows("index_fill", self, dim, index, number, "set")

    @recorded
    @explained
    def index_reduce(
        self: T, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True
    ) -> T:
        """x with entries of `source` along `dim` combined at `index` [K]: "prod", "mean", "amax",
        "amin".
        """
        if not self.ndim:
            one = self.reshape(1).index_reduce(
                dim, index, as_tensor(source).reshape(-1), reduce, include_self=include_self
            )
            return one.reshape(())
        wide, shape = _spread_index("index_reduce", self, dim, index)
        src = as_tensor(source, like=self)
        if src.shape != shape:
            raise ShapeError(f"index_reduce: source has shape {src.shape}, it must be {shape}")
        return self.scatter_reduce(dim, wide, src, reduce, include_self=include_self)

    # -- masks -------------------------------------------------------------------------------------

    @recorded
    @explained
    def masked_fill(self: T, mask: Any, value: Any) -> T:
        """One number where `mask` is true; x and the mask broadcast.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([1.0, 2.0]).masked_fill([True, False], 0.0)
            tensor([0., 2.])
        """
        chosen, number = _mask("masked_fill", mask), as_tensor(value, like=self)
        if number.ndim:
            raise ShapeError(f"masked_fill: takes one number, it was given shape {number.shape}")
        chosen, x = broadcast(chosen, self, name="masked_fill")
        return chosen.choose(number.astype(self.dtype), x)

    @recorded
    @explained
    def masked_scatter(self: T, mask: Any, source: Any) -> T:
        """The values of `source`, in order, where `mask` is true; x and the mask broadcast."""
        chosen, values = _mask("masked_scatter", mask), as_tensor(source, like=self)
        if values.dtype != self.dtype:
            raise DTypeError(f"masked_scatter: source is {values.dtype}, the tensor {self.dtype}")
        chosen, x = broadcast(chosen, self, name="masked_scatter")
        number = chosen.reshape(-1).astype(np.int64).cumsum(0) - 1
        if tracing.active() is None and x.numel():
            needed = int(array_of(number)[-1]) + 1
            if needed > values.numel():
                raise ShapeError(
                    f"masked_scatter: the mask is true at {needed} places, source has only "
                    f"{values.numel()} values"
                )
        if not values.numel():
            return x
        picked = values.reshape(-1).gather_rows(number, 0, clip=True)
        return chosen.choose(picked.reshape(x.shape), x)

    @recorded
    @explained
    def masked_select(self: T, mask: Any) -> T:
        """The values where `mask` is true, one after the other; x and the mask broadcast.

        How many they are depends on the mask: in a traced function it is refused.
        """
        require_values("masked_select", "mynn.where(mask, x, 0), or a sum weighted by the mask")
        chosen, x = broadcast(_mask("masked_select", mask), self, name="masked_select")
        return x.reshape(-1).gather_rows(np.flatnonzero(array_of(chosen)), clip=True)

    @explained
    def nonzero(self: T, *, as_tuple: bool = False) -> Any:
        """The indices of the values that are not zero: [count, axes], or a tensor for each axis.

        How many they are depends on the values: in a traced function it is refused.
        """
        require_values("nonzero", "mynn.where(x != 0, ..., ...)")
        found = np.nonzero(np.atleast_1d(array_of(self)))
        if as_tuple:
            return tuple(as_tensor(one) for one in found)
        if not self.ndim:
            return as_tensor(np.zeros((len(found[0]), 0), np.int64))
        return as_tensor(np.ascontiguousarray(np.stack(found, 1)))

    @explained
    def argwhere(self) -> Any:
        """The indices of the values that are not zero, [count, axes]; see `nonzero`."""
        return self.nonzero()


def require_values(name: str, instead: str) -> None:
    """Refuse what needs values in a trace, and say what to write."""
    if tracing.active() is not None:
        raise UsageError(
            f"{name} in a traced function: the shape of its result depends on values, which are "
            f"not known while tracing; use {instead}, or call it outside of the function"
        )


def _mask(name: str, mask: Any) -> Any:
    chosen = as_tensor(mask)
    if chosen.dtype.kind != "b":
        raise DTypeError(
            f"{name}: the mask must hold bools, it is {chosen.dtype}; compare with != 0"
        )
    return chosen


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return (*shape[:axis], 1, *shape[axis + 1 :])


def _nothing(reduce: str, dtype: np.dtype[Any]) -> Any:
    """The number that changes nothing."""
    if reduce in ("amax", "amin"):
        if dtype.kind == "b":
            return reduce == "amin"
        if dtype.kind == "f":
            return -math.inf if reduce == "amax" else math.inf
        limits = np.iinfo(dtype)
        return limits.min if reduce == "amax" else limits.max
    return 1 if reduce == "prod" else 0


def _place(name: str, x: Any, dim: int, index: Any) -> tuple[int, Any]:
    """The axis, and the indices, which are held to it."""
    axes = normalize_axes(dim, x.ndim, name)
    picked = as_tensor(index) if index is not None else None
    if picked is None:
        raise ArgumentError(f"{name}: index is missing; give integers with {x.ndim} axes")
    if picked.dtype.kind not in "iu" and (picked.numel() or picked.dtype.kind != "f"):
        raise DTypeError(
            f"{name}: indices must be integers, they are {picked.dtype}; convert with .long()"
        )
    picked = picked if picked.dtype.kind in "iu" else picked.astype(np.int64)
    if not x.ndim or (not picked.ndim and x.ndim == 1):
        require_range(picked, name, "index", 0, x.numel() - 1, axis=0)
        return 0, picked
    axis = axes[0]
    if not picked.numel() and picked.ndim != x.ndim:
        picked = picked.reshape((0,) * x.ndim)
    fits = picked.ndim == x.ndim and all(
        one == axis or n <= m for one, (n, m) in enumerate(zip(picked.shape, x.shape, strict=True))
    )
    if not fits:
        raise ShapeError(
            f"{name}: index {picked.shape} does not fit {x.shape}; it must have as many axes, and "
            f"reach no further than the tensor in the axes other than {axis}"
        )
    if picked.numel():
        require_range(picked, name, "index", 0, x.shape[axis] - 1, axis=axis)
    return axis, picked


def _single(name: str, x: Any, picked: Any) -> Any:
    """Values picked where x, or the index, has no axes, or the index nothing in it."""
    if not picked.numel():
        return x.reshape(-1)[:0]
    if picked.ndim > 1:
        raise ShapeError(f"{name}: index {picked.shape} does not fit {x.shape}")
    return x.reshape(-1).gather_rows(picked.reshape(-1), clip=True)


def _scattered(name: str, x: Any, dim: int, index: Any, src: Any, mode: str) -> Any:
    if src is None:
        raise ArgumentError(f"{name}: give dim, index and src, as x.{name}(0, index, src)")
    axis, picked = _place(name, x, dim, index)
    plain = isinstance(src, bool | int | float | np.generic)
    values = as_tensor(src, like=x)
    if (
        not plain
        and values.dtype != x.dtype
        and (values.ndim or RANK[values.dtype.kind] > RANK[x.dtype.kind])
    ):
        raise DTypeError(
            f"{name}: src is {values.dtype}, it must be {x.dtype} as the tensor; convert it with "
            ".astype"
        )
    values = values.astype(x.dtype)
    if not x.ndim or not picked.ndim:
        flat = x.reshape(-1)
        chosen = picked.reshape(-1)
        values = values.reshape(-1).broadcast_to(chosen.shape)
        return flat.scatter_along(chosen, values, 0, mode).reshape(x.shape)
    if not picked.numel():
        return x
    if values.ndim:
        _check_source(name, picked, values, x, axis)
        values = values[tuple(slice(n) for n in picked.shape)]
    return x.scatter_along(picked, values.broadcast_to(picked.shape), axis, mode)


def _check_source(name: str, index: Any, src: Any, x: Any, axis: int) -> None:
    fits = src.ndim == index.ndim and all(
        i <= s for i, s in zip(index.shape, src.shape, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"{name}: index {index.shape} and src {src.shape} do not fit {x.shape}; index "
            f"must reach no further than src, nor than the tensor in the axes other than {axis}"
        )


def _spread_index(name: str, x: Any, dim: int, index: Any) -> tuple[Any, tuple[int, ...]]:
    """Positions [K] along an axis in the shape of entries there."""
    picked = as_tensor(index)
    if picked.ndim > 1:
        raise ShapeError(f"{name}: index must be [K], its shape is {picked.shape}")
    if not x.ndim:
        raise ShapeError(f"{name}: the tensor has no axes; reshape it to (1,)")
    axis = normalize_axes(dim, x.ndim, name)[0]
    count = picked.numel()
    shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
    column = picked.reshape((1,) * axis + (count,) + (1,) * (x.ndim - axis - 1))
    return column.broadcast_to(shape), shape


def _rows(name: str, x: Any, dim: int, index: Any, source: Any, mode: str) -> Any:
    """Entries of `source` put, or added, at positions [K] along an axis."""
    if not x.ndim:
        picked = as_tensor(index).reshape(-1)
        return _rows(name, x.reshape(1), dim, picked, source.reshape(-1), mode).reshape(())
    wide, shape = _spread_index(name, x, dim, index)
    if source.ndim and source.shape != shape:
        raise ShapeError(f"{name}: source has shape {source.shape}, it must be {shape}")
    if RANK[source.dtype.kind] > RANK[x.dtype.kind]:
        raise DTypeError(f"{name}: source is {source.dtype}, the tensor {x.dtype}; convert it")
    source = source.astype(x.dtype).broadcast_to(shape)
    return _scattered(name, x, dim, wide, source, mode)
