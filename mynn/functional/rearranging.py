"""Channels into places and places into channels; windows as columns."""

from __future__ import annotations

import math
import operator
from typing import Any

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ShapeError
from mynn.functional.conv import per_axis
from mynn.tensor import Tensor, as_tensor


def _positive(name: str, option: str, value: Any) -> int:
    number = operator.index(value)
    if number < 1:
        raise ArgumentError(f"{name}: {option} must be at least 1, it is {number}")
    return number


@recorded
@explained
def pixel_shuffle(input: Any, upscale_factor: int) -> Tensor:
    """[..., C r^2, H, W] -> [..., C, H r, W r]: channels become the places of r x r blocks.

    Source: Shi et al., "Real-time single image and video super-resolution", 2016.
    """
    x, r = as_tensor(input), _positive("pixel_shuffle", "upscale_factor", upscale_factor)
    if x.ndim < 3 or x.shape[-3] % (r * r):
        raise ShapeError(
            f"pixel_shuffle: the input must be [..., C, H, W] with C divisible by {r * r}, its "
            f"shape is {x.shape}"
        )
    *lead, c, h, w = x.shape
    n = len(lead)
    y = x.reshape((*lead, c // (r * r), r, r, h, w))
    y = y.permute((*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return y.reshape((*lead, c // (r * r), h * r, w * r))


@recorded
@explained
def pixel_unshuffle(input: Any, downscale_factor: int) -> Tensor:
    """[..., C, H r, W r] -> [..., C r^2, H, W]: `pixel_shuffle` undone."""
    x, r = as_tensor(input), _positive("pixel_unshuffle", "downscale_factor", downscale_factor)
    if x.ndim < 3 or x.shape[-1] % r or x.shape[-2] % r:
        raise ShapeError(
            f"pixel_unshuffle: the input must be [..., C, H, W] with H and W divisible by {r}, its "
            f"shape is {x.shape}"
        )
    *lead, c, h, w = x.shape
    n = len(lead)
    y = x.reshape((*lead, c, h // r, r, w // r, r))
    y = y.permute((*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return y.reshape((*lead, c * r * r, h // r, w // r))


@recorded
@explained
def channel_shuffle(input: Any, groups: int) -> Tensor:
    """[N, C, ...]: channel i of group g becomes channel i groups + g.

    Source: Zhang et al., "ShuffleNet", 2018.
    """
    x, g = as_tensor(input), _positive("channel_shuffle", "groups", groups)
    if x.ndim < 3 or x.shape[1] % g:
        raise ShapeError(
            f"channel_shuffle: the input must be [N, C, ...] of at least 3 axes with C divisible "
            f"by groups={g}, its shape is {x.shape}"
        )
    y = x.reshape((x.shape[0], g, x.shape[1] // g, *x.shape[2:]))
    return y.permute((0, 2, 1, *range(3, y.ndim))).reshape(x.shape)


native_channel_shuffle = channel_shuffle


def _windows(
    name: str, spatial: tuple[int, ...], options: tuple[Any, Any, Any, Any]
) -> tuple[tuple[int, ...], ...]:
    """Kernel, dilations, padding, strides and numbers of windows along both axes."""
    kernel, dilation, padding, stride = options
    k = per_axis(name, "kernel_size", kernel, 2)
    d = per_axis(name, "dilation", dilation, 2)
    p = per_axis(name, "padding", padding, 2, 0)
    s = per_axis(name, "stride", stride, 2)
    counts = tuple(
        (n + 2 * p[i] - d[i] * (k[i] - 1) - 1) // s[i] + 1 for i, n in enumerate(spatial)
    )
    if min(counts) < 1:
        raise ShapeError(
            f"{name}: windows of {k} (dilation {d}) do not fit in {spatial} with padding {p}"
        )
    return k, d, p, s, counts


@recorded
@explained
def unfold(
    input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Tensor:
    """The windows of an image as columns, [N, C, H, W] -> [N, C KH KW, number of windows].

    Args:
        input: [N, C, H, W] or [C, H, W].
        kernel_size, dilation, padding, stride: those of a convolution.
    """
    x = as_tensor(input)
    if x.ndim not in (3, 4):
        raise ShapeError(f"unfold: the input must be [N, C, H, W], its shape is {x.shape}")
    single = x.ndim == 3
    x = x.unsqueeze(0) if single else x
    options = (kernel_size, dilation, padding, stride)
    k, d, p, s, counts = _windows("unfold", x.shape[2:], options)
    if any(p):
        x = x.pad(((0, 0), (0, 0), (p[0], p[0]), (p[1], p[1])))
    y = x.windows((2, 3), k, s, d).permute((0, 1, 4, 5, 2, 3))
    y = y.reshape((x.shape[0], x.shape[1] * math.prod(k), math.prod(counts)))
    return y.squeeze(0) if single else y


@recorded
@explained
def fold(
    input: Any,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Tensor:
    """Columns added up at the places of their windows: the linear map that transposes `unfold`.

    Args:
        input: [N, C KH KW, number of windows], or without N.
        output_size: (H, W) of the image.
    """
    x = as_tensor(input)
    if x.ndim not in (2, 3):
        raise ShapeError(f"fold: the input must be [N, C KH KW, L], its shape is {x.shape}")
    single = x.ndim == 2
    x = x.unsqueeze(0) if single else x
    size = per_axis("fold", "output_size", output_size, 2)
    k, d, p, s, counts = _windows("fold", size, (kernel_size, dilation, padding, stride))
    if x.shape[1] % math.prod(k) or x.shape[2] != math.prod(counts):
        raise ShapeError(
            f"fold: an input of shape {x.shape} does not fit: axis 1 must divide by "
            f"{math.prod(k)}, axis 2 be {math.prod(counts)}, as many as there are windows"
        )
    channels = x.shape[1] // math.prod(k)
    parts = x.reshape((x.shape[0], channels, *k, *counts))
    total: Any = None
    for i in range(k[0]):
        for j in range(k[1]):
            widths = [(0, 0, 0), (0, 0, 0)]
            for axis, offset in enumerate((i * d[0], j * d[1])):
                span = (counts[axis] - 1) * s[axis] + 1
                widths.append((offset, size[axis] + 2 * p[axis] - span - offset, s[axis] - 1))
            part = parts[:, :, i, j].pad(widths)
            total = part if total is None else total + part
    found: Tensor = total
    found = found[:, :, p[0] : p[0] + size[0], p[1] : p[1] + size[1]]
    return found.squeeze(0) if single else found
