"""Functions of tensors: activations, normalised exponentials, selection, dropout, the linear map.

All of them are composites of `Tensor` operations, so they have gradients of any order and compile.
Arrays and numbers are taken wherever a tensor is. The losses live in `mynn.losses`, convolution in
`mynn.spatial`, pooling in `mynn.pooling`, normalisation in `mynn.normalization`; all of them can be
had from here too.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn.arguments import explained
from mynn.errors import ArgumentError, DataError, DTypeError, ShapeError
from mynn.losses import (
    binary_cross_entropy_with_logits,
    class_mask,
    cross_entropy,
    integer_labels,
    mse_loss,
    nll_loss,
    softplus,
)
from mynn.normalization import batch_norm, group_norm, layer_norm, rms_norm
from mynn.ops import elementwise, movement
from mynn.ops.rules import normalize_axes
from mynn.pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    max_pool1d,
    max_pool2d,
)
from mynn.random import Generator, chosen
from mynn.spatial import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from mynn.tensor import Tensor, apply, as_tensor, binary, promote, same_dtype
from mynn.tensor.inplace import replace
from mynn.tensor.spelling import kept, one_of, required

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


# -- activations -----------------------------------------------------------------------------------


def _placed(name: str, input: Any, result: Tensor, inplace: bool) -> Tensor:
    """The result, or the input after it was given the values of the result.

    An array or a list became a tensor on the way: it stays as it is.
    """
    return replace(input, result, name) if inplace and isinstance(input, Tensor) else result


@explained
def relu(input: Any, inplace: bool = False) -> Tensor:
    """max(x, 0), elementwise; the gradient at 0 is 0. With `inplace` the input itself changes.

    Example:
        >>> from mynn import functional as F
        >>> F.relu([-1.0, 2.0]).tolist()
        [0.0, 2.0]
    """
    return _placed("relu", input, as_tensor(input).relu(), inplace)


@explained
def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, otherwise negative_slope x.

    Source: Maas, Hannun, Ng, "Rectifier nonlinearities improve neural network acoustic
    models", 2013.
    """
    x = as_tensor(input).floating()
    return _placed("leaky_relu", input, (x > 0).choose(x, x * negative_slope), inplace)


@explained
def tanh(input: Any) -> Tensor:
    """Hyperbolic tangent, elementwise."""
    return as_tensor(input).tanh()


@explained
def sigmoid(input: Any) -> Tensor:
    """The logistic function 1 / (1 + e^-x), elementwise."""
    return as_tensor(input).sigmoid()


logistic = sigmoid


@explained
def silu(input: Any, inplace: bool = False) -> Tensor:
    """x sigmoid(x), also called swish, elementwise.

    Source: Elfwing, Uchibe, Doya, "Sigmoid-weighted linear units", 2018.
    """
    x = as_tensor(input).floating()
    # The gradient needs the values before.
    x = x + 0.0 if inplace else x
    return _placed("silu", input, x * x.sigmoid(), inplace)


@explained
def gelu(input: Any, approximate: str = "none") -> Tensor:
    """x Phi(x), where Phi is the normal distribution function.

    Equation: x/2 (1 + erf(x / sqrt 2)); with approximate="tanh"
    x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).
    Source: Hendrycks and Gimpel, "Gaussian error linear units", 2016.
    """
    x = as_tensor(input).floating()
    if approximate == "none":
        return x * ((x * math.sqrt(0.5)).erf() * 0.5 + 0.5)
    if approximate == "tanh":
        slope = math.sqrt(2 / math.pi)
        return x * ((x * (x * x * (0.044715 * slope) + slope)).tanh() * 0.5 + 0.5)
    raise ArgumentError(f'gelu: approximate must be "none" or "tanh", it is {approximate!r}')


# -- normalised exponentials -----------------------------------------------------------------------


