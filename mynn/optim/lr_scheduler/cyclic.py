"""Rates that rise and fall, and momentum that falls and rises with them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from mynn.base.arguments import flag, number, positive, shown
from mynn.errors import ArgumentError, ArgumentTypeError
from mynn.optim.lr_scheduler.base import LRScheduler
from mynn.optim.lr_scheduler.factors import finite, share
from mynn.optim.lr_scheduler.numbers import Number, cos, floor, lazily
from mynn.optim.optimizer import Optimizer
from mynn.optim.options import ParamGroup, one_of
from mynn.tensor import Tensor
from mynn.tensor.checks import require_range


def for_groups(name: str, optimizer: Optimizer, value: Any) -> list[float]:
    """A number for each group: one for all, or a list."""
    groups = len(optimizer.param_groups)
    if not isinstance(value, list | tuple):
        return [finite(name, value)] * groups
    if len(value) != groups:
        raise ArgumentError(
            f"{name} has {len(value)} values for {groups} groups; give one, or one for each group"
        )
    return [finite(name, one) for one in value]


class _Cycling(LRScheduler):
    """Schedules that may change the momentum of SGD, or beta1 of Adam and its like, too."""

    def _cycle(self, wanted: Any, base: Any, most: Any, last_epoch: int) -> None:
        """Make the momentum of each group a number that changes without another program."""
        optimizer, name = self.optimizer, type(self).__name__
        self.cycle_momentum = flag(f"{name}: cycle_momentum", wanted)
        if not self.cycle_momentum:
            return
        if not {"momentum", "betas"} & set(optimizer.defaults):
            raise ArgumentError(
                f"{name}: {type(optimizer).__name__} has neither momentum nor betas that could be "
                "changed; give cycle_momentum=False"
            )
        self.use_beta1 = "betas" in optimizer.defaults
        lows = for_groups(f"{name}: base_momentum", optimizer, base)
        highs = for_groups(f"{name}: max_momentum", optimizer, most)
        for group, low, high in zip(optimizer.param_groups, lows, highs, strict=True):
            group.vary("betas" if self.use_beta1 else "momentum")
            if last_epoch == -1:
                self.set_momentum(group, high)
                group["max_momentum"], group["base_momentum"] = high, low

    def set_momentum(self, group: ParamGroup, value: Number) -> None:
        """Give a group its momentum."""
        if self.use_beta1:
            group["betas"] = (value, *group["betas"][1:])
        else:
            group["momentum"] = value


class CyclicLR(_Cycling):
    """The rate goes between `base_lr` and `max_lr`, in straight lines or smaller and smaller ones.

    Args:
        optimizer: whose rates change.
        base_lr, max_lr: the ends, for all groups or a list with one for each.
        step_size_up, step_size_down: steps of the rise and the fall; the fall is as long as the
            rise where it is None.
        mode: "triangular", "triangular2" (half the height each cycle), "exp_range" (gamma^t).
        gamma: for "exp_range".
        scale_fn: a function in place of the mode's, of the number of the cycle or, with scale_mode
            "iterations", of the step.
        cycle_momentum, base_momentum, max_momentum: whether the momentum (of Adam and its like:
            beta1) goes the other way, and between which ends.
        last_epoch: where to go on; -1 begins anew.

    Example:
        >>> import mynn
        >>> sgd = mynn.optim.SGD(mynn.nn.Linear(2, 1).parameters(), lr=1.0, momentum=0.9)
        >>> schedule = mynn.optim.lr_scheduler.CyclicLR(sgd, 0.0, 1.0, step_size_up=2)
        >>> schedule.step()
        >>> sgd.lr, round(sgd.param_groups[0]["momentum"], 12)
        (0.5, 0.85)

    Source: Smith, "Cyclical learning rates for training neural networks", 2017.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: Any,
        max_lr: Any,
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[Any], Any] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.8,
        max_momentum: Any = 0.9,
        last_epoch: int = -1,
    ) -> None:
        self.begin(optimizer)
        name = "CyclicLR"
        base = for_groups(f"{name}: base_lr", optimizer, base_lr)
        self.max_lrs = for_groups(f"{name}: max_lr", optimizer, max_lr)
        up = float(positive(f"{name}: step_size_up", step_size_up))
        down = up if step_size_down is None else float(step_size_down)
        if not 0 <= down < math.inf:
            raise ArgumentError(
                f"{name}: step_size_down must be at least 0, it is {step_size_down}"
            )
        self.total_size = up + down
        self.step_ratio = up / self.total_size
        if scale_fn is None:
            one_of("triangular", "triangular2", "exp_range")(f"{name}: mode", mode)
            scale_mode = "iterations" if mode == "exp_range" else "cycle"
        elif not callable(scale_fn):
            raise ArgumentTypeError(f"{name}: scale_fn must be a function, it is {shown(scale_fn)}")
        one_of("cycle", "iterations")(f"{name}: scale_mode", scale_mode)
        self.mode, self.scale_mode, self._scale_fn = mode, scale_mode, scale_fn
        self.gamma = finite(f"{name}: gamma", gamma)
        if last_epoch == -1:
            for group, rate in zip(optimizer.param_groups, base, strict=True):
                group["lr"] = rate
        self._cycle(cycle_momentum, base_momentum, max_momentum, last_epoch)
        if self.cycle_momentum:
            self.base_momentums = for_groups("base_momentum", optimizer, base_momentum)
            self.max_momentums = for_groups("max_momentum", optimizer, max_momentum)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base

    def functions(self) -> list[Callable[..., Any]]:
        """Functions of the user's that steps call."""
        return super().functions() + ([] if self._scale_fn is None else [self._scale_fn])

    def scale_fn(self, x: Number) -> Number:
        """The height of cycle, or at step, x."""
        if self._scale_fn is not None:
            return self._scale_fn(x)
        if self.mode == "triangular":
            return 1.0
        return 1 / 2.0 ** (x - 1) if self.mode == "triangular2" else self.gamma**x

    def get_lr(self) -> list[Number]:
        """The rate of each group after this step."""
        count = self.last_epoch
        cycle = floor(1 + count / self.total_size)
        x = 1.0 + count / self.total_size - cycle
        ratio = self.step_ratio
        place = lazily(x <= ratio, lambda: x / ratio, lambda: (x - 1) / (ratio - 1))
        height = self.scale_fn(cycle if self.scale_mode == "cycle" else count)
        if self.cycle_momentum:
            momenta = zip(
                self.optimizer.param_groups, self.base_momentums, self.max_momentums, strict=True
            )
            for group, low, high in momenta:
                self.set_momentum(group, high - (high - low) * place * height)
        return [
            low + (high - low) * place * height
            for low, high in zip(self.base_lrs, self.max_lrs, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's form; of a function of the user's nothing, of an object its content."""
        content = getattr(self._scale_fn, "__dict__", None) or None
        return {**super().state_dict(), "_scale_fn_custom": content and dict(content)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`; the function stays that of this object."""
        new = self.checked_state(state_dict)
        content = new.pop("_scale_fn_custom")
        if content:
            vars(self._scale_fn).update(content)
        self._load(new)


class OneCycleLR(_Cycling):
    """The rate rises from max_lr / div_factor to `max_lr`, then falls far below its beginning.

    Args:
        optimizer: whose rates change.
        max_lr: the highest rate, for all groups or a list with one for each.
        total_steps: of the training; or epochs times steps_per_epoch.
        epochs, steps_per_epoch: in place of total_steps.
        pct_start: the share of the steps in which the rate rises.
        anneal_strategy: "cos" or "linear".
        cycle_momentum, base_momentum, max_momentum: whether the momentum (of Adam and its like:
            beta1) goes the other way, and between which ends.
        div_factor: max_lr over the first rate.
        final_div_factor: the first rate over the last one.
        three_phase: fall to the first rate as fast as it rose, then to the last one.
        last_epoch: where to go on; -1 begins anew.

    Raises:
        ArgumentError: an argument out of its range; eagerly also a step after the last one.
        DataError: in a compiled step, a step after the last one.

    Example:
        >>> import mynn
        >>> adam = mynn.optim.Adam(mynn.nn.Linear(2, 1).parameters())
        >>> schedule = mynn.optim.lr_scheduler.OneCycleLR(adam, max_lr=0.1, total_steps=10)
        >>> schedule.step(), schedule.step(), round(adam.lr, 12)
        (None, None, 0.1)

    Source: Smith and Topin, "Super-convergence", 2018.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: Any,
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: Any = 0.85,
        max_momentum: Any = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self.begin(optimizer)
        name = "OneCycleLR"
        if total_steps is not None:
            self.total_steps = positive(f"{name}: total_steps", total_steps)
        elif epochs is not None and steps_per_epoch is not None:
            each = positive(f"{name}: steps_per_epoch", steps_per_epoch)
            self.total_steps = positive(f"{name}: epochs", epochs) * each
        else:
            raise ArgumentError(f"{name}: give total_steps, or epochs and steps_per_epoch")
        one_of("cos", "linear")(f"{name}: anneal_strategy", anneal_strategy)
        self._anneal_func_type = anneal_strategy
        start = share(f"{name}: pct_start", pct_start)
        self._schedule_phases = phases(start, self.total_steps, three_phase)
        begin = 0.0
        for phase in self._schedule_phases:
            if phase["end_step"] == begin:
                raise ArgumentError(
                    f"{name}: with pct_start={pct_start} and {self.total_steps} steps a phase has "
                    "no step; give another pct_start, or more steps"
                )
            begin = phase["end_step"]
        highest = for_groups(f"{name}: max_lr", optimizer, max_lr)
        first = number(f"{name}: div_factor", div_factor)
        last = number(f"{name}: final_div_factor", final_div_factor)
        if first <= 0 or last <= 0:
            raise ArgumentError(f"{name}: div_factor and final_div_factor must be above 0")
        if last_epoch == -1:
            for group, most in zip(optimizer.param_groups, highest, strict=True):
                group["initial_lr"], group["max_lr"] = most / first, most
                group["min_lr"] = group["initial_lr"] / last
        self._cycle(cycle_momentum, base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Number]:
        """The rate of each group after this step."""
        count = self.last_epoch
        if isinstance(count, Tensor):
            require_range(count, "OneCycleLR", "steps", 0, self.total_steps)
        elif count > self.total_steps:
            raise ArgumentError(
                f"OneCycleLR: the schedule has {self.total_steps} steps, this is step {count}; "
                "give as many total_steps as there are in the training"
            )
        groups = self.optimizer.param_groups
        if self.cycle_momentum:
            for group in groups:
                self.set_momentum(group, self._annealed(group, count, "momentum"))
        return [self._annealed(group, count, "lr") for group in groups]

    def _annealed(self, group: ParamGroup, count: Number, what: str) -> Number:
        """The rate or the momentum of a group at a step."""
        begins = [0.0, *(phase["end_step"] for phase in self._schedule_phases)]

        def value(place: int) -> Number:
            phase = self._schedule_phases[place]

            def here() -> Number:
                return self._along(group, phase, begins[place], count, what)

            if place == len(self._schedule_phases) - 1:
                return here()
            return lazily(count <= phase["end_step"], here, lambda: value(place + 1))

        return value(0)

    def _along(
        self, group: ParamGroup, phase: Mapping[str, Any], begin: float, count: Number, what: str
    ) -> Number:
        """The value in one phase."""
        share = (count - begin) / (phase["end_step"] - begin)
        start, end = group[phase[f"start_{what}"]], group[phase[f"end_{what}"]]
        if self._anneal_func_type == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2.0 * (cos(math.pi * share) + 1)


def phases(start: float, steps: int, three: bool) -> list[dict[str, Any]]:
    """The phases of one cycle: their last steps, and the names of the values at their ends."""
    three = flag("OneCycleLR: three_phase", three)
    ends = [float(start * steps) - 1]
    ends += [float(2 * start * steps) - 2] if three else []
    rates = ["initial_lr", "max_lr", *(["initial_lr"] if three else []), "min_lr"]
    momenta = ["max_momentum", "base_momentum", "max_momentum", *["max_momentum"][:three]]
    return [
        {
            "end_step": end,
            "start_lr": rates[i],
            "end_lr": rates[i + 1],
            "start_momentum": momenta[i],
            "end_momentum": momenta[i + 1],
        }
        for i, end in enumerate([*ends, steps - 1])
    ]
