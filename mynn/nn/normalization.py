"""Normalisation: over the batch, over the features of a sample, over groups of channels."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from mynn import functional
from mynn.errors import ArgumentError, ShapeError
from mynn.functional.normalization import normalized_extents
from mynn.nn import init
from mynn.nn.module import Module
from mynn.nn.placement import like_state, parameter_dtype
from mynn.tensor import Parameter, Tensor, as_tensor, no_grad


class _BatchNorm(Module):
    """What the layers share; a subclass gives the numbers of axes that it takes."""

    ranks: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.num_features = operator.index(num_features)
        if self.num_features < 1:
            raise ArgumentError(f"{name}: num_features must be at least 1, it is {num_features}")
        if momentum is not None and not 0 <= momentum <= 1:
            raise ArgumentError(f"{name}: momentum must lie in [0, 1] or be None, it is {momentum}")
        self.eps = _checked_eps(name, eps)
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        dtype = parameter_dtype(type(self).__name__, device, dtype)
        shape = (self.num_features,)
        self.weight = _parameter(1, shape, dtype, affine)
        self.bias = _parameter(0, shape, dtype, affine and bias)
        track = track_running_stats
        self.register_buffer("running_mean", np.zeros(shape, dtype) if track else None)
        self.register_buffer("running_var", np.ones(shape, dtype) if track else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if track else None)

    def reset_running_stats(self) -> None:
        """Forget the batches seen so far."""
        if self.track_running_stats:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and no batches seen."""
        self.reset_running_stats()
        _reset(self)

    def forward(self, input: Any) -> Tensor:
        """[N, C, ...] -> the same shape."""
        x = as_tensor(input)
        if x.ndim not in self.ranks or x.shape[1] != self.num_features:
            letters = {2: "[N, C]", 3: "[N, C, L]", 4: "[N, C, H, W]", 5: "[N, C, D, H, W]"}
            wanted = " or ".join(letters[rank] for rank in self.ranks)
            remedy = "reshape it"
            if x.ndim in self.ranks:
                made = f"{type(self).__name__}({x.shape[1]})"
                remedy = f"give such data, or make the layer with {made}"
            raise ShapeError(
                f"the input has shape {x.shape}, it must be {wanted} with C = num_features = "
                f"{self.num_features}; {remedy}"
            )
        x = like_state(self, x)
        training = self.training
        momentum = self._momentum() if training and self.track_running_stats else 0.0
        return functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training or not self.track_running_stats,
            momentum,
            self.eps,
        )

    def _momentum(self) -> Any:
        """Count the batch; without a momentum, the running statistics are means over batches."""
        with no_grad():
            count = self.num_batches_tracked + 1
            self.num_batches_tracked.assign(count)
            if self.momentum is not None:
                return self.momentum
            return 1.0 / count.astype(self.running_mean.dtype)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """`functional.batch_norm` of [N, C] or [N, C, L]; see `BatchNorm2d`."""

    ranks: tuple[int, ...] = (2, 3)


class BatchNorm2d(_BatchNorm):
    """y = (x - mean) / sqrt(var + eps) w + b for each channel of [N, C, H, W].

    In training (`train()`) with the statistics of the batch, otherwise with the running ones.

    Args:
        num_features: C.
        eps: keeps the root away from 0.
        momentum: share of the newest batch in the running statistics; None: the mean over batches.
        affine: whether there are w and b.
        track_running_stats: whether there are running statistics; without them the batch's are
            always used.
        device: "cpu" or None.
        dtype: float32 or float64; where there are parameters, inputs are converted to it.
        bias: whether there is a b.

    Attributes: weight, bias [C] or None; buffers running_mean, running_var [C] and
    num_batches_tracked, as in PyTorch.

    Raises:
        ShapeError: another number of channels.
        DataError: one value a channel in training.

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> layer = nn.BatchNorm2d(1, eps=0.0)
        >>> layer(np.array([[[[1.0, 3.0]]]])).tolist()
        [[[[-1.0, 1.0]]]]
        >>> layer.running_mean.tolist()
        [0.20000000298023224]

    Source: Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing
    internal covariate shift", 2015.
    """

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """`functional.batch_norm` of [N, C, D, H, W]; see `BatchNorm2d`."""

    ranks = (5,)


def _checked_eps(name: str, eps: float) -> float:
    if not eps >= 0:
        raise ArgumentError(f"{name}: eps must be at least 0, it is {eps}")
    return eps


def _parameter(fill: float, shape: tuple[int, ...], dtype: Any, wanted: bool) -> Parameter | None:
    return Parameter(np.full(shape, fill, dtype)) if wanted else None


