"""Adagrad and Adadelta."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from mynn.optim.optimizer import Optimizer
from mynn.optim.options import Check, ParamGroup, between, closed
from mynn.optim.rows import few_rows, refuse_decay, sparse_rows
from mynn.optim.transform import add_penalty, descent, running_mean
from mynn.tensor import Parameter


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients.

    Equations, for a parameter p with gradient g at step t = 1, 2...:

        g <- g + weight_decay p
        s <- s + g^2                       (from initial_accumulator_value)
        p <- p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)

    Rows of a table that no gradient reached stay as they are, so that compiled steps update only
    the others. Sparse gradients go without weight decay, as in PyTorch.

    Args:
        params: parameters, or groups of them as dicts.
        lr: learning rate, at least 0; `optimizer.lr = ...` changes it at any time.
        lr_decay: how fast the rate falls with the steps, at least 0.
        weight_decay: factor of an L2 penalty, at least 0.
        initial_accumulator_value: s before the first step, at least 0.
        eps: at least 0.
        maximize: climb instead of descend.
        foreach, fused, differentiable: as in PyTorch, without effect on the numbers;
            differentiable=True is refused.

    Raises:
        ArgumentError: an option that is out of its range, NaN or infinite, naming it.

    Example:
        >>> import mynn
        >>> p = mynn.Parameter([1.0])
        >>> (p * p).sum().backward()
        >>> mynn.optim.Adagrad([p], lr=0.5, eps=0.0).step()
        >>> p.tolist()
        [0.5]

    Source: Duchi, Hazan, Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization", 2011.
    """

    by_parameter: ClassVar[bool] = True

    ranges: ClassVar[Mapping[str, Check]] = {
        **Optimizer.ranges,
        "lr_decay": between(0.0),
        "eps": between(0.0),
        "initial_accumulator_value": between(0.0),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "lr_decay": lr_decay,
            "eps": eps,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def check_gradients(self, group: ParamGroup, params: list[Parameter]) -> None:
        """Raise where weight decay meets a sparse gradient."""
        refuse_decay("Adagrad", group, params)

    def make_slots(self, group: ParamGroup) -> None:
        """`step` t, `sum` s."""
        self.counter(group)
        for parameter in group["params"]:
            self.slot(parameter, "sum", group["initial_accumulator_value"])

    def update(self, group: ParamGroup, params: list[Parameter]) -> None:
        """One step of the parameters, by the class's equations."""
        for step, members in self.advance(params):
            rate = group.rate / ((step - 1.0) * group["lr_decay"] + 1.0)
            for parameter in members:
                slot, scale = self.state[parameter]["sum"], rate.astype(parameter.dtype)
                stays = group["weight_decay"] == 0 and group["eps"] > 0
                rows = few_rows(parameter) if stays else sparse_rows(parameter)
                if rows is not None:
                    g = rows.of(descent(group, parameter))
                    total = rows.of(slot) + g * g
                    p = rows.of(parameter)
                    rows.put(slot, total)
                    rows.put(parameter, p - g / (total.sqrt() + group["eps"]) * scale)
                    continue
                p = parameter.detach()
                g = add_penalty(descent(group, parameter), p, group["weight_decay"])
                total = slot + g * g
                slot.assign(total)
                parameter.assign(p - g / (total.sqrt() + group["eps"]) * scale)


class Adadelta(Optimizer):
    """Steps as long as the last ones, by the root mean squares of steps and gradients.

    Equations, for a parameter p with gradient g:

        g <- g + weight_decay p
        v <- rho v + (1 - rho) g^2
        d = sqrt(u + eps) / sqrt(v + eps) g
        u <- rho u + (1 - rho) d^2
        p <- p - lr d

    Args:
        params: parameters, or groups of them as dicts.
        lr: factor of the steps, at least 0; `optimizer.lr = ...` changes it at any time.
        rho: memory of the means, in [0, 1].
        eps: at least 0.
        weight_decay: factor of an L2 penalty, at least 0.
        maximize: climb instead of descend.
        foreach, capturable, differentiable: as in PyTorch, without effect on the numbers;
            differentiable=True is refused.

    Raises:
        ArgumentError: an option that is out of its range, NaN or infinite, naming it.

    Example:
        >>> import mynn
        >>> p = mynn.Parameter([1.0])
        >>> (p * p).sum().backward()
        >>> mynn.optim.Adadelta([p], lr=0.5, rho=0.0, eps=1.0).step()
        >>> p.item() < 1
        True

    Source: Zeiler, "Adadelta: an adaptive learning rate method", 2012.
    """

    without_sparse = "use SparseAdam, SGD or Adagrad for it, or sparse=False"

    ranges: ClassVar[Mapping[str, Check]] = {
        **Optimizer.ranges,
        "rho": closed(0.0, 1.0),
        "eps": between(0.0),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "rho": rho,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "capturable": capturable,
            "foreach": foreach,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def make_slots(self, group: ParamGroup) -> None:
        """`step`, `square_avg` v, `acc_delta` u."""
        self.counter(group)
        for parameter in group["params"]:
            self.slot(parameter, "square_avg")
            self.slot(parameter, "acc_delta")

    def update(self, group: ParamGroup, params: list[Parameter]) -> None:
        """One step of the parameters, by the class's equations."""
        self.advance(params)
        rho, eps = group["rho"], group["eps"]
        for parameter in params:
            p, slots = parameter.detach(), self.state[parameter]
            g = add_penalty(descent(group, parameter), p, group["weight_decay"])
            v = running_mean(slots["square_avg"], g * g, rho)
            slots["square_avg"].assign(v)
            step = (slots["acc_delta"] + eps).sqrt() / (v + eps).sqrt() * g
            slots["acc_delta"].assign(running_mean(slots["acc_delta"], step * step, rho))
            parameter.assign(p - step * group.rate.astype(p.dtype))
