"""Activations in pieces: linear, exponential or constant below and above some value.

With `inplace` the input itself changes; arrays and lists stay as they are.
"""

from __future__ import annotations

from typing import Any

from mynn import random
from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ShapeError
from mynn.functional.activation import kept_values, leaky_relu, placed, relu
from mynn.tensor import Tensor, as_tensor

# Of Klambauer et al., "Self-normalizing neural networks", 2017.
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946


def _below_exponential(x: Tensor, alpha: float, rate: float) -> Tensor:
    """x where x > 0, otherwise alpha (e^(rate x) - 1)."""
    below = x <= 0
    # Above 0 the exponential of 0 stands in: that of a large x has no gradient.
    exponent = below.choose(x, 0.0)
    exponent = exponent if rate == 1 else exponent * rate
    return below.choose(exponent.expm1() * alpha, x)


@recorded
@explained
def elu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, otherwise alpha (e^x - 1).

    Source: Clevert, Unterthiner, Hochreiter, "Fast and accurate deep network learning by
    exponential linear units", 2016.
    """
    x = kept_values(input, inplace)
    return placed("elu", input, _below_exponential(x, alpha, 1.0), inplace)


@recorded
@explained
def selu(input: Any, inplace: bool = False) -> Tensor:
    """s x where x > 0, otherwise s a (e^x - 1), with s = 1.0507... and a = 1.6733...

    Source: Klambauer et al., "Self-normalizing neural networks", 2017.
    """
    x = kept_values(input, inplace)
    return placed("selu", input, _below_exponential(x, SELU_ALPHA, 1.0) * SELU_SCALE, inplace)


@recorded
@explained
def celu(input: Any, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, otherwise alpha (e^(x / alpha) - 1).

    Source: Barron, "Continuously differentiable exponential linear units", 2017.
    """
    if alpha == 0:
        raise ArgumentError("celu: alpha must not be 0; the exponent is x / alpha")
    x = kept_values(input, inplace)
    return placed("celu", input, _below_exponential(x, alpha, 1.0 / alpha), inplace)


@recorded
@explained
def prelu(input: Any, weight: Any) -> Tensor:
    """x where x > 0, otherwise w x.

    Args:
        input: any shape [N, C, ...].
        weight: one number, or one for each channel of axis 1: [C].

    Source: He et al., "Delving deep into rectifiers", 2015.
    """
    x, w = as_tensor(input).floating(), as_tensor(weight)
    if w.ndim > 1:
        raise ShapeError(f"prelu: weight must be a number or [C], its shape is {w.shape}")
    if w.numel() != 1 and (x.ndim < 2 or x.shape[1] != w.shape[0]):
        raise ShapeError(
            f"prelu: a weight of shape {w.shape} does not fit an input of shape {x.shape}; give "
            "one number, or one for each channel of axis 1"
        )
    trailing = (1,) * max(x.ndim - 2, 0)
    w = w.astype(x.dtype).reshape((w.numel(), *trailing) if w.numel() != 1 else ())
    return (x > 0).choose(x, x * w)


@recorded
@explained
def rrelu(
    input: Any,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
    *,
    generator: random.Generator | None = None,
) -> Tensor:
    """x where x > 0, otherwise a x; in training a is drawn for each value from U(lower, upper).

    Else a is the mean of the two.

    Source: Xu et al., "Empirical evaluation of rectified activations", 2015.
    """
    if lower > upper:
        raise ArgumentError(
            f"rrelu: lower must not be above upper, they are {lower} and {upper}; exchange them"
        )
    x = kept_values(input, inplace)
    slope: Any = (lower + upper) / 2
    if training:
        slope = random.uniform(x.shape, lower, upper, generator, x.dtype)
    return placed("rrelu", input, (x > 0).choose(x, x * slope), inplace)


@recorded
@explained
def threshold(input: Any, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, otherwise `value`."""
    x = as_tensor(input)
    return placed("threshold", input, (x <= threshold).choose(value, x), inplace)


@recorded
@explained
def hardtanh(
    input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """x held to min_val..max_val; the gradient is 0 at both ends and outside."""
    if min_val > max_val:
        raise ArgumentError(
            f"hardtanh: min_val must not be above max_val, they are {min_val} and {max_val}"
        )
    x = as_tensor(input)
    if x.dtype.kind != "f":
        return placed("hardtanh", input, x.clip(int(min_val), int(max_val)), inplace)
    inside = (x > min_val) & (x < max_val)
    return placed("hardtanh", input, inside.choose(x, x.detach().clip(min_val, max_val)), inplace)


@recorded
@explained
def relu6(input: Any, inplace: bool = False) -> Tensor:
    """x held to 0..6.

    Source: Krizhevsky, "Convolutional deep belief networks on CIFAR-10", 2010.
    """
    return hardtanh(input, 0.0, 6.0, inplace)


@recorded
@explained
def hardsigmoid(input: Any, inplace: bool = False) -> Tensor:
    """x / 6 + 1/2, held to 0..1."""
    x = as_tensor(input).floating()
    y = x * (1 / 6) + 0.5
    held = ((x > -3) & (x < 3)).choose(y, y.detach().clip(0.0, 1.0))
    return placed("hardsigmoid", input, held, inplace)


@recorded
@explained
def hardswish(input: Any, inplace: bool = False) -> Tensor:
    """x hardsigmoid(x).

    Source: Howard et al., "Searching for MobileNetV3", 2019.
    """
    x = kept_values(input, inplace)
    inside = (x > -3) & (x < 3)
    curved = inside.choose(x, 0.0)
    y = inside.choose(curved * (curved + 3.0) * (1 / 6), (x <= -3).choose(0.0, x))
    return placed("hardswish", input, y, inplace)


@recorded
@explained
def hardshrink(input: Any, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, otherwise 0."""
    x = as_tensor(input).floating()
    return ((x > lambd) | (x < -lambd)).choose(x, _nothing(x, lambd))


@recorded
@explained
def softshrink(input: Any, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by lambd, and 0 where |x| is not above it."""
    if not lambd >= 0:
        raise ArgumentError(f"softshrink: lambd must be at least 0, it is {lambd}")
    x = as_tensor(input).floating()
    return (x > lambd).choose(x - lambd, (x < -lambd).choose(x + lambd, _nothing(x, lambd)))


def _nothing(x: Tensor, lambd: float) -> Tensor:
    """0, and NaN where x is NaN."""
    return ((x >= -lambd) & (x <= lambd)).choose(0.0, x.detach())


# -- in place --------------------------------------------------------------------------------------


@recorded
@explained
def relu_(input: Tensor) -> Tensor:
    """`relu` in place."""
    return relu(input, inplace=True)


@recorded
@explained
def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """`leaky_relu` in place."""
    return leaky_relu(input, negative_slope, inplace=True)


@recorded
@explained
def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`elu` in place."""
    return elu(input, alpha, inplace=True)


@recorded
@explained
def selu_(input: Tensor) -> Tensor:
    """`selu` in place."""
    return selu(input, inplace=True)


@recorded
@explained
def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """`celu` in place."""
    return celu(input, alpha, inplace=True)


@recorded
@explained
def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """`hardtanh` in place."""
    return hardtanh(input, min_val, max_val, inplace=True)


@recorded
@explained
def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """`threshold` in place."""
    return _threshold(input, threshold, value, inplace=True)


_threshold = threshold


@recorded
@explained
def rrelu_(
    input: Tensor, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False
) -> Tensor:
    """`rrelu` in place."""
    return rrelu(input, lower, upper, training, inplace=True)
