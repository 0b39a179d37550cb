"""Further reductions, as methods: what several of `Reductions` make together, norms, counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from mynn import return_types
from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, DTypeError, ShapeError
from mynn.ops.rules import normalize_axes
from mynn.tensor.gradients import picked
from mynn.tensor.methods.named import truth
from mynn.tensor.methods.reductions import Reductions, root
from mynn.tensor.methods.sorting import kth_places
from mynn.tensor.promotion import as_tensor

T = TypeVar("T", bound="Statistics[Any]")


class Statistics(Reductions[T]):
    """Sums without NaN, counts, norms, mean and variance at once."""

    __slots__ = ()

    @recorded
    @explained
    def aminmax(self, *, dim: int | None = None, keepdim: bool = False) -> return_types.aminmax:
        """The smallest and the largest value, all or along `dim`, as a named tuple (min, max)."""
        low, high = (
            (self.amin(), self.amax())
            if dim is None
            else (self.amin(dim, keepdim), self.amax(dim, keepdim))
        )
        if dim is None and keepdim:
            shape = (1,) * self.ndim
            low, high = low.reshape(shape), high.reshape(shape)
        return return_types.aminmax(low, high)

    @recorded
    @explained
    def nansum(self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> T:
        """Sum over `dim`, where NaN counts as 0."""
        x: Any = self
        return (x.isnan().choose(0, x) if x.dtype.kind == "f" else x).sum(dim, keepdim, dtype=dtype)

    @recorded
    @explained
    def nanmean(self, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> T:
        """Mean over `dim` of the values that are not NaN."""
        x: Any = self if dtype is None else self.astype(dtype)
        if x.dtype.kind != "f":
            raise DTypeError(
                f"nanmean: takes floats, it was given {x.dtype}; convert with .float()"
            )
        count = (x == x).sum(dim, keepdim).astype(x.dtype)
        return x.nansum(dim, keepdim) / count

    @recorded
    @explained
    def count_nonzero(self, dim: Any = None) -> T:
        """How many values over `dim` are not 0; int64."""
        return truth(self).sum(dim)

    @recorded
    @explained
    def std_mean(
        self,
        dim: Any = None,
        unbiased: bool | None = None,
        keepdim: bool = False,
        *,
        correction: float | None = None,
    ) -> tuple[T, T]:
        """Standard deviation and mean over `dim`; see `var` for the arguments."""
        over = None if isinstance(dim, bool) else dim
        deviation = self.std(dim, unbiased, keepdim, correction=correction)
        return deviation, self.mean(over, keepdim)

    @recorded
    @explained
    def var_mean(
        self,
        dim: Any = None,
        unbiased: bool | None = None,
        keepdim: bool = False,
        *,
        correction: float | None = None,
    ) -> tuple[T, T]:
        """Variance and mean over `dim`; see `var` for the arguments."""
        over = None if isinstance(dim, bool) else dim
        variance = self.var(dim, unbiased, keepdim, correction=correction)
        return variance, self.mean(over, keepdim)

    @recorded
    @explained
    def logsumexp(
        self, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None
    ) -> T:
        """log of the sum of e^x over `dim`, one axis or several; no finite x overflows."""
        x: Any = self.floating()
        place = dim if axis is None else axis
        if place is None:
            raise ArgumentError("logsumexp: dim is missing; name an axis, as logsumexp(dim=0)")
        bounds = np.finfo(x.dtype)
        axes = normalize_axes(place, x.ndim, "logsumexp")
        if any(x.shape[one] == 0 for one in axes):
            return x.exp().sum(place, keepdim).log()
        # Held to finite values, because infinity - infinity is NaN.
        top = x.detach().amax(place, keepdim=True).clip(float(bounds.min), float(bounds.max))
        result = (x - top).exp().sum(place, keepdim=True).log() + top
        if keepdim if keepdims is None else keepdims:
            return result
        return result.squeeze(None if place in ((), []) else place)

    @recorded
    @explained
    def softmax(self, dim: int, *, dtype: Any = None) -> T:
        """e^x / sum of e^x along `dim`: positive values that sum to 1; nothing overflows."""
        x: Any = self.floating() if dtype is None else self.astype(dtype)
        e = (x - x.detach().amax(dim, keepdim=True)).exp()
        return e * (1.0 / e.sum(dim, keepdim=True))

    @recorded
    @explained
    def log_softmax(self, dim: int, *, dtype: Any = None) -> T:
        """log(softmax(x)) along `dim`, exact where the softmax itself would underflow."""
        x: Any = self.floating() if dtype is None else self.astype(dtype)
        z = x - x.detach().amax(dim, keepdim=True)
        return z - z.exp().sum(dim, keepdim=True).log()

    @explained
    def median(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The middle value, the lower one of two; along `dim` a named tuple (values, indices)."""
        return _middle(self, dim, keepdim, ignore=False)

    @explained
    def nanmedian(self, dim: int | None = None, keepdim: bool = False) -> Any:
        """The median of the values that are not NaN; see `median`."""
        return _middle(self, dim, keepdim, ignore=True)

    @explained
    def quantile(
        self,
        q: Any,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        interpolation: str = "linear",
    ) -> T:
        """The value below which a share q of the values lies, all or along `dim`.

        Several shares give a first axis. Between two values it lies as `interpolation` says:
        "linear", "lower", "higher", "midpoint", "nearest".

        Example:
            >>> from mynn import Tensor
            >>> Tensor([1.0, 2.0, 3.0, 4.0]).quantile(0.5).item()
            2.5
        """
        return _quantile(self, q, dim, keepdim, interpolation, ignore=False)

    @explained
    def nanquantile(
        self,
        q: Any,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        interpolation: str = "linear",
    ) -> T:
        """The quantile of the values that are not NaN; see `quantile`."""
        return _quantile(self, q, dim, keepdim, interpolation, ignore=True)

    @recorded
    @explained
    def norm(
        self, p: Any = "fro", dim: Any = None, keepdim: bool = False, *, dtype: Any = None
    ) -> T:
        """The p-norm over `dim`: (sum of |x|^p)^(1/p), by default the root of the sum of squares.

        p may be infinite (the largest), -infinity (the least), 0 (how many are not 0); a text of
        "fro" stands for 2. Norms of matrices are in `mynn.linalg`.
        """
        x: Any = self if dtype is None else self.astype(dtype)
        if x.dtype.kind != "f":
            raise DTypeError(f"norm: takes floats, it was given {x.dtype}; convert with .float()")
        if p in ("fro", None):
            p = 2.0
        if isinstance(p, str):
            raise ArgumentError(f'norm: p is a number or "fro", not {p!r}; see mynn.linalg')
        axes = normalize_axes(None if dim in ((), []) else dim, x.ndim, "norm")
        empty = any(x.shape[one] == 0 for one in axes)
        if empty and (p < 0 or p == math.inf):
            raise ShapeError(f"norm: no values along {axes} of {x.shape} to take the extremum of")
        if p == math.inf:
            return x.abs().amax(axes, keepdim)
        if p == -math.inf:
            return x.abs().amin(axes, keepdim)
        if p == 0:
            return (x != 0).astype(x.dtype).sum(axes, keepdim)
        if p == 1:
            return x.abs().sum(axes, keepdim)
        if p == 2:
            return root((x * x).sum(axes, keepdim))
        return (x.abs() ** float(p)).sum(axes, keepdim) ** (1.0 / p)

    @recorded
    @explained
    def dist(self, other: Any, p: float = 2) -> T:
        """The p-norm of x - other."""
        difference: Any = self - other
        return difference.norm(p)


