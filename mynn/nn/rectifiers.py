"""Activations in pieces, as layers. Each one is the function of `mynn.functional`."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn import functional
from mynn.errors import ArgumentError
from mynn.nn.activation import InPlace
from mynn.nn.module import Module
from mynn.nn.placement import parameter_dtype
from mynn.random import Generator, default_generator
from mynn.tensor import Parameter, Tensor, as_tensor


def _options(layer: InPlace, **options: Any) -> str:
    """Options as they are printed, and that the layer works in place."""
    parts = [f"{name}={value}" for name, value in options.items()]
    return ", ".join([*parts, "inplace=True"] if layer.inplace else parts)


class ELU(InPlace):
    """x where x > 0, otherwise alpha (e^x - 1). Any shape."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, input: Any) -> Tensor:
        """x -> elu x."""
        return functional.elu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return _options(self, alpha=self.alpha)


class CELU(InPlace):
    """x where x > 0, otherwise alpha (e^(x / alpha) - 1). Any shape."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, input: Any) -> Tensor:
        """x -> celu x."""
        return functional.celu(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return _options(self, alpha=self.alpha)


class SELU(InPlace):
    """s x where x > 0, otherwise s a (e^x - 1), with fixed s and a. Any shape."""

    def forward(self, input: Any) -> Tensor:
        """x -> selu x."""
        return functional.selu(input, self.inplace)


class PReLU(Module):
    """x where x > 0, otherwise w x, with a w that is trained.

    Args:
        num_parameters: 1, or the number of channels in axis 1.
        init: what w starts from.
        device: "cpu" or None.
        dtype: float32 or float64.

    Attributes: weight [num_parameters].
    """

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        dtype = parameter_dtype("PReLU", device, dtype)
        if num_parameters < 1:
            raise ArgumentError(f"PReLU: num_parameters must be at least 1, it is {num_parameters}")
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(np.full(num_parameters, init, dtype))

    def reset_parameters(self) -> None:
        """Set the weight to its first value."""
        self.weight.data = np.full(self.weight.shape, self.init)

    def forward(self, input: Any) -> Tensor:
        """x [N, C, ...] -> the same shape."""
        return functional.prelu(as_tensor(input).astype(self.weight.dtype), self.weight)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"num_parameters={self.num_parameters}"


class RReLU(InPlace):
    """x where x > 0, otherwise a x; in training a is drawn from U(lower, upper). Any shape.

    Args:
        lower, upper: the range of a; its mean is taken where the layer does not train.
        generator: draws; the default one where left out.
    """

    def __init__(
        self,
        lower: float = 1 / 8,
        upper: float = 1 / 3,
        inplace: bool = False,
        *,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(inplace)
        self.lower = lower
        self.upper = upper
        self.generator = generator

    def forward(self, input: Any) -> Tensor:
        """x -> x or a x."""
        generator = self.generator or default_generator()
        return functional.rrelu(
            input, self.lower, self.upper, self.training, self.inplace, generator=generator
        )

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return _options(self, lower=self.lower, upper=self.upper)


class Threshold(InPlace):
    """x where x > threshold, otherwise `value`. Any shape."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.threshold = threshold
        self.value = value

    def forward(self, input: Any) -> Tensor:
        """x -> x or value."""
        return functional.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return _options(self, threshold=self.threshold, value=self.value)


class Hardtanh(InPlace):
    """x held to min_val..max_val. Any shape."""

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: None = None,
        max_value: None = None,
    ) -> None:
        super().__init__(inplace)
        if min_value is not None or max_value is not None:
            raise ArgumentError("Hardtanh: min_value and max_value are called min_val and max_val")
        if min_val >= max_val:
            raise ArgumentError(
                f"Hardtanh: min_val must be below max_val, they are {min_val} and {max_val}"
            )
        self.min_val = min_val
        self.max_val = max_val

    def forward(self, input: Any) -> Tensor:
        """x -> x within the bounds."""
        return functional.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return _options(self, min_val=self.min_val, max_val=self.max_val)


class ReLU6(InPlace):
    """x held to 0..6. Any shape."""

    def forward(self, input: Any) -> Tensor:
        """x -> x within 0..6."""
        return functional.relu6(input, self.inplace)


class Hardsigmoid(InPlace):
    """x / 6 + 1/2, held to 0..1. Any shape."""

    def forward(self, input: Any) -> Tensor:
        """x -> hardsigmoid x."""
        return functional.hardsigmoid(input, self.inplace)

    def extra_repr(self) -> str:
        """As in PyTorch, which does not say `inplace` here."""
        return ""


class Hardswish(InPlace):
    """x hardsigmoid(x). Any shape."""

    def forward(self, input: Any) -> Tensor:
        """x -> x hardsigmoid(x)."""
        return functional.hardswish(input, self.inplace)

    def extra_repr(self) -> str:
        """As in PyTorch, which does not say `inplace` here."""
        return ""


class Hardshrink(Module):
    """x where |x| > lambd, otherwise 0. Any shape."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Any) -> Tensor:
        """x -> x or 0."""
        return functional.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"{self.lambd}"


class Softshrink(Module):
    """x moved towards 0 by lambd, and 0 where |x| is not above it. Any shape."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Any) -> Tensor:
        """x -> x - lambd, 0 or x + lambd."""
        return functional.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"{self.lambd}"
