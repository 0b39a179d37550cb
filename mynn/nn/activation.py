"""Activations as layers. Each one is the function of `mynn.functional` with its options."""

from __future__ import annotations

from typing import Any

from mynn import functional
from mynn.errors import ArgumentError, ShapeError
from mynn.nn.module import Module
from mynn.tensor import Tensor, as_tensor


class Tanh(Module):
    """tanh x. Any shape."""

    def forward(self, input: Any) -> Tensor:
        """x -> tanh x."""
        return functional.tanh(input)


class Sigmoid(Module):
    """The logistic function 1 / (1 + e^-x). Any shape."""

    def forward(self, input: Any) -> Tensor:
        """x -> 1 / (1 + e^-x)."""
        return functional.sigmoid(input)


class InPlace(Module):
    """An activation with PyTorch's option `inplace`."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return "inplace=True" if self.inplace else ""


class ReLU(InPlace):
    """max(x, 0). Any shape."""

    def forward(self, input: Any) -> Tensor:
        """x -> max(x, 0)."""
        return functional.relu(input, self.inplace)


class LeakyReLU(InPlace):
    """x where x > 0, otherwise negative_slope x. Any shape."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = negative_slope

    def forward(self, input: Any) -> Tensor:
        """x -> x or negative_slope x."""
        return functional.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"negative_slope={self.negative_slope}" + ", inplace=True" * bool(self.inplace)


class SiLU(InPlace):
    """x / (1 + e^-x). Any shape."""

    def forward(self, input: Any) -> Tensor:
        """x -> x sigmoid(x)."""
        return functional.silu(input, self.inplace)


class Mish(InPlace):
    """x tanh(softplus(x)). Any shape."""

    def forward(self, input: Any) -> Tensor:
        """x -> mish x."""
        return functional.mish(input, self.inplace)


class LogSigmoid(Module):
    """log(1 / (1 + e^-x)). Any shape."""

    def forward(self, input: Any) -> Tensor:
        """x -> log sigmoid x."""
        return functional.logsigmoid(input)


class Softsign(Module):
    """x / (1 + |x|). Any shape."""

    def forward(self, input: Any) -> Tensor:
        """x -> softsign x."""
        return functional.softsign(input)


class Tanhshrink(Module):
    """x - tanh x. Any shape."""

    def forward(self, input: Any) -> Tensor:
        """x -> x - tanh x."""
        return functional.tanhshrink(input)


class GLU(Module):
    """a sigmoid(b) for the halves a and b of the input along the axis `dim`."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Tensor:
        """[..., 2 n, ...] -> [..., n, ...]."""
        return functional.glu(input, self.dim)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"dim={self.dim}"


class GELU(Module):
    """x Phi(x) with the normal distribution function Phi, or by tanh. Any shape."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        if approximate not in ("none", "tanh"):
            raise ArgumentError(
                f'GELU: approximate must be "none" or "tanh", it is {approximate!r}'
            )
        self.approximate = approximate

    def forward(self, input: Any) -> Tensor:
        """x -> x Phi(x)."""
        return functional.gelu(input, self.approximate)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """log(1 + e^(beta x)) / beta, and x where beta x > threshold. Any shape."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        if not beta > 0:
            raise ArgumentError(f"Softplus: beta must be above 0, it is {beta}")
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Any) -> Tensor:
        """x -> log(1 + e^(beta x)) / beta."""
        return functional.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Softmax(Module):
    """e^x / sum of e^x along the axis `dim`, which should be given. Any shape."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Tensor:
        """x -> softmax x."""
        return functional.softmax(input, self.dim)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"dim={self.dim}"


class Softmin(Module):
    """softmax(-x) along the axis `dim`, which should be given. Any shape."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Tensor:
        """x -> softmin x."""
        return functional.softmin(input, self.dim)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"dim={self.dim}"


class Softmax2d(Module):
    """Softmax over the channels of [N, C, H, W] or [C, H, W]."""

    def forward(self, input: Any) -> Tensor:
        """x -> softmax x over C."""
        x = as_tensor(input)
        if x.ndim not in (3, 4):
            raise ShapeError(
                f"the input has shape {x.shape}, it must be [N, C, H, W] or [C, H, W]; reshape it"
            )
        return functional.softmax(x, -3)


class LogSoftmax(Module):
    """log(softmax(x)) along the axis `dim`, which should be given. Any shape."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Any) -> Tensor:
        """x -> log softmax x."""
        return functional.log_softmax(input, self.dim)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"dim={self.dim}"
