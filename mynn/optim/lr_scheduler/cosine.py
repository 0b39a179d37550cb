"""Rates that fall along half a cosine, once, to and fro, or with restarts."""

from __future__ import annotations

import math
from typing import Any

from mynn.base.arguments import positive
from mynn.errors import ArgumentError
from mynn.optim.lr_scheduler.base import LRScheduler
from mynn.optim.lr_scheduler.factors import finite
from mynn.optim.lr_scheduler.numbers import Number, State, choose, cos, floor, lazily
from mynn.optim.optimizer import Optimizer


class CosineAnnealingLR(LRScheduler):
    """The rate falls from `base_lr` to `eta_min` along half a cosine, and rises again after it.

        lr = eta_min + (base_lr - eta_min) (1 + cos(pi t / T_max)) / 2

    It is computed from the rate before, so that it may be chained with others.

    Args:
        optimizer: whose rates change.
        T_max: steps of half a cosine.
        eta_min: the least rate.
        last_epoch: where to go on; -1 begins anew.

    Example:
        >>> import mynn
        >>> sgd = mynn.optim.SGD(mynn.nn.Linear(2, 1).parameters(), lr=1.0)
        >>> schedule = mynn.optim.lr_scheduler.CosineAnnealingLR(sgd, T_max=2)
        >>> schedule.step()
        >>> round(sgd.lr, 12)
        0.5

    Source: Loshchilov and Hutter, "SGDR: Stochastic gradient descent with warm restarts", 2017.
    """

    def __init__(
        self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0, last_epoch: int = -1
    ) -> None:
        self.T_max = positive("CosineAnnealingLR: T_max", T_max)
        self.eta_min = finite("CosineAnnealingLR: eta_min", eta_min)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Number]:
        """The rate of each group after this step."""
        if self._is_initial:
            return self.rates
        count, half, low = self.last_epoch, self.T_max, self.eta_min
        turned = (count - 1 - half) % (2 * half) == 0  # at the least rate a step ago
        rise = 1 - math.cos(math.pi / half)
        ratio = lazily(
            turned,
            lambda: 0.0,
            lambda: (1 + cos(math.pi * count / half)) / (1 + cos(math.pi * (count - 1) / half)),
        )
        return [
            choose(turned, rate + (base - low) * rise / 2, ratio * (rate - low) + low)
            for base, rate in zip(self.base_lrs, self.rates, strict=True)
        ]

    def _get_closed_form_lr(self) -> list[Number]:
        fallen = 1 + cos(math.pi * self.last_epoch / self.T_max)
        return [self.eta_min + (base - self.eta_min) * fallen / 2 for base in self.base_lrs]


class CosineAnnealingWarmRestarts(LRScheduler):
    """The rate falls along half a cosine, again and again, over T_0, T_0 T_mult, ... steps.

        lr = eta_min + (base_lr - eta_min) (1 + cos(pi T_cur / T_i)) / 2

    Args:
        optimizer: whose rates change.
        T_0: steps until the first restart.
        T_mult: how many times longer each following period is.
        eta_min: the least rate.
        last_epoch: where to go on; -1 begins anew.

    `step(epoch)` takes fractions of an epoch too.

    Example:
        >>> import mynn
        >>> sgd = mynn.optim.SGD(mynn.nn.Linear(2, 1).parameters(), lr=1.0)
        >>> schedule = mynn.optim.lr_scheduler.CosineAnnealingWarmRestarts(sgd, T_0=2)
        >>> schedule.step(), schedule.step(), sgd.lr
        (None, None, 1.0)

    Source: Loshchilov and Hutter, "SGDR: Stochastic gradient descent with warm restarts", 2017.
    """

    T_cur = State()
    T_i = State()

    def __init__(
        self,
        optimizer: Optimizer,
        T_0: int,
        T_mult: int = 1,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        name = type(self).__name__
        self.T_0 = positive(f"{name}: T_0", T_0)
        self.T_mult = positive(f"{name}: T_mult", T_mult)
        self.eta_min = finite(f"{name}: eta_min", eta_min)
        self.T_i = self.T_0
        self.T_cur = last_epoch
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Number]:
        """The rate of each group after this step."""
        fallen = 1 + cos(math.pi * self.T_cur / self.T_i)
        return [self.eta_min + (base - self.eta_min) * fallen / 2 for base in self.base_lrs]

    def _update_lr(self, epoch: Any) -> None:
        if epoch is None and self._is_initial and self.last_epoch < 0:
            epoch = 0
        if epoch is None:
            epoch = self.last_epoch + 1
            place, period = self.T_cur + 1, self.T_i
            over = place >= period
            self.T_cur = choose(over, place % period, place)
            self.T_i = choose(over, period * self.T_mult, period)
        else:
            self._jump(epoch)
        self.last_epoch = floor(epoch)
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate
        self.note_rates()

    def _jump(self, epoch: Any) -> None:
        """Go to a step, or a fraction of one."""
        if not isinstance(epoch, int | float) or not 0 <= epoch < math.inf:
            raise ArgumentError(
                f"{type(self).__name__}: epoch must be a number of at least 0, it is {epoch}"
            )
        first, times = self.T_0, self.T_mult
        if epoch < first:
            self.T_i, self.T_cur = first, epoch
        elif times == 1:
            self.T_cur = epoch % first
        else:
            n = int(math.log(epoch / first * (times - 1) + 1, times))
            self.T_cur = epoch - first * (times**n - 1) / (times - 1)
            self.T_i = first * times**n
