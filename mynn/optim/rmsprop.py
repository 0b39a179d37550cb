"""RMSprop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from mynn.optim.optimizer import Optimizer
from mynn.optim.options import Check, ParamGroup, between, switch
from mynn.optim.transform import add_penalty, descent, is_used, running_mean
from mynn.tensor import Parameter


class RMSprop(Optimizer):
    """Steps divided by the root of the running mean square of the gradient.

    Equations, for a parameter p with gradient g:

        g <- g + weight_decay p
        v <- alpha v + (1 - alpha) g^2
        a <- alpha a + (1 - alpha) g                     (centered)
        s = g / (sqrt(v) + eps)                          (centered: sqrt(v - a^2))
        b <- momentum b + s                              (b = s without momentum)
        p <- p - lr b

    Args:
        params: parameters, or groups of them as dicts.
        lr: learning rate, at least 0; `optimizer.lr = ...` changes it at any time.
        alpha: memory of the means, at least 0.
        eps: at least 0.
        weight_decay: factor of an L2 penalty, at least 0.
        momentum: at least 0; 0 keeps no b.
        centered: divide by the standard deviation of the gradient.
        maximize: climb instead of descend.
        capturable, foreach, differentiable: as in PyTorch, without effect on the numbers;
            differentiable=True is refused.

    Raises:
        ArgumentError: an option that is out of its range, NaN or infinite, naming it.

    Example:
        >>> import mynn
        >>> p = mynn.Parameter([1.0])
        >>> (p * p).sum().backward()
        >>> mynn.optim.RMSprop([p], lr=0.25, alpha=0.0, eps=0.0).step()
        >>> p.tolist()
        [0.75]

    Source: Hinton, "Neural networks for machine learning", lecture 6e, 2012; centered: Graves,
    "Generating sequences with recurrent neural networks", 2013.
    """

    without_sparse = "use SparseAdam, SGD or Adagrad for it, or sparse=False"

    by_parameter: ClassVar[bool] = True

    ranges: ClassVar[Mapping[str, Check]] = {
        **Optimizer.ranges,
        "alpha": between(0.0),
        "eps": between(0.0),
        "momentum": between(0.0),
        "centered": switch,
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "alpha": alpha,
            "eps": eps,
            "centered": centered,
            "weight_decay": weight_decay,
            "capturable": capturable,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def make_slots(self, group: ParamGroup) -> None:
        """`step`, `square_avg` v, with momentum `momentum_buffer` b, centered `grad_avg` a."""
        self.counter(group)
        for parameter in group["params"]:
            self.slot(parameter, "square_avg")
            if "momentum" in group.varied or group["momentum"] > 0:
                self.slot(parameter, "momentum_buffer")
            if group["centered"]:
                self.slot(parameter, "grad_avg")

    def update(self, group: ParamGroup, params: list[Parameter]) -> None:
        """One step of the parameters, by the class's equations."""
        self.advance(params)
        alpha, momentum = group["alpha"], group["momentum"]
        for parameter in params:
            p, slots = parameter.detach(), self.state[parameter]
            g = add_penalty(descent(group, parameter), p, group["weight_decay"])
            v = running_mean(slots["square_avg"], g * g, alpha)
            slots["square_avg"].assign(v)
            if group["centered"]:
                a = running_mean(slots["grad_avg"], g, alpha)
                slots["grad_avg"].assign(a)
                v = (v - a * a).maximum(0.0)
            step = g / (v.sqrt() + group["eps"])
            if is_used(momentum):
                step = slots["momentum_buffer"] * momentum + step
                slots["momentum_buffer"].assign(step)
            parameter.assign(p - step * group.rate.astype(p.dtype))
