"""Reductions: sums, means, extrema and their places, over some or all axes.

Each takes the tensor first, and is a method of `Tensor`. An axis is named by `dim` or by `axis`: a
number, a tuple of them, or None and () for all; `keepdim` or `keepdims` keeps reduced axes with
extent 1.
"""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mynn.base.arguments import explained
from mynn.core.primitive import Primitive
from mynn.core.types import Shape
from mynn.errors import ArgumentError, ShapeError
from mynn.ops import elementwise, movement, reduce
from mynn.ops.rules import normalize_axes
from mynn.tensor.promotion import apply, binary
from mynn.tensor.spelling import kept, one_of

if TYPE_CHECKING:
    from mynn.tensor.tensor import Tensor


class Extremum(NamedTuple):
    """Largest or smallest values along an axis, and the places of the first of them (int64)."""

    values: Tensor
    indices: Tensor


def _axes(name: str, x: Tensor, dim: Any, axis: Any) -> tuple[int, ...]:
    chosen = one_of(name, dim, axis)
    if isinstance(chosen, tuple | list) and not chosen:
        chosen = None
    return normalize_axes(chosen, x.ndim, name)


def _reduce(x: Tensor, primitive: Primitive, axes: tuple[int, ...], keepdim: bool) -> Tensor:
    if x.dtype.kind == "b" and primitive is not reduce.sum:
        return _reduce(x.astype(np.uint8), primitive, axes, keepdim).astype(np.bool_)
    result = apply(primitive, x, axes=axes)
    return result.reshape(_kept(x.shape, axes)) if keepdim else result


