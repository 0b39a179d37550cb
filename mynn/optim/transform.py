"""The pieces that updates are made of: gradients, weight decay, running means.

Each is a function of tensors, so that it is traced and compiled with the step.
"""

from __future__ import annotations

import math

from mynn.optim.options import ParamGroup
from mynn.tensor import Parameter, Tensor


def descent(group: ParamGroup, parameter: Parameter) -> Tensor:
    """The gradient g of what is to be made smaller: negated where the group maximizes."""
    assert parameter.grad is not None
    g = parameter.grad.detach().astype(parameter.dtype)
    return -g if group.get("maximize") else g


def add_penalty(g: Tensor, p: Tensor, decay: float) -> Tensor:
    """g + decay p: the gradient with that of an L2 penalty."""
    return g + p * decay if decay != 0 else g


def decayed(group: ParamGroup, parameter: Parameter) -> tuple[Tensor, Tensor]:
    """The parameter and its gradient after weight decay: of the parameter itself where the group's
    `decoupled_weight_decay` says so, of the gradient otherwise.
    """
    p, g, decay = parameter.detach(), descent(group, parameter), group["weight_decay"]
    if not group["decoupled_weight_decay"]:
        return p, add_penalty(g, p, decay)
    return (p * (1.0 - group.rate * decay).astype(p.dtype) if decay != 0 else p), g


def running_mean(mean: Tensor, value: Tensor, beta: float | Tensor) -> Tensor:
    """beta mean + (1 - beta) value."""
    return mean * beta + value * (1 - beta)


def is_used(value: float | Tensor) -> bool:
    """Whether an option such as momentum is there: state may be anything."""
    return isinstance(value, Tensor) or value != 0


def one_minus_power(beta: float | Tensor, step: Tensor) -> Tensor:
    """1 - beta^step, without cancellation: by how much a running mean from zero is too small."""
    if isinstance(beta, Tensor):
        return -(step * beta.log()).expm1()
    if beta == 0:
        return step * 0.0 + 1.0
    return -(step * math.log(beta)).expm1()
