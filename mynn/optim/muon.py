"""Muon."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from mynn.base.arguments import in_range, shown, whole_number
from mynn.errors import ArgumentError
from mynn.optim.optimizer import Optimizer
from mynn.optim.options import Check, ParamGroup, between, one_of, switch
from mynn.optim.transform import descent, running_mean
from mynn.tensor import Parameter, Tensor


class Muon(Optimizer):
    """Momentum whose matrix is made nearly orthogonal; for the matrices of hidden layers.

    Equations, for a matrix p [A, B] with gradient g:

        m <- momentum m + (1 - momentum) g
        u = momentum m + (1 - momentum) g           (u = m without nesterov)
        X = u / max(|u|, eps), then ns_steps times X <- a X + (b Y + c Y^2) X with Y = X X^T
        p <- (1 - lr weight_decay) p - lr r X,      r = sqrt(max(1, A / B))

    With adjust_lr_fn="match_rms_adamw" r = 0.2 sqrt(max(A, B)). X is computed with the precision of
    the parameter, where PyTorch computes it in bfloat16: its steps differ by about a percent.

    Args:
        params: matrices, or groups of them as dicts; train all else with another optimiser.
        lr: learning rate, at least 0; `optimizer.lr = ...` changes it at any time.
        weight_decay: decay of the parameter, at least 0.
        momentum: at least 0.
        nesterov: look ahead, as above.
        ns_coefficients: (a, b, c).
        eps: at least 0.
        ns_steps: how often the polynomial is applied, below 100.
        adjust_lr_fn: None or "original", or "match_rms_adamw".

    Raises:
        ArgumentError: a parameter that is no matrix; an option that is out of its range.

    Example:
        >>> import mynn
        >>> p = mynn.Parameter([[1.0, 0.0], [0.0, 1.0]])
        >>> (p * p).sum().backward()
        >>> mynn.optim.Muon([p], lr=0.1).step()
        >>> 0.8 < p[0, 0].item() < 1
        True

    Source: Jordan and others, "Muon: an optimizer for hidden layers in neural networks", 2024.
    """

    without_sparse = "use SparseAdam, SGD or Adagrad for it, or sparse=False"

    ranges: ClassVar[Mapping[str, Check]] = {
        **Optimizer.ranges,
        "momentum": between(0.0),
        "nesterov": switch,
        "ns_coefficients": lambda name, value: _three(name, value),
        "eps": between(0.0),
        "ns_steps": lambda name, value: _few(name, value),
        "adjust_lr_fn": one_of(None, "original", "match_rms_adamw"),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "momentum": momentum,
            "nesterov": nesterov,
            "ns_coefficients": ns_coefficients,
            "eps": eps,
            "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }
        super().__init__(params, defaults)

    def make_slots(self, group: ParamGroup) -> None:
        """`momentum_buffer` m."""
        for parameter in group["params"]:
            if len(parameter.shape) != 2:
                raise ArgumentError(
                    f"Muon: parameters must be matrices, {parameter.name or 'one'} has shape "
                    f"{parameter.shape}; give the others to AdamW"
                )
            self.slot(parameter, "momentum_buffer")

    def update(self, group: ParamGroup, params: list[Parameter]) -> None:
        """One step of the parameters, by the class's equations."""
        momentum = group["momentum"]
        keep = 1.0 - group.rate * group["weight_decay"]
        for parameter in params:
            p, g = parameter.detach(), descent(group, parameter)
            slot = self.state[parameter]["momentum_buffer"]
            m = running_mean(slot, g, momentum)
            slot.assign(m)
            u = g * (1.0 - momentum) + m * momentum if group["nesterov"] else m
            rate = (group.rate * _ratio(group["adjust_lr_fn"], p.shape)).astype(p.dtype)
            parameter.assign(p * keep.astype(p.dtype) - _orthogonal(u, group) * rate)


def _orthogonal(u: Tensor, group: ParamGroup) -> Tensor:
    """Near to the orthogonal matrix that is nearest to u, by iterations of Newton and Schulz."""
    a, b, c = group["ns_coefficients"]
    tall = u.shape[0] > u.shape[1]
    x = u.T if tall else u
    x = x / (x * x).sum().sqrt().maximum(group["eps"])
    for _ in range(group["ns_steps"]):
        gram = x @ x.T
        x = x * a + (gram * b + (gram @ gram) * c) @ x
    return x.T if tall else x


def _ratio(kind: str | None, shape: tuple[int, ...]) -> float:
    rows, columns = shape
    if kind == "match_rms_adamw":
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1.0, rows / columns)) if columns else 1.0


def _three(name: str, value: Any) -> None:
    if not isinstance(value, Sequence) or len(value) != 3:
        raise ArgumentError(f"{name} must be three numbers (a, b, c), they are {shown(value)}")
    for i, one in enumerate(value):
        in_range(f"{name}[{i}]", one, -math.inf)


def _few(name: str, value: Any) -> None:
    if not 0 <= whole_number(name, value) < 100:
        raise ArgumentError(f"{name} must be from 0 to 99, it is {value}; 5 is usual")
