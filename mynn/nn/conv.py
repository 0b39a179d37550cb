"""Convolutions and transposed convolutions along one or two axes."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from mynn import functional
from mynn.errors import ArgumentError
from mynn.functional.conv import per_axis
from mynn.nn import init
from mynn.nn.module import Module
from mynn.nn.placement import parameter_dtype
from mynn.random import host_generator
from mynn.tensor import Parameter, Tensor


class _Conv(Module):
    """What the four layers share: options, parameters and how they are printed."""

    rank = 0
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name, rank = type(self).__name__, self.rank
        dtype = parameter_dtype(name, device, dtype)
        if padding_mode != "zeros":
            raise ArgumentError(f'{name}: padding_mode must be "zeros", it is {padding_mode!r}')
        self.in_channels = operator.index(in_channels)
        self.out_channels = operator.index(out_channels)
        self.groups = operator.index(groups)
        if min(self.in_channels, self.out_channels, self.groups) < 1:
            raise ArgumentError(f"{name}: in_channels, out_channels and groups must be at least 1")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ArgumentError(
                f"{name}: in_channels={in_channels} and out_channels={out_channels} must divide by "
                f"groups={groups}"
            )
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, rank)
        self.stride = per_axis(name, "stride", stride, rank)
        text = isinstance(padding, str)
        self.padding = padding if text else per_axis(name, "padding", padding, rank, 0)
        self.dilation = per_axis(name, "dilation", dilation, rank)
        self.padding_mode = padding_mode
        if text and padding not in ("same", "valid"):
            raise ArgumentError(
                f'{name}: padding must be a number, a tuple, "same" or "valid", it is {padding!r}'
            )
        if padding == "same" and set(self.stride) != {1}:
            raise ArgumentError(f'{name}: padding="same" needs stride 1, it is {self.stride}')
        ends = (self.in_channels, self.out_channels)
        first, second = ends if self.transposed else ends[::-1]
        weight = np.empty((first, second // self.groups, *self.kernel_size), dtype)
        channels = (0, 1) if self.transposed else (1, 0)
        self.weight = Parameter(weight, order=(*range(2, 2 + rank), *channels))
        self.bias = Parameter(np.empty(self.out_channels, dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self, generator: np.random.Generator | int | None = None) -> None:
        """Draw the initial values anew."""
        init.default_(self.weight, self.bias, host_generator(generator))

    def extra_repr(self) -> str:
        """As in PyTorch."""
        parts = [
            f"{self.in_channels}, {self.out_channels}",
            f"kernel_size={self.kernel_size}",
            f"stride={self.stride}",
        ]
        ones, zeros = (1,) * self.rank, (0,) * self.rank
        output_padding = getattr(self, "output_padding", zeros)
        options = (
            ("padding", self.padding, zeros),
            ("dilation", self.dilation, ones),
            ("output_padding", output_padding, zeros),
            ("groups", self.groups, 1),
        )
        parts += [f"{name}={value}" for name, value, usual in options if value != usual]
        return ", ".join(parts if self.bias is not None else [*parts, "bias=False"])


class Conv1d(_Conv):
    """Cross-correlation along one axis: `functional.conv1d` with a weight and a bias.

    Attributes: weight [out_channels, in_channels / groups, K], bias [out_channels] or None.

    Shapes: x [N, C, L] or [C, L], y [N, out_channels, L'].

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> nn.Conv1d(2, 4, 3, padding="same")(np.zeros((5, 2, 9), np.float32)).shape
        (5, 4, 9)
    """

    rank = 1

    def forward(self, input: Any) -> Tensor:
        """x [N, C, L] -> y [N, out_channels, L']."""
        options = (self.stride, self.padding, self.dilation, self.groups)
        return functional.conv1d(input, self.weight, self.bias, *options)


class Conv2d(_Conv):
    """Cross-correlation along two axes: `functional.conv2d` with a weight and a bias.

    Args:
        in_channels: C, extent of axis 1 of x.
        out_channels: extent of axis 1 of y.
        kernel_size: a number, or (height, width); so are the next three.
        stride: step of the window.
        padding: zeros at both ends of each axis, or "same" or "valid".
        dilation: distance of the values that a window takes.
        groups: the channels are split into as many parts that do not see each other;
            groups = in_channels makes a depthwise convolution.
        bias: whether a number is added to each output channel.
        padding_mode: "zeros".
        device: "cpu" or None.
        dtype: float32 or float64; inputs are converted to it.

    Attributes:
        weight: [out_channels, in_channels / groups, KH, KW]; in memory the output channels lie
            side by side.
        bias: [out_channels] or None. Both start from U(-b, b) with b = 1 / sqrt(fan_in), as in
            PyTorch.

    Shapes: x [N, C, H, W] or [C, H, W], y [N, out_channels, H', W'].

    Raises:
        ShapeError: another number of channels, or an input smaller than the kernel.

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> nn.Conv2d(3, 8, 5, stride=2)(np.zeros((1, 3, 28, 28), np.float32)).shape
        (1, 8, 12, 12)
    """

    rank = 2

    def forward(self, input: Any) -> Tensor:
        """x [N, C, H, W] -> y [N, out_channels, H', W']."""
        options = (self.stride, self.padding, self.dilation, self.groups)
        return functional.conv2d(input, self.weight, self.bias, *options)


class _ConvTranspose(_Conv):
    """What both transposed layers share."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        name = type(self).__name__
        if isinstance(padding, str):
            raise ArgumentError(f"{name}: padding must be numbers, it is {padding!r}")
        options = (stride, padding, dilation, groups, bias, padding_mode, device, dtype)
        super().__init__(in_channels, out_channels, kernel_size, *options)
        self.output_padding = per_axis(name, "output_padding", output_padding, self.rank, 0)

    def _options(self) -> tuple[Any, ...]:
        return (self.stride, self.padding, self.output_padding, self.groups, self.dilation)


class ConvTranspose1d(_ConvTranspose):
    """The transposed convolution along one axis: `functional.conv_transpose1d` with parameters.

    Attributes: weight [in_channels, out_channels / groups, K], bias [out_channels] or None.

    Shapes: x [N, C, L] or [C, L], y [N, out_channels, L'].
    """

    rank = 1

    def forward(self, input: Any) -> Tensor:
        """x [N, C, L] -> y [N, out_channels, L']."""
        return functional.conv_transpose1d(input, self.weight, self.bias, *self._options())


class ConvTranspose2d(_ConvTranspose):
    """The transposed convolution along two axes: `functional.conv_transpose2d` with parameters.

    Args:
        in_channels, out_channels, kernel_size, stride, groups, bias, dilation, padding_mode,
            device, dtype: as in `Conv2d`.
        padding: values cut off at both ends of each axis.
        output_padding: values added at the end of each axis; less than stride or dilation.

    Attributes: weight [in_channels, out_channels / groups, KH, KW], bias [out_channels] or None.

    Shapes: x [N, C, H, W] or [C, H, W], y [N, out_channels, H', W'].

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> nn.ConvTranspose2d(8, 3, 4, stride=2)(np.zeros((1, 8, 7, 7), np.float32)).shape
        (1, 3, 16, 16)
    """

    rank = 2

    def forward(self, input: Any) -> Tensor:
        """x [N, C, H, W] -> y [N, out_channels, H', W']."""
        return functional.conv_transpose2d(input, self.weight, self.bias, *self._options())