class LayerNorm(Module):
    """y = (x - mean) / sqrt(var + eps) w + b, over the last axes of each sample.

    Args:
        normalized_shape: extents of those axes; a number or a tuple.
        eps: keeps the root away from 0.
        elementwise_affine: whether there are w and b, of those extents.
        bias: whether there is a b.
        device: "cpu" or None.
        dtype: float32 or float64; where there are parameters, inputs are converted to it.

    Shapes: x [..., *normalized_shape], y the same.

    Example:
        >>> from mynn import nn
        >>> nn.LayerNorm(2, eps=0.0)([1.0, 3.0]).tolist()
        [-1.0, 1.0]

    Source: Ba, Kiros, Hinton, "Layer normalization", 2016.
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = normalized_extents("LayerNorm", normalized_shape)
        self.eps = _checked_eps("LayerNorm", eps)
        self.elementwise_affine = elementwise_affine
        dtype = parameter_dtype(type(self).__name__, device, dtype)
        shape, affine = self.normalized_shape, elementwise_affine
        self.weight = _parameter(1, shape, dtype, affine)
        self.bias = _parameter(0, shape, dtype, affine and bias)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        _reset(self)

    def forward(self, input: Any) -> Tensor:
        """[..., *normalized_shape] -> the same shape."""
        x = like_state(self, _checked_last(self, input, self.normalized_shape))
        return functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        affine = self.elementwise_affine
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}, "
            f"bias={self.bias is not None}"
        )


class RMSNorm(Module):
    """y = x / sqrt(mean of x^2 + eps) w, over the last axes of each sample.

    Args:
        normalized_shape: extents of those axes; a number or a tuple.
        eps: the spacing of floats at 1 where left out.
        elementwise_affine: whether there is a w, of those extents.
        device: "cpu" or None.
        dtype: float32 or float64; where there are parameters, inputs are converted to it.

    Shapes: x [..., *normalized_shape], y the same.

    Source: Zhang and Sennrich, "Root mean square layer normalization", 2019.
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = normalized_extents("RMSNorm", normalized_shape)
        self.eps = None if eps is None else _checked_eps("RMSNorm", eps)
        self.elementwise_affine = elementwise_affine
        dtype = parameter_dtype(type(self).__name__, device, dtype)
        self.weight = _parameter(1, self.normalized_shape, dtype, elementwise_affine)

    def reset_parameters(self) -> None:
        """Weight 1."""
        _reset(self)

    def forward(self, input: Any) -> Tensor:
        """[..., *normalized_shape] -> the same shape."""
        x = like_state(self, _checked_last(self, input, self.normalized_shape))
        return functional.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class GroupNorm(Module):
    """y = (x - mean) / sqrt(var + eps) w + b, over groups of channels of each sample.

    Args:
        num_groups: number of groups of neighbouring channels; divides num_channels.
        num_channels: C.
        eps: keeps the root away from 0.
        affine: whether there are w and b, one value for each channel.
        device: "cpu" or None.
        dtype: float32 or float64; where there are parameters, inputs are converted to it.
        bias: whether there is a b.

    Shapes: x [N, C, ...], y the same.

    Source: Wu and He, "Group normalization", 2018.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_groups = operator.index(num_groups)
        self.num_channels = operator.index(num_channels)
        if min(self.num_groups, self.num_channels) < 1 or self.num_channels % self.num_groups:
            raise ArgumentError(
                f"GroupNorm: num_channels={num_channels} must divide by num_groups={num_groups}"
            )
        self.eps = _checked_eps("GroupNorm", eps)
        self.affine = affine
        dtype = parameter_dtype(type(self).__name__, device, dtype)
        self.weight = _parameter(1, (self.num_channels,), dtype, affine)
        self.bias = _parameter(0, (self.num_channels,), dtype, affine and bias)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        _reset(self)

    def forward(self, input: Any) -> Tensor:
        """[N, C, ...] -> the same shape."""
        x = as_tensor(input)
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ShapeError(
                f"the input has shape {x.shape}, it must be [N, C, ...] with C = num_channels = "
                f"{self.num_channels}; reshape it, or make the layer for its channels"
            )
        x = like_state(self, x)
        return functional.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        bias = self.bias is not None
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={bias}"
        )


def _reset(layer: Module) -> None:
    for name, parameter in layer.named_parameters(recurse=False):
        init.constant_(parameter, 1 if name == "weight" else 0)


def _checked_last(layer: Module, input: Any, shape: tuple[int, ...]) -> Tensor:
    x = as_tensor(input)
    if x.ndim < len(shape) or x.shape[x.ndim - len(shape) :] != shape:
        raise ShapeError(
            f"the input has shape {x.shape}, its last axes must be normalized_shape={shape}; give "
            f"such data, or make the layer with {type(layer).__name__}({x.shape[-len(shape) :]})"
        )
    return x
