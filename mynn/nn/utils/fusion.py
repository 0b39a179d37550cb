"""A batch normalisation taken into the layer before it, for networks that no longer train."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.errors import UsageError
from mynn.tensor import Parameter, as_array


def _scaled(
    weight: Any,
    bias: Any,
    statistics: tuple[Any, Any],
    eps: float,
    affine: tuple[Any, Any],
    axis: int,
) -> tuple[Parameter, Parameter]:
    w = as_array(weight)
    mean, variance = (as_array(one) for one in statistics)
    gain = np.ones_like(mean) if affine[0] is None else as_array(affine[0])
    shift = np.zeros_like(mean) if affine[1] is None else as_array(affine[1])
    before = np.zeros_like(mean) if bias is None else as_array(bias)
    scale = gain / np.sqrt(variance + np.asarray(eps, variance.dtype))
    shape = [1] * w.ndim
    shape[axis] = -1
    new = w * scale.reshape(shape)
    return Parameter(new.astype(w.dtype)), Parameter(
        ((before - mean) * scale + shift).astype(w.dtype)
    )


@explained
def fuse_conv_bn_weights(
    conv_w: Any,
    conv_b: Any,
    bn_rm: Any,
    bn_rv: Any,
    bn_eps: float,
    bn_w: Any,
    bn_b: Any,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight and bias of a convolution with a batch normalisation behind it, as one convolution.

    Args:
        conv_w, conv_b: those of the convolution.
        bn_rm, bn_rv, bn_eps, bn_w, bn_b: running mean and variance, eps, weight and bias of the
            normalisation.
        transpose: whether it is a transposed convolution.
    """
    return _scaled(conv_w, conv_b, (bn_rm, bn_rv), bn_eps, (bn_w, bn_b), 1 if transpose else 0)


@explained
def fuse_linear_bn_weights(
    linear_w: Any, linear_b: Any, bn_rm: Any, bn_rv: Any, bn_eps: float, bn_w: Any, bn_b: Any
) -> tuple[Parameter, Parameter]:
    """Weight and bias of a linear layer with a batch normalisation behind it, as one layer."""
    return _scaled(linear_w, linear_b, (bn_rm, bn_rv), bn_eps, (bn_w, bn_b), 0)


@explained
def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A copy of the convolution that computes bn(conv(x)); both must be in `eval()`."""
    return _fused(conv, bn, transpose)


@explained
def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A copy of the linear layer that computes bn(linear(x)); both must be in `eval()`."""
    return _fused(linear, bn, False)


def _fused(layer: Any, bn: Any, transpose: bool) -> Any:
    if layer._training or bn._training:
        raise UsageError(
            "a normalisation that trains cannot be taken into the layer before it; call eval() on "
            "both first"
        )
    if bn.running_mean is None:
        raise UsageError("the normalisation has no running statistics; it cannot be fused")
    made = copy.deepcopy(layer)
    statistics = (bn.running_mean, bn.running_var)
    affine = (bn.weight, bn.bias)
    axis = 1 if transpose else 0
    weight, bias = _scaled(layer.weight, layer.bias, statistics, bn.eps, affine, axis)
    made.weight, made.bias = weight, bias
    return made
