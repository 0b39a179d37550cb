"""Exponentials normalised along an axis."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.ops import movement
from mynn.ops.rules import normalize_axes
from mynn.random import Generator, uniform
from mynn.tensor import Tensor, apply, as_tensor
from mynn.tensor.argument_aliases import one_of


@recorded
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
    if not x.numel():
        return x + 0.0
    return x.softmax(place)


@recorded
@explained
def log_softmax(
    input: Any, dim: int | None = None, *, dtype: Any = None, axis: int | None = None
) -> Tensor:
    """log(softmax(x)) along `dim`, exact where the softmax itself would underflow.

    The arguments are those of `softmax`.
    """
    x, place = _along_one("log_softmax", input, dim, axis, dtype)
    if not x.numel():
        return x + 0.0
    return x.log_softmax(place)


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


@recorded
@explained
def logsumexp(
    input: Any, dim: Any = None, keepdim: bool = False, *, axis: Any = None, keepdims: Any = None
) -> Tensor:
    """log of the sum of e^x over `dim`, one axis or several; no finite input overflows."""
    return as_tensor(input).logsumexp(dim, keepdim, axis=axis, keepdims=keepdims)


@recorded
@explained
def softmin(
    input: Any, dim: int | None = None, *, dtype: Any = None, axis: int | None = None
) -> Tensor:
    """softmax(-x) along `dim`: the smallest value has the largest share."""
    x, place = _along_one("softmin", input, dim, axis, dtype)
    return softmax(-x, place)


@recorded
@explained
def gumbel_softmax(
    logits: Any,
    tau: float = 1.0,
    hard: bool = False,
    eps: float = 1e-10,
    dim: int = -1,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """softmax((x + g) / tau) along `dim`, where g is drawn from the Gumbel distribution.

    Args:
        logits: any shape.
        tau: temperature; the lower, the nearer is the result to one class.
        hard: whether the result is 1 at its largest value and 0 elsewhere, with the gradient of
            the soft one.
        eps: without a meaning, as in PyTorch.
        generator: draws g; the default one where left out.

    Source: Jang, Gu, Poole, "Categorical reparameterization with Gumbel-softmax", 2017.
    """
    x = as_tensor(logits).floating()
    axis = normalize_axes(dim, x.ndim, "gumbel_softmax")[0]
    # 1 - u lies in (0, 1], so that both logarithms are finite but where u is 0 itself.
    tiny = float(np.finfo(x.dtype).tiny)
    unit = uniform(x.shape, generator=generator, dtype=x.dtype)
    noise = -(-(1.0 - unit).log()).maximum(tiny).log()
    soft = softmax((x + noise) / tau, axis)
    if not hard:
        return soft
    places = soft.detach().argmax(axis, keepdim=True)
    classes: Tensor = apply(movement.iota, shape=x.shape, axis=axis, dtype=places.dtype)
    picked = (classes == places).astype(x.dtype)
    return picked - soft.detach() + soft
