"""Fully connected layers and what stands between them."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from mynn import functional
from mynn.errors import ArgumentError, ShapeError
from mynn.nn import init
from mynn.nn.module import Module
from mynn.nn.placement import parameter_dtype
from mynn.random import host_generator
from mynn.target.storage import is_narrow
from mynn.tensor import Parameter, Tensor, as_tensor


class Linear(Module):
    """y = x W^T + b.

    Args:
        in_features: extent of the last axis of x.
        out_features: extent of the last axis of y.
        bias: whether there is a b.
        device: "cpu" or None.
        dtype: float32 or float64; inputs are converted to it.

    Attributes:
        weight: [out_features, in_features], stored input-major: in memory the outputs lie side by
            side; but for up to 4 outputs the inputs do.
        bias: [out_features] or None. Both start from U(-b, b) with b = 1 / sqrt(in_features), as
            in PyTorch.

    Shapes: x [..., in_features], y [..., out_features].

    Raises:
        ShapeError: another number of features.

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> nn.Linear(2, 3)(np.zeros((5, 2), np.float32)).shape
        (5, 3)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        dtype = parameter_dtype("Linear", device, dtype)
        self.in_features = _extent("in_features", in_features)
        self.out_features = _extent("out_features", out_features)
        weight = np.empty((self.out_features, self.in_features), dtype)
        narrow = is_narrow(self.out_features)
        self.weight = Parameter(weight, order=(0, 1) if narrow else (1, 0))
        self.bias = Parameter(np.empty(self.out_features, dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self, generator: np.random.Generator | int | None = None) -> None:
        """Draw the initial values anew."""
        init.default_(self.weight, self.bias, host_generator(generator))

    def forward(self, input: Any) -> Tensor:
        """x [..., in_features] -> y [..., out_features]."""
        x = as_tensor(input)
        if not x.ndim or x.shape[-1] != self.in_features:
            raise ShapeError(
                f"the input has shape {x.shape}, its last axis must hold "
                f"in_features={self.in_features} values; give such data, or make the layer with "
                f"Linear({x.shape[-1] if x.ndim else 1}, {self.out_features})"
            )
        return functional.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"


class Bilinear(Module):
    """y_o = sum over i and j of x1_i W_oij x2_j + b_o.

    Args:
        in1_features, in2_features: extents of the last axes of x1 and x2.
        out_features: extent of the last axis of y.
        bias, device, dtype: as in `Linear`.

    Attributes: weight [out_features, in1_features, in2_features], bias [out_features] or None, both
    from U(-b, b) with b = 1 / sqrt(in1_features).
    """

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        dtype = parameter_dtype("Bilinear", device, dtype)
        extents = (in1_features, in2_features, out_features)
        if min(extents) < 1:
            raise ArgumentError(
                "Bilinear: in1_features, in2_features and out_features must be at least 1, they "
                f"are {extents}"
            )
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        self.weight = Parameter(np.empty((out_features, in1_features, in2_features), dtype))
        self.bias = Parameter(np.empty(out_features, dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self, generator: np.random.Generator | int | None = None) -> None:
        """Draw the initial values anew."""
        source = host_generator(generator)
        bound = self.in1_features**-0.5
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                parameter.data = source.uniform(-bound, bound, parameter.shape)

    def forward(self, input1: Any, input2: Any) -> Tensor:
        """x1 [..., in1_features], x2 [..., in2_features] -> y [..., out_features]."""
        return functional.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


def _extent(name: str, value: int) -> int:
    extent = operator.index(value)
    if extent < 1:
        raise ArgumentError(f"Linear: {name} must be at least 1, it is {extent}")
    return extent


class Flatten(Module):
    """Axes `start_dim`..`end_dim` merged into one: [N, C, H, W] -> [N, C H W].

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> nn.Flatten()(np.zeros((5, 3, 4, 4), np.float32)).shape
        (5, 48)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Any) -> Tensor:
        """[N, ...] -> [N, the product of the others]."""
        return as_tensor(input).flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """The input itself; any arguments of the constructor are taken and ignored, as in PyTorch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Tensor:
        """x -> x."""
        return as_tensor(input)
