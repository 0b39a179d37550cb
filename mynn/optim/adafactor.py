"""Adafactor."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mynn.base.arguments import in_range, shown
from mynn.errors import ArgumentError
from mynn.optim.optimizer import Optimizer
from mynn.optim.options import Check, ParamGroup, between
from mynn.optim.transform import descent
from mynn.tensor import Parameter, Tensor


class Adafactor(Optimizer):
    """Adam's scaling with a row and a column in place of the mean square of a matrix.

    Equations, for a parameter p of n numbers with gradient g at step t = 1, 2...:

        a = max(eps2, |p| / sqrt(n)) min(lr, 1 / sqrt(t))
        p <- (1 - lr weight_decay) p
        R <- (1 - w) R + w mean(g^2, last axis),    w = t^beta2_decay
        C <- (1 - w) C + w mean(g^2, last axis but one)
        v = R C / max(mean(R), eps1)                (vectors: v <- (1 - w) v + w g^2)
        u = g / sqrt(max(v, eps1^2))
        p <- p - a u / max(1, |u| / (sqrt(n) d))

    |x| is the root of the sum of squares.

    Args:
        params: parameters, or groups of them as dicts.
        lr: the largest relative step, at least 0.
        beta2_decay: power of t by which new gradients count, at most 0.
        eps: (eps1, eps2), at least 0; None for eps1 is the precision of the dtype.
        d: the largest root mean square of u, at least 1.
        weight_decay: decay of the parameter, at least 0.
        foreach: as in PyTorch, without effect on the numbers.
        maximize: climb instead of descend.

    Raises:
        ArgumentError: an option that is out of its range, NaN or infinite, naming it.

    Example:
        >>> import mynn
        >>> p = mynn.Parameter([1.0])
        >>> (p * p).sum().backward()
        >>> mynn.optim.Adafactor([p], lr=0.25).step()
        >>> p.tolist()
        [0.75]

    Source: Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost",
    2018.
    """

    without_sparse = "use SparseAdam, SGD or Adagrad for it, or sparse=False"

    ranges: ClassVar[Mapping[str, Check]] = {
        **Optimizer.ranges,
        "beta2_decay": lambda name, value: _at_most_zero(name, value),
        "eps": lambda name, value: _precisions(name, value),
        "d": between(1.0),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps": eps,
            "d": d,
            "weight_decay": weight_decay,
            "foreach": foreach,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def make_slots(self, group: ParamGroup) -> None:
        """`step` t, `row_var` R and `col_var` C, or `variance` v for vectors."""
        self.counter(group)
        for parameter in group["params"]:
            shape = parameter.shape
            if len(shape) > 1:
                self.slot(parameter, "row_var", shape=(*shape[:-1], 1))
                self.slot(parameter, "col_var", shape=(*shape[:-2], 1, shape[-1]))
            else:
                self.slot(parameter, "variance")

    def update(self, group: ParamGroup, params: list[Parameter]) -> None:
        """One step of the parameters, by the class's equations."""
        for step, members in self.advance(params):
            new = (step.log() * group["beta2_decay"]).exp()
            relative = group.rate.minimum(1.0 / step.sqrt())
            shrink = 1.0 - group.rate * group["weight_decay"]
            for parameter in members:
                self._descend(group, parameter, new, relative, shrink)

    def _descend(
        self,
        group: ParamGroup,
        parameter: Parameter,
        new: Tensor,
        relative: Tensor,
        shrink: Tensor,
    ) -> None:
        p, g = parameter.detach(), descent(group, parameter)
        first, second = group["eps"]
        eps1 = float(np.finfo(p.dtype).eps) if first is None else float(first)
        rate = _root_mean_square(p).maximum(second) * relative.astype(p.dtype)
        if group["weight_decay"] != 0:
            p = p * shrink.astype(p.dtype)
        v = self._variance(parameter, g * g, new.astype(p.dtype), eps1)
        u = g / v.maximum(eps1 * eps1).sqrt()
        excess = (_root_mean_square(u) / group["d"]).maximum(1.0)
        parameter.assign(p - u * (rate / excess))

    def _variance(self, parameter: Parameter, square: Tensor, new: Tensor, eps1: float) -> Tensor:
        """The mean square of the gradient, which `square` is of, after it was taken in."""
        slots: dict[str, Tensor] = self.state[parameter]
        old = 1.0 - new
        if "variance" in slots:
            v = slots["variance"] * old + square * new
            slots["variance"].assign(v)
            return v
        row = slots["row_var"] * old + square.mean(-1, keepdim=True) * new
        column = slots["col_var"] * old + square.mean(-2, keepdim=True) * new
        slots["row_var"].assign(row)
        slots["col_var"].assign(column)
        return row * column / row.mean(-2, keepdim=True).maximum(eps1)


def _root_mean_square(x: Tensor) -> Tensor:
    return ((x * x).sum() / max(math.prod(x.shape), 1)).sqrt()


def _at_most_zero(name: str, value: Any) -> None:
    if in_range(name, value, -math.inf) > 0:
        raise ArgumentError(f"{name} must be at most 0, it is {value}; -0.8 is usual")


def _precisions(name: str, value: Any) -> None:
    if not isinstance(value, Sequence) or len(value) != 2:
        raise ArgumentError(f"{name} must be (eps1, eps2), it is {shown(value)}")
    if value[0] is not None:
        in_range(f"{name}[0]", value[0], 0.0)
    in_range(f"{name}[1]", value[1], 0.0)
