"""All parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mynn.base.arguments import explained
from mynn.errors import ArgumentError, ShapeError
from mynn.tensor import Tensor, as_tensor, no_grad


@explained
def parameters_to_vector(parameters: Iterable[Any]) -> Tensor:
    """The values of all parameters, one after the other: [number of values]."""
    parts = [as_tensor(one).reshape(-1) for one in parameters]
    if not parts:
        raise ArgumentError("parameters_to_vector: there are no parameters; give at least one")
    return parts[0].concatenate(parts[1:], 0) if len(parts) > 1 else parts[0]


@explained
def vector_to_parameters(vec: Any, parameters: Iterable[Any]) -> None:
    """The values of a vector put into the parameters, in their order."""
    values, listed = as_tensor(vec), list(parameters)
    count = sum(one.numel() for one in listed)
    if values.shape != (count,):
        raise ShapeError(
            f"vector_to_parameters: the vector has shape {values.shape}, the parameters hold "
            f"{count} values"
        )
    start = 0
    with no_grad():
        for one in listed:
            part = values[start : start + one.numel()]
            one.assign(part.detach().reshape(one.shape).astype(one.dtype))
            start += one.numel()
