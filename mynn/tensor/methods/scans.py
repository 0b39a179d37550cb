"""Scans, as methods: running sums, products and extrema along an axis."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from mynn import return_types
from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.core.primitive import Primitive
from mynn.errors import ArgumentError
from mynn.ops import movement, scan
from mynn.ops.rules import normalize_axes
from mynn.tensor.argument_aliases import required
from mynn.tensor.methods.sorting import Sorting
from mynn.tensor.promotion import apply

T = TypeVar("T", bound="Scans[Any]")


class Scans(Sorting[T]):
    """Each value combined with all before it."""

    __slots__ = ()

    @recorded
    @explained
    def cumsum(self: T, dim: int | None = None, *, dtype: Any = None, axis: int | None = None) -> T:
        """Along `dim`, the sum of each value and all before it.

        Integers and bools are added up as int64 where `dtype` is left out.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([1, 2, 3]).cumsum(0)
            tensor([1, 3, 6])
        """
        return _along("cumsum", scan.cumsum, widened(self, dtype), dim, axis)

    @recorded
    @explained
    def cumprod(
        self: T, dim: int | None = None, *, dtype: Any = None, axis: int | None = None
    ) -> T:
        """Along `dim`, the product of each value and all before it.

        Integers and bools are multiplied as int64 where `dtype` is left out. The gradient is right
        where values are 0 too.
        """
        return _along("cumprod", scan.cumprod, widened(self, dtype), dim, axis)

    @explained
    def cummax(self: T, dim: int | None = None, *, axis: int | None = None) -> return_types.cummax:
        """The named tuple (values, indices): along `dim` the largest value so far, and where it
        last stood; NaN is larger than all.
        """
        return _extremum("cummax", scan.cummax, self, dim, axis)

    @explained
    def cummin(self: T, dim: int | None = None, *, axis: int | None = None) -> return_types.cummin:
        """The named tuple (values, indices): along `dim` the smallest value so far, and where it
        last stood; NaN is smaller than all.
        """
        return _extremum("cummin", scan.cummin, self, dim, axis)

    def cummax_values(self, axis: int) -> T:
        """The primitive."""
        return apply(scan.cummax, self, axis=axis)

    @recorded
    @explained
    def logcumsumexp(self: T, dim: int | None = None, *, axis: int | None = None) -> T:
        """log(cumsum(exp(x))) along `dim`, where no exponential overflows.

        Within blocks sums of 2, 4, 8... values, scaled by the largest among them; then the same
        for the sums of blocks, which are added to those of the blocks behind.
        """
        chosen = required("logcumsumexp", dim, axis)
        x = self.floating()
        if not x.ndim:
            normalize_axes(chosen, 0, "logcumsumexp")
            return x.reshape(())
        one = normalize_axes(chosen, x.ndim, "logcumsumexp")[0]
        return _log_sums(x.movedim(one, -1)).movedim(-1, one)


# Values in a block of `logcumsumexp`.
_BLOCK = 32


def _log_sums(x: Any) -> Any:
    """Along the last axis the logarithm of the sum of the exponentials of each value and all before
    it.
    """
    extent = x.shape[-1]
    blocks = extent // _BLOCK
    if blocks < 2:
        return _log_sums_by_doubling(x)
    whole = x[..., : blocks * _BLOCK].reshape((*x.shape[:-1], blocks, _BLOCK))
    inner = _log_sums_by_doubling(whole)
    totals = _log_sums(inner[..., -1])
    behind = _log_add(totals[..., :-1].unsqueeze(-1), inner[..., 1:, :])
    sums = inner[..., :1, :].concatenate([behind], -2).reshape((*x.shape[:-1], -1))
    if blocks * _BLOCK == extent:
        return sums
    rest = _log_sums_by_doubling(x[..., blocks * _BLOCK :])
    return sums.concatenate([_log_add(totals[..., -1:], rest)], -1)


def _log_sums_by_doubling(x: Any) -> Any:
    by = 1
    while by < x.shape[-1]:
        x = x[..., :by].concatenate([_log_add(x[..., :-by], x[..., by:])], -1)
        by *= 2
    return x


def widened(x: T, dtype: Any) -> T:
    """x in the dtype in which it is added up or multiplied."""
    if dtype is not None:
        return x.astype(dtype)
    return x if x.dtype.kind == "f" else x.astype(np.int64)


def _along(name: str, primitive: Primitive, x: T, dim: Any, axis: Any) -> T:
    chosen = required(name, dim, axis)
    axes = normalize_axes(chosen, x.ndim, name)
    if not x.ndim:
        return apply(primitive, x.reshape(1), axis=0).reshape(())
    if len(axes) != 1:
        raise ArgumentError(f"{name}: dim must be one axis, it is {chosen!r}")
    return apply(primitive, x, axis=axes[0])


def _extremum(name: str, primitive: Primitive, x: T, dim: Any, axis: Any) -> Any:
    result = getattr(return_types, name)
    if x.dtype.kind == "b":
        values, indices = _extremum(name, primitive, x.astype(np.uint8), dim, axis)
        return result(values.astype(np.bool_), indices)
    values = _along(name, primitive, x, dim, axis)
    if not x.ndim:
        return result(values, values.filled(0, np.int64))
    one = normalize_axes(required(name, dim, axis), x.ndim, name)[0]
    order: Any = apply(movement.iota, shape=x.shape, axis=one, dtype=np.dtype(np.int64))
    hits = x == values
    hits = hits | (x != x) if x.dtype.kind == "f" else hits
    return result(values, hits.choose(order, 0).cummax_values(one))


def _log_add(a: Any, b: Any) -> Any:
    """log(exp(a) + exp(b)); equal infinities are what comes out."""
    top = a.maximum(b).detach()
    finite = (top - top) == 0
    base = finite.choose(top, 0)
    total = ((a - base).exp() + (b - base).exp()).log() + base
    return finite.choose(total, a.maximum(b))
