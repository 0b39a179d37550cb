"""Pooling by norms, by windows at random places, and maxima put back where they were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ShapeError
from mynn.functional.conv import batched, per_axis
from mynn.functional.pooling import Pool, first_largest
from mynn.random import Generator, uniform
from mynn.tensor import Tensor, as_tensor
from mynn.tensor.checks import require_range

# -- norms -----------------------------------------------------------------------------------------


@recorded
@explained
def lp_pool1d(
    input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x^p)^(1/p) over each window along one axis, with p = norm_type."""
    return _lp_pool("lp_pool1d", 1, input, norm_type, kernel_size, stride, ceil_mode)


@recorded
@explained
def lp_pool2d(
    input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x^p)^(1/p) over each window along two axes, with p = norm_type."""
    return _lp_pool("lp_pool2d", 2, input, norm_type, kernel_size, stride, ceil_mode)


@recorded
@explained
def lp_pool3d(
    input: Any, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
) -> Tensor:
    """(sum of x^p)^(1/p) over each window along three axes, with p = norm_type."""
    return _lp_pool("lp_pool3d", 3, input, norm_type, kernel_size, stride, ceil_mode)


def _lp_pool(
    name: str, rank: int, input: Any, p: float, kernel_size: Any, stride: Any, ceil_mode: bool
) -> Tensor:
    x, single = batched(name, input, rank)
    if p == 0:
        raise ArgumentError(f"{name}: norm_type must not be 0; the root is of that order")
    x = x.floating()
    pool = Pool(name, rank, kernel_size, stride, 0, 1, ceil_mode)
    powers = x if p == 1 else x**p
    total = pool.windows(powers, 0.0).sum(tuple(range(-rank, 0)))
    # A window past the end is scaled to a whole one, as in PyTorch, whose sums are means times k.
    inside = pool.counts(x.shape[2:], True)
    whole = math.prod(pool.kernel)
    if (inside != whole).any():
        total = total * (whole / inside).astype(x.dtype)
    nothing = total == 0
    root = total if p == 1 else nothing.choose(0.0, nothing.choose(1.0, total) ** (1 / p))
    return root.squeeze(0) if single else root


# -- maxima put back -------------------------------------------------------------------------------


@recorded
@explained
def max_unpool1d(
    input: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Values put back to the places that `max_pool1d` found; see `max_unpool2d`."""
    options = (kernel_size, stride, padding, output_size)
    return _max_unpool("max_unpool1d", 1, input, indices, *options)


