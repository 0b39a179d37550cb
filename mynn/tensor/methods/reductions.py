"""Reductions: sums, means, extrema and their indices, over some or all axes.

An axis is named by `dim` or by `axis`: a number, a tuple of them, or None and () for all; `keepdim`
or `keepdims` keeps reduced axes with extent 1.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, TypeVar

import numpy as np

from mynn import return_types
from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.core.primitive import Primitive
from mynn.core.types import Shape
from mynn.errors import ArgumentError
from mynn.ops import elementwise, movement, reduce
from mynn.ops.rules import normalize_axes
from mynn.tensor.argument_aliases import kept, one_of
from mynn.tensor.methods.named import truth
from mynn.tensor.methods.scans import widened
from mynn.tensor.methods.strided import Strided
from mynn.tensor.promotion import apply, binary

T = TypeVar("T", bound="Reductions[Any]")


class Reductions(Strided[T]):
    """Sums, means, extrema and their indices."""

    __slots__ = ()

    @recorded
    @explained
    def sum(
        self: T,
        dim: Any = None,
        keepdim: bool = False,
        *,
        dtype: Any = None,
        axis: Any = None,
        keepdims: bool | None = None,
    ) -> T:
        """Sum over `dim`; integers and bools are added up as int64 where `dtype` is left out.

        The reduced axes go, or stay with extent 1 where `keepdim` is true; without `dim` the result
        is a single value. A sum of nothing is 0.

        Example:
            >>> from mynn import Tensor
            >>> x = Tensor([[1.0, 2.0], [3.0, 4.0]])
            >>> x.sum(), x.sum(0), x.sum(1, keepdim=True).shape
            (tensor(10.), tensor([4., 6.]), (2, 1))
        """
        axes = _axes("sum", self, dim, axis)
        return _reduce(widened(self, dtype), reduce.sum, axes, kept(keepdim, keepdims))

    @recorded
    @explained
    def prod(
        self: T,
        dim: Any = None,
        keepdim: bool = False,
        *,
        dtype: Any = None,
        axis: Any = None,
        keepdims: bool | None = None,
    ) -> T:
        """Product over `dim`; integers and bools are multiplied as int64 where `dtype` is left out.

        The gradient is right where values are 0 too.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([[1.0, 2.0], [3.0, 0.0]]).prod(1)
            tensor([2., 0.])
        """
        axes = _axes("prod", self, dim, axis)
        return _reduce(widened(self, dtype), reduce.prod, axes, kept(keepdim, keepdims))

    @recorded
    @explained
    def mean(
        self,
        dim: Any = None,
        keepdim: bool = False,
        *,
        dtype: Any = None,
        axis: Any = None,
        keepdims: bool | None = None,
    ) -> T:
        """Mean over `dim`, NaN of no values; of integers a float32, their exact sum divided.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([[1.0, 2.0], [3.0, 6.0]]).mean(1)
            tensor([1.5000, 4.5000])
        """
        axes = _axes("mean", self, dim, axis)
        count = math.prod(self.shape[one] for one in axes)
        if dtype is None and self.dtype.kind != "f":
            total = _reduce(self.astype(np.int64), reduce.sum, axes, kept(keepdim, keepdims))
            return total.floating() * (_share(count))
        x = self if dtype is None else self.astype(dtype)
        return _reduce(x, reduce.sum, axes, kept(keepdim, keepdims)) * (_share(count))

    @recorded
    @explained
    def var(
        self,
        dim: Any = None,
        unbiased: bool | None = None,
        keepdim: bool = False,
        *,
        correction: float | None = None,
        axis: Any = None,
        keepdims: bool | None = None,
    ) -> T:
        """Variance over `dim`: the sum of (x - mean)^2, divided by n - correction.

        `correction` is 1 where left out; `unbiased=False` means 0. A bool in place of `dim` is
        `unbiased`, as in `x.var(False)`. Integers are taken as float32.

        Example:
            >>> from mynn import Tensor
            >>> x = Tensor([1.0, 3.0, 5.0, 7.0, 9.0])
            >>> x.var(), x.var(unbiased=False)
            (tensor(10.), tensor(8.))
        """
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        if unbiased is not None and correction is not None:
            raise ArgumentError("var: unbiased and correction say the same; give one of them")
        if correction is None:
            correction = 0 if unbiased is False else 1
        axes = _axes("var", self, dim, axis)
        count = math.prod(self.shape[one] for one in axes)
        x = self.floating()
        centred = x - x.mean(axes, keepdim=True)
        squares = _reduce(centred * centred, reduce.sum, axes, kept(keepdim, keepdims))
        if count > correction:
            return squares * (1.0 / (count - correction))
        warnings.warn(
            f"var: {count} values with correction={correction} leave nothing to divide by, the "
            "result is NaN or infinite; give correction=0, or more values",
            UserWarning,
            stacklevel=2,
        )
        return squares / 0.0

    @recorded
    @explained
    def std(
        self,
        dim: Any = None,
        unbiased: bool | None = None,
        keepdim: bool = False,
        *,
        correction: float | None = None,
        axis: Any = None,
        keepdims: bool | None = None,
    ) -> T:
        """Standard deviation over `dim`: the root of `var`, with the same arguments.

        Where all values are equal its gradient is 0, as in PyTorch.
        """
        variance = self.var(
            dim, unbiased, keepdim, correction=correction, axis=axis, keepdims=keepdims
        )
        deviation: T = root(variance)
        return deviation

    @recorded
    @explained
    def amax(
        self: T,
        dim: Any = None,
        keepdim: bool = False,
        *,
        axis: Any = None,
        keepdims: bool | None = None,
    ) -> T:
        """Largest value over `dim`, any axes; values that tie share the gradient.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([[1, 5], [7, 2]]).amax(0)
            tensor([7, 5])
        """
        return _reduce(self, reduce.max, _axes("amax", self, dim, axis), kept(keepdim, keepdims))

    @recorded
    @explained
    def amin(
        self: T,
        dim: Any = None,
        keepdim: bool = False,
        *,
        axis: Any = None,
        keepdims: bool | None = None,
    ) -> T:
        """Smallest value over `dim`; values that tie share the gradient."""
        return _reduce(self, reduce.min, _axes("amin", self, dim, axis), kept(keepdim, keepdims))

    @recorded
    @explained
    def max(
        self,
        dim: Any = None,
        keepdim: bool | None = None,
        *,
        axis: Any = None,
        keepdims: bool | None = None,
    ) -> Any:
        """The largest value; with a number `dim` the named tuple (values, indices) along that axis.

        With a tensor in place of `dim`: the larger of two values, elementwise. Along an axis the
        gradient goes to the first of equal values, over all of them equal values share it. `amax`
        gives the values alone, over any axes.

        Example:
            >>> from mynn import Tensor
            >>> x = Tensor([[1.0, 5.0], [7.0, 2.0]])
            >>> values, indices = x.max(1)
            >>> values, indices
            (tensor([5., 7.]), tensor([1, 0]))
        """
        return _extremum("max", reduce.max, elementwise.maximum, self, dim, axis, keepdim, keepdims)

    @recorded
    @explained
    def min(
        self,
        dim: Any = None,
        keepdim: bool | None = None,
        *,
        axis: Any = None,
        keepdims: bool | None = None,
    ) -> Any:
        """The smallest value; with a number `dim` the named tuple (values, indices); see `max`."""
        return _extremum("min", reduce.min, elementwise.minimum, self, dim, axis, keepdim, keepdims)

    @recorded
    @explained
    def any(
        self,
        dim: Any = None,
        keepdim: bool = False,
        *,
        axis: Any = None,
        keepdims: bool | None = None,
    ) -> T:
        """Whether some value over `dim` is not 0; False of no values."""
        axes = _axes("any", self, dim, axis)
        return _held(truth(self), reduce.max, axes, kept(keepdim, keepdims), False)

    @recorded
    @explained
    def all(
        self,
        dim: Any = None,
        keepdim: bool = False,
        *,
        axis: Any = None,
        keepdims: bool | None = None,
    ) -> T:
        """Whether no value over `dim` is 0; True of no values."""
        axes = _axes("all", self, dim, axis)
        return _held(truth(self), reduce.min, axes, kept(keepdim, keepdims), True)

    @recorded
    @explained
    def argmax(
        self,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        axis: int | None = None,
        keepdims: bool | None = None,
    ) -> T:
        """Index of the first largest value along `dim`, or in the flattened tensor; int64.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([[1.0, 5.0, 5.0], [7.0, 2.0, 0.0]]).argmax(1)
            tensor([1, 0])
        """
        chosen, keep = one_of("argmax", dim, axis), kept(keepdim, keepdims)
        if chosen is None or not self.ndim:
            normalize_axes(chosen, self.ndim, "argmax")
            flat = apply(reduce.argmax, self.reshape(-1), axis=0)
            return flat.reshape((1,) * self.ndim) if keep else flat
        axes = normalize_axes(chosen, self.ndim, "argmax")
        if len(axes) != 1:
            raise ArgumentError(f"argmax: dim must be one axis, it is {chosen!r}")
        result = apply(reduce.argmax, self, axis=axes[0])
        return result.reshape(_kept(self.shape, axes)) if keep else result

    @recorded
    @explained
    def argmin(
        self,
        dim: int | None = None,
        keepdim: bool = False,
        *,
        axis: int | None = None,
        keepdims: bool | None = None,
    ) -> T:
        """Index of the first smallest value along `dim`, or in the flattened tensor; int64."""
        # The complement of an integer, -1 - x, turns the order around without leaving its range.
        turned = -self if self.dtype.kind == "f" else self ^ np.array(-1).astype(self.dtype)
        return turned.argmax(dim, keepdim, axis=axis, keepdims=keepdims)


def _share(count: int) -> float:
    """What each of so many values counts in their mean; of none it is NaN."""
    return 1.0 / count if count else math.nan


def _axes(name: str, x: T, dim: Any, axis: Any) -> tuple[int, ...]:
    chosen = one_of(name, dim, axis)
    if isinstance(chosen, tuple | list) and not chosen:
        chosen = None
    return normalize_axes(chosen, x.ndim, name)


def _reduce(x: T, primitive: Primitive, axes: tuple[int, ...], keepdim: bool) -> T:
    if x.dtype.kind == "b" and primitive is not reduce.sum:
        return _reduce(x.astype(np.uint8), primitive, axes, keepdim).astype(np.bool_)
    result = apply(primitive, x, axes=axes)
    return result.reshape(_kept(x.shape, axes)) if keepdim else result


def _held(x: Any, primitive: Primitive, axes: tuple[int, ...], keepdim: bool, none: bool) -> Any:
    """An extremum of bools; `none` where there are no values."""
    if all(x.shape[axis] for axis in axes):
        return _reduce(x, primitive, axes, keepdim)
    counts = _reduce(x.astype(np.int64), reduce.sum, axes, keepdim)
    return counts == 0 if none else counts != 0


def _extremum(
    name: str,
    reduction: Primitive,
    pairwise: Primitive,
    x: T,
    dim: Any,
    axis: Any,
    keepdim: bool | None,
    keepdims: bool | None,
) -> Any:
    chosen = one_of(name, dim, axis)
    keep = keepdim if keepdims is None else keepdims
    if chosen is None:
        if keep is not None:
            raise ArgumentError(f"{name}: keepdim needs dim; write a{name}(keepdim={keep})")
        return _reduce(x, reduction, tuple(range(x.ndim)), False)
    if isinstance(chosen, tuple | list):
        raise ArgumentError(
            f"{name}: dim must be one axis, it is {chosen!r}; a{name}({chosen!r}) takes several"
        )
    if not isinstance(chosen, int | np.integer):
        return binary(pairwise, x, chosen)
    return _along(name, reduction, x, int(chosen), bool(keep))


def _along(name: str, reduction: Primitive, x: T, dim: int, keepdim: bool) -> Any:
    result = getattr(return_types, name)
    if x.dtype.kind == "b":
        values, indices = _along(name, reduction, x.astype(np.uint8), dim, keepdim)
        return result(values.astype(np.bool_), indices)
    indices = (x.argmax if name == "max" else x.argmin)(dim, keepdim=True)
    axes = normalize_axes(dim, x.ndim, name)
    if not axes:
        return result(x, indices.reshape(()))
    if x.requires_grad:
        # A sum of one value and zeros, so that the gradient arrives at the chosen index alone.
        shape = x.shape
        index: Any = apply(movement.iota, shape=shape, axis=axes[0], dtype=indices.dtype)
        hit = index == indices.broadcast_to(shape)
        values = apply(reduce.sum, hit.choose(x, 0), axes=axes)
    else:
        values = apply(reduction, x, axes=axes)
    shape = _kept(x.shape, axes)
    if keepdim:
        return result(values.reshape(shape), indices)
    return result(values, indices.reshape(values.shape))


def _kept(shape: Shape, axes: tuple[int, ...]) -> Shape:
    return tuple(1 if axis in axes else n for axis, n in enumerate(shape))


def root(squares: Any) -> Any:
    """The square root, whose gradient at 0 is 0."""
    none = squares == 0
    return none.choose(0.0, none.choose(1.0, squares).sqrt())
