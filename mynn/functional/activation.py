"""Activations as functions.

Functions of this package are composites of `Tensor` operations: they have gradients of any order,
compile, and take arrays and numbers wherever a tensor is.
"""

from __future__ import annotations

import math
from typing import Any

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ShapeError
from mynn.ops.rules import normalize_axes
from mynn.tensor import Tensor, as_tensor
from mynn.tensor.write import replace


def placed(name: str, input: Any, result: Tensor, inplace: bool) -> Tensor:
    """The result, or the input after it was given the values of the result.

    An array or a list became a tensor on the way: it stays as it is.
    """
    return replace(input, result, name) if inplace and isinstance(input, Tensor) else result


@recorded
@explained
def relu(input: Any, inplace: bool = False) -> Tensor:
    """max(x, 0), elementwise; the gradient at 0 is 0. With `inplace` the input itself changes.

    Example:
        >>> from mynn import functional as F
        >>> F.relu([-1.0, 2.0]).tolist()
        [0.0, 2.0]
    """
    return placed("relu", input, as_tensor(input).relu(), inplace)


@recorded
@explained
def leaky_relu(input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, otherwise negative_slope x.

    Source: Maas, Hannun, Ng, "Rectifier nonlinearities improve neural network acoustic
    models", 2013.
    """
    x = as_tensor(input).floating()
    return placed("leaky_relu", input, (x > 0).choose(x, x * negative_slope), inplace)


def kept_values(input: Any, inplace: bool) -> Tensor:
    """The input as floats; in place a copy, because the gradient needs the values before."""
    x = as_tensor(input).floating()
    return x + 0.0 if inplace else x


@recorded
@explained
def tanh(input: Any) -> Tensor:
    """Hyperbolic tangent, elementwise."""
    return as_tensor(input).tanh()


@recorded
@explained
def sigmoid(input: Any) -> Tensor:
    """The logistic function 1 / (1 + e^-x), elementwise."""
    return as_tensor(input).sigmoid()


logistic = sigmoid


@recorded
@explained
def silu(input: Any, inplace: bool = False) -> Tensor:
    """x sigmoid(x), also called swish, elementwise.

    Source: Elfwing, Uchibe, Doya, "Sigmoid-weighted linear units", 2018.
    """
    x = kept_values(input, inplace)
    return placed("silu", input, x * x.sigmoid(), inplace)


@recorded
@explained
def mish(input: Any, inplace: bool = False) -> Tensor:
    """x tanh(softplus(x)), elementwise.

    Source: Misra, "Mish: a self regularized non-monotonic activation function", 2019.
    """
    x = kept_values(input, inplace)
    return placed("mish", input, x * softplus(x).tanh(), inplace)


@recorded
@explained
def logsigmoid(input: Any) -> Tensor:
    """log(1 / (1 + e^-x)) = -softplus(-x), elementwise; nothing overflows."""
    return -softplus(-as_tensor(input).floating())


@recorded
@explained
def softsign(input: Any) -> Tensor:
    """x / (1 + |x|), elementwise."""
    x = as_tensor(input).floating()
    return x / (x.abs() + 1.0)


@recorded
@explained
def tanhshrink(input: Any) -> Tensor:
    """x - tanh x, elementwise."""
    x = as_tensor(input).floating()
    return x - x.tanh()


@recorded
@explained
def glu(input: Any, dim: int = -1) -> Tensor:
    """a sigmoid(b), where a and b are the first and the second half of the input along `dim`.

    Source: Dauphin et al., "Language modeling with gated convolutional networks", 2017.
    """
    x = as_tensor(input).floating()
    if not x.ndim:
        raise ShapeError("glu: a tensor of shape () has no axis to halve; give at least one axis")
    axis = normalize_axes(dim, x.ndim, "glu")[0]
    half, odd = divmod(x.shape[axis], 2)
    if odd:
        raise ShapeError(
            f"glu: axis {dim} of an input of shape {x.shape} must have an even extent, it is "
            f"{x.shape[axis]}; take another axis"
        )
    lead = (slice(None),) * axis
    return x[(*lead, slice(half))] * x[(*lead, slice(half, None))].sigmoid()


@recorded
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


@recorded
@explained
def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta x)) / beta, exact for large and for small x; x where beta x > threshold.

    Equation for beta = 1: max(x, 0) + log(1 + e^-|x|); its gradient is sigmoid(x). The equation
    holds above the threshold too, so that one from 20 on, where both are x to 10 digits, is left
    out. The forms of both sides of 0 hold at 0 too, where both terms are of the lower one: so are
    derivatives of any order right.
    """
    x = as_tensor(input).floating()
    scaled = x if beta == 1 else x * beta
    result = scaled.relu() + (scaled > 0).choose(-scaled, scaled).exp().log1p()
    result = result if beta == 1 else result * (1 / beta)
    return result if threshold >= 20 else (scaled > threshold).choose(x, result)
