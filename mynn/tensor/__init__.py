"""`Tensor`: a value with operators, computed at once on NumPy or recorded by a trace."""

from __future__ import annotations

from mynn.base import recording
from mynn.tensor import recipes
from mynn.tensor.grad_mode import enable_grad, grad_enabled, no_grad
from mynn.tensor.history import check_present, graph_node, leaf_requires_grad
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

# From here on functions at once have recipes.
recording.at_once[0] = recipes.call

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
