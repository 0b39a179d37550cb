"""`Tensor`: a value with operators, computed at once on NumPy or recorded by a trace."""

from __future__ import annotations

from typing import Any

from mynn.base import forks, recording
from mynn.tensor.gradients.grad_mode import enable_grad, grad_enabled, no_grad
from mynn.tensor.gradients.history import check_present, graph_node, leaf_requires_grad
from mynn.tensor.parameter import Parameter
from mynn.tensor.promotion import apply, as_array, plain_array, promote
from mynn.tensor.tensor import (
    Operand,
    Tensor,
    as_tensor,
    binary,
    broadcast,
    contract,
    matmul,
    same_dtype,
    wrap,
)
from mynn.trace import tracing


def _with_recipes(tried: recording.Tried, *call: Any) -> Any:
    """The first call at once, outside of a trace: what makes recipes comes with it."""
    if tracing.active() is not None:
        return tried.plain(*call)
    with forks.loading:
        from mynn.tensor.at_once import recipes

    recording.at_once[0] = recipes.call
    return recipes.call(tried, *call)


recording.at_once[0] = _with_recipes

__all__ = [
    "Operand",
    "Parameter",
    "Tensor",
    "apply",
    "as_array",
    "as_tensor",
    "binary",
    "broadcast",
    "check_present",
    "contract",
    "enable_grad",
    "grad_enabled",
    "graph_node",
    "leaf_requires_grad",
    "matmul",
    "no_grad",
    "plain_array",
    "promote",
    "same_dtype",
    "wrap",
]