@explained
def softmax(
    input: Any, dim: int | None = None, *, dtype: Any = None, axis: int | None = None
) -> Tensor:
    """e^x / sum of e^x along `dim`: positive values that sum to 1.

    The largest value is subtracted first, so that nothing overflows. Without `dim` it is axis 0 of
    0, 1 or 3 axes, otherwise axis 1, with a warning, as in PyTorch.

    Args:
        input: any shape.
        dim: the axis; also under the name `axis`.
        dtype: to which the input is converted first.

    Example:
        >>> from mynn import functional as F
        >>> F.softmax([[0.0, 0.0]], dim=-1).tolist()
        [[0.5, 0.5]]
    """
    x, place = _along_one("softmax", input, dim, axis, dtype)
    e = (x - x.detach().amax(place, keepdim=True)).exp()
    return e * (1.0 / e.sum(place, keepdim=True))


@explained
def log_softmax(
    input: Any, dim: int | None = None, *, dtype: Any = None, axis: int | None = None
) -> Tensor:
    """log(softmax(x)) along `dim`, exact where the softmax itself would underflow.

    The arguments are those of `softmax`.
    """
    x, place = _along_one("log_softmax", input, dim, axis, dtype)
    z = x - x.detach().amax(place, keepdim=True)
    return z - z.exp().sum(place, keepdim=True).log()


def _along_one(name: str, input: Any, dim: Any, axis: Any, dtype: Any) -> tuple[Tensor, int]:
    x = as_tensor(input)
    x = x.floating() if dtype is None else x.astype(dtype)
    place = one_of(name, dim, axis)
    if place is None:
        place = 0 if x.ndim in (0, 1, 3) else 1
        warnings.warn(
            f"{name}: without dim it is taken along axis {place} of a tensor of shape {x.shape}; "
            "name the axis, for example dim=-1",
            UserWarning,
            stacklevel=3,
        )
    return x, place


@explained
def logsumexp(
    input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None
) -> Tensor:
    """log of the sum of e^x over `dim`, one axis or several; no finite input overflows."""
    x = as_tensor(input).floating()
    place = required("logsumexp", dim, axis)
    bounds = np.finfo(x.dtype)
    # Held to finite values, because infinity - infinity is NaN.
    top = x.detach().amax(place, keepdim=True).clip(float(bounds.min), float(bounds.max))
    result = (x - top).exp().sum(place, keepdim=True).log() + top
    if kept(keepdim, keepdims):
        return result
    return result.squeeze(None if place == () else place)


# -- selection and joining -------------------------------------------------------------------------


@explained
def where(condition: Any, input: Any, other: Any) -> Tensor:
    """`input` where the condition holds, otherwise `other`; shapes broadcast.

    Example:
        >>> import numpy as np
        >>> from mynn import functional as F
        >>> F.where(np.array([True, False]), 1.0, 2.0).tolist()
        [1.0, 2.0]
    """
    test = as_tensor(condition)
    if test.dtype != np.bool_:
        raise DTypeError(
            f"where: the condition must be bool, it is {test.dtype}; compare with != 0"
        )
    return test.choose(input, other)


@explained
def maximum(input: Any, other: Any) -> Tensor:
    """The larger of two values, elementwise; where they tie each gets half of the gradient."""
    return binary(elementwise.maximum, input, other)


@explained
def minimum(input: Any, other: Any) -> Tensor:
    """The smaller of two values, elementwise; where they tie each gets half of the gradient."""
    return binary(elementwise.minimum, input, other)