@recorded
@explained
def max_unpool2d(
    input: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Values put back to the places that `max_pool2d` found, zeros elsewhere.

    Args:
        input: [N, C, H, W] or [C, H, W].
        indices: of the same shape, from `max_pool2d(..., return_indices=True)`. Of windows that
            share a place all must have its value.
        kernel_size, stride, padding: those of the pooling.
        output_size: the shape of the result, or its last axes, where several are possible.
    """
    options = (kernel_size, stride, padding, output_size)
    return _max_unpool("max_unpool2d", 2, input, indices, *options)


@recorded
@explained
def max_unpool3d(
    input: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Values put back to the places that `max_pool3d` found; see `max_unpool2d`."""
    options = (kernel_size, stride, padding, output_size)
    return _max_unpool("max_unpool3d", 3, input, indices, *options)


def _max_unpool(
    name: str,
    rank: int,
    input: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    output_size: Any,
) -> Tensor:
    x, single = batched(name, input, rank)
    at = as_tensor(indices)
    at = at.unsqueeze(0) if single else at
    if at.shape != x.shape or at.dtype.kind not in "iu":
        raise ShapeError(
            f"{name}: indices must be whole numbers of the input's shape {x.shape}, they are "
            f"{at.spec}"
        )
    kernel = per_axis(name, "kernel_size", kernel_size, rank)
    strides = kernel if stride is None else per_axis(name, "stride", stride, rank)
    paddings = per_axis(name, "padding", padding, rank, 0)
    options = list(zip(x.shape[2:], kernel, strides, paddings, strict=True))
    usual = tuple((n - 1) * s - 2 * p + k for n, k, s, p in options)
    extents = usual
    if output_size is not None:
        extents = tuple(output_size)[-rank:]
        least = zip(extents, usual, strides, strict=True)
        if len(extents) != rank or any(not u - s < n < u + s for n, u, s in least):
            raise ShapeError(
                f"{name}: output_size {tuple(output_size)} is not near {usual}, which belongs to "
                f"an input of shape {x.shape}"
            )
    count = math.prod(extents)
    require_range(at, name, "index", 0, count - 1, axis=2)
    planes = math.prod(x.shape[:2])
    flat = at.reshape((planes, -1)).astype(np.int64) + np.arange(planes)[:, None] * count
    flat = flat.reshape(-1)
    values = x.reshape(-1)
    total = values.scatter_rows(flat, 0, planes * count, clip=True)
    # Windows that share a place have the same value there: it counts once, the gradient for each.
    ones = as_tensor(np.ones(values.shape, x.dtype))
    shared = ones.scatter_rows(flat, 0, planes * count, clip=True).maximum(1.0)
    y = total + (total.detach() / shared - total.detach()) if x.dtype.kind == "f" else total
    y = y.reshape((*x.shape[:2], *extents))
    return y.squeeze(0) if single else y


# -- windows at random places ----------------------------------------------------------------------


@recorded
@explained
def fractional_max_pool2d(
    input: Any,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Any = None,
    *,
    generator: Generator | None = None,
) -> Any:
    """The largest values of windows whose distances vary at random.

    Args:
        input: [N, C, H, W] or [C, H, W].
        kernel_size: extents of the windows.
        output_size: numbers of windows; or `output_ratio`, their share of the input's extents.
        return_indices: whether the places are returned too, counted row by row.
        _random_samples: [N, C, 2], numbers from 0 to 1; drawn where left out.

    Source: Graham, "Fractional max-pooling", 2014.
    """
    options = (kernel_size, output_size, output_ratio, return_indices, _random_samples, generator)
    return _fractional("fractional_max_pool2d", 2, input, *options)


@recorded
@explained
def fractional_max_pool3d(
    input: Any,
    kernel_size: Any,
    output_size: Any = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: Any = None,
    *,
    generator: Generator | None = None,
) -> Any:
    """`fractional_max_pool2d` along three axes; `_random_samples` are [N, C, 3]."""
    options = (kernel_size, output_size, output_ratio, return_indices, _random_samples, generator)
    return _fractional("fractional_max_pool3d", 3, input, *options)


def _fractional(
    name: str,
    rank: int,
    input: Any,
    kernel_size: Any,
    output_size: Any,
    output_ratio: Any,
    return_indices: bool,
    samples: Any,
    generator: Generator | None,
) -> Any:
    x, single = batched(name, input, rank)
    kernel = per_axis(name, "kernel_size", kernel_size, rank)
    extents = fractional_extents(name, x.shape[2:], output_size, output_ratio)
    if any(k + o - 1 > n for n, k, o in zip(x.shape[2:], kernel, extents, strict=True)):
        raise ShapeError(
            f"{name}: {extents} windows of {kernel} do not fit in an input of shape {x.shape}"
        )
    planes = math.prod(x.shape[:2])
    if samples is None:
        drawn = uniform((*x.shape[:2], rank), generator=generator, dtype=x.dtype)
    else:
        drawn = as_tensor(samples).astype(x.dtype)
        if drawn.ndim != 3 or drawn.shape[2] != rank or drawn.shape[1] != x.shape[1]:
            raise ShapeError(f"{name}: _random_samples must be [N, C, {rank}], it is {drawn.shape}")
    drawn = drawn.reshape((-1, rank))[:planes]
    flat: Any = None
    for axis, (n, k, o) in enumerate(zip(x.shape[2:], kernel, extents, strict=True)):
        # As in PyTorch: of two axes the last one has the first number.
        number = 1 - axis if rank == 2 else axis
        places = _starts(drawn[:, number], n, k, o).unsqueeze(2) + np.arange(k)
        here = places.reshape(
            (planes, *(1,) * axis, o, *(1,) * (rank - 1), k, *(1,) * (rank - 1 - axis))
        )
        flat = here if flat is None else flat * n + here
    count = math.prod(x.shape[2:])
    size = math.prod(kernel)
    flat = flat.broadcast_to((planes, *extents, *kernel)).reshape((planes, *extents, size))
    lead = np.arange(planes).reshape(-1, *(1,) * (rank + 1)) * count
    windows = x.reshape(-1).gather_rows(flat + lead, 0, clip=True)
    shape = (*x.shape[:2], *extents)
    y = first_largest(windows, (-1,)).reshape(shape)
    order = windows.detach().argmax(-1)
    cells = np.arange(planes * math.prod(extents)).reshape(order.shape) * size
    at = flat.reshape(-1).gather_rows(order + cells, 0, clip=True).reshape(shape)
    found = tuple(one.squeeze(0) if single else one for one in (y, at))
    return found if return_indices else found[0]


def fractional_extents(
    name: str, spatial: Sequence[int], output_size: Any, output_ratio: Any
) -> tuple[int, ...]:
    """Numbers of windows along each axis."""
    if (output_size is None) == (output_ratio is None):
        raise ArgumentError(f"{name}: give output_size or output_ratio, one of them")
    rank = len(spatial)
    if output_size is not None:
        return per_axis(name, "output_size", output_size, rank)
    many = isinstance(output_ratio, tuple | list)
    ratios = tuple(output_ratio) if many else (output_ratio,) * rank
    if len(ratios) != rank or not all(0 < ratio < 1 for ratio in ratios):
        raise ArgumentError(f"{name}: output_ratio must lie between 0 and 1, it is {output_ratio}")
    return tuple(int(n * ratio) for n, ratio in zip(spatial, ratios, strict=True))


def _starts(u: Tensor, n: int, k: int, count: int) -> Tensor:
    """Where the windows along an axis start, [planes, count]: floor((i + u) a) - floor(u a)."""
    if count == 1:
        return (u * 0.0 + (n - k)).astype(np.int64).unsqueeze(1)
    a = (n - k) / (count - 1)
    along = as_tensor(np.arange(count - 1).astype(u.dtype))
    first = ((along + u.unsqueeze(1)) * a).floor() - (u * a).floor().unsqueeze(1)
    last = (u * 0.0 + (n - k)).unsqueeze(1)
    return first.concatenate([last], 1).astype(np.int64)
