"""Averaged stochastic gradient descent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from mynn.optim.optimizer import Optimizer
from mynn.optim.options import Check, ParamGroup, between
from mynn.optim.transform import add_penalty, descent
from mynn.tensor import Parameter
from mynn.tensor.gradients.history import array_of


class ASGD(Optimizer):
    """Gradient descent with a falling rate, and the mean of the parameters beside it.

    Equations, for a parameter p with gradient g at step t = 1, 2..., with eta = lr, mu = 1 before:

        g <- g + weight_decay p
        p <- (1 - lambd eta) p - eta g
        a <- a + mu (p - a)
        eta <- lr / (1 + lambd lr t)^alpha,    mu <- 1 / max(1, t - t0)

    The mean a is `optimizer.state[p]["ax"]`; p itself is the last value.

    Args:
        params: parameters, or groups of them as dicts.
        lr: learning rate, at least 0; `optimizer.lr = ...` changes it at any time.
        lambd: decay of the parameter, and of the rate.
        alpha: power by which the rate falls.
        t0: the step from which on the mean is taken.
        weight_decay: factor of an L2 penalty, at least 0.
        maximize: climb instead of descend.
        foreach, differentiable, capturable: as in PyTorch, without effect on the numbers;
            differentiable=True is refused.

    Raises:
        ArgumentError: an option that is out of its range, NaN or infinite, naming it.

    Example:
        >>> import mynn
        >>> p = mynn.Parameter([1.0])
        >>> (p * p).sum().backward()
        >>> mynn.optim.ASGD([p], lr=0.25, lambd=0.0).step()
        >>> p.tolist()
        [0.5]

    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
    """

    without_sparse = "use SparseAdam, SGD or Adagrad for it, or sparse=False"

    ranges: ClassVar[Mapping[str, Check]] = {
        **Optimizer.ranges,
        "lambd": between(-math.inf),
        "alpha": between(-math.inf),
        "t0": between(-math.inf),
    }
    shared: ClassVar[Mapping[str, float]] = {"step": 0.0, "eta": 0.0, "mu": 1.0}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "lambd": lambd,
            "alpha": alpha,
            "t0": t0,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def make_slots(self, group: ParamGroup) -> None:
        """`step` t, `eta`, `mu`, `ax` a."""
        new = [p for p in group["params"] if "eta" not in self.state[p]]
        self.counter(group)
        for parameter in new:
            self.state[parameter]["eta"].assign(array_of(group.rate))
        for parameter in group["params"]:
            self.slot(parameter, "ax")

    def update(self, group: ParamGroup, params: list[Parameter]) -> None:
        """One step of the parameters, by the class's equations."""
        for step, members in self.advance(params):
            own = self.state[members[0]]
            # The rate may have changed since the slots were made.
            eta = (step == 1.0).choose(group.rate, own["eta"])
            mu, keep = own["mu"], 1.0 - eta * group["lambd"]
            for parameter in members:
                p, slot = parameter.detach(), self.state[parameter]["ax"]
                g = add_penalty(descent(group, parameter), p, group["weight_decay"])
                new = p * keep.astype(p.dtype) - g * eta.astype(p.dtype)
                mean = slot + (new - slot) * mu.astype(p.dtype)
                slot.assign((mu == 1.0).choose(new, mean))
                parameter.assign(new)
            fallen = (step * group.rate * group["lambd"]).log1p() * -group["alpha"]
            own["eta"].assign(group.rate * fallen.exp())
            own["mu"].assign(1.0 / (step - group["t0"]).maximum(1.0))
