"""Gradients held to a norm or to a range, in place. All of it is recorded in a compiled step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from mynn.base.arguments import explained, in_range
from mynn.errors import DataError
from mynn.tensor import Tensor, as_tensor, no_grad
from mynn.tensor.write import replace
from mynn.trace import tracing


def _listed(parameters: Any) -> list[Tensor]:
    """Those of one or several parameters that have a gradient."""
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    return [one for one in given if one.grad is not None]


def _replace(gradients: list[Any], found: list[Any], name: str) -> None:
    """Write what was computed of all: so what waits on a tape runs together."""
    for gradient, new in zip(gradients, found, strict=True):
        replace(gradient, new, name, own=True)


def _norm_of(tensors: Iterable[Any], norm_type: float) -> Tensor:
    """The norm of all values of several tensors together."""
    parts = [as_tensor(one) for one in tensors]
    if not parts:
        return as_tensor(0.0)
    total: Any = None
    for x in parts:
        if norm_type == math.inf:
            part = x.abs().amax()
        elif norm_type == 2:
            part = (x * x).sum()
        elif norm_type == 0:
            part = ((x != 0).astype(x.dtype).sum() != 0).astype(x.dtype)
        else:
            size = x.abs()
            part = (size if norm_type == 1 else size**norm_type).sum()
        if total is None:
            total = part
        else:
            total = total.maximum(part) if norm_type == math.inf else total + part
    found: Tensor = total
    if norm_type in (math.inf, 0, 1):
        return found
    return found.sqrt() if norm_type == 2 else found ** (1 / norm_type)


@explained
def get_total_norm(
    tensors: Any,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all values of several tensors together.

    Args:
        tensors: one or several.
        norm_type: the order of the norm, infinity too.
        error_if_nonfinite: whether a norm that is infinite or NaN is an error (eagerly).
        foreach: without a meaning here.

    Raises:
        DataError: a norm that is not finite.
    """
    given = [tensors] if isinstance(tensors, Tensor) else list(tensors)
    with no_grad():
        total = _norm_of(given, float(norm_type))
    if error_if_nonfinite and tracing.active() is None and not math.isfinite(total.item()):
        raise DataError(
            f"the norm of order {norm_type} of the gradients is {total.item()}, it cannot be "
            "clipped; look for a division by 0, or give error_if_nonfinite=False"
        )
    return total


@explained
def clip_grads_with_norm_(
    parameters: Any, max_norm: float, total_norm: Any, foreach: bool | None = None
) -> None:
    """Gradients times max_norm / (total_norm + 1e-6), where that is less than 1; in place."""
    limit = in_range("max_norm", max_norm, -math.inf)
    with no_grad():
        factor = (limit / (as_tensor(total_norm) + 1e-6)).minimum(1.0)
        gradients: list[Any] = [one.grad for one in _listed(parameters)]
        scaled = [gradient * factor.astype(gradient.dtype) for gradient in gradients]
        _replace(gradients, scaled, "mul_")


@explained
def clip_grad_norm_(
    parameters: Any,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Gradients of all parameters together held to a norm; returns the norm before.

    Args:
        parameters: one or several; those without a gradient do not count.
        max_norm: the largest norm that gradients may have.
        norm_type, error_if_nonfinite, foreach: those of `get_total_norm`.

    Example:
        >>> import numpy as np
        >>> from mynn import Parameter, nn
        >>> p = Parameter(np.zeros(2, np.float32))
        >>> (p * np.float32([3, 4])).sum().backward()
        >>> nn.utils.clip_grad_norm_([p], 1.0).item()
        5.0

    Source: Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks",
    2013.
    """
    listed = _listed(parameters)
    gradients = [one.grad for one in listed]
    total = get_total_norm(gradients, norm_type, error_if_nonfinite, foreach)
    clip_grads_with_norm_(listed, max_norm, total, foreach)
    return total


clip_grad_norm = clip_grad_norm_


@explained
def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Each value of the gradients held to -clip_value..clip_value, in place."""
    limit = in_range("clip_value", clip_value, 0.0)
    with no_grad():
        gradients: list[Any] = [one.grad for one in _listed(parameters)]
        held = [gradient.clamp(-limit, limit) for gradient in gradients]
        _replace(gradients, held, "clamp_")
