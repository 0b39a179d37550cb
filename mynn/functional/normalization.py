"""Normalisation, as functions with PyTorch's names and arguments (in `mynn.functional` too)."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, DataError, ShapeError
from mynn.tensor import Tensor, as_tensor, no_grad


class _Moments(NamedTuple):
    """A tensor about its mean.

    With m0, the value of the mean as a constant: `centred` = x - m0, `offset` = mean - m0, and
    `variance` = mean of centred^2 - offset^2.
    """

    mean: Tensor
    centred: Tensor
    offset: Tensor
    variance: Tensor


def _moments(x: Tensor, axes: tuple[int, ...]) -> _Moments:
    """Mean and biased variance over `axes`, which are kept.

    Both hold for any constant m0, and so do their derivatives of every order; for this one nothing
    cancels, and `offset` is 0. That keeps the gradient down to two sums, of g and of g (x - m0):
    what flows back through the mean and the variance is computed from them, not from a further
    pass over x.
    """
    mean = x.mean(axes, keepdims=True)
    constant = mean.detach()
    centred = x - constant
    offset = mean - constant
    variance = (centred * centred).mean(axes, keepdims=True) - offset * offset
    return _Moments(mean, centred, offset, variance)


def _inverse_root(variance: Tensor, eps: float) -> Tensor:
    return 1.0 / (variance + eps).sqrt()


def _standardized(
    x: Tensor, axes: tuple[int, ...], eps: float, weight: Tensor | None, bias: Tensor | None
) -> Tensor:
    """(x - mean) / sqrt(variance + eps) w + b, with mean and variance over `axes`.

    As (x - m0) scale + shift: where w is smaller than x, so are the sums of the gradient that are
    multiplied by it.
    """
    moments = _moments(x, axes)
    scale = _inverse_root(moments.variance, eps)
    scale = scale if weight is None else scale * weight
    shift = -moments.offset * scale
    return moments.centred * scale + (shift if bias is None else shift + bias)


def _affine(x: Tensor, weight: Any, bias: Any) -> Tensor:
    """x w + b, where each is given."""
    if weight is not None:
        x = x * weight
    return x if bias is None else x + bias


def _channelwise(name: str, what: str, value: Any, x: Tensor) -> Tensor:
    """A vector [C] so that it stands beside [N, C, ...]."""
    vector = as_tensor(value)
    if vector.shape != x.shape[1:2]:
        raise ShapeError(
            f"{name}: {what} has shape {vector.shape}, an input of shape {x.shape} needs "
            f"{x.shape[1:2]}, one value for each channel in axis 1"
        )
    return vector.reshape((vector.numel(), *(1,) * (x.ndim - 2)))


@recorded
@explained
def batch_norm(
    input: Any,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: Any = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x - mean) / sqrt(var + eps) w + b for each channel, over the batch and spatial axes.

    In training mean and var are those of the batch, and the running ones move towards them:
    running = (1 - momentum) running + momentum batch, with the variance divided by n - 1 there.
    Otherwise they are the running ones.

    Args:
        input: [N, C] or [N, C, spatial..].
        running_mean, running_var: [C]; changed in place in training. None: always the batch's.
        weight, bias: [C] or None.
        training: whether to use the statistics of the batch.
        momentum: a number or a tensor of one.
        eps: keeps the root away from 0.

    Raises:
        DataError: one value a channel in training, whose variance is 0.

    Example:
        >>> from mynn import functional as F
        >>> F.batch_norm([[1.0], [3.0]], None, None, training=True, eps=0.0).tolist()
        [[-1.0], [1.0]]

    Source: Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing
    internal covariate shift", 2015.
    """
    x = as_tensor(input).floating()
    if x.ndim < 2:
        raise ShapeError(
            f"batch_norm: the input has shape {x.shape}, it must be [N, C] or [N, C, spatial..]"
        )
    w = None if weight is None else _channelwise("batch_norm", "weight", weight, x)
    b = None if bias is None else _channelwise("batch_norm", "bias", bias, x)
    if training and not x.numel():
        return _affine(x, w, b)
    if training:
        moments, count = _batch_moments(x)
        _follow(running_mean, moments.mean, momentum)
        _follow(running_var, moments.variance, momentum, count / (count - 1))
        x, mean, variance = moments.centred, moments.offset, moments.variance
    elif running_mean is None or running_var is None:
        raise ArgumentError("batch_norm: without training, running_mean and running_var count")
    else:
        mean = _channelwise("batch_norm", "running_mean", running_mean, x)
        variance = _channelwise("batch_norm", "running_var", running_var, x)
    scale = _inverse_root(variance, eps)
    scale = scale if w is None else scale * w
    shift = -mean * scale
    return x * scale + (shift if b is None else shift + b)


