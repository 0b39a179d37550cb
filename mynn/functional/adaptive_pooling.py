"""Pooling by as many windows as asked for, as functions with PyTorch's names and arguments."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.core.types import Array
from mynn.errors import ShapeError
from mynn.functional.conv import Counts, batched, per_axis
from mynn.functional.pooling import first_largest, picked_places, require_floats
from mynn.tensor import Tensor, as_tensor


@recorded
@explained
def adaptive_avg_pool1d(input: Any, output_size: Any) -> Tensor:
    """The mean of as many windows as asked for along one axis; see `adaptive_avg_pool2d`."""
    return _adaptive_pool("adaptive_avg_pool1d", 1, input, output_size, "avg")


@recorded
@explained
def adaptive_avg_pool2d(input: Any, output_size: Any) -> Tensor:
    """The mean of as many windows as asked for; 1 is global pooling.

    Window i of o along an axis of n values goes from floor(i n / o) to ceil((i + 1) n / o).

    Args:
        input: [N, C, H, W] or [C, H, W].
        output_size: o, or one for each axis; None keeps the extent.

    Returns:
        [N, C, o, o].

    Example:
        >>> from mynn import functional as F
        >>> F.adaptive_avg_pool2d([[[1.0, 2.0], [4.0, 3.0]]], 1).tolist()
        [[[2.5]]]
    """
    return _adaptive_pool("adaptive_avg_pool2d", 2, input, output_size, "avg")


@recorded
@explained
def adaptive_avg_pool3d(input: Any, output_size: Any) -> Tensor:
    """The mean of as many windows as asked for along three axes; see `adaptive_avg_pool2d`."""
    return _adaptive_pool("adaptive_avg_pool3d", 3, input, output_size, "avg")


@recorded
@explained
def adaptive_max_pool1d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest value of as many windows as asked for; see `adaptive_avg_pool2d`.

    With `return_indices` a tuple: the values, and their places counted row by row.
    """
    return _adaptive_max("adaptive_max_pool1d", 1, input, output_size, return_indices)


@recorded
@explained
def adaptive_max_pool2d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest value of as many windows as asked for; see `adaptive_max_pool1d`."""
    return _adaptive_max("adaptive_max_pool2d", 2, input, output_size, return_indices)


@recorded
@explained
def adaptive_max_pool3d(input: Any, output_size: Any, return_indices: bool = False) -> Any:
    """The largest value of as many windows as asked for; see `adaptive_max_pool1d`."""
    return _adaptive_max("adaptive_max_pool3d", 3, input, output_size, return_indices)


def adaptive_mean(x: Tensor, extents: Counts) -> Tensor:
    """[N, C, spatial..] -> [N, C, *extents]."""
    return _adaptive_pool("interpolate", x.ndim - 2, x, extents, "avg")


def _adaptive_max(name: str, rank: int, input: Any, output_size: Any, return_indices: bool) -> Any:
    y = _adaptive_pool(name, rank, input, output_size, "max")
    if not return_indices:
        return y
    x, single = batched(name, input, rank)
    x = x.detach()
    spatial, targets = x.shape[2:], y.shape[-rank:]
    positions = np.zeros((1, 1), np.int64)
    for axis, (n, o) in enumerate(zip(spatial, targets, strict=True)):
        index = _spread(n, o)[0]
        x = x.gather_rows(index, 2 + 2 * axis)
        joined = positions[:, None, :, None] * n + index[None, :, None, :]
        positions = joined.reshape(positions.shape[0] * o, -1)
    places = tuple(2 + 2 * axis for axis in range(rank))
    x = x.permute((0, 1, *places, *(p + 1 for p in places)))
    at = picked_places(x, rank, positions.reshape(*targets, -1))
    return y, (at.squeeze(0) if single else at)


def _adaptive_pool(name: str, rank: int, input: Any, output_size: Any, kind: str) -> Tensor:
    x, single = batched(name, input, rank)
    if kind == "avg":
        require_floats(name, x)
    wanted = output_size if isinstance(output_size, tuple | list) else (output_size,) * rank
    if len(wanted) == rank:
        wanted = [n if o is None else o for n, o in zip(x.shape[2:], wanted, strict=True)]
    targets = per_axis(name, "output_size", wanted, rank)
    if 0 in x.shape[2:]:
        raise ShapeError(f"{name}: the spatial axes of the input of shape {x.shape} are empty")
    pool = Tensor.mean if kind == "avg" else first_largest
    if set(targets) == {1}:
        y = pool(x, tuple(range(2, x.ndim)), keepdims=True)
    elif all(n % o == 0 for n, o in zip(x.shape[2:], targets, strict=True)):
        sizes = [n // o for n, o in zip(x.shape[2:], targets, strict=True)]
        y = x
        if max(sizes) > 1:
            windows = x.windows(range(2, x.ndim), sizes, sizes, (1,) * rank)
            y = pool(windows, tuple(range(-rank, 0)))
    else:
        # The last axis first: of equal values, that of the first row is the largest.
        y = x
        for axis, o in reversed(list(enumerate(targets, 2))):
            y = _uneven_windows(y, axis, o, kind)
    return y.squeeze(0) if single else y


def _uneven_windows(x: Tensor, axis: int, count: int, kind: str) -> Tensor:
    """One axis pooled by windows of unequal extents: all are gathered as wide as the widest."""
    index, length, offset = _spread(x.shape[axis], count)
    picked = x.gather_rows(index, axis)
    if kind == "max":
        return first_largest(picked, (axis + 1,))
    trailing = (1,) * (x.ndim - axis - 1)
    inside = as_tensor((offset < length[:, None]).reshape(*index.shape, *trailing))
    sums = inside.choose(picked, x.dtype.type(0)).sum(axis + 1)
    return sums * (1.0 / length).astype(x.dtype).reshape(count, *trailing)


def _spread(n: int, count: int) -> tuple[Array, Array, Array]:
    """Windows of an axis of n values: the places in each, how many they are, 0, 1.. to the widest.

    A narrower window holds its last value again, which changes no maximum.
    """
    start = np.arange(count) * n // count
    length = -(-np.arange(1, count + 1) * n // count) - start
    offset = np.arange(int(length.max()))
    return start[:, None] + np.minimum(offset, length[:, None] - 1), length, offset
