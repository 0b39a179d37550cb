"""Pooling: the largest value or the mean of windows."""

from __future__ import annotations

from typing import Any

from mynn import functional
from mynn.functional.conv import per_axis
from mynn.nn.module import Module
from mynn.tensor import Tensor


class _MaxPool(Module):
    """Options of the layers."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def _options(self) -> tuple[Any, ...]:
        options = (self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        return (*options, self.return_indices)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The largest value of each window: `functional.max_pool1d`.

    Shapes: x [N, C, L] or [C, L], y [N, C, L'].
    """

    def forward(self, input: Any) -> Any:
        """x [N, C, L] -> y [N, C, L']."""
        return functional.max_pool1d(input, *self._options())


class MaxPool2d(_MaxPool):
    """The largest value of each window: `functional.max_pool2d`.

    Args:
        kernel_size: a number, or (height, width); so are the next three.
        stride: step of the window; the kernel size where left out.
        padding: places at both ends of each axis that are never the largest.
        dilation: distance of the values that a window takes.
        return_indices: whether the places are returned too, for `MaxUnpool2d`.
        ceil_mode: whether a last window that reaches past the end counts.

    Shapes: x [N, C, H, W] or [C, H, W], y [N, C, H', W'].

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> nn.MaxPool2d(2)(np.zeros((1, 3, 28, 28), np.float32)).shape
        (1, 3, 14, 14)
    """

    def forward(self, input: Any) -> Any:
        """x [N, C, H, W] -> y [N, C, H', W']."""
        return functional.max_pool2d(input, *self._options())


class MaxPool3d(_MaxPool):
    """The largest value of each window: `functional.max_pool3d`.

    Shapes: x [N, C, D, H, W] or [C, D, H, W], y [N, C, D', H', W'].
    """

    def forward(self, input: Any) -> Any:
        """x [N, C, D, H, W] -> y [N, C, D', H', W']."""
        return functional.max_pool3d(input, *self._options())


class AvgPool1d(Module):
    """The mean of each window: `functional.avg_pool1d`.

    Shapes: x [N, C, L] or [C, L], y [N, C, L'].
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = per_axis("AvgPool1d", "kernel_size", kernel_size, 1)
        step = self.kernel_size if stride is None else stride
        self.stride = per_axis("AvgPool1d", "stride", step, 1)
        self.padding = per_axis("AvgPool1d", "padding", padding, 1, 0)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Any) -> Tensor:
        """x [N, C, L] -> y [N, C, L']."""
        options = (self.kernel_size, self.stride, self.padding)
        return functional.avg_pool1d(input, *options, self.ceil_mode, self.count_include_pad)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Module):
    """The mean of each window: `functional.avg_pool2d`.

    Args:
        kernel_size: a number, or (height, width); so are the next two.
        stride: step of the window; the kernel size where left out.
        padding: zeros at both ends of each axis.
        ceil_mode: whether a last window that reaches past the end counts.
        count_include_pad: whether the padding counts among the values of a window.
        divisor_override: what to divide the sums by instead.

    Shapes: x [N, C, H, W] or [C, H, W], y [N, C, H', W'].
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Any) -> Tensor:
        """x [N, C, H, W] -> y [N, C, H', W']."""
        options = (self.kernel_size, self.stride, self.padding, self.ceil_mode)
        return functional.avg_pool2d(input, *options, self.count_include_pad, self.divisor_override)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool3d(AvgPool2d):
    """The mean of each window: `functional.avg_pool3d`; the arguments are those of `AvgPool2d`.

    Shapes: x [N, C, D, H, W] or [C, D, H, W], y [N, C, D', H', W'].
    """

    def forward(self, input: Any) -> Tensor:
        """x [N, C, D, H, W] -> y [N, C, D', H', W']."""
        options = (self.kernel_size, self.stride, self.padding, self.ceil_mode)
        return functional.avg_pool3d(input, *options, self.count_include_pad, self.divisor_override)


class _AdaptivePool(Module):
    """Option of the adaptive layers."""

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptivePool):
    """The mean of `output_size` windows: `functional.adaptive_avg_pool1d`."""

    def forward(self, input: Any) -> Tensor:
        """x [N, C, L] -> y [N, C, output_size]."""
        return functional.adaptive_avg_pool1d(input, self.output_size)


class AdaptiveAvgPool2d(_AdaptivePool):
    """The mean of `output_size` windows along each axis; 1 is global average pooling.

    Shapes: x [N, C, H, W] or [C, H, W], y [N, C, *output_size].

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> nn.AdaptiveAvgPool2d(1)(np.zeros((1, 3, 7, 5), np.float32)).shape
        (1, 3, 1, 1)
    """

    def forward(self, input: Any) -> Tensor:
        """x [N, C, H, W] -> y [N, C, *output_size]."""
        return functional.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveAvgPool3d(_AdaptivePool):
    """The mean of `output_size` windows along each of three axes."""

    def forward(self, input: Any) -> Tensor:
        """x [N, C, D, H, W] -> y [N, C, *output_size]."""
        return functional.adaptive_avg_pool3d(input, self.output_size)


class _AdaptiveMaxPool(_AdaptivePool):
    """Options of the adaptive layers of largest values."""

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest values of `output_size` windows: `functional.adaptive_max_pool1d`."""

    def forward(self, input: Any) -> Any:
        """x [N, C, L] -> y [N, C, output_size]."""
        return functional.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest values of `output_size` windows along each axis; 1 is global max pooling.

    Shapes: x [N, C, H, W] or [C, H, W], y [N, C, *output_size].
    """

    def forward(self, input: Any) -> Any:
        """x [N, C, H, W] -> y [N, C, *output_size]."""
        return functional.adaptive_max_pool2d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest values of `output_size` windows along each of three axes."""

    def forward(self, input: Any) -> Any:
        """x [N, C, D, H, W] -> y [N, C, *output_size]."""
        return functional.adaptive_max_pool3d(input, self.output_size, self.return_indices)
