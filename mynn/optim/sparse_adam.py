"""Adam for sparse gradients."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from mynn.errors import UsageError
from mynn.optim.optimizer import Optimizer
from mynn.optim.options import Check, ParamGroup, above, pair_between
from mynn.optim.rows import called, sparse_rows
from mynn.optim.transform import descent, one_minus_power, running_mean
from mynn.tensor import Parameter


class SparseAdam(Optimizer):
    """Adam that updates only those rows of a table, and of its moments, that a gradient touched.

    Equations, for a touched row p with gradient g at step t = 1, 2...:

        m <- b1 m + (1 - b1) g
        v <- b2 v + (1 - b2) g^2
        p <- p - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt v + eps)

    A row that was read is touched, also where its gradient is 0. The moments of all others stay as
    they are, where `Adam` shrinks them: the results are others than Adam's.

    Args:
        params: parameters with sparse gradients, such as those of `nn.Embedding(..., sparse=True)`,
            or groups of them as dicts.
        lr: learning rate, above 0; `optimizer.lr = ...` changes it at any time.
        betas: (b1, b2), each in [0, 1).
        eps: above 0.
        maximize: climb instead of descend.

    Raises:
        ArgumentError: an option that is out of its range, NaN or infinite, naming it.
        UsageError: at `step()`, a gradient that is not sparse, or was changed since `backward()`.

    Example:
        >>> import mynn
        >>> from mynn import nn
        >>> table = nn.Embedding(4, 1, sparse=True, _weight=[[1.0], [1.0], [1.0], [1.0]])
        >>> optimizer = mynn.optim.SparseAdam(table.parameters(), lr=0.5)
        >>> table([1, 2, 1]).sum().backward()
        >>> optimizer.step()
        >>> [round(value, 5) for value, in table.weight.tolist()]
        [1.0, 0.5, 0.5, 1.0]

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2015, with PyTorch's way of
    leaving rows out.
    """

    needs_sparse = True

    ranges: ClassVar[Mapping[str, Check]] = {
        **Optimizer.ranges,
        "lr": above(0.0),
        "betas": pair_between(0.0, 1.0),
        "eps": above(0.0),
    }

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})

    def check_gradients(self, group: ParamGroup, params: list[Parameter]) -> None:
        """Raise where a gradient is not sparse."""
        for parameter in params:
            if sparse_rows(parameter) is None:
                raise UsageError(
                    "SparseAdam does not support dense gradients, and that of "
                    f"{called(parameter)} is one: give sparse=True to the layer that reads it and "
                    "leave the gradient as backward() made it, or use Adam"
                )

    def make_slots(self, group: ParamGroup) -> None:
        """`step` t, `exp_avg` m, `exp_avg_sq` v."""
        self.counter(group)
        for parameter in group["params"]:
            self.slot(parameter, "exp_avg")
            self.slot(parameter, "exp_avg_sq")

    def update(self, group: ParamGroup, params: list[Parameter]) -> None:
        """One step of the touched rows, by the class's equations."""
        first, second = group["betas"]
        for step, members in self.advance(params):
            scale = one_minus_power(second, step).sqrt() / one_minus_power(first, step)
            rate = group.rate * scale
            for parameter in members:
                rows, slots = sparse_rows(parameter), self.state[parameter]
                assert rows is not None
                g, p = rows.of(descent(group, parameter)), rows.of(parameter)
                m, v = rows.of(slots["exp_avg"]), rows.of(slots["exp_avg_sq"])
                m, v = running_mean(m, g, first), running_mean(v, g * g, second)
                rows.put(slots["exp_avg"], m)
                rows.put(slots["exp_avg_sq"], v)
                rows.put(parameter, p - m / (v.sqrt() + group["eps"]) * rate.astype(p.dtype))
