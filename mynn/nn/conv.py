"""Convolutions and transposed convolutions along one, two or three axes."""

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
from mynn.tensor import Parameter, Tensor, as_tensor


class _Conv(Module):
    """What the layers share: options, parameters and how they are printed."""

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
        modes = ("zeros",) if self.transposed else tuple(_PAD_MODES)
        if padding_mode not in modes:
            raise ArgumentError(
                f"{name}: padding_mode must be one of {', '.join(modes)}, it is {padding_mode!r}"
            )
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
        if self.bias is None:
            parts.append("bias=False")
        if self.padding_mode != "zeros":
            parts.append(f"padding_mode={self.padding_mode}")
        return ", ".join(parts)

    def _padded(self, input: Any) -> tuple[Any, tuple[Any, ...]]:
        """The input, padded unless with zeros, and the options of the convolution."""
        mode = _PAD_MODES[self.padding_mode]
        options = (self.dilation, self.groups)
        if mode == "constant" or self.padding == "valid":
            return input, (self.stride, self.padding, *options)
        sides = [(p, p) for p in self.padding]
        if self.padding == "same":
            totals = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            sides = [(total // 2, total - total // 2) for total in totals]
        widths = [p for side in reversed(sides) for p in side]
        return functional.pad(input, widths, mode), (self.stride, 0, *options)


# What the modes of padding are called by `functional.pad`.
_PAD_MODES = {
    "zeros": "constant",
    "reflect": "reflect",
    "replicate": "replicate",
    "circular": "circular",
}


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
        x, options = self._padded(input)
        return functional.conv1d(x, self.weight, self.bias, *options)


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
        padding_mode: what the padding holds: "zeros", "reflect", "replicate" or "circular".
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
        x, options = self._padded(input)
        return functional.conv2d(x, self.weight, self.bias, *options)


class Conv3d(_Conv):
    """Cross-correlation along three axes: `functional.conv3d`; the arguments are those of `Conv2d`.

    Attributes: weight [out_channels, in_channels / groups, KD, KH, KW], bias [out_channels] or
    None.

    Shapes: x [N, C, D, H, W] or [C, D, H, W], y [N, out_channels, D', H', W'].
    """

    rank = 3

    def forward(self, input: Any) -> Tensor:
        """x [N, C, D, H, W] -> y [N, out_channels, D', H', W']."""
        x, options = self._padded(input)
        return functional.conv3d(x, self.weight, self.bias, *options)


class _ConvTranspose(_Conv):
    """What the transposed layers share."""

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

    def _options(self, input: Any, output_size: Any) -> tuple[Any, ...]:
        extra = self.output_padding
        if output_size is not None:
            extra = self._padding_for(as_tensor(input).shape, tuple(output_size))
        return (self.stride, self.padding, extra, self.groups, self.dilation)

    def _padding_for(self, shape: tuple[int, ...], output_size: tuple[int, ...]) -> Any:
        """The output_padding that gives an output of these spatial extents."""
        wanted = output_size[-self.rank :]
        least = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                shape[-self.rank :],
                self.stride,
                self.padding,
                self.dilation,
                self.kernel_size,
                strict=True,
            )
        ]
        extra = [n - m for n, m in zip(wanted, least, strict=True)]
        if len(output_size) not in (self.rank, len(shape)) or any(
            not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)
        ):
            raise ArgumentError(
                f"output_size {output_size} cannot be reached from an input of shape {shape}: it "
                f"must be at least {tuple(least)}, and less than the stride above it"
            )
        return tuple(extra)


class ConvTranspose1d(_ConvTranspose):
    """The transposed convolution along one axis: `functional.conv_transpose1d` with parameters.

    Attributes: weight [in_channels, out_channels / groups, K], bias [out_channels] or None.

    Shapes: x [N, C, L] or [C, L], y [N, out_channels, L'].
    """

    rank = 1

    def forward(self, input: Any, output_size: Any = None) -> Tensor:
        """x [N, C, L] -> y [N, out_channels, L']."""
        options = self._options(input, output_size)
        return functional.conv_transpose1d(input, self.weight, self.bias, *options)


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

    def forward(self, input: Any, output_size: Any = None) -> Tensor:
        """x [N, C, H, W] -> y [N, out_channels, H', W']."""
        options = self._options(input, output_size)
        return functional.conv_transpose2d(input, self.weight, self.bias, *options)


class ConvTranspose3d(_ConvTranspose):
    """The transposed convolution along three axes; the arguments are those of `ConvTranspose2d`.

    Attributes: weight [in_channels, out_channels / groups, KD, KH, KW], bias [out_channels] or
    None.
    """

    rank = 3

    def forward(self, input: Any, output_size: Any = None) -> Tensor:
        """x [N, C, D, H, W] -> y [N, out_channels, D', H', W']."""
        options = self._options(input, output_size)
        return functional.conv_transpose3d(input, self.weight, self.bias, *options)
