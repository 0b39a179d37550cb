"""Transformations of functions: derivatives, and many examples at once; PyTorch's `torch.func`."""

from __future__ import annotations

from mynn.nn.utils.stateless import (
    functional_call,
    replace_all_batch_norm_modules_,
    stack_module_state,
)
from mynn.transform.grad import grad, grad_and_value
from mynn.transform.jacobians import hessian, jacfwd, jacrev
from mynn.transform.products import jvp, linearize, vjp
from mynn.transform.vmap import vmap

__all__ = [
    "functional_call",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "linearize",
    "replace_all_batch_norm_modules_",
    "stack_module_state",
    "vjp",
    "vmap",
]
