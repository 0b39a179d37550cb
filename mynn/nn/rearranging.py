"""Images of another size, channels and places exchanged, windows as columns: layers."""

from __future__ import annotations

from typing import Any

from mynn.errors import ArgumentError
from mynn.functional import interpolation, rearranging
from mynn.nn.module import Module
from mynn.tensor import Tensor, as_tensor


class Upsample(Module):
    """`functional.interpolate` with its options.

    Args:
        size: extents of the result; or `scale_factor`, by what the extents are multiplied.
        mode: "nearest", "linear", "bilinear", "bicubic", "trilinear"...
        align_corners, recompute_scale_factor: those of `interpolate`.
    """

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        many = isinstance(scale_factor, tuple | list)
        self.size = size
        self.scale_factor: Any = None
        if scale_factor is not None:
            self.scale_factor = tuple(map(float, scale_factor)) if many else float(scale_factor)
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Any) -> Tensor:
        """[N, C, ...] -> [N, C, *size]."""
        return interpolation.interpolate(
            input,
            self.size,
            self.scale_factor,
            self.mode,
            self.align_corners,
            self.recompute_scale_factor,
        )

    def extra_repr(self) -> str:
        """As in PyTorch."""
        scaled = self.scale_factor is not None
        info = f"scale_factor={self.scale_factor!r}" if scaled else f"size={self.size!r}"
        return f"{info}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """`Upsample` with mode="nearest"."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """`Upsample` with mode="bilinear" and align_corners=True."""

    def __init__(self, size: Any = None, scale_factor: Any = None) -> None:
        super().__init__(size, scale_factor, "bilinear", True)


class PixelShuffle(Module):
    """[..., C r^2, H, W] -> [..., C, H r, W r]: `functional.pixel_shuffle`."""

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Any) -> Tensor:
        """[..., C r^2, H, W] -> [..., C, H r, W r]."""
        return rearranging.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """[..., C, H r, W r] -> [..., C r^2, H, W]: `functional.pixel_unshuffle`."""

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input: Any) -> Tensor:
        """[..., C, H r, W r] -> [..., C r^2, H, W]."""
        return rearranging.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """Channels of groups side by side: `functional.channel_shuffle`."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Any) -> Tensor:
        """[N, C, ...] -> the same shape."""
        return rearranging.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"groups={self.groups}"


class Unfold(Module):
    """The windows of an image as columns: `functional.unfold`."""

    def __init__(
        self, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Any) -> Tensor:
        """[N, C, H, W] -> [N, C KH KW, number of windows]."""
        options = (self.kernel_size, self.dilation, self.padding, self.stride)
        return rearranging.unfold(input, *options)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return (
            f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, "
            f"stride={self.stride}"
        )


class Fold(Module):
    """Columns added up at the places of their windows: `functional.fold`."""

    def __init__(
        self,
        output_size: Any,
        kernel_size: Any,
        dilation: Any = 1,
        padding: Any = 0,
        stride: Any = 1,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Any) -> Tensor:
        """[N, C KH KW, number of windows] -> [N, C, H, W]."""
        options = (self.output_size, self.kernel_size, self.dilation, self.padding, self.stride)
        return rearranging.fold(input, *options)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return (
            f"output_size={self.output_size}, kernel_size={self.kernel_size}, "
            f"dilation={self.dilation}, padding={self.padding}, stride={self.stride}"
        )


class Unflatten(Module):
    """The axis `dim` as several of the extents `unflattened_size`, of which one may be -1.

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> nn.Unflatten(1, (3, 4))(np.zeros((5, 12), np.float32)).shape
        (5, 3, 4)
    """

    def __init__(self, dim: int, unflattened_size: Any) -> None:
        super().__init__()
        if not isinstance(unflattened_size, tuple | list):
            raise ArgumentError(
                f"Unflatten: unflattened_size must be a tuple of numbers, it is {unflattened_size}"
            )
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input: Any) -> Tensor:
        """[..., n, ...] -> [..., *unflattened_size, ...]."""
        x = as_tensor(input)
        dim = self.dim + x.ndim if self.dim < 0 else self.dim
        if not 0 <= dim < x.ndim:
            raise ArgumentError(f"dim={self.dim} is no axis of an input of shape {x.shape}")
        y: Tensor = x.reshape((*x.shape[:dim], *self.unflattened_size, *x.shape[dim + 1 :]))
        return y

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
