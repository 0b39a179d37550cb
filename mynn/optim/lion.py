"""Lion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from mynn.optim.optimizer import Optimizer
from mynn.optim.options import Check, ParamGroup, pair_between
from mynn.optim.transform import descent, running_mean
from mynn.tensor import Parameter


class Lion(Optimizer):
    """Steps by the sign of a mean of the gradients.

    Equations, for a parameter p with gradient g:

        u = sign(b1 m + (1 - b1) g)
        p <- p - lr (u + weight_decay p)
        m <- b2 m + (1 - b2) g

    Args:
        params: parameters, or groups of them as dicts.
        lr: learning rate, at least 0: three to ten times smaller than AdamW's.
        betas: (b1, b2), each in [0, 1).
        weight_decay: decay of the parameter, at least 0.
        maximize: climb instead of descend.

    Raises:
        ArgumentError: an option that is out of its range, NaN or infinite, naming it.

    Example:
        >>> import mynn
        >>> p = mynn.Parameter([1.0])
        >>> (p * p).sum().backward()
        >>> mynn.optim.Lion([p], lr=0.25).step()
        >>> p.tolist()
        [0.75]

    Source: Chen and others, "Symbolic discovery of optimization algorithms", 2023.
    """

    by_parameter: ClassVar[bool] = True

    ranges: ClassVar[Mapping[str, Check]] = {
        **Optimizer.ranges,
        "betas": pair_between(0.0, 1.0),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, defaults)

    def make_slots(self, group: ParamGroup) -> None:
        """`exp_avg` m."""
        for parameter in group["params"]:
            self.slot(parameter, "exp_avg")

    def update(self, group: ParamGroup, params: list[Parameter]) -> None:
        """One step of the parameters, by the class's equations."""
        b1, b2 = group["betas"]
        for parameter in params:
            p, g = parameter.detach(), descent(group, parameter)
            slot = self.state[parameter]["exp_avg"]
            u = running_mean(slot, g, b1).sign()
            if group["weight_decay"] != 0:
                u = u + p * group["weight_decay"]
            slot.assign(running_mean(slot, g, b2))
            parameter.assign(p - u * group.rate.astype(p.dtype))
