"""Orders of values, as methods: sort, topk, mode, unique, searchsorted, histograms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from mynn import return_types
from mynn.base.arguments import explained, whole_number
from mynn.base.recording import recorded
from mynn.core.types import Array
from mynn.errors import ArgumentError, DTypeError, ShapeError
from mynn.ops import sorting
from mynn.ops.rules import normalize_axes
from mynn.tensor.gradients import picked
from mynn.tensor.gradients.history import array_of
from mynn.tensor.methods.diagonals import Diagonals
from mynn.tensor.methods.selecting import Selecting, require_values
from mynn.tensor.promotion import apply, as_tensor, same_dtype

T = TypeVar("T", bound="Sorting[Any]")


class Sorting(Selecting[T], Diagonals[T]):
    """Sorts and what is found by them."""

    __slots__ = ()

    @recorded
    @explained
    def argsort(
        self: T, dim: int = -1, descending: bool = False, stable: bool = False, *, axis: Any = None
    ) -> T:
        """The indices that put the values along `dim` in order; int64.

        Equal values always stay in their order, NaN is the largest.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([3.0, 1.0, 2.0]).argsort()
            tensor([1, 2, 0])
        """
        if not self.ndim:
            normalize_axes(dim, 0, "argsort")
            return as_tensor(np.zeros((), np.int64))
        chosen = normalize_axes(dim if axis is None else axis, self.ndim, "argsort")[0]
        return apply(sorting.argsort, self, axis=chosen, descending=bool(descending))

    @explained
    def sort(
        self: T, dim: int = -1, descending: bool = False, *, stable: bool = False, axis: Any = None
    ) -> return_types.sort:
        """The named tuple (values, indices) of the values in order along `dim`; see `argsort`.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([3.0, 1.0, 2.0]).sort(descending=True).values
            tensor([3., 2., 1.])
        """
        indices = self.argsort(dim, descending, axis=axis)
        along = (
            normalize_axes(dim if axis is None else axis, self.ndim, "sort")[0] if self.ndim else 0
        )
        return return_types.sort(picked.ordered(self, indices, along), indices)

    @explained
    def msort(self: T) -> T:
        """The values in order along the first axis."""
        values: T = self.sort(0).values
        return values

    @explained
    def topk(
        self: T,
        k: Any,
        dim: int = -1,
        largest: bool = True,
        sorted: bool = True,
        *,
        axis: Any = None,
    ) -> return_types.topk:
        """The k largest values along `dim`, or the smallest, in order, and their indices."""
        dim = dim if axis is None else axis
        count, extent = int(k), 1
        if self.ndim:
            extent = self.shape[normalize_axes(dim, self.ndim, "topk")[0]]
        if not 0 <= count <= extent:
            raise ArgumentError(
                f"topk: k must lie in 0..{extent}, the extent of dim; it is {count}"
            )
        indices = _top(self, dim, count, bool(largest)) if self.ndim else self.argsort(dim)
        along = normalize_axes(dim, self.ndim, "topk")[0] if self.ndim else 0
        return return_types.topk(picked.largest(self, indices, along), indices)

    @explained
    def kthvalue(self: T, k: int, dim: int = -1, keepdim: bool = False) -> return_types.kthvalue:
        """The k-th smallest value along `dim`, counted from 1, and its index."""
        if not self.ndim:
            if k != 1:
                raise ArgumentError(f"kthvalue: k must be 1 for a single value, it is {k}")
            return return_types.kthvalue(self.reshape(()), self.argsort())
        axis = normalize_axes(dim, self.ndim, "kthvalue")[0]
        if not 1 <= whole_number("kthvalue: k", k) <= self.shape[axis]:
            raise ArgumentError(f"kthvalue: k must lie in 1..{self.shape[axis]}, it is {k}")
        kept = (*self.shape[:axis], 1, *self.shape[axis + 1 :])
        indices = kth_places(self, as_tensor(np.full(kept, k - 1, np.int64)), axis)
        values = picked.kth(self, indices, axis, keepdim)
        return return_types.kthvalue(values, indices if keepdim else indices.squeeze(axis))

    @explained
    def mode(self: T, dim: int = -1, keepdim: bool = False) -> return_types.mode:
        """The commonest value along `dim`, the smallest of several, and its last place.

        Example:
            >>> from mynn import Tensor
            >>> values, indices = Tensor([2, 1, 2, 3]).mode()
            >>> values, indices
            (tensor(2), tensor(2))
        """
        if not self.ndim:
            return return_types.mode(self.clone(), as_tensor(np.zeros((), np.int64)))
        axis = normalize_axes(dim, self.ndim, "mode")[0]
        extent = self.shape[axis]
        if not extent:
            raise ShapeError(f"mode: dim {axis} of {self.shape} is empty; there is no value")
        x: Any = self
        order: Any = x.detach().argsort(axis)
        ranked: Any = x.detach().take_along(order, axis)
        numbers: Any = as_tensor(np.arange(extent)).reshape(
            tuple(extent if one == axis else 1 for one in range(self.ndim))
        )
        # Where a run of equal values begins; how long it is by then, the longest one first.
        before = ranked.narrow(axis, 0, extent - 1)
        new = ranked.narrow(axis, 1, extent - 1) != before
        first = new.narrow(axis, 0, 0).new_ones(
            tuple(1 if one == axis else n for one, n in enumerate(self.shape)), dtype=np.bool_
        )
        begins = first.concatenate([new], axis).choose(numbers, 0).cummax(axis).values
        longest = (numbers - begins).argmax(axis, keepdim=True)
        indices: Any = order.take_along(longest, axis)
        values = picked.most_frequent(self, indices, axis, keepdim)
        return return_types.mode(values, indices if keepdim else indices.squeeze(axis))

    @recorded
    @explained
    def bincount(self: T, weights: Any = None, minlength: int = 0) -> T:
        """How often each of the integers 0, 1, ... occurs, or the sum of its weights.

        The result is as long as the largest says, at least `minlength`: in a traced function it is
        refused.
        """
        require_values("bincount", "mynn.zeros(n).scatter_add(0, x, weights)")
        x = array_of(self)
        if x.dtype.kind not in "iu" or x.ndim != 1 or (x.size and x.min() < 0):
            raise ArgumentError(
                f"bincount: takes integers [N], 0 or more; it was given {self.spec}"
            )
        if minlength < 0:
            raise ArgumentError(f"bincount: minlength must be 0 or more, it is {minlength}")
        if weights is None:
            return as_tensor(np.bincount(x, minlength=minlength))
        given = as_tensor(weights)
        if given.shape != self.shape:
            raise ShapeError(f"bincount: weights {given.shape} must have the shape {self.shape}")
        given = given if given.dtype == np.float32 else given.astype(np.float64)
        count = max(int(x.max()) + 1 if x.size else 0, minlength)
        zeros = as_tensor(np.zeros(count, given.dtype))
        return zeros.scatter_along(as_tensor(x), given, 0, "add") if x.size else zeros

    @recorded
    @explained
    def histc(self: T, bins: int = 100, min: Any = 0, max: Any = 0) -> T:
        """How many values lie in each of `bins` intervals of one width from `min` to `max`.

        Where both are equal they are the least and the largest value; values outside, and NaN, are
        left out.
        """
        if whole_number("histc: bins", bins) < 1:
            raise ArgumentError(f"histc: bins must be at least 1, it is {bins}")
        if self.dtype.kind != "f":
            raise DTypeError(f"histc: takes floats, the tensor is {self.dtype}; use .float()")
        x = self.reshape(-1).detach()
        if not (math.isfinite(min) and math.isfinite(max)) or min > max:
            raise ArgumentError(f"histc: min and max must be finite and in order: {min}, {max}")
        low, high = as_tensor(min, like=x).astype(x.dtype), as_tensor(max, like=x).astype(x.dtype)
        zeros = as_tensor(np.zeros(bins, x.dtype))
        if not x.numel():
            return zeros
        if min == max:
            low, high = x.amin(), x.amax()
            flat = low == high
            low, high = flat.choose(low - 1, low), flat.choose(high + 1, high)
        inside = (x >= low) & (x <= high)
        place = ((x - low) * bins / (high - low)).astype(np.int64).clip(0, bins - 1)
        return zeros.scatter_along(place, inside.astype(x.dtype), 0, "add")

    # -- places in order ---------------------------------------------------------------------------

    @recorded
    @explained
    def bucketize(self: T, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> T:
        """The number of the interval between sorted boundaries [K] in which each value lies."""
        edges = as_tensor(boundaries)
        if edges.ndim != 1:
            raise ShapeError(f"bucketize: boundaries must be [K], their shape is {edges.shape}")
        return _places(edges, self, right, out_int32)

    @recorded
    @explained
    def searchsorted(
        self: T,
        values: Any,
        *,
        out_int32: bool = False,
        right: bool | None = None,
        side: str | None = None,
        sorter: Any = None,
    ) -> T:
        """Where values would be put into a sorted tensor, so that it stays in order along the last
        axis: before equal ones, or behind them with `right`.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([1.0, 3.0, 5.0]).searchsorted([3.0, 4.0])
            tensor([1, 2])
        """
        if side not in (None, "left", "right"):
            raise ArgumentError(f"searchsorted: side must be 'left' or 'right', it is {side!r}")
        if side == "left" and right:
            raise ArgumentError("searchsorted: side='left' and right=True contradict each other")
        edges, wanted = self, as_tensor(values, like=self)
        if sorter is not None:
            order = as_tensor(sorter)
            if order.shape != self.shape or order.dtype != np.int64:
                raise ShapeError(f"searchsorted: sorter must be int64 of shape {self.shape}")
            edges = self.gather(-1, order)
        if edges.ndim > 1 and wanted.shape[:-1] != edges.shape[:-1]:
            raise ShapeError(
                f"searchsorted: {edges.shape} and values {wanted.shape} must have the same leading "
                "axes, or the sorted tensor only one axis"
            )
        return _places(edges, wanted, bool(right) or side == "right", out_int32)

    # -- different values --------------------------------------------------------------------------

    @explained
    def unique(
        self: T,
        sorted: bool = True,
        return_inverse: bool = False,
        return_counts: bool = False,
        dim: int | None = None,
    ) -> Any:
        """The different values in order; with `dim` the different entries along that axis.

        Where asked for, also the place of each value among them, and how often each occurs. How
        many they are depends on the values: in a traced function it is refused.
        """
        require_values("unique", "x.sort().values, or labels that are known")
        x = array_of(self)
        if dim is None:
            values, inverse, counts = _different(x.reshape(-1), x.shape)
        else:
            axis = normalize_axes(dim, x.ndim, "unique")[0]
            values, inverse, counts = np.unique(
                x, return_inverse=True, return_counts=True, axis=axis
            )
            inverse = inverse.reshape(-1)
        return _wanted((values, inverse, counts), return_inverse, return_counts)

    @explained
    def unique_consecutive(
        self: T,
        return_inverse: bool = False,
        return_counts: bool = False,
        dim: int | None = None,
    ) -> Any:
        """The values without those that follow an equal one; see `unique`."""
        require_values("unique_consecutive", "x[1:] != x[:-1]")
        x = array_of(self)
        axis = 0 if dim is None else normalize_axes(dim, x.ndim, "unique_consecutive")[0]
        rows = x.reshape(-1) if dim is None else np.moveaxis(x, axis, 0)
        flat = rows.reshape(len(rows), -1)
        new = np.ones(len(rows), bool)
        new[1:] = (flat[1:] != flat[:-1]).any(1)
        inverse = np.cumsum(new) - 1
        counts = np.bincount(inverse) if len(rows) else np.zeros(0, np.int64)
        values = rows[new] if dim is None else np.moveaxis(rows[new], 0, axis)
        inverse = inverse.reshape(x.shape) if dim is None else inverse
        return _wanted((values, inverse, counts), return_inverse, return_counts)


@recorded
def kth_places(x: Any, k: Any, dim: int) -> Any:
    """The index of the value along an axis before which k stand in order, for one k in each row."""
    return apply(sorting.kth, x, k, axis=dim)


@recorded
def _top(x: Any, dim: int, count: int, largest: bool) -> Any:
    """The first indices of the order along an axis."""
    axis = normalize_axes(dim, x.ndim, "topk")[0]
    return apply(sorting.top, x, axis=axis, k=count, descending=largest)


def _places(edges: Any, values: Any, right: bool, out_int32: bool) -> Any:
    """How many of the sorted edges along the last axis are less than a value, by bisection."""
    edges, wanted = same_dtype(edges, values)
    extent = edges.shape[-1]
    kind = np.dtype(np.int32 if out_int32 else np.int64)
    low = wanted.filled(0, np.int64)
    if not extent or not wanted.numel():
        return low.astype(kind)
    single = edges.ndim == 1
    flat = wanted.reshape(-1) if single else wanted
    low = low.reshape(flat.shape)
    for step in _halves(extent):
        middle = low + (step - 1)
        at = middle.clip(0, extent - 1)
        edge = edges.take_along(at, 0 if single else edges.ndim - 1)
        below = edge <= flat if right else edge < flat
        if flat.dtype.kind == "f":  # NaN is the largest.
            below = below | ((flat != flat) & ((edge == edge) | right))
        low = (below & (middle < extent)).choose(low + step, low)
    return low.reshape(wanted.shape).astype(kind)


def _halves(extent: int) -> Sequence[int]:
    """The powers of two up to an extent, the largest first."""
    return [1 << i for i in reversed(range(extent.bit_length()))]


def _different(flat: Array, shape: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Different values; NaN differs from NaN, as in PyTorch."""
    values, inverse, counts = np.unique(
        flat, return_inverse=True, return_counts=True, equal_nan=False
    )
    return values, inverse.reshape(shape), counts


def _wanted(found: tuple[Array, Array, Array], inverse: bool, counts: bool) -> Any:
    values = as_tensor(np.ascontiguousarray(found[0]))
    result = [values]
    if inverse:
        result.append(as_tensor(found[1].astype(np.int64)))
    if counts:
        result.append(as_tensor(found[2].astype(np.int64)))
    return result[0] if len(result) == 1 else tuple(result)
