"""Adam and AdamW."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mynn.errors import ArgumentError
from mynn.optim.optimizer import Optimizer
from mynn.optim.options import ParamGroup, check_flag, check_range
from mynn.optim.sgd import gradient
from mynn.tensor import Parameter, Tensor


class Adam(Optimizer):
    """Adaptive moments: steps scaled by the running mean and mean square of the gradient.

    Equations, for a parameter p with gradient g at step t = 1, 2...:

        g <- g + weight_decay p
        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        p <- p - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

    With amsgrad the largest v so far stands in place of v. They are computed as
    p - a m / (sqrt v + e) with the numbers a = lr c / (1 - b1^t), e = eps c, c = sqrt(1 - b2^t)
    found once a step in float64, where 1 - b^t = -expm1(t log b) is exact for every t.

    Args:
        params: parameters, or groups of them as dicts.
        lr: learning rate, at least 0; `optimizer.lr = ...` changes it at any time.
        betas: (b1, b2), each in [0, 1).
        eps: at least 0.
        weight_decay: factor of an L2 penalty, at least 0.
        amsgrad: the variant of Reddi, Kale, Kumar, "On the convergence of Adam and beyond", 2018.
        maximize: climb instead of descend.

    Raises:
        ArgumentError: an option that is out of its range, NaN or infinite, naming it.

    Example:
        >>> import mynn
        >>> p = mynn.Parameter([1.0])
        >>> (p * p).sum().backward()
        >>> mynn.optim.Adam([p], lr=0.5).step()
        >>> p.tolist()
        [0.5]

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015.
    """

    # Weight decay adds to the gradient instead of shrinking the parameter itself.
    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise `ArgumentError` where an option is out of its range."""
        super().check(options)
        betas = options["betas"]
        if not isinstance(betas, Sequence) or len(betas) != 2:
            raise ArgumentError(f"betas must be two numbers (b1, b2), they are {betas!r}")
        for i, beta in enumerate(betas):
            check_range(f"betas[{i}]", beta, 0.0, 1.0)
        check_range("eps", options["eps"], 0.0)
        check_flag("amsgrad", options["amsgrad"])
        check_flag("maximize", options["maximize"])

    def make_slots(self, group: ParamGroup) -> None:
        """`step` t, `exp_avg` m, `exp_avg_sq` v, and with amsgrad `max_exp_avg_sq`."""
        self.counter(group)
        for parameter in group["params"]:
            self.slot(parameter, "exp_avg")
            self.slot(parameter, "exp_avg_sq")
            if group["amsgrad"]:
                self.slot(parameter, "max_exp_avg_sq")

    def update(self, group: ParamGroup, params: list[Parameter]) -> None:
        """One step of the parameters, by the class's equations."""
        b1, b2 = group["betas"]
        for step, members in self.advance(params):
            correction = _one_minus_power(b2, step).sqrt()
            rate = group.rate * correction / _one_minus_power(b1, step)
            self._descend(group, members, rate, correction * group["eps"])

    def _descend(
        self, group: ParamGroup, params: list[Parameter], rate: Tensor, eps: Tensor
    ) -> None:
        b1, b2 = group["betas"]
        decay = group["weight_decay"]
        keep = 1.0 - group.rate * decay if self.decoupled and decay != 0 else None
        for parameter in params:
            p, g = parameter.detach(), gradient(group, parameter)
            if keep is not None:
                p = p * keep.astype(p.dtype)
            elif decay != 0:
                g = g + p * decay
            slots = self.state[parameter]
            m = slots["exp_avg"] * b1 + g * (1 - b1)
            v = slots["exp_avg_sq"] * b2 + g * g * (1 - b2)
            slots["exp_avg"].assign(m)
            slots["exp_avg_sq"].assign(v)
            if group["amsgrad"]:
                v = slots["max_exp_avg_sq"].maximum(v)
                slots["max_exp_avg_sq"].assign(v)
            denominator = v.sqrt() + eps.astype(p.dtype)
            parameter.assign(p - m / denominator * rate.astype(p.dtype))


class AdamW(Adam):
    """Adam with decoupled weight decay: p <- (1 - lr weight_decay) p before the update.

    The other equations and the arguments are those of `Adam`.

    Example:
        >>> import mynn
        >>> p = mynn.Parameter([1.0])
        >>> (p * 0.0).sum().backward()
        >>> mynn.optim.AdamW([p], lr=0.5, weight_decay=0.5).step()
        >>> p.tolist()
        [0.75]

    Source: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)


def _one_minus_power(beta: float, step: Tensor) -> Tensor:
    """1 - beta^step, without cancellation."""
    if beta == 0:
        return step * 0.0 + 1.0
    return -(step * math.log(beta)).expm1()
