"""What others made of Adam: Adamax, NAdam, RAdam."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from mynn.optim.optimizer import Optimizer
from mynn.optim.options import Check, ParamGroup, between, pair_between, switch
from mynn.optim.transform import add_penalty, decayed, descent, one_minus_power, running_mean
from mynn.tensor import Parameter, Tensor


class Adamax(Optimizer):
    """Adam with the largest gradient, slowly forgotten, in place of the mean square.

    Equations, for a parameter p with gradient g at step t = 1, 2...:

        g <- g + weight_decay p
        m <- b1 m + (1 - b1) g
        u <- max(b2 u, |g| + eps)
        p <- p - lr / (1 - b1^t) m / u

    Args:
        params: parameters, or groups of them as dicts.
        lr: learning rate, at least 0; `optimizer.lr = ...` changes it at any time.
        betas: (b1, b2), each in [0, 1).
        eps: at least 0.
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
        >>> mynn.optim.Adamax([p], lr=0.5, eps=0.0).step()
        >>> p.tolist()
        [0.5]

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015, section 7.1.
    """

    without_sparse = "use SparseAdam, SGD or Adagrad for it, or sparse=False"

    ranges: ClassVar[Mapping[str, Check]] = {
        **Optimizer.ranges,
        "betas": pair_between(0.0, 1.0),
        "eps": between(0.0),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def make_slots(self, group: ParamGroup) -> None:
        """`step` t, `exp_avg` m, `exp_inf` u."""
        self.counter(group)
        for parameter in group["params"]:
            self.slot(parameter, "exp_avg")
            self.slot(parameter, "exp_inf")

    def update(self, group: ParamGroup, params: list[Parameter]) -> None:
        """One step of the parameters, by the class's equations."""
        b1, b2 = group["betas"]
        for step, members in self.advance(params):
            rate = group.rate / one_minus_power(b1, step)
            for parameter in members:
                p, slots = parameter.detach(), self.state[parameter]
                g = add_penalty(descent(group, parameter), p, group["weight_decay"])
                m = running_mean(slots["exp_avg"], g, b1)
                u = (slots["exp_inf"] * b2).maximum(g.abs() + group["eps"])
                slots["exp_avg"].assign(m)
                slots["exp_inf"].assign(u)
                parameter.assign(p - m / u * rate.astype(p.dtype))


class NAdam(Optimizer):
    """Adam with Nesterov's momentum, which grows towards b1 with the steps.

    Equations, for a parameter p with gradient g at step t = 1, 2...:

        g <- g + weight_decay p            (decoupled: p <- (1 - lr weight_decay) p)
        c_t = b1 (1 - 0.96^(t momentum_decay) / 2),    C_t = c_1 c_2 ... c_t
        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        s = sqrt(v / (1 - b2^t)) + eps
        p <- p - lr (1 - c_t) / (1 - C_t) g / s - lr c_(t+1) / (1 - C_(t+1)) m / s

    Args:
        params: parameters, or groups of them as dicts.
        lr: learning rate, at least 0; `optimizer.lr = ...` changes it at any time.
        betas: (b1, b2), each in [0, 1).
        eps: at least 0.
        weight_decay: factor of an L2 penalty, or of the decay of the parameter, at least 0.
        momentum_decay: how fast the momentum grows, at least 0.
        decoupled_weight_decay: shrink the parameter itself, as in `AdamW`.
        maximize: climb instead of descend.
        foreach, capturable, differentiable: as in PyTorch, without effect on the numbers;
            differentiable=True is refused.

    Raises:
        ArgumentError: an option that is out of its range, NaN or infinite, naming it.

    Example:
        >>> import mynn
        >>> p = mynn.Parameter([1.0])
        >>> (p * p).sum().backward()
        >>> mynn.optim.NAdam([p], lr=0.1).step()
        >>> 0.8 < p.item() < 1
        True

    Source: Dozat, "Incorporating Nesterov momentum into Adam", 2016.
    """

    without_sparse = "use SparseAdam, SGD or Adagrad for it, or sparse=False"

    ranges: ClassVar[Mapping[str, Check]] = {
        **Optimizer.ranges,
        "betas": pair_between(0.0, 1.0),
        "eps": between(0.0),
        "momentum_decay": between(0.0),
        "decoupled_weight_decay": switch,
    }
    shared: ClassVar[Mapping[str, float]] = {"step": 0.0, "mu_product": 1.0}

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
        }
        super().__init__(params, defaults)

    def make_slots(self, group: ParamGroup) -> None:
        """`step` t, `mu_product` C_t, `exp_avg` m, `exp_avg_sq` v."""
        self.counter(group)
        for parameter in group["params"]:
            self.slot(parameter, "exp_avg")
            self.slot(parameter, "exp_avg_sq")

    def update(self, group: ParamGroup, params: list[Parameter]) -> None:
        """One step of the parameters, by the class's equations."""
        b1, b2 = group["betas"]
        pace = math.log(0.96) * group["momentum_decay"]
        for step, members in self.advance(params):
            now = ((step * pace).exp() * -0.5 + 1.0) * b1
            later = (((step + 1.0) * pace).exp() * -0.5 + 1.0) * b1
            slot = self.state[members[0]]["mu_product"]
            product = slot * now
            slot.assign(product)
            rates = (
                group.rate * (1.0 - now) / (1.0 - product),
                group.rate * later / (1.0 - product * later),
            )
            correction = one_minus_power(b2, step)
            for parameter in members:
                self._descend(group, parameter, rates, correction)

    def _descend(
        self,
        group: ParamGroup,
        parameter: Parameter,
        rates: tuple[Tensor, Tensor],
        correction: Tensor,
    ) -> None:
        b1, b2 = group["betas"]
        slots = self.state[parameter]
        p, g = decayed(group, parameter)
        m = running_mean(slots["exp_avg"], g, b1)
        v = running_mean(slots["exp_avg_sq"], g * g, b2)
        slots["exp_avg"].assign(m)
        slots["exp_avg_sq"].assign(v)
        scale = (v / correction.astype(p.dtype)).sqrt() + group["eps"]
        own, coming = (rate.astype(p.dtype) for rate in rates)
        parameter.assign(p - (g * own + m * coming) / scale)


