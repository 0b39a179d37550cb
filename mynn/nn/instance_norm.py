"""Normalisation of each channel of each sample, and over neighbouring channels."""

from __future__ import annotations

from typing import Any

from mynn import functional
from mynn.errors import ShapeError
from mynn.functional.normalization import neighbour_norm
from mynn.nn.module import Module
from mynn.nn.normalization import BatchNorm1d
from mynn.nn.placement import like_state
from mynn.tensor import Tensor, as_tensor


class _InstanceNorm(BatchNorm1d):
    """Options, parameters and buffers are those of batch normalisation, with other defaults."""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        options = (num_features, eps, momentum, affine, track_running_stats, device, dtype)
        super().__init__(*options, bias=bias)

    def forward(self, input: Any) -> Tensor:
        """[N, C, ...] or [C, ...] -> the same shape."""
        x = as_tensor(input)
        rank = self.ranks[0]
        if x.ndim not in (rank - 1, rank) or (
            self.affine and x.shape[1 - rank] != self.num_features
        ):
            raise ShapeError(
                f"the input has shape {x.shape}, it must have {rank - 1} or {rank} axes, with "
                f"num_features = {self.num_features} channels; reshape it"
            )
        single = x.ndim == rank - 1
        x = like_state(self, x.unsqueeze(0) if single else x)
        training = self.training
        follows = training and self.track_running_stats
        y = functional.instance_norm(
            x,
            self.running_mean if follows or not training else None,
            self.running_var if follows or not training else None,
            self.weight,
            self.bias,
            training or not self.track_running_stats,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
        )
        return y.squeeze(0) if single else y


class InstanceNorm1d(_InstanceNorm):
    """`functional.instance_norm` of [N, C, L] or [C, L]; see `InstanceNorm2d`."""

    ranks = (3,)


class InstanceNorm2d(_InstanceNorm):
    """y = (x - mean) / sqrt(var + eps) w + b for each channel of each sample.

    Args:
        num_features: C.
        eps: keeps the root away from 0.
        momentum: share of the newest batch in the running statistics; None: they stay.
        affine: whether there are w and b.
        track_running_stats: whether there are running statistics, which `eval()` uses.
        device, dtype, bias: as in `BatchNorm2d`.

    Shapes: x [N, C, H, W] or [C, H, W], y the same.

    Source: Ulyanov, Vedaldi, Lempitsky, "Instance normalization", 2016.
    """

    ranks = (4,)


class InstanceNorm3d(_InstanceNorm):
    """`functional.instance_norm` of [N, C, D, H, W] or [C, D, H, W]; see `InstanceNorm2d`."""

    ranks = (5,)


class LocalResponseNorm(Module):
    """x / (k + alpha mean of x^2)^beta over `size` channels: `functional.local_response_norm`."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, input: Any) -> Tensor:
        """[N, C, ...] -> the same shape."""
        return functional.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(LocalResponseNorm):
    """`LocalResponseNorm` over as many channels before as after: of an even size, one less."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1) -> None:
        super().__init__(size, alpha, beta, k)

    def forward(self, input: Any) -> Tensor:
        """[N, C, H, W] -> the same shape."""
        reach = (self.size - 1) // 2
        options = (self.alpha, self.beta, self.k)
        return neighbour_norm(as_tensor(input), (reach, reach), self.size, options)