def _middle(
    x: Any, dim: int | None, keepdim: bool, ignore: bool, pick: Callable[..., Any] | None = None
) -> Any:
    """The median: the place of half the values among them, in their order."""
    result = return_types.nanmedian if ignore else return_types.median
    if dim is None:
        if not x.numel():
            return x.floating().sum() * math.nan
        pick = picked.middle_number_of_all if ignore else picked.middle_of_all
        return _middle(x.reshape(-1), 0, False, ignore, pick).values
    if not x.ndim:
        return result(x, as_tensor(np.zeros((), np.int64)))
    axis = normalize_axes(dim, x.ndim, "median")[0]
    if not x.shape[axis]:
        raise ShapeError(f"median: axis {axis} of {x.shape} holds no values; leave it out")
    bad = x.isnan().sum(axis, keepdim=True)
    count = x.shape[axis] - bad
    place = (count - 1).clip(min=0) // 2
    if not ignore:
        place = (bad > 0).choose(count, place)
    indices = kth_places(x, place, axis)
    pick = pick or (picked.middle_number if ignore else picked.middle)
    values = pick(x, indices, axis, keepdim)
    return result(values, indices if keepdim else indices.squeeze(axis))


_BETWEEN = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(
    x: Any, q: Any, dim: int | None, keepdim: bool, interpolation: str, ignore: bool
) -> Any:
    if interpolation not in _BETWEEN:
        raise ArgumentError(
            f"quantile: interpolation must be one of {', '.join(_BETWEEN)}, it is {interpolation!r}"
        )
    if x.dtype.kind != "f":
        raise DTypeError(f"quantile: takes floats, it was given {x.dtype}; convert with .float()")
    shares = as_tensor(q, like=x)
    if shares.dtype != x.dtype or shares.ndim > 1:
        raise DTypeError(
            f"quantile: q is a number or {x.dtype} [Q], it is {shares.spec}; convert it with .to"
        )
    known = shares.value
    if known is not None and known.size and not ((known >= 0) & (known <= 1)).all():
        raise ArgumentError(f"quantile: q must lie in [0, 1], it is {known.tolist()}")
    if not x.numel():
        raise ShapeError(f"quantile: a tensor of shape {x.shape} holds no values")
    ends = (1,) * x.ndim
    if dim is None or not x.ndim:
        rows, axis = x.reshape(-1), 0
    else:
        axis = normalize_axes(dim, x.ndim, "quantile")[0]
        rows, ends = x, tuple(1 if i == axis else n for i, n in enumerate(x.shape))
    rows = rows.movedim(axis, -1)
    values = rows.sort(-1).values
    bad = rows.isnan().sum(-1, keepdim=True)
    count = (rows.shape[-1] - bad).astype(x.dtype)
    at = shares.reshape(-1) * (count - 1).clip(min=0)  # [.., Q]
    if not ignore:
        at = (bad > 0).choose(float(rows.shape[-1] - 1), at)
    low = at.floor()
    high, weight = (low + (at > low).astype(x.dtype)), at - low
    below, above = (values.gather(-1, one.long()) for one in (low, high))
    if interpolation == "lower":
        found = below
    elif interpolation == "higher":
        found = above
    elif interpolation == "nearest":
        found = values.gather(-1, at.round().long())
    else:
        found = below.lerp(above, 0.5 if interpolation == "midpoint" else weight)
    found = found.movedim(-1, 0)
    shape = ends if keepdim else found.shape[1:]
    return found.reshape((*shares.shape, *shape))