def _batch_moments(x: Tensor) -> tuple[_Moments, int]:
    """Mean and variance of each channel over a batch, and of how many values they are."""
    axes = (0, *range(2, x.ndim))
    count = math.prod(x.shape[axis] for axis in axes)
    if count < 2:
        raise DataError(
            f"batch_norm: in training each channel needs more than one value, the input has "
            f"shape {x.shape}; use a larger batch, or eval()"
        )
    return _moments(x, axes), count


def _follow(running: Tensor | None, batch: Tensor, momentum: Any, factor: float = 1.0) -> None:
    """running = (1 - momentum) running + momentum factor batch."""
    if running is None:
        return
    with no_grad():
        new = batch.detach().reshape(running.shape) * (momentum * factor)
        running.assign(running * (1 - momentum) + new)


@recorded
@explained
def instance_norm(
    input: Any,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Any = None,
    bias: Any = None,
    use_input_stats: bool = True,
    momentum: Any = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x - mean) / sqrt(var + eps) w + b for each channel of each sample.

    Args:
        input: [N, C, spatial..].
        running_mean, running_var: [C], which follow the means over the batch; None: there are none.
        weight, bias: [C] or None.
        use_input_stats: whether mean and var are those of the input, not the running ones.

    Raises:
        DataError: one value a channel, whose variance is 0.

    Source: Ulyanov, Vedaldi, Lempitsky, "Instance normalization", 2016.
    """
    x = as_tensor(input).floating()
    if x.ndim < 3:
        raise ShapeError(
            f"instance_norm: the input has shape {x.shape}, it must be [N, C, spatial..]"
        )
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ArgumentError(
                "instance_norm: without use_input_stats, running_mean and running_var count"
            )
        return batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    count = math.prod(x.shape[2:])
    if count < 2:
        raise DataError(
            f"instance_norm: each channel of a sample needs more than one value, the input has "
            f"shape {x.shape}; use larger images, or eval()"
        )
    w = None if weight is None else _channelwise("instance_norm", "weight", weight, x)
    b = None if bias is None else _channelwise("instance_norm", "bias", bias, x)
    axes = tuple(range(2, x.ndim))
    if running_mean is not None or running_var is not None:
        moments = _moments(x.detach(), axes)
        _follow(running_mean, moments.mean.mean(0), momentum)
        _follow(running_var, moments.variance.mean(0), momentum, count / (count - 1))
    return _standardized(x, axes, eps, w, b)


@recorded
@explained
def local_response_norm(
    input: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha mean of x^2)^beta, the mean over `size` neighbouring channels.

    Args:
        input: [N, C, ...] of at least 3 axes; missing neighbours count as 0.

    Source: Krizhevsky, Sutskever, Hinton, "ImageNet classification", 2012.
    """
    if operator.index(size) < 1:
        raise ArgumentError(f"local_response_norm: size must be at least 1, it is {size}")
    return neighbour_norm(as_tensor(input), (size // 2, (size - 1) // 2), size, (alpha, beta, k))


def neighbour_norm(
    x: Tensor, ends: tuple[int, int], divisor: int, options: tuple[float, float, float]
) -> Tensor:
    """x / (k + alpha / divisor sum of x^2)^beta over the channels from c - before to c + after."""
    alpha, beta, k = options
    if x.ndim < 3:
        raise ShapeError(
            f"local_response_norm: the input must be [N, C, ...] of at least 3 axes, its shape is "
            f"{x.shape}"
        )
    x = x.floating()
    widths = [(0, 0), ends, *((0, 0),) * (x.ndim - 2)]
    squares = (x * x).pad(widths).windows((1,), (sum(ends) + 1,), (1,), (1,)).sum(-1)
    return x / (squares * (alpha / divisor) + k) ** beta


@recorded
@explained
def layer_norm(
    input: Any,
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
) -> Tensor:
    """y = (x - mean) / sqrt(var + eps) w + b, over the last axes of each sample.

    Args:
        input: [..., *normalized_shape].
        normalized_shape: extents of the axes over which mean and var (biased) are taken.
        weight, bias: [*normalized_shape] or None.

    Example:
        >>> from mynn import functional as F
        >>> F.layer_norm([[1.0, 3.0]], 2, eps=0.0).tolist()
        [[-1.0, 1.0]]

    Source: Ba, Kiros, Hinton, "Layer normalization", 2016.
    """
    x = as_tensor(input).floating()
    axes = _last_axes("layer_norm", x, normalized_shape)
    return _affine(_standardized(x, axes, eps, None, None), weight, bias)


@recorded
@explained
def rms_norm(
    input: Any,
    normalized_shape: int | Sequence[int],
    weight: Any = None,
    eps: float | None = None,
) -> Tensor:
    """y = x / sqrt(mean of x^2 + eps) w, over the last axes of each sample.

    Args:
        input: [..., *normalized_shape].
        normalized_shape: extents of the axes over which the mean is taken.
        weight: [*normalized_shape] or None.
        eps: the spacing of floats at 1 where left out, as in PyTorch.

    Source: Zhang and Sennrich, "Root mean square layer normalization", 2019.
    """
    x = as_tensor(input).floating()
    axes = _last_axes("rms_norm", x, normalized_shape)
    eps = float(np.finfo(x.dtype).eps) if eps is None else eps
    squares = (x * x).mean(axes, keepdims=True)
    return _affine(x * _inverse_root(squares, eps), weight, None)


def _last_axes(name: str, x: Tensor, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    shape = normalized_extents(name, normalized_shape)
    if x.shape[max(x.ndim - len(shape), 0) :] != shape:
        raise ShapeError(f"{name}: the input has shape {x.shape}, its last axes must be {shape}")
    return tuple(range(x.ndim - len(shape), x.ndim))


def normalized_extents(name: str, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    """`normalized_shape` as a tuple of positive numbers."""
    many = isinstance(normalized_shape, Sequence)
    given: Any = normalized_shape if many else (normalized_shape,)
    shape = tuple(map(operator.index, given))
    if not shape or min(shape) < 1:
        raise ArgumentError(
            f"{name}: normalized_shape must hold positive numbers, it is {normalized_shape}"
        )
    return shape


@recorded
@explained
def group_norm(
    input: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Tensor:
    """y = (x - mean) / sqrt(var + eps) w + b, over groups of channels of each sample.

    Args:
        input: [N, C, spatial..].
        num_groups: number of groups of neighbouring channels; divides C.
        weight, bias: [C] or None.

    Raises:
        DataError: one sample with one value a group, whose variance is 0 (as in PyTorch).

    Source: Wu and He, "Group normalization", 2018.
    """
    x = as_tensor(input).floating()
    if x.ndim < 2 or operator.index(num_groups) < 1 or x.shape[1] % num_groups:
        raise ShapeError(
            f"group_norm: an input of shape {x.shape} cannot be split into {num_groups} groups of "
            "channels; it must be [N, C, spatial..] with C divisible by num_groups"
        )
    if x.numel() == num_groups:
        raise DataError(
            f"group_norm: each group needs more than one value, the input of shape {x.shape} has "
            f"one for each of {num_groups} groups: less its mean it is 0, whatever it was, and "
            "nothing is trained; take fewer groups"
        )
    per_group = x.shape[1] // num_groups
    grouped = x.reshape(x.shape[0], num_groups, per_group, *x.shape[2:])
    w, b = (
        None
        if value is None
        else _channelwise("group_norm", what, value, x).reshape(
            num_groups, per_group, *(1,) * (x.ndim - 2)
        )
        for what, value in (("weight", weight), ("bias", bias))
    )
    y = _standardized(grouped, tuple(range(2, grouped.ndim)), eps, w, b)
    return y.reshape(x.shape)
