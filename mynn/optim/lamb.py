"""LAMB."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from mynn.optim.optimizer import Optimizer
from mynn.optim.options import Check, ParamGroup, between, pair_between
from mynn.optim.transform import descent, one_minus_power, running_mean
from mynn.tensor import Parameter, Tensor


class LAMB(Optimizer):
    """Adam whose step is as long as the parameter, layer by layer; for large batches.

    Equations, for a parameter p with gradient g at step t = 1, 2...:

        m <- b1 m + (1 - b1) g,    v <- b2 v + (1 - b2) g^2
        u = m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + weight_decay p
        p <- p - lr |p| / |u| u

    |x| is the root of the sum of squares; where |p| or |u| is 0, the ratio is 1.

    Args:
        params: parameters, or groups of them as dicts.
        lr: learning rate, at least 0; `optimizer.lr = ...` changes it at any time.
        betas: (b1, b2), each in [0, 1).
        eps: at least 0.
        weight_decay: decay of the parameter, at least 0.
        maximize: climb instead of descend.

    Raises:
        ArgumentError: an option that is out of its range, NaN or infinite, naming it.

    Example:
        >>> import mynn
        >>> p = mynn.Parameter([2.0])
        >>> (p * p).sum().backward()
        >>> mynn.optim.LAMB([p], lr=0.25, eps=0.0, weight_decay=0.0).step()
        >>> p.tolist()
        [1.5]

    Source: You and others, "Large batch optimization for deep learning: training BERT in 76
    minutes", 2020.
    """

    ranges: ClassVar[Mapping[str, Check]] = {
        **Optimizer.ranges,
        "betas": pair_between(0.0, 1.0),
        "eps": between(0.0),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.01,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def make_slots(self, group: ParamGroup) -> None:
        """`step` t, `exp_avg` m, `exp_avg_sq` v."""
        self.counter(group)
        for parameter in group["params"]:
            self.slot(parameter, "exp_avg")
            self.slot(parameter, "exp_avg_sq")

    def update(self, group: ParamGroup, params: list[Parameter]) -> None:
        """One step of the parameters, by the class's equations."""
        b1, b2 = group["betas"]
        for step, members in self.advance(params):
            first, second = one_minus_power(b1, step), one_minus_power(b2, step)
            for parameter in members:
                p, g = parameter.detach(), descent(group, parameter)
                slots = self.state[parameter]
                m = running_mean(slots["exp_avg"], g, b1)
                v = running_mean(slots["exp_avg_sq"], g * g, b2)
                slots["exp_avg"].assign(m)
                slots["exp_avg_sq"].assign(v)
                scale = (v / second.astype(p.dtype)).sqrt() + group["eps"]
                u = m / first.astype(p.dtype) / scale
                if group["weight_decay"] != 0:
                    u = u + p * group["weight_decay"]
                rate = _trust(p, u) * group.rate.astype(p.dtype)
                parameter.assign(p - u * rate)


def _trust(p: Tensor, u: Tensor) -> Tensor:
    """|p| / |u|, and 1 where one of them is 0."""
    size, step = (p * p).sum().sqrt(), (u * u).sum().sqrt()
    both = (size > 0.0) & (step > 0.0)
    return both.choose(size / both.choose(step, 1.0), 1.0)
