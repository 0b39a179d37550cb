"""Pooling over spatial axes, as functions with PyTorch's names and arguments.

Inputs are [N, C, L] or [N, C, H, W]; the batch axis N may be left out. All are composites of
windows and reductions. `mynn.functional` has these functions too.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.core.types import Array
from mynn.errors import ArgumentError, DTypeError, ShapeError
from mynn.functional.conv import Counts, batched, per_axis
from mynn.ops import reduce
from mynn.ops.rules import normalize_axes
from mynn.tensor import Tensor, apply, as_tensor


@recorded
@explained
def max_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window along one axis; see `max_pool2d`."""
    options = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool("max_pool1d", 1, input, options, return_indices)


@recorded
@explained
def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window.

    Of values that tie for the largest the first, in row-major order, has the gradient.

    Args:
        input: [N, C, H, W] or [C, H, W].
        kernel_size: extents of the window; a number or one for each axis.
        stride: its step; the kernel size where left out.
        padding: places at both ends of each axis that are never the largest; at most half of the
            window.
        dilation: distance of the values that a window takes.
        ceil_mode: whether a last window that reaches past the end counts.
        return_indices: whether the places are returned too, counted through the image row by row.

    Returns:
        [N, C, H', W'] of the input's dtype; with `return_indices` a tuple of it and of int64s.

    Example:
        >>> from mynn import functional as F
        >>> F.max_pool2d([[[1.0, 2.0], [4.0, 3.0]]], 2).tolist()
        [[[4.0]]]
    """
    options = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool("max_pool2d", 2, input, options, return_indices)


@recorded
@explained
def max_pool3d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest value of each window along three axes; see `max_pool2d`."""
    options = (kernel_size, stride, padding, dilation, ceil_mode)
    return _max_pool("max_pool3d", 3, input, options, return_indices)


def _max_pool(
    name: str, rank: int, input: Any, options: tuple[Any, ...], return_indices: bool
) -> Any:
    x, single = batched(name, input, rank)
    fill = float(-np.inf) if x.dtype.kind == "f" else int(np.iinfo(x.dtype).min)
    pool = Pool(name, rank, *options)
    windows = pool.windows(x, fill)
    y = first_largest(windows, tuple(range(-rank, 0)))
    if not return_indices:
        return y.squeeze(0) if single else y
    at = picked_places(windows.detach(), rank, pool.positions(x.shape[2:]))
    return (y.squeeze(0), at.squeeze(0)) if single else (y, at)


def picked_places(windows: Tensor, rank: int, positions: Array) -> Tensor:
    """Where the largest value of each window lies in the image, counted row by row.

    `windows` are [N, C, places.., kernel..], `positions` [places.., number of values of a window].
    """
    flat = windows.reshape((*windows.shape[:-rank], -1))
    order = flat.argmax(-1)
    cells = np.arange(math.prod(positions.shape[:-1])) * positions.shape[-1]
    table = as_tensor(positions.reshape(-1))
    return table.gather_rows(order + cells.reshape(positions.shape[:-1]), 0, clip=True)


def first_largest(x: Tensor, axes: tuple[int, ...], keepdims: bool = False) -> Tensor:
    """The largest values over axes; the first of them has the gradient."""
    places = normalize_axes(axes, x.ndim, "max")
    y = apply(reduce.max, x, axes=places, first=True)
    if not keepdims:
        return y
    return y.reshape(tuple(1 if axis in places else n for axis, n in enumerate(x.shape)))


@recorded
@explained
def avg_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of each window along one axis; see `avg_pool2d`."""
    pool = Pool("avg_pool1d", 1, kernel_size, stride, padding, 1, ceil_mode)
    return _avg_pool(pool, input, count_include_pad, None)


@recorded
@explained
def avg_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window.

    Args:
        input: [N, C, H, W] or [C, H, W].
        kernel_size: extents of the window; a number or one for each axis.
        stride: its step; the kernel size where left out.
        padding: zeros at both ends of each axis; at most half of the window.
        ceil_mode: whether a last window that reaches past the end counts.
        count_include_pad: whether the padding counts among the values of a window.
        divisor_override: what to divide the sums by instead.

    Returns:
        [N, C, H', W'].

    Example:
        >>> from mynn import functional as F
        >>> F.avg_pool2d([[[1.0, 2.0], [4.0, 3.0]]], 2).tolist()
        [[[2.5]]]
    """
    pool = Pool("avg_pool2d", 2, kernel_size, stride, padding, 1, ceil_mode)
    return _avg_pool(pool, input, count_include_pad, divisor_override)


@recorded
@explained
def avg_pool3d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of each window along three axes; see `avg_pool2d`."""
    pool = Pool("avg_pool3d", 3, kernel_size, stride, padding, 1, ceil_mode)
    return _avg_pool(pool, input, count_include_pad, divisor_override)


def _avg_pool(
    pool: Pool, input: Any, count_include_pad: bool, divisor_override: int | None
) -> Tensor:
    x, single = batched(pool.name, input, pool.rank)
    require_floats(pool.name, x)
    y = pool.windows(x, 0.0).sum(tuple(range(-pool.rank, 0)))
    if divisor_override is not None:
        if operator.index(divisor_override) == 0:
            raise ArgumentError(f"{pool.name}: divisor_override must not be 0")
        y = y * (1.0 / divisor_override)
    else:
        factors = 1.0 / pool.counts(x.shape[2:], count_include_pad)
        first = float(factors.flat[0])
        y = y * (first if (factors == first).all() else factors.astype(x.dtype))
    return y.squeeze(0) if single else y


def require_floats(name: str, x: Tensor) -> None:
    """Means are taken of floats."""
    if x.dtype.kind != "f":
        raise DTypeError(
            f"{name}: the input is {x.dtype}, means are taken of floats; convert it with "
            ".astype(numpy.float32)"
        )


class Pool:
    """The windows of a pooling function."""

    def __init__(
        self,
        name: str,
        rank: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        ceil_mode: bool,
    ) -> None:
        self.name = name
        self.rank = rank
        self.ceil_mode = ceil_mode
        self.kernel = per_axis(name, "kernel_size", kernel_size, rank)
        self.strides = (
            self.kernel if stride in (None, (), []) else per_axis(name, "stride", stride, rank)
        )
        self.padding = per_axis(name, "padding", padding, rank, 0)
        self.dilations = per_axis(name, "dilation", dilation, rank)
        if any(2 * p > d * (k - 1) + 1 for p, k, d in self._along(self.padding)):
            raise ArgumentError(
                f"{name}: padding {self.padding} must be at most half of the window "
                f"{self.kernel}; pad the input with .pad instead"
            )

    def _along(self, first: Counts) -> Iterable[tuple[int, int, int]]:
        return zip(first, self.kernel, self.dilations, strict=True)

    def extents(self, spatial: Counts) -> list[int]:
        """Numbers of windows along each axis."""
        found = []
        options = zip(self.strides, self.padding, strict=True)
        for (n, k, d), (s, p) in zip(self._along(spatial), options, strict=True):
            room = n + 2 * p - d * (k - 1) - 1
            count = (-(-room // s) if self.ceil_mode else room // s) + 1
            # As in PyTorch a window that would start past the input does not count.
            found.append(count - 1 if self.ceil_mode and (count - 1) * s >= n + p else count)
        if min(found) < 1:
            raise ShapeError(
                f"{self.name}: windows of {self.kernel} (dilation {self.dilations}) do not fit in "
                f"an input of spatial extents {spatial} with padding {self.padding}; take a "
                "smaller window"
            )
        return found

    def windows(self, x: Tensor, fill: float) -> Tensor:
        """[N, C, spatial.., kernel..]; places outside the input hold `fill`."""
        spatial = x.shape[2:]
        widths = [(0, 0), (0, 0)]
        options = zip(self.extents(spatial), self.strides, self.padding, strict=True)
        for (n, k, d), (count, s, p) in zip(self._along(spatial), options, strict=True):
            widths.append((p, max((count - 1) * s + d * (k - 1) + 1 - n - p, 0)))
        x = x.pad(widths, fill) if any(map(any, widths)) else x
        return x.windows(range(2, x.ndim), self.kernel, self.strides, self.dilations)

    def positions(self, spatial: Counts) -> Array:
        """[places.., values of a window]: where each value lies, counted row by row."""
        total = np.zeros((1, 1), np.int64)
        options = zip(self.extents(spatial), self.strides, self.padding, strict=True)
        for (n, k, d), (count, s, p) in zip(self._along(spatial), options, strict=True):
            along = (np.arange(count) * s - p)[:, None] + np.arange(k) * d
            joined = total[:, None, :, None] * n + along[None, :, None, :]
            total = joined.reshape(total.shape[0] * count, total.shape[1] * k)
        return total.reshape(*self.extents(spatial), -1)

    def counts(self, spatial: Counts, include_pad: bool) -> Array:
        """Numbers of values that each window holds; what ceil_mode adds never counts."""
        total = np.ones(())
        options = zip(self.extents(spatial), self.strides, self.padding, strict=True)
        for (n, k, _), (count, s, p) in zip(self._along(spatial), options, strict=True):
            start = np.arange(count) * s - p
            border = p if include_pad else 0
            inside = np.minimum(start + k, n + border) - np.maximum(start, -border)
            total = np.multiply.outer(total, inside)
        return total
