"""Functions of tensors under PyTorch's names, a family a file."""

from __future__ import annotations

from mynn.functional.activation import (
    gelu,
    leaky_relu,
    logistic,
    relu,
    sigmoid,
    silu,
    softplus,
    tanh,
)
from mynn.functional.conv import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from mynn.functional.dropout import dropout
from mynn.functional.joining import cat, concatenate, maximum, minimum, one_hot, stack, where
from mynn.functional.linear import linear
from mynn.functional.losses.classification import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    nll_loss,
)
from mynn.functional.losses.regression import mse_loss
from mynn.functional.normalization import batch_norm, group_norm, layer_norm, rms_norm
from mynn.functional.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    max_pool1d,
    max_pool2d,
)
from mynn.functional.softmax import log_softmax, logsumexp, softmax
from mynn.metrics.classification import accuracy

__all__ = [
    "accuracy",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "batch_norm",
    "binary_cross_entropy_with_logits",
    "cat",
    "concatenate",
    "conv1d",
    "conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "cross_entropy",
    "dropout",
    "gelu",
    "group_norm",
    "layer_norm",
    "leaky_relu",
    "linear",
    "log_softmax",
    "logistic",
    "logsumexp",
    "max_pool1d",
    "max_pool2d",
    "maximum",
    "minimum",
    "mse_loss",
    "nll_loss",
    "one_hot",
    "relu",
    "rms_norm",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "stack",
    "tanh",
    "where",
]
