"""Rates that are multiplied by a factor: at some steps, at each one, by functions of the user's."""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mynn.base.arguments import in_range, number, positive, shown, whole_number
from mynn.errors import ArgumentError, ArgumentTypeError
from mynn.optim.lr_scheduler.base import LRScheduler
from mynn.optim.lr_scheduler.numbers import Number, choose, lazily, least, passed
from mynn.optim.optimizer import Optimizer


def share(name: str, value: Any, above: bool = False) -> float:
    """`value` as a number in 0..1, without 0 where it must lie above."""
    found = number(name, value)
    if not 0 <= found <= 1 or (above and found == 0):
        raise ArgumentError(
            f"{name} must lie {'above 0 and up to' if above else 'in 0..'}1, it is {value}"
        )
    return found


def finite(name: str, value: Any) -> float:
    """`value` as a finite number."""
    return in_range(name, value, float("-inf"))


class _ByFunction(LRScheduler):
    """Schedules with a function of the count for each group."""

    def __init__(self, optimizer: Optimizer, lr_lambda: Any, last_epoch: int = -1) -> None:
        name = type(self).__name__
        given = list(lr_lambda) if isinstance(lr_lambda, list | tuple) else None
        groups = len(getattr(optimizer, "param_groups", [0]))
        self.lr_lambdas: list[Callable[[Any], Any]] = given or [lr_lambda] * groups
        if len(self.lr_lambdas) != groups:
            raise ArgumentError(
                f"{name}: there are {len(self.lr_lambdas)} functions in lr_lambda for {groups} "
                "groups; give one, or one for each group"
            )
        for function in self.lr_lambdas:
            if not callable(function):
                raise ArgumentTypeError(
                    f"{name}: lr_lambda must be a function of the step's number, it is "
                    f"{shown(function)}; write for example lambda epoch: 0.95**epoch"
                )
        super().__init__(optimizer, last_epoch)

    def factors(self) -> list[Number]:
        """What the functions give now."""
        return [function(self.last_epoch) for function in self.lr_lambdas]

    def functions(self) -> list[Callable[..., Any]]:
        """Functions of the user's that steps call."""
        return [*super().functions(), *self.lr_lambdas]

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's form; of objects that are called their content, of functions nothing."""
        content = [
            None if isinstance(one, types.FunctionType | types.MethodType) else dict(vars(one))
            for one in self.lr_lambdas
        ]
        return {**super().state_dict(), "lr_lambdas": content}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`; functions stay those of this object."""
        new = self.checked_state(state_dict)
        for function, content in zip(self.lr_lambdas, new.pop("lr_lambdas"), strict=True):
            if content is not None:
                vars(function).update(content)
        self._load(new)


class LambdaLR(_ByFunction):
    """The first rate times a function of the count of steps t.

        lr = base_lr f(t)

    Args:
        optimizer: whose rates change.
        lr_lambda: f, or a list with one for each group. In a compiled step t is a tensor: write
            `mynn.where` in place of `if`, `mynn.minimum` in place of `min`.
        last_epoch: where to go on; -1 begins anew.

    Example:
        >>> import mynn
        >>> sgd = mynn.optim.SGD(mynn.nn.Linear(2, 1).parameters(), lr=1.0)
        >>> schedule = mynn.optim.lr_scheduler.LambdaLR(sgd, lambda t: 0.5**t)
        >>> schedule.step()
        >>> sgd.lr
        0.5
    """

    def get_lr(self) -> list[Number]:
        """The rate of each group after this step."""
        return [rate * f for rate, f in zip(self.base_lrs, self.factors(), strict=True)]


class MultiplicativeLR(_ByFunction):
    """The rate times a function of the count of steps t, each time: lr <- lr f(t).

    Args:
        optimizer, lr_lambda, last_epoch: as for `LambdaLR`.

    Example:
        >>> import mynn
        >>> sgd = mynn.optim.SGD(mynn.nn.Linear(2, 1).parameters(), lr=1.0)
        >>> schedule = mynn.optim.lr_scheduler.MultiplicativeLR(sgd, lambda t: 0.5)
        >>> schedule.step(), schedule.step(), sgd.lr
        (None, None, 0.25)
    """

    def get_lr(self) -> list[Number]:
        """The rate of each group after this step."""
        if self._is_initial:
            return self.rates
        return [rate * f for rate, f in zip(self.rates, self.factors(), strict=True)]


class StepLR(LRScheduler):
    """The rate times `gamma` every `step_size` steps.

    Args:
        optimizer: whose rates change.
        step_size: at least 1.
        gamma: the factor.
        last_epoch: where to go on; -1 begins anew.

    Example:
        >>> import mynn
        >>> sgd = mynn.optim.SGD(mynn.nn.Linear(2, 1).parameters(), lr=1.0)
        >>> schedule = mynn.optim.lr_scheduler.StepLR(sgd, step_size=2, gamma=0.5)
        >>> rates = []
        >>> for _ in range(4):
        ...     schedule.step()
        ...     rates.append(sgd.lr)
        >>> rates
        [1.0, 0.5, 0.5, 0.25]
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        self.step_size = positive("StepLR: step_size", step_size)
        self.gamma = finite("StepLR: gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Number]:
        """The rate of each group after this step."""
        count = self.last_epoch
        due = (count % self.step_size == 0) & (count != 0)
        factor = choose(due, self.gamma, 1.0)
        return [rate * factor for rate in self.rates]

    def _get_closed_form_lr(self) -> list[Number]:
        return [base * self.gamma ** (self.last_epoch // self.step_size) for base in self.base_lrs]


class MultiStepLR(LRScheduler):
    """The rate times `gamma` at each milestone; a milestone that stands twice counts twice.

    Args:
        optimizer: whose rates change.
        milestones: whole numbers.
        gamma: the factor.
        last_epoch: where to go on; -1 begins anew.

    Example:
        >>> import mynn
        >>> sgd = mynn.optim.SGD(mynn.nn.Linear(2, 1).parameters(), lr=1.0)
        >>> schedule = mynn.optim.lr_scheduler.MultiStepLR(sgd, [1, 3], gamma=0.5)
        >>> schedule.step(), schedule.step(), schedule.step(), sgd.lr
        (None, None, None, 0.25)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        if not hasattr(milestones, "__iter__"):
            raise ArgumentTypeError(
                "MultiStepLR: milestones must be a list of whole numbers, it is "
                f"{shown(milestones)}"
            )
        self.milestones = Counter(
            whole_number("MultiStepLR: milestones", one) for one in milestones
        )
        self.gamma = finite("MultiStepLR: gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Number]:
        """The rate of each group after this step."""
        factor: Number = 1.0
        for milestone, times in self.milestones.items():
            factor = choose(self.last_epoch == milestone, self.gamma**times, factor)
        return [rate * factor for rate in self.rates]

    def _get_closed_form_lr(self) -> list[Number]:
        reached = passed(sorted(self.milestones.elements()), self.last_epoch)
        return [base * self.gamma**reached for base in self.base_lrs]


class ConstantLR(LRScheduler):
    """The rate times `factor` for the first `total_iters` steps.

    Args:
        optimizer: whose rates change.
        factor: in 0..1.
        total_iters: how many steps.
        last_epoch: where to go on; -1 begins anew.

    Example:
        >>> import mynn
        >>> sgd = mynn.optim.SGD(mynn.nn.Linear(2, 1).parameters(), lr=1.0)
        >>> schedule = mynn.optim.lr_scheduler.ConstantLR(sgd, factor=0.5, total_iters=1)
        >>> first = sgd.lr
        >>> schedule.step()
        >>> first, sgd.lr
        (0.5, 1.0)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1.0 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.factor = share("ConstantLR: factor", factor)
        self.total_iters = whole_number("ConstantLR: total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Number]:
        """The rate of each group after this step."""
        back = 1.0 / self.factor if self.factor else 1.0
        later = choose(self.last_epoch == self.total_iters, back, 1.0)
        factor = choose(self.last_epoch == 0, self.factor, later)
        return [rate * factor for rate in self.rates]

    def _get_closed_form_lr(self) -> list[Number]:
        over = choose(self.last_epoch >= self.total_iters, 1, 0)
        return [base * (self.factor + over * (1 - self.factor)) for base in self.base_lrs]


class LinearLR(LRScheduler):
    """The rate times a factor that goes from `start_factor` to `end_factor` in equal steps.

    With a small start it is a warm-up; `SequentialLR` puts another schedule behind it.

    Args:
        optimizer: whose rates change.
        start_factor: above 0, at most 1.
        end_factor: in 0..1.
        total_iters: how many steps it takes.
        last_epoch: where to go on; -1 begins anew.

    Example:
        >>> import mynn
        >>> sgd = mynn.optim.SGD(mynn.nn.Linear(2, 1).parameters(), lr=1.0)
        >>> schedule = mynn.optim.lr_scheduler.LinearLR(sgd, 0.5, 1.0, total_iters=2)
        >>> first = sgd.lr
        >>> schedule.step()
        >>> first, sgd.lr
        (0.5, 0.75)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        self.start_factor = share("LinearLR: start_factor", start_factor, above=True)
        self.end_factor = share("LinearLR: end_factor", end_factor)
        self.total_iters = positive("LinearLR: total_iters", total_iters)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Number]:
        """The rate of each group after this step."""
        count, start, total = self.last_epoch, self.start_factor, self.total_iters
        rise = self.end_factor - start
        over = True if self._is_initial else count > total
        later = lazily(over, lambda: 1.0, lambda: 1.0 + rise / (total * start + (count - 1) * rise))
        factor = choose(count == 0, start, later)
        return [rate * factor for rate in self.rates]

    def _get_closed_form_lr(self) -> list[Number]:
        rise = self.end_factor - self.start_factor
        done = least(self.total_iters, self.last_epoch)
        factor = self.start_factor + rise * done / self.total_iters
        return [base * factor for base in self.base_lrs]


class ExponentialLR(LRScheduler):
    """The rate times `gamma` at each step.

    Args:
        optimizer: whose rates change.
        gamma: the factor.
        last_epoch: where to go on; -1 begins anew.

    Example:
        >>> import mynn
        >>> sgd = mynn.optim.SGD(mynn.nn.Linear(2, 1).parameters(), lr=1.0)
        >>> schedule = mynn.optim.lr_scheduler.ExponentialLR(sgd, gamma=0.5)
        >>> schedule.step(), schedule.step(), sgd.lr
        (None, None, 0.25)
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = finite("ExponentialLR: gamma", gamma)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Number]:
        """The rate of each group after this step."""
        return self.rates if self._is_initial else [rate * self.gamma for rate in self.rates]

    def _get_closed_form_lr(self) -> list[Number]:
        return [base * self.gamma**self.last_epoch for base in self.base_lrs]


class PolynomialLR(LRScheduler):
    """The rate falls to 0 in `total_iters` steps: base_lr (1 - t / total_iters)^power.

    Args:
        optimizer: whose rates change.
        total_iters: how many steps it takes.
        power: of the polynomial.
        last_epoch: where to go on; -1 begins anew.

    Example:
        >>> import mynn
        >>> sgd = mynn.optim.SGD(mynn.nn.Linear(2, 1).parameters(), lr=1.0)
        >>> schedule = mynn.optim.lr_scheduler.PolynomialLR(sgd, total_iters=4)
        >>> schedule.step(), sgd.lr
        (None, 0.75)
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        self.total_iters = positive("PolynomialLR: total_iters", total_iters)
        self.power = finite("PolynomialLR: power", power)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Number]:
        """The rate of each group after this step."""
        if self._is_initial:
            return self.rates
        count, total = self.last_epoch, self.total_iters

        factor = lazily(
            count > total,
            lambda: 1.0,
            lambda: ((1.0 - count / total) / (1.0 - (count - 1) / total)) ** self.power,
        )
        return [rate * factor for rate in self.rates]

    def _get_closed_form_lr(self) -> list[Number]:
        remaining = 1.0 - least(self.total_iters, self.last_epoch) / self.total_iters
        return [base * remaining**self.power for base in self.base_lrs]
