"""Stochastic gradient descent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from mynn.base import notices
from mynn.errors import ArgumentError
from mynn.optim.optimizer import Optimizer
from mynn.optim.options import Check, ParamGroup, between, switch
from mynn.optim.rows import few_rows, refuse_decay
from mynn.optim.transform import add_penalty, descent, is_used
from mynn.tensor import Parameter, Tensor


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum, Nesterov's momentum and weight decay.

    Equations, for a parameter p with gradient g:

        g <- g + weight_decay p
        v <- momentum v + (1 - dampening) g        (v = g in the first step)
        p <- p - lr v                              (nesterov: p - lr (g + momentum v))

    Without momentum and weight decay a row of a table that no gradient reached stays as it is, so
    that compiled steps update only the rows of an `nn.Embedding` that the batch has read. Sparse
    gradients may have momentum, but no weight decay, as in PyTorch.

    Args:
        params: parameters, or groups of them as dicts.
        lr: learning rate, at least 0; `optimizer.lr = ...` changes it at any time.
        momentum: at least 0; 0 keeps no v.
        dampening: factor 1 - dampening of g in v.
        weight_decay: factor of an L2 penalty, at least 0.
        nesterov: needs momentum and no dampening.
        maximize: climb instead of descend.
        foreach, differentiable, fused: as in PyTorch, without effect on the numbers;
            differentiable=True is refused.

    Raises:
        ArgumentError: an option that is negative, NaN or infinite, naming it.

    Example:
        >>> import mynn
        >>> p = mynn.Parameter([1.0])
        >>> (p * p).sum().backward()
        >>> mynn.optim.SGD([p], lr=0.25).step()
        >>> p.tolist()
        [0.5]

    Source: Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and momentum in
    deep learning", 2013, with PyTorch's way of writing the equations.
    """

    by_parameter: ClassVar[bool] = True

    ranges: ClassVar[Mapping[str, Check]] = {
        **Optimizer.ranges,
        "momentum": between(0.0),
        "dampening": between(-math.inf),
        "nesterov": switch,
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
            "foreach": foreach,
            "differentiable": differentiable,
            "fused": fused,
        }
        super().__init__(params, defaults)

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise `ArgumentError` where an option is out of its range, or does not go with others."""
        super().check(options)
        if options["momentum"] > 1:
            notices.warn(
                "momentum",
                f"momentum is {options['momentum']}: above 1 the steps grow without bound; it is "
                "usually 0.9",
                category=UserWarning,
            )
        if options["nesterov"] and (options["momentum"] <= 0 or options["dampening"] != 0):
            raise ArgumentError(
                "nesterov needs momentum above 0 and dampening 0, they are "
                f"{options['momentum']} and {options['dampening']}"
            )

    def check_gradients(self, group: ParamGroup, params: list[Parameter]) -> None:
        """Raise where weight decay meets a sparse gradient."""
        refuse_decay("SGD", group, params)

    def make_slots(self, group: ParamGroup) -> None:
        """`momentum_buffer` v; with dampening a count too, because the first step is another."""
        if "momentum" not in group.varied and group["momentum"] == 0:
            return
        for parameter in group["params"]:
            self.slot(parameter, "momentum_buffer")
        if group["dampening"] != 0:
            self.counter(group)

    def update(self, group: ParamGroup, params: list[Parameter]) -> None:
        """One step of the parameters, by the class's equations."""
        if not is_used(group["momentum"]) or group["dampening"] == 0:
            self._descend(group, params, None)
            return
        for step, members in self.advance(params):
            share = (step == 1).choose(np.float64(1), np.float64(1 - group["dampening"]))
            self._descend(group, members, share)

    def _descend(self, group: ParamGroup, params: list[Parameter], share: Tensor | None) -> None:
        momentum, decay = group["momentum"], group["weight_decay"]
        stays = not is_used(momentum) and decay == 0
        rates: dict[Any, Tensor] = {}
        for parameter in params:
            if parameter.dtype not in rates:
                rates[parameter.dtype] = group.rate.astype(parameter.dtype)
            rows = few_rows(parameter) if stays else None
            if rows is not None:
                g = rows.of(descent(group, parameter))
                rows.put(parameter, rows.of(parameter) - g * rates[parameter.dtype])
                continue
            p = parameter.detach()
            g = add_penalty(descent(group, parameter), p, decay)
            if is_used(momentum):
                buffer = self.state[parameter]["momentum_buffer"]
                v = buffer * momentum + (g if share is None else g * share.astype(p.dtype))
                buffer.assign(v)
                g = g + v * momentum if group["nesterov"] else v
            parameter.assign(p - g * rates[p.dtype])