@explained
def sum(
    x: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """Sum over `dim`; integers and bools are added up as int64, unless `dtype` says otherwise."""
    axes = _axes("sum", x, dim, axis)
    if dtype is not None:
        x = x.astype(dtype)
    elif x.dtype.kind != "f":
        x = x.astype(np.int64)
    return _reduce(x, reduce.sum, axes, kept(keepdim, keepdims))


@explained
def mean(
    x: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    *,
    dtype: Any = None,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """Mean over `dim`; of integers and bools a float32, their exact sum divided."""
    axes = _axes("mean", x, dim, axis)
    count = math.prod(x.shape[one] for one in axes)
    if count == 0:
        raise ShapeError(
            f"mean: the reduced axes {axes} of {x.shape} hold no values; leave empty ones out"
        )
    if dtype is None and x.dtype.kind != "f":
        total = _reduce(x.astype(np.int64), reduce.sum, axes, kept(keepdim, keepdims))
        return total.floating() * (1.0 / count)
    x = x if dtype is None else x.astype(dtype)
    return _reduce(x, reduce.sum, axes, kept(keepdim, keepdims)) * (1.0 / count)


@explained
def var(
    x: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """Variance over `dim`: the sum of (x - mean)^2, divided by n - correction.

    `correction` is 1 where left out; `unbiased=False` means 0. A bool in place of `dim` is
    `unbiased`, as in `x.var(False)`.
    """
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise ArgumentError("var: unbiased and correction say the same; give one of them")
    if correction is None:
        correction = 0 if unbiased is False else 1
    axes = _axes("var", x, dim, axis)
    count = math.prod(x.shape[one] for one in axes)
    x = x.floating()
    centred = x - x.mean(axes, keepdim=True)
    squares = _reduce(centred * centred, reduce.sum, axes, kept(keepdim, keepdims))
    if count > correction:
        return squares * (1.0 / (count - correction))
    warnings.warn(
        f"var: {count} values with correction={correction} leave nothing to divide by, the result "
        "is NaN or infinite; give correction=0, or more values",
        UserWarning,
        stacklevel=2,
    )
    return squares / 0.0


@explained
def std(
    x: Tensor,
    dim: Any = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """Standard deviation over `dim`: the root of `var`, with the same arguments."""
    return var(
        x, dim, unbiased, keepdim, correction=correction, axis=axis, keepdims=keepdims
    ).sqrt()


@explained
def amax(
    x: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    *,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """Largest value over `dim`; values that tie share the gradient."""
    return _reduce(x, reduce.max, _axes("amax", x, dim, axis), kept(keepdim, keepdims))


@explained
def amin(
    x: Tensor,
    dim: Any = None,
    keepdim: bool = False,
    *,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Tensor:
    """Smallest value over `dim`; values that tie share the gradient."""
    return _reduce(x, reduce.min, _axes("amin", x, dim, axis), kept(keepdim, keepdims))


@explained
def max(
    x: Tensor,
    dim: Any = None,
    keepdim: bool | None = None,
    *,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Any:
    """The largest value; with a number `dim` the named tuple (values, indices) along that axis.

    With a tensor in place of `dim`: the larger of two values, elementwise. Along an axis the
    gradient goes to the first of equal values, over all of them equal values share it. `amax` gives
    the values alone, over any axes.
    """
    return _extremum("max", reduce.max, elementwise.maximum, x, dim, axis, keepdim, keepdims)


@explained
def min(
    x: Tensor,
    dim: Any = None,
    keepdim: bool | None = None,
    *,
    axis: Any = None,
    keepdims: bool | None = None,
) -> Any:
    """The smallest value; with a number `dim` the named tuple (values, indices); see `max`."""
    return _extremum("min", reduce.min, elementwise.minimum, x, dim, axis, keepdim, keepdims)


def _extremum(
    name: str,
    reduction: Primitive,
    pairwise: Primitive,
    x: Tensor,
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


def _along(name: str, reduction: Primitive, x: Tensor, dim: int, keepdim: bool) -> Extremum:
    places = (argmax if name == "max" else argmin)(x, dim, keepdim=True)
    axes = normalize_axes(dim, x.ndim, name)
    if not axes:
        return Extremum(x, places.reshape(()))
    if x.requires_grad:
        # A sum of one value and zeros, so that the gradient arrives at the chosen place alone.
        shape = x.shape
        index = apply(movement.iota, shape=shape, axis=axes[0], dtype=places.dtype)
        hit = index == places.broadcast_to(shape)
        values = apply(reduce.sum, hit.choose(x, 0), axes=axes)
    else:
        values = apply(reduction, x, axes=axes)
    shape = _kept(x.shape, axes)
    if keepdim:
        return Extremum(values.reshape(shape), places)
    return Extremum(values, places.reshape(values.shape))


@explained
def argmax(
    x: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    axis: int | None = None,
    keepdims: bool | None = None,
) -> Tensor:
    """Index of the first largest value along `dim`, or in the flattened tensor; int64."""
    chosen, keep = one_of("argmax", dim, axis), kept(keepdim, keepdims)
    if chosen is None or not x.ndim:
        normalize_axes(chosen, x.ndim, "argmax")
        flat = apply(reduce.argmax, x.reshape(-1), axis=0)
        return flat.reshape((1,) * x.ndim) if keep else flat
    axes = normalize_axes(chosen, x.ndim, "argmax")
    if len(axes) != 1:
        raise ArgumentError(f"argmax: dim must be one axis, it is {chosen!r}")
    result = apply(reduce.argmax, x, axis=axes[0])
    return result.reshape(_kept(x.shape, axes)) if keep else result


@explained
def argmin(
    x: Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    axis: int | None = None,
    keepdims: bool | None = None,
) -> Tensor:
    """Index of the first smallest value along `dim`, or in the flattened tensor; int64."""
    # The complement of an integer, -1 - x, turns the order around without leaving its range.
    turned = -x if x.dtype.kind == "f" else x ^ np.array(-1).astype(x.dtype)
    return argmax(turned, dim, keepdim, axis=axis, keepdims=keepdims)


def _kept(shape: Shape, axes: tuple[int, ...]) -> Shape:
    return tuple(1 if axis in axes else n for axis, n in enumerate(shape))
