"""Rates that fall where a measure gets no better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mynn.base.arguments import in_range, whole_number
from mynn.errors import ArgumentError, ArgumentTypeError
from mynn.optim.lr_scheduler.base import LRScheduler
from mynn.optim.lr_scheduler.cyclic import for_groups
from mynn.optim.lr_scheduler.numbers import Number, State, choose, most
from mynn.optim.optimizer import Optimizer
from mynn.optim.options import one_of
from mynn.tensor import Tensor
from mynn.trace import tracing


class ReduceLROnPlateau(LRScheduler):
    """The rate times `factor` where a measure has got no better for more than `patience` steps.

    Args:
        optimizer: whose rates change.
        mode: "min" where less is better, "max" where more is.
        factor: less than 1.
        patience: steps that may pass without getting better.
        threshold, threshold_mode: by how much is better: of the best ("rel"), or itself ("abs").
        cooldown: steps after a change that do not count.
        min_lr: the least rate, for all groups or a list with one for each.
        eps: smaller changes of the rate are not made.

    Example:
        >>> import mynn
        >>> sgd = mynn.optim.SGD(mynn.nn.Linear(2, 1).parameters(), lr=1.0)
        >>> schedule = mynn.optim.lr_scheduler.ReduceLROnPlateau(sgd, patience=1)
        >>> for loss in [3.0, 2.0, 2.0, 2.0]:
        ...     schedule.step(loss)
        >>> sgd.lr
        0.1
    """

    best = State(whole=False)
    cooldown_counter = State()
    num_bad_epochs = State()

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: Any = 0,
        eps: float = 1e-8,
    ) -> None:
        self.begin(optimizer)
        name = "ReduceLROnPlateau"
        one_of("min", "max")(f"{name}: mode", mode)
        one_of("rel", "abs")(f"{name}: threshold_mode", threshold_mode)
        self.factor = in_range(f"{name}: factor", factor, 0.0, 1.0)
        self.default_min_lr = None if isinstance(min_lr, list | tuple) else min_lr
        self.min_lrs = for_groups(f"{name}: min_lr", optimizer, min_lr)
        self.patience = whole_number(f"{name}: patience", patience)
        self.cooldown = whole_number(f"{name}: cooldown", cooldown)
        self.eps = in_range(f"{name}: eps", eps, 0.0)
        self.mode, self.threshold_mode = mode, threshold_mode
        self.threshold = in_range(f"{name}: threshold", threshold, 0.0)
        self.mode_worse = math.inf if mode == "min" else -math.inf
        self.last_epoch = 0
        self.best = self.mode_worse
        self.cooldown_counter = 0
        self.num_bad_epochs = 0

    def step(self, metrics: Any, epoch: Any = None) -> None:  # type: ignore[override]
        """The next step, with the measure that is to get better."""
        self.guard()
        if isinstance(metrics, Tensor) and tracing.active() is not None:
            current: Number = metrics.detach().astype("float64").reshape(())
        else:
            try:
                current = float(metrics)
            except (TypeError, ValueError):
                raise ArgumentTypeError(
                    "ReduceLROnPlateau: step takes the measure, one number, it was given "
                    f"{metrics!r}"
                ) from None
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        better = self._is_better(current, self.best)
        bad = choose(better, 0, self.num_bad_epochs + 1)
        self.best = choose(better, current, self.best)
        cooling = self.cooldown_counter > 0
        left = choose(cooling, self.cooldown_counter - 1, self.cooldown_counter)
        bad = choose(cooling, 0, bad)
        due = bad > self.patience
        self._reduce(due)
        self.cooldown_counter = choose(due, self.cooldown, left)
        self.num_bad_epochs = choose(due, 0, bad)
        self.note_rates()

    def _reduce(self, due: Any) -> None:
        """Lower the rates, where that is due."""
        groups = self.optimizer.param_groups
        if len(groups) != len(self.min_lrs):
            if self.default_min_lr is None:
                raise ArgumentError(
                    f"ReduceLROnPlateau: min_lr has {len(self.min_lrs)} values for {len(groups)} "
                    "groups; give one number for all, or set min_lrs anew"
                )
            self.min_lrs = for_groups("min_lr", self.optimizer, self.default_min_lr)
        for group, low in zip(groups, self.min_lrs, strict=True):
            old = group["lr"]
            new = most(old * self.factor, low)
            changes = due & (old - new > self.eps)
            group["lr"] = choose(changes, new, old)

    @property
    def in_cooldown(self) -> Any:
        """Whether steps do not count at present."""
        return self.cooldown_counter > 0

    def _is_better(self, value: Number, best: Number) -> Any:
        part = self.threshold
        if self.mode == "min":
            return value < (best * (1.0 - part) if self.threshold_mode == "rel" else best - part)
        return value > (best * (part + 1.0) if self.threshold_mode == "rel" else best + part)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of this class, here or in PyTorch."""
        super().load_state_dict(state_dict)
        self.mode_worse = math.inf if self.mode == "min" else -math.inf
