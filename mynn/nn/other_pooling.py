"""Pooling by norms and by windows at random places, and maxima put back: layers."""

from __future__ import annotations

from typing import Any

from mynn.errors import ArgumentError
from mynn.functional import other_pooling as functional
from mynn.functional.conv import per_axis
from mynn.nn.module import Module
from mynn.random import Generator, default_generator
from mynn.tensor import Tensor


class _LPPool(Module):
    """Options of the layers."""

    def __init__(
        self, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.norm_type = norm_type
        self.kernel_size = kernel_size
        self.stride = stride
        self.ceil_mode = ceil_mode

    def _options(self) -> tuple[Any, ...]:
        return (float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """(sum of x^p)^(1/p) over each window: `functional.lp_pool1d`."""

    def forward(self, input: Any) -> Tensor:
        """x [N, C, L] -> y [N, C, L']."""
        return functional.lp_pool1d(input, *self._options())


class LPPool2d(_LPPool):
    """(sum of x^p)^(1/p) over each window: `functional.lp_pool2d`."""

    def forward(self, input: Any) -> Tensor:
        """x [N, C, H, W] -> y [N, C, H', W']."""
        return functional.lp_pool2d(input, *self._options())


class LPPool3d(_LPPool):
    """(sum of x^p)^(1/p) over each window: `functional.lp_pool3d`."""

    def forward(self, input: Any) -> Tensor:
        """x [N, C, D, H, W] -> y [N, C, D', H', W']."""
        return functional.lp_pool3d(input, *self._options())


class _MaxUnpool(Module):
    """Options of the layers."""

    rank = 0

    def __init__(self, kernel_size: Any, stride: Any = None, padding: Any = 0) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, self.rank)
        step = kernel_size if stride is None else stride
        self.stride = per_axis(name, "stride", step, self.rank)
        self.padding = per_axis(name, "padding", padding, self.rank, 0)

    def _options(self, output_size: Any) -> tuple[Any, ...]:
        return (self.kernel_size, self.stride, self.padding, output_size)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Values put back to where `MaxPool1d` found them: `functional.max_unpool1d`."""

    rank = 1

    def forward(self, input: Any, indices: Any, output_size: Any = None) -> Tensor:
        """x and indices [N, C, L'] -> [N, C, L]."""
        return functional.max_unpool1d(input, indices, *self._options(output_size))


class MaxUnpool2d(_MaxUnpool):
    """Values put back to where `MaxPool2d` found them: `functional.max_unpool2d`."""

    rank = 2

    def forward(self, input: Any, indices: Any, output_size: Any = None) -> Tensor:
        """x and indices [N, C, H', W'] -> [N, C, H, W]."""
        return functional.max_unpool2d(input, indices, *self._options(output_size))


class MaxUnpool3d(_MaxUnpool):
    """Values put back to where `MaxPool3d` found them: `functional.max_unpool3d`."""

    rank = 3

    def forward(self, input: Any, indices: Any, output_size: Any = None) -> Tensor:
        """x and indices [N, C, D', H', W'] -> [N, C, D, H, W]."""
        return functional.max_unpool3d(input, indices, *self._options(output_size))


class _FractionalMaxPool(Module):
    """Options of the layers."""

    rank = 0

    def __init__(
        self,
        kernel_size: Any,
        output_size: Any = None,
        output_ratio: Any = None,
        return_indices: bool = False,
        _random_samples: Any = None,
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.kernel_size = per_axis(name, "kernel_size", kernel_size, self.rank)
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)
        if (output_size is None) == (output_ratio is None):
            raise ArgumentError(f"{name}: give output_size or output_ratio, one of them")
        sized = output_size is not None
        self.output_size = per_axis(name, "output_size", output_size, self.rank) if sized else None
        many = isinstance(output_ratio, tuple | list)
        ratios: Any = tuple(output_ratio) if many else (output_ratio,) * self.rank
        if not sized and not all(0 < ratio < 1 for ratio in ratios):
            raise ArgumentError(
                f"{name}: output_ratio must lie between 0 and 1, it is {output_ratio}"
            )
        self.output_ratio = None if sized else ratios
        self.generator = generator

    def _options(self) -> tuple[Any, ...]:
        options = (self.kernel_size, self.output_size, self.output_ratio, self.return_indices)
        return (*options, self._random_samples)

    def _source(self) -> Generator:
        return self.generator or default_generator()


class FractionalMaxPool2d(_FractionalMaxPool):
    """The largest values of windows at random distances: `functional.fractional_max_pool2d`."""

    rank = 2

    def forward(self, input: Any) -> Any:
        """x [N, C, H, W] -> y [N, C, *output_size]."""
        source = self._source()
        return functional.fractional_max_pool2d(input, *self._options(), generator=source)


class FractionalMaxPool3d(_FractionalMaxPool):
    """The largest values of windows at random distances: `functional.fractional_max_pool3d`."""

    rank = 3

    def forward(self, input: Any) -> Any:
        """x [N, C, D, H, W] -> y [N, C, *output_size]."""
        source = self._source()
        return functional.fractional_max_pool3d(input, *self._options(), generator=source)