class RAdam(Optimizer):
    """Adam that waits until the mean square of the gradient is known well enough.

    Equations, for a parameter p with gradient g at step t = 1, 2...:

        g <- g + weight_decay p            (decoupled: p <- (1 - lr weight_decay) p)
        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        R = 2 / (1 - b2) - 1,    r = R - 2 t b2^t / (1 - b2^t)
        p <- p - lr m / (1 - b1^t) s
        s = sqrt((r - 4) (r - 2) R / ((R - 4) (R - 2) r)) sqrt(1 - b2^t) / (sqrt(v) + eps)

    with s = 1 as long as r is at most 5.

    Args:
        params: parameters, or groups of them as dicts.
        lr: learning rate, at least 0; `optimizer.lr = ...` changes it at any time.
        betas: (b1, b2), each in [0, 1).
        eps: at least 0.
        weight_decay: factor of an L2 penalty, or of the decay of the parameter, at least 0.
        decoupled_weight_decay: shrink the parameter itself, as in `AdamW`.
        maximize: climb instead of descend.
        foreach, capturable, differentiable: as in PyTorch, without effect on the numbers;
            differentiable=True is refused.

    Raises:
        ArgumentError: an option that is out of its range, NaN or infinite, naming it.

    Example:
        >>> import mynn
        >>> p = mynn.Parameter([1.0])
        >>> (p * p).sum().backward()
        >>> mynn.optim.RAdam([p], lr=0.25).step()
        >>> p.tolist()
        [0.5]

    Source: Liu and others, "On the variance of the adaptive learning rate and beyond", 2020.
    """

    without_sparse = "use SparseAdam, SGD or Adagrad for it, or sparse=False"

    ranges: ClassVar[Mapping[str, Check]] = {
        **Optimizer.ranges,
        "betas": pair_between(0.0, 1.0),
        "eps": between(0.0),
        "decoupled_weight_decay": switch,
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "maximize": maximize,
            "foreach": foreach,
            "capturable": capturable,
            "differentiable": differentiable,
            "decoupled_weight_decay": decoupled_weight_decay,
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
            known, factor = _rectified(b2, step)
            rate = group.rate / one_minus_power(b1, step)
            for parameter in members:
                slots = self.state[parameter]
                p, g = decayed(group, parameter)
                m = running_mean(slots["exp_avg"], g, b1)
                v = running_mean(slots["exp_avg_sq"], g * g, b2)
                slots["exp_avg"].assign(m)
                slots["exp_avg_sq"].assign(v)
                scale = factor.astype(p.dtype) / (v.sqrt() + group["eps"])
                move = m * rate.astype(p.dtype)
                parameter.assign(p - known.choose(move * scale, move))


def _rectified(b2: float, step: Tensor) -> tuple[Tensor, Tensor]:
    """Whether the mean square is known well enough, and the factor of the step then."""
    missing = one_minus_power(b2, step)
    most = 2.0 / (1.0 - b2) - 1.0
    length = most - step * (1.0 - missing) * 2.0 / missing
    if most <= 5.0:
        return step < 0.0, missing
    known = length > 5.0
    safe = length.maximum(5.0)
    ratio = (safe - 4.0) * (safe - 2.0) / safe * (most / ((most - 4.0) * (most - 2.0)))
    return known, (ratio * missing).sqrt()
