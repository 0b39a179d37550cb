"""Differences and sums along an axis, covariances, powers; values looked for among others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn.base.arguments import explained, whole_number
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ShapeError
from mynn.functional.joining import cat
from mynn.tensor import Tensor, as_tensor, same_dtype
from mynn.tensor.checks import require_range
from mynn.tensor.methods.shapes import axis_of


@recorded
@explained
def diff(input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None) -> Tensor:
    """y[i] = x[i + 1] - x[i] along `dim`, n times; of bools whether they differ.

    Example:
        >>> diff([1.0, 4.0, 9.0]).tolist()
        [3.0, 5.0]
    """
    x = as_tensor(input)
    axis = axis_of("diff", x, dim)
    if whole_number("diff: n", n) < 0:
        raise ArgumentError(f"diff: n must be 0 or more, it is {n}")
    ends = [None if one is None else as_tensor(one, like=x) for one in (prepend, append)]
    parts = [one for one in (ends[0], x, ends[1]) if one is not None]
    x = cat(parts, axis) if n and len(parts) > 1 else x
    for _ in range(n):
        count = max(x.shape[axis] - 1, 0)
        later, before = x.narrow(axis, x.shape[axis] - count, count), x.narrow(axis, 0, count)
        x = later != before if x.dtype.kind == "b" else later - before
    return x


def _spacings(x: Any, axis: int, spacing: Any) -> Tensor:
    """The distances of neighbours along an axis, with as many axes as x."""
    given = as_tensor(spacing, like=x)
    if given.ndim != 1 or given.shape[0] != x.shape[axis]:
        raise ShapeError(
            f"gradient: coordinates must be [{x.shape[axis]}], their shape is {given.shape}"
        )
    shape = [1] * x.ndim
    shape[axis] = x.shape[axis] - 1
    return diff(given).reshape(shape)


def _slope(x: Tensor, axis: int, spacing: Any, edge_order: int) -> Tensor:
    """The derivative by differences of second order, at the ends of `edge_order`."""
    n = x.shape[axis]
    if n < edge_order + 1:
        raise ShapeError(
            f"gradient: edge_order={edge_order} needs {edge_order + 1} values along dim {axis}, "
            f"there are {n}"
        )
    rise = diff(x, 1, axis)
    if isinstance(spacing, int | float):
        shape = [1] * x.ndim
        shape[axis] = n - 1
        step: Tensor = as_tensor(np.full(shape, spacing, x.dtype))
    else:
        step = _spacings(x, axis, spacing)
    slopes = rise / step
    # The second difference is taken at the middle of two slopes, weighted with the other's length.
    before, after = slopes.narrow(axis, 0, n - 2), slopes.narrow(axis, 1, n - 2)
    left, right = step.narrow(axis, 0, n - 2), step.narrow(axis, 1, n - 2)
    middle = (before * right + after * left) / (left + right)
    first, last = slopes.narrow(axis, 0, 1), slopes.narrow(axis, n - 2, 1)
    if edge_order == 2:
        bend = (after - before) / (left + right)
        first = first - bend.narrow(axis, 0, 1) * step.narrow(axis, 0, 1)
        last = last + bend.narrow(axis, n - 3, 1) * step.narrow(axis, n - 2, 1)
    return cat([first, middle, last], axis)


@recorded
@explained
def gradient(
    input: Any, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1
) -> tuple[Tensor, ...]:
    """The derivative along each of the axes `dim`, by differences of neighbours.

    Args:
        spacing: the distance of neighbours; a number for each axis; or coordinates for each.
        edge_order: 1 or 2, how differences at the ends are taken.

    Example:
        >>> gradient([0.0, 1.0, 4.0])[0].tolist()
        [1.0, 2.0, 3.0]
    """
    x = as_tensor(input)
    x = x if x.dtype.kind == "f" else x.floating()
    if edge_order not in (1, 2):
        raise ArgumentError(f"gradient: edge_order must be 1 or 2, it is {edge_order}")
    given = range(x.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    axes = [axis_of("gradient", x, one) for one in given]
    if len(set(axes)) != len(axes):
        raise ArgumentError(f"gradient: dim {dim} names an axis twice")
    spacing = 1 if spacing is None else spacing
    several = isinstance(spacing, Sequence)
    spacings = list(spacing) if several else [spacing] * len(axes)
    if len(spacings) != len(axes):
        raise ArgumentError(
            f"gradient: {len(spacings)} spacings for {len(axes)} axes; give one for each"
        )
    return tuple(
        [_slope(x, axis, one, edge_order) for axis, one in zip(axes, spacings, strict=True)]
    )


def _areas(name: str, y: Any, x: Any, dx: Any, dim: int) -> tuple[Tensor, int]:
    """The area below each line between two neighbours."""
    values = as_tensor(y)
    values = values if values.dtype.kind == "f" else values.floating()
    axis = axis_of(name, values, dim)
    n = values.shape[axis]
    width: Any = 1.0 if dx is None else dx
    if x is not None:
        if dx is not None:
            raise ArgumentError(f"{name}: give x or dx, not both")
        places = as_tensor(x, like=values)
        if places.ndim == 1 and places.shape[0] == n:
            shape = [1] * values.ndim
            shape[axis] = n
            places = places.reshape(shape)
        elif places.ndim < values.ndim:
            places = places.reshape((*[1] * (values.ndim - places.ndim), *places.shape))
        if places.shape[axis] != n:
            raise ShapeError(
                f"{name}: x {places.shape} must have {n} values along dim {axis}, as y "
                f"{values.shape}"
            )
        width = diff(places, 1, axis)
    count = max(n - 1, 0)
    both = values.narrow(axis, 0, count) + values.narrow(axis, n - count, count)
    return both * width * 0.5, axis


@recorded
@explained
def trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The area below the lines through y along `dim`, at the places x or in steps of dx.

    Example:
        >>> trapezoid([1.0, 2.0, 3.0]).item()
        4.0
    """
    areas, axis = _areas("trapezoid", y, x, dx, dim)
    return areas.sum(axis)


trapz = trapezoid


@recorded
@explained
def cumulative_trapezoid(y: Any, x: Any = None, *, dx: Any = None, dim: int = -1) -> Tensor:
    """The areas of `trapezoid` up to each place but the first."""
    areas, axis = _areas("cumulative_trapezoid", y, x, dx, dim)
    return areas.cumsum(axis)


@recorded
@explained
def cov(input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Tensor:
    """The covariances of the rows of [V, N], N observations of V variables; [V, V].

    Args:
        correction: what is taken off the number of observations.
        fweights: how often each observation counts, whole numbers [N].
        aweights: how much each counts, [N].

    Example:
        >>> cov([[0.0, 2.0], [0.0, 4.0]]).tolist()
        [[2.0, 4.0], [4.0, 8.0]]
    """
    x = as_tensor(input)
    if x.ndim > 2:
        raise ShapeError(f"cov: takes [V, N] or [N], the shape is {x.shape}")
    rows = x.floating().reshape((1, -1)) if x.ndim < 2 else x.floating()
    count = rows.shape[1]
    weights: Any = None
    for name, given in (("fweights", fweights), ("aweights", aweights)):
        if given is None:
            continue
        one = as_tensor(given)
        if one.shape != (count,):
            raise ShapeError(f"cov: {name} must be [{count}], its shape is {one.shape}")
        if name == "fweights" and one.dtype.kind not in "iu":
            raise ArgumentError(f"cov: fweights must be integers, they are {one.dtype}")
        if name == "aweights" and one.dtype.kind != "f":
            raise ArgumentError(f"cov: aweights must be floats, they are {one.dtype}")
        require_range(one, "cov", name, 0, math.inf if one.dtype.kind == "f" else 2**62)
        one = one.astype(rows.dtype)
        weights = one if weights is None else weights * one
    if weights is None:
        total, mean, scaled = float(count), rows.mean(1, keepdim=True), None
        away = rows - mean
        product = away @ away.mT
        left: Any = total - correction
    else:
        total = weights.sum()
        away = rows - (rows * weights).sum(1, keepdim=True) / total
        scaled = away * weights
        product = away @ scaled.mT
        less = correction
        if aweights is not None and correction:
            less = correction * (weights * as_tensor(aweights)).sum() / total
        left = total - less
    left = max(left, 0.0) if isinstance(left, float) else left.clip(0.0)
    result: Tensor = product / left
    return result.reshape(()) if rows.shape[0] == 1 else result


@recorded
@explained
def corrcoef(input: Any) -> Tensor:
    """The correlations of the rows of [V, N], within -1..1; see `cov`."""
    covariance = cov(input)
    if not covariance.ndim:
        return covariance / covariance
    deviation = covariance.diagonal().sqrt()
    return (covariance / deviation.unsqueeze(1) / deviation.unsqueeze(0)).clip(-1.0, 1.0)


@recorded
@explained
def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Tensor:
    """Whether each of `elements` is one of `test_elements`; the opposite with `invert`.

    Example:
        >>> isin([1, 2, 3], [2, 5]).tolist()
        [False, True, False]
    """
    given = same_dtype(elements, test_elements)
    member: Tensor = (given[0].unsqueeze(-1) == given[1].reshape(-1)).any(-1)
    return ~member if invert else member


@recorded
@explained
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Tensor:
    """The powers N - 1 .. 0 of each value of [K], a column each; 0 .. N - 1 where `increasing`."""
    values = as_tensor(x)
    if values.ndim != 1:
        raise ShapeError(f"vander: takes [K], the shape is {values.shape}")
    values = values if values.dtype.kind == "f" else values.astype(np.int64)
    count = values.shape[0] if N is None else whole_number("vander: N", N)
    if count < 0:
        raise ArgumentError(f"vander: N must be 0 or more, it is {count}")
    if not count:
        return as_tensor(np.zeros((values.shape[0], 0), values.dtype))
    ones = values.filled(1).unsqueeze(-1)
    wide = values.unsqueeze(-1).broadcast_to((values.shape[0], count - 1))
    powers = cat([ones, wide], 1).cumprod(1)
    return powers if increasing else powers.flip(1)


@recorded
@explained
def renorm(input: Any, p: float, dim: int, maxnorm: float) -> Tensor:
    """Parts along `dim` whose p-norm is above maxnorm are scaled down to it.

    Example:
        >>> renorm([[3.0, 4.0], [0.3, 0.4]], 2, 0, 1.0).tolist()
        [[0.6000000238418579, 0.800000011920929], [0.30000001192092896, 0.4000000059604645]]
    """
    x = as_tensor(input)
    axis = axis_of("renorm", x, dim)
    if x.ndim < 2:
        raise ShapeError(f"renorm: takes tensors of at least two axes, the shape is {x.shape}")
    if not p > 0 or not maxnorm >= 0 or not math.isfinite(maxnorm):
        raise ArgumentError(
            f"renorm: p must be above 0 and maxnorm at least 0, they are {p} and {maxnorm}"
        )
    others = tuple(one for one in range(x.ndim) if one != axis)
    norm = x.norm(p, others, keepdim=True)
    scale = (norm > maxnorm).choose(maxnorm / (norm + 1e-7), 1.0)
    return x * scale


@explained
def fill(input: Any, value: Any) -> Tensor:
    """One value in the shape and dtype of `input`; no gradient flows to that."""
    x = as_tensor(input)
    number = as_tensor(value, like=x)
    if number.ndim:
        raise ShapeError(f"fill: the value must be a single one, its shape is {number.shape}")
    return number.astype(x.dtype).broadcast_to(x.shape).clone()
