"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from mynn.optim.optimizer import Optimizer
from mynn.optim.options import Check, ParamGroup, between, pair_between, switch
from mynn.optim.transform import decayed, one_minus_power, running_mean
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
        decoupled_weight_decay: shrink the parameter itself, as `AdamW` does.
        foreach, capturable, differentiable, fused: as in PyTorch, without effect on the numbers;
            differentiable=True is refused.

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

    kind = "decoupled_weight_decay"

    without_sparse = "use SparseAdam for that parameter, or sparse=False"

    by_parameter: ClassVar[bool] = True

    ranges: ClassVar[Mapping[str, Check]] = {
        **Optimizer.ranges,
        "betas": pair_between(0.0, 1.0),
        "eps": between(0.0),
        "amsgrad": switch,
        "decoupled_weight_decay": switch,
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        super().__init__(params, defaults)

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
            correction = one_minus_power(b2, step).sqrt()
            rate = group.rate * correction / one_minus_power(b1, step)
            self._descend(group, members, rate, correction * group["eps"])

    def _descend(
        self, group: ParamGroup, params: list[Parameter], rate: Tensor, eps: Tensor
    ) -> None:
        b1, b2 = group["betas"]
        for parameter in params:
            p, g = decayed(group, parameter)
            slots = self.state[parameter]
            m = running_mean(slots["exp_avg"], g, b1)
            v = running_mean(slots["exp_avg_sq"], g * g, b2)
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
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )
