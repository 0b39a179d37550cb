"""Rprop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from mynn.base.arguments import in_range
from mynn.errors import ArgumentError
from mynn.optim.optimizer import Optimizer
from mynn.optim.options import Check, ParamGroup
from mynn.optim.transform import descent
from mynn.tensor import Parameter
from mynn.tensor.gradients.history import array_of


class Rprop(Optimizer):
    """Resilient backpropagation: steps by the sign of the gradient alone, each with its own length.

    Equations, for each number p with gradient g, its last gradient h and its length s:

        s <- s eta_plus      where g h > 0
        s <- s eta_minus     where g h < 0; g <- 0 there
        s <- the nearest number within step_sizes
        p <- p - sign(g) s,    h <- g

    It is meant for whole data sets, not for batches.

    Args:
        params: parameters, or groups of them as dicts.
        lr: the first length s, at least 0.
        etas: (eta_minus, eta_plus), with 0 < eta_minus < 1 < eta_plus.
        step_sizes: the shortest and the longest length.
        maximize: climb instead of descend.
        capturable, foreach, differentiable: as in PyTorch, without effect on the numbers;
            differentiable=True is refused.

    Raises:
        ArgumentError: an option that is out of its range, NaN or infinite, naming it.

    Example:
        >>> import mynn
        >>> p = mynn.Parameter([1.0])
        >>> (p * p).sum().backward()
        >>> mynn.optim.Rprop([p], lr=0.25).step()
        >>> p.tolist()
        [0.75]

    Source: Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning:
    the RPROP algorithm", 1993.
    """

    without_sparse = "use SparseAdam, SGD or Adagrad for it, or sparse=False"

    ranges: ClassVar[Mapping[str, Check]] = {
        **Optimizer.ranges,
        "etas": lambda name, value: _pair_of(name, value, 0.0, 1.0, 1.0),
        "step_sizes": lambda name, value: _pair_of(name, value, 0.0, float("inf"), 0.0),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "etas": etas,
            "step_sizes": step_sizes,
            "foreach": foreach,
            "maximize": maximize,
            "differentiable": differentiable,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def make_slots(self, group: ParamGroup) -> None:
        """`step`, `prev` h, `step_size` s."""
        self.counter(group)
        for parameter in group["params"]:
            self.slot(parameter, "prev")
            self.slot(parameter, "step_size", float(array_of(group.rate)))

    def update(self, group: ParamGroup, params: list[Parameter]) -> None:
        """One step of the parameters, by the class's equations."""
        (minus, plus), (low, high) = group["etas"], group["step_sizes"]
        for step, members in self.advance(params):
            first = step == 1.0
            for parameter in members:
                p, slots = parameter.detach(), self.state[parameter]
                g = descent(group, parameter)
                # The rate may have changed since the slots were made.
                size = first.choose(group.rate.astype(p.dtype), slots["step_size"])
                agreed = g * slots["prev"]
                turned = agreed < 0.0
                longer = (agreed > 0.0).choose(size * plus, size)
                size = turned.choose(size * minus, longer).maximum(low).minimum(high)
                g = turned.choose(g * 0.0, g)
                slots["step_size"].assign(size)
                slots["prev"].assign(g)
                parameter.assign(p - g.sign() * size)


def _pair_of(name: str, value: Any, low: float, middle: float, high: float) -> None:
    """Two numbers, the first in (low, middle), the second above `high`."""
    if not isinstance(value, Sequence) or len(value) != 2:
        raise ArgumentError(f"{name} must be two numbers, they are {value!r}")
    first, second = (in_range(f"{name}[{i}]", one, low) for i, one in enumerate(value))
    if name == "etas" and not low < first < middle < second:
        raise ArgumentError(
            f"etas must be (eta_minus, eta_plus) with 0 < eta_minus < 1 < eta_plus, they are "
            f"{value!r}; (0.5, 1.2) is usual"
        )
    if first > second or second < high:
        raise ArgumentError(f"{name} must be two numbers in rising order, they are {value!r}")
