"""Convolution over spatial axes, as functions with PyTorch's names and arguments.

Inputs are [N, C, L] or [N, C, H, W]; the batch axis N may be left out. `mynn.functional` has these
functions too.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, DTypeError, ShapeError
from mynn.ops.convolution import transposed_conv
from mynn.tensor import Tensor, as_tensor

Counts = tuple[int, ...]


def per_axis(name: str, option: str, value: Any, rank: int, least: int = 1) -> Counts:
    """An option as one whole number, at least `least`, for each of `rank` spatial axes."""
    many = isinstance(value, Iterable) and not isinstance(value, str) and getattr(value, "ndim", 1)
    try:
        counts = tuple(map(operator.index, value if many else (value,)))
    except TypeError:
        raise ArgumentError(
            f"{name}: {option} must be a whole number or a tuple of {rank}, it is {value!r}"
        ) from None
    counts = counts * rank if len(counts) == 1 else counts
    if len(counts) != rank or min(counts) < least:
        raise ArgumentError(
            f"{name}: {option} must be a number or {rank} numbers of at least {least}, it is "
            f"{value!r}"
        )
    return counts


def batched(name: str, input: Any, rank: int) -> tuple[Tensor, bool]:
    """The input with a batch axis, and whether that had to be added."""
    x = as_tensor(input)
    if x.ndim not in (rank + 1, rank + 2):
        letters = ", ".join("DHW"[-rank:]) if rank > 1 else "L"
        raise ShapeError(
            f"{name}: the input has shape {x.shape}, it must be [N, C, {letters}] or "
            f"[C, {letters}]; reshape it"
        )
    single = x.ndim == rank + 1
    return (x.unsqueeze(0) if single else x), single


@recorded
@explained
def conv1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation along one axis; see `conv2d`.

    Shapes: input [N, C, L], weight [O, C / groups, K], bias [O], output [N, O, L'].

    Example:
        >>> from mynn import functional as F
        >>> F.conv1d([[1.0, 2.0, 4.0]], [[[-1.0, 1.0]]]).tolist()
        [[1.0, 2.0]]
    """
    return _conv("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


@recorded
@explained
def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation with a kernel along two axes.

    y[n, o, h, w] = b[o] + sum over c, i, j of x[n, c, h s + i d - p, w s + j d - p] k[o, c, i, j],
    for stride s, dilation d and padding p, an axis H' = floor((H + 2 p - d (K - 1) - 1) / s) + 1.

    Args:
        input: [N, C, H, W] or [C, H, W]; converted to the weight's dtype.
        weight: [O, C / groups, KH, KW].
        bias: [O] or None.
        stride: step of the window; a number or one for each axis.
        padding: zeros at both ends of each axis; a number, one for each axis, "valid" (none) or
            "same" (as many as keep the extents, for stride 1).
        dilation: distance of the values that a window takes.
        groups: the channels are split into as many parts that do not see each other.

    Returns:
        [N, O, H', W'].

    Raises:
        ShapeError: channels that do not fit, or a kernel larger than the padded input.
        ArgumentError: options out of their range.

    Example:
        >>> import numpy as np
        >>> from mynn import functional as F
        >>> x = np.ones((1, 3, 8, 8), np.float32)
        >>> F.conv2d(x, np.ones((4, 3, 3, 3), np.float32), padding="same").shape
        (1, 4, 8, 8)

    Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.
    """
    return _conv("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


@recorded
@explained
def conv3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Cross-correlation along three axes; see `conv2d`.

    Shapes: input [N, C, D, H, W], weight [O, C / groups, KD, KH, KW], bias [O].
    """
    return _conv("conv3d", 3, input, weight, bias, stride, padding, dilation, groups)


def _conv(
    name: str,
    rank: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Tensor:
    x, w, single = _operands(name, rank, input, weight, groups, transposed=False)
    strides = per_axis(name, "stride", stride, rank)
    dilations = per_axis(name, "dilation", dilation, rank)
    ends = _padding(name, padding, w.shape[2:], strides, dilations)
    return _with_bias(x.conv(w, strides, ends, dilations, groups), bias, single)


def _operands(
    name: str, rank: int, input: Any, weight: Any, groups: int, transposed: bool
) -> tuple[Tensor, Tensor, bool]:
    """Input and weight, checked against each other, and whether a batch axis had to be added."""
    w = as_tensor(weight)
    if w.dtype.kind != "f":
        raise DTypeError(
            f"{name}: the weight is {w.dtype}, it must hold floats; convert it with "
            ".astype(numpy.float32)"
        )
    if w.ndim != rank + 2:
        raise ShapeError(f"{name}: the weight has shape {w.shape}, it must have {rank + 2} axes")
    if operator.index(groups) < 1:
        raise ArgumentError(f"{name}: groups must be at least 1, it is {groups}")
    if w.shape[0] % groups:
        raise ShapeError(
            f"{name}: axis 0 of a weight of shape {w.shape} must divide by {groups}, as "
            f"groups={groups} says"
        )
    channels = w.shape[0] if transposed else w.shape[1] * groups
    x = as_tensor(input)
    axis = x.ndim - rank - 1
    if axis not in (0, 1) or x.shape[axis] != channels:
        spatial = {1: "L", 2: "H, W", 3: "D, H, W"}[rank]
        remedy = "reshape it"
        if axis in (0, 1):
            remedy = f"give such data, or take a weight made with in_channels={x.shape[axis]}"
        raise ShapeError(
            f"{name}: the input has shape {x.shape}, it must be [N, C, {spatial}] or "
            f"[C, {spatial}] with C = in_channels = {channels}, as the weight {w.shape} with "
            f"groups={groups} takes; {remedy}"
        )
    return (x if axis else x.unsqueeze(0)).astype(w.dtype), w, not axis


def _with_bias(y: Tensor, bias: Any, single: bool) -> Tensor:
    if bias is not None:
        b = as_tensor(bias)
        y = y + b.reshape((b.numel(), *(1,) * (y.ndim - 2)))
    return y.squeeze(0) if single else y


def _padding(
    name: str, padding: Any, kernel: Counts, strides: Counts, dilations: Counts
) -> tuple[tuple[int, int], ...]:
    """Zeros before and after each spatial axis."""
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        if any(s > 1 for s in strides):
            raise ArgumentError(
                f'{name}: padding="same" needs stride 1, the stride is {strides}; give the padding '
                "as numbers"
            )
        totals = [d * (k - 1) for k, d in zip(kernel, dilations, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if isinstance(padding, str):
        raise ArgumentError(
            f'{name}: padding must be a number, a tuple, "same" or "valid", it is {padding!r}'
        )
    return tuple((p, p) for p in per_axis(name, "padding", padding, len(kernel), 0))


@recorded
@explained
def conv_transpose1d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The transposed convolution along one axis; see `conv_transpose2d`.

    Shapes: input [N, C, L], weight [C, O / groups, K], bias [O], output [N, O, L'].
    """
    options = (stride, padding, output_padding, groups, dilation)
    return _conv_transpose("conv_transpose1d", 1, input, weight, bias, *options)


@recorded
@explained
def conv_transpose2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The transposed convolution: the linear map that is the gradient of `conv2d` for its input.

    Each value of the input adds the kernel, times itself, to the output at its place times the
    stride. An axis: H' = (H - 1) s - 2 p + d (K - 1) + output_padding + 1.

    Args:
        input: [N, C, H, W] or [C, H, W]; converted to the weight's dtype.
        weight: [C, O / groups, KH, KW].
        bias: [O] or None.
        stride: distance of the places to which neighbours add.
        padding: values cut off at both ends of each axis.
        output_padding: values added at the end of each axis; less than stride or dilation.
        groups: the channels are split into as many parts that do not see each other.
        dilation: distance of the values of the kernel.

    Returns:
        [N, O, H', W'].

    Example:
        >>> import numpy as np
        >>> from mynn import functional as F
        >>> F.conv_transpose2d([[[2.0]]], [[[[1.0, 3.0]]]]).tolist()
        [[[2.0, 6.0]]]

    Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016.
    """
    options = (stride, padding, output_padding, groups, dilation)
    return _conv_transpose("conv_transpose2d", 2, input, weight, bias, *options)


@recorded
@explained
def conv_transpose3d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """The transposed convolution along three axes; see `conv_transpose2d`."""
    options = (stride, padding, output_padding, groups, dilation)
    return _conv_transpose("conv_transpose3d", 3, input, weight, bias, *options)


def _conv_transpose(
    name: str,
    rank: int,
    input: Any,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
) -> Tensor:
    x, w, single = _operands(name, rank, input, weight, groups, transposed=True)
    strides = per_axis(name, "stride", stride, rank)
    dilations = per_axis(name, "dilation", dilation, rank)
    cut = per_axis(name, "padding", padding, rank, 0)
    extra = per_axis(name, "output_padding", output_padding, rank, 0)
    if any(e >= max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)):
        raise ArgumentError(
            f"{name}: output_padding {extra} must be smaller than the stride {strides} or the "
            f"dilation {dilations}"
        )
    sizes = zip(x.shape[2:], w.shape[2:], strict=True)
    extents = []
    for (o, k), s, p, d, e in zip(sizes, strides, cut, dilations, extra, strict=True):
        extents.append((o - 1) * s - 2 * p + d * (k - 1) + e + 1)
    if min(extents) < 1:
        raise ShapeError(
            f"{name}: padding {cut} cuts all of the output of an input of shape {x.shape} off; "
            "take less"
        )
    ends = tuple((p, p) for p in cut)
    y = transposed_conv(x, w, tuple(extents), strides, ends, dilations, groups)
    return _with_bias(y, bias, single)