@explained
def concatenate(tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors joined along an axis that they have; their dtypes are promoted to the common one.

    Example:
        >>> from mynn import functional as F
        >>> F.concatenate([[1.0], [2.0, 3.0]]).tolist()
        [1.0, 2.0, 3.0]
    """
    parts = [as_tensor(one) for one in tensors]
    if not parts:
        raise ArgumentError("concatenate: the sequence of tensors is empty; give at least one")
    dtype = promote(*(one.dtype for one in parts))
    place = normalize_axes(dim if axis is None else axis, parts[0].ndim, "concatenate")[0]
    return apply(movement.concatenate, *(one.astype(dtype) for one in parts), axis=place)


cat = concatenate


@explained
def stack(tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None) -> Tensor:
    """Tensors of one shape joined along a new axis."""
    place = dim if axis is None else axis
    return concatenate([as_tensor(one).unsqueeze(place) for one in tensors], place)


@explained
def one_hot(input: Any, num_classes: int = -1, dtype: Any = np.int64) -> Tensor:
    """1 at the place of each label along a new last axis, 0 elsewhere.

    Args:
        input: integers from 0 to num_classes - 1, any shape [...].
        num_classes: extent of the new axis; -1 takes the largest label + 1 (not while tracing).
        dtype: of the result [..., num_classes]; as in PyTorch an int64.

    Example:
        >>> from mynn import functional as F
        >>> F.one_hot([0, 2], 3).tolist()
        [[1, 0, 0], [0, 0, 1]]
    """
    picked = as_tensor(input)
    if num_classes == -1:
        if not picked.numel():
            raise DataError("one_hot: num_classes cannot be found from no labels; give it")
        num_classes = int(picked.data.max()) + 1
    if num_classes < 1:
        raise ArgumentError(f"one_hot: num_classes must be at least 1, it is {num_classes}")
    picked = integer_labels("one_hot", picked, num_classes, argument="input")
    return class_mask(picked, (*picked.shape, num_classes), picked.ndim).astype(dtype)


# -- layers as functions ---------------------------------------------------------------------------


@explained
def dropout(
    input: Any,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """In training each value is 0 with probability p, the others are divided by 1 - p; else x.

    Args:
        input: any shape.
        p: in [0, 1].
        generator: draws the values to drop; the default one where left out.

    Raises:
        ArgumentError: p outside [0, 1].

    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from
    overfitting", 2014.
    """
    if not 0 <= p <= 1:
        raise ArgumentError(f"dropout: p must lie in [0, 1], it is {p}")
    x = as_tensor(input).floating()
    if not training or p == 0:
        return x
    if p == 1:
        return _placed("dropout", input, x * 0.0, inplace)
    dropped = chosen(p, x.shape, generator)
    kept = x * dropped.choose(x.dtype.type(0), x.dtype.type(1 / (1 - p)))
    return _placed("dropout", input, kept, inplace)


@explained
def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """y = x W^T + b.

    Args:
        input: [..., in_features]; converted to the weight's dtype.
        weight: [out_features, in_features].
        bias: [out_features] or None.

    Returns:
        [..., out_features].

    Example:
        >>> from mynn import functional as F
        >>> F.linear([1.0, 2.0], [[3.0, 4.0]], [0.5]).tolist()
        [11.5]
    """
    w, x = as_tensor(weight), as_tensor(input)
    x, w = (x.astype(w.dtype), w) if w.dtype.kind == "f" else same_dtype(x, w)
    if w.ndim != 2 or not x.ndim or x.shape[-1] != w.shape[1]:
        raise ShapeError(
            f"linear: an input of shape {x.shape} and a weight of shape {w.shape} do not fit; "
            "they must be [..., in_features] and [out_features, in_features]"
        )
    leading = x.shape[:-1]
    y = x.reshape(math.prod(leading), x.shape[-1]) @ w.T
    if bias is not None:
        y = y + bias
    return y.reshape(*leading, w.shape[0])


# -- measures --------------------------------------------------------------------------------------


@explained
def accuracy(input: Any, target: Any) -> Tensor:
    """Share of the samples whose largest score stands at the right class.

    A float32 from 0 to 1, through which no gradient flows.

    Args:
        input: scores (logits or probabilities) [N, C] or [N, C, ...].
        target: labels [N] or [N, ...], or scores of the shape of `input` (one-hot, class
            probabilities).

    Example:
        >>> from mynn import functional as F
        >>> F.accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1]).item()
        0.5
    """
    scores, labels = as_tensor(input).detach(), as_tensor(target).detach()
    axis = min(1, scores.ndim - 1)
    if axis < 0 or scores.shape[axis] < 2:
        raise ShapeError(
            f"accuracy: scores of shape {scores.shape} do not hold two or more classes in axis 1; "
            "for one score a sample compare it with the threshold yourself"
        )
    if labels.shape == scores.shape:
        labels = labels.argmax(axis)
    elif labels.shape != scores.shape[:axis] + scores.shape[axis + 1 :]:
        raise ShapeError(
            f"accuracy: scores {scores.shape} and labels {labels.shape} do not fit; there must be "
            "a label for each row of scores"
        )
    return (scores.argmax(axis) == labels).mean()
