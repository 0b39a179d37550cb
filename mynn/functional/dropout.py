"""Dropout."""

from __future__ import annotations

import math
from typing import Any

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ShapeError
from mynn.functional.activation import placed
from mynn.random import Generator, chosen, chosen_anywhere
from mynn.tensor import Tensor, as_tensor


@recorded
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
        return placed("dropout", input, x * 0.0, inplace)
    dropped = chosen(p, x.shape, generator)
    kept = x * dropped.choose(x.dtype.type(0), x.dtype.type(1 / (1 - p)))
    return placed("dropout", input, kept, inplace)


def shares_dropped(shares: Tensor, p: float) -> Tensor:
    """`dropout` of the shares of attention, with the decisions that attention in blocks draws."""
    _check_p("dropout", p)
    if p == 1:
        return shares * 0.0
    dropped = chosen_anywhere(p, shares.shape)
    return shares * dropped.choose(shares.dtype.type(0), shares.dtype.type(1 / (1 - p)))


def _channels(name: str, x: Tensor, ranks: tuple[int, ...], batched: int) -> tuple[int, ...]:
    """The shape of x with 1 for the axes behind the channels."""
    if x.ndim not in ranks:
        wanted = " or ".join(map(str, ranks))
        raise ShapeError(f"{name}: the input must have {wanted} axes, its shape is {x.shape}")
    kept = 2 if x.ndim >= batched else 1
    return (*x.shape[:kept], *(1,) * (x.ndim - kept))


def _whole_channels(
    name: str, rank: int, input: Any, options: tuple[float, bool, bool, Generator | None]
) -> Tensor:
    p, training, inplace, generator = options
    _check_p(name, p)
    x = as_tensor(input).floating()
    shape = _channels(name, x, (rank + 1, rank + 2), rank + 2)
    if not training or p == 0:
        return x
    if p == 1:
        return placed(name, input, x * 0.0, inplace)
    factors = chosen(p, shape, generator).choose(x.dtype.type(0), x.dtype.type(1 / (1 - p)))
    return placed(name, input, x * factors, inplace)


def _check_p(name: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise ArgumentError(f"{name}: p must lie in [0, 1], it is {p}")


@recorded
@explained
def dropout1d(
    input: Any,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """In training whole channels of [N, C, L] or [C, L] are 0 with probability p; see `dropout`."""
    return _whole_channels("dropout1d", 1, input, (p, training, inplace, generator))


@recorded
@explained
def dropout2d(
    input: Any,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """In training whole channels of [N, C, H, W] are 0 with probability p; see `dropout`.

    Of an input of three axes the first two are N and C, as in PyTorch.

    Source: Tompson et al., "Efficient object localization using convolutional networks", 2015.
    """
    x = as_tensor(input)
    if x.ndim == 3:
        return _whole_channels("dropout2d", 1, input, (p, training, inplace, generator))
    return _whole_channels("dropout2d", 2, input, (p, training, inplace, generator))


@recorded
@explained
def dropout3d(
    input: Any,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """In training whole channels of [N, C, D, H, W] are 0 with probability p; see `dropout`."""
    return _whole_channels("dropout3d", 3, input, (p, training, inplace, generator))


# What selu tends to for small x: -scale alpha.
_SATURATED = -1.7580993408473766


def _alpha(
    name: str,
    input: Any,
    shape: tuple[int, ...],
    options: tuple[float, bool, bool, Generator | None],
) -> Tensor:
    p, training, inplace, generator = options
    _check_p(name, p)
    if not training or p == 0:
        return as_tensor(input)
    x = as_tensor(input).floating()
    if p == 1:
        return placed(name, input, x * 0.0, inplace)
    a = 1 / math.sqrt((_SATURATED**2 * p + 1) * (1 - p))
    dropped = chosen(p, shape, generator)
    offset = -a * _SATURATED * p
    kept = dropped.choose(x.dtype.type(0), x.dtype.type(a))
    added = dropped.choose(x.dtype.type(a * _SATURATED + offset), x.dtype.type(offset))
    return placed(name, input, x * kept + added, inplace)


@recorded
@explained
def alpha_dropout(
    input: Any,
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Dropout for `selu`: values become what selu tends to; mean 0 and variance 1 are kept.

    Source: Klambauer et al., "Self-normalizing neural networks", 2017.
    """
    shape = as_tensor(input).shape
    return _alpha("alpha_dropout", input, shape, (p, training, inplace, generator))


@recorded
@explained
def feature_alpha_dropout(
    input: Any,
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """`alpha_dropout` of whole channels of [N, C, ...]."""
    x = as_tensor(input)
    if x.ndim < 2 and training:
        raise ShapeError(
            f"feature_alpha_dropout: the input must be [N, C, ...], its shape is {x.shape}"
        )
    shape = (*x.shape[:2], *(1,) * (x.ndim - 2))
    return _alpha("feature_alpha_dropout", input, shape, (p, training, inplace, generator))
