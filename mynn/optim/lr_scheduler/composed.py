"""Several schedules together, or one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mynn.base.arguments import shown, whole_number
from mynn.errors import ArgumentError, ArgumentTypeError
from mynn.optim.lr_scheduler.base import LRScheduler
from mynn.optim.lr_scheduler.numbers import masked, passed
from mynn.optim.lr_scheduler.plateau import ReduceLROnPlateau
from mynn.optim.optimizer import Optimizer
from mynn.tensor import Tensor


class _Several(LRScheduler):
    """Schedules made of others."""

    schedulers: list[LRScheduler]

    def take(self, schedulers: Any, optimizer: Any) -> None:
        """Check the others, and the optimiser, which must be the same for all."""
        name = type(self).__name__
        if isinstance(schedulers, LRScheduler) or not isinstance(schedulers, Sequence):
            raise ArgumentTypeError(
                f"{name}: schedulers must be a list of schedules, it is {shown(schedulers)}"
            )
        if not schedulers:
            raise ArgumentError(f"{name}: the list of schedules is empty")
        for place, one in enumerate(schedulers):
            if not isinstance(one, LRScheduler):
                raise ArgumentTypeError(
                    f"{name}: schedulers[{place}] must be a schedule of "
                    f"mynn.optim.lr_scheduler, it is {shown(one)}"
                )
            if isinstance(one, ReduceLROnPlateau):
                raise ArgumentError(
                    f"{name}: schedulers[{place}] is a ReduceLROnPlateau, whose steps need a "
                    "measure; call it by itself"
                )
            optimizer = one.optimizer if optimizer is None else optimizer
            if one.optimizer is not optimizer:
                raise ArgumentError(
                    f"{name}: schedulers[{place}] belongs to another optimizer than the others"
                )
        self.schedulers = list(schedulers)
        self.begin(optimizer)

    @property
    def _schedulers(self) -> list[LRScheduler]:
        return self.schedulers

    def guard(self) -> None:
        """A trace builds in what is plain about the schedules."""
        super().guard()
        for one in self.schedulers:
            one.guard()

    def state(self) -> list[Tensor]:
        """The tensors that a step may change."""
        return list(
            dict.fromkeys([*super().state(), *(t for s in self.schedulers for t in s.state())])
        )

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's form, with the state dicts of the others."""
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self.schedulers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of such schedules."""
        new = self.checked_state(state_dict)
        inner = new.pop("_schedulers")
        for one, state in zip(self.schedulers, inner, strict=True):
            one.checked_state(state)
        for one, state in zip(self.schedulers, inner, strict=True):
            one.load_state_dict(state)
        self._load(new)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.schedulers))})"


class ChainedScheduler(_Several):
    """Several schedules, each of which makes a step each time: their factors are multiplied.

    Args:
        schedulers: of one optimiser; those that go by the present rate.
        optimizer: theirs.

    Example:
        >>> import mynn
        >>> from mynn.optim.lr_scheduler import ChainedScheduler, ConstantLR, ExponentialLR
        >>> sgd = mynn.optim.SGD(mynn.nn.Linear(2, 1).parameters(), lr=1.0)
        >>> both = [ConstantLR(sgd, factor=0.1, total_iters=1), ExponentialLR(sgd, gamma=0.5)]
        >>> schedule = ChainedScheduler(both, optimizer=sgd)
        >>> schedule.step(), sgd.lr
        (None, 0.5)
    """

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        self.take(schedulers, optimizer)

    def _update_lr(self, epoch: Any) -> None:
        for one in self.schedulers:
            one._update_lr(epoch)
        self.note_rates()


class SequentialLR(_Several):
    """Schedules one after the other: a warm-up, then a cosine.

    Args:
        optimizer: whose rates change.
        schedulers: of this optimiser.
        milestones: the counts of steps at which the second, third, ... begins.
        last_epoch: where to go on; -1 begins anew.

    Example:
        >>> import mynn
        >>> from mynn.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
        >>> sgd = mynn.optim.SGD(mynn.nn.Linear(2, 1).parameters(), lr=1.0)
        >>> parts = [LinearLR(sgd, 0.25, total_iters=3), CosineAnnealingLR(sgd, T_max=2)]
        >>> schedule = SequentialLR(sgd, parts, milestones=[3])
        >>> rates = [sgd.lr]
        >>> for _ in range(5):
        ...     schedule.step()
        ...     rates.append(round(sgd.lr, 12))
        >>> rates
        [0.25, 0.5, 0.75, 1.0, 0.5, 0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        self.take(schedulers, optimizer)
        name = "SequentialLR"
        self._milestones = [whole_number(f"{name}: milestones", one) for one in milestones]
        if len(self._milestones) != len(self.schedulers) - 1:
            raise ArgumentError(
                f"{name}: there are {len(self._milestones)} milestones for {len(self.schedulers)} "
                "schedules; give one fewer than schedules, where each next one begins"
            )
        if self._milestones != sorted(self._milestones):
            raise ArgumentError(f"{name}: milestones must rise, they are {self._milestones}")
        self.last_epoch = last_epoch + 1
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._undo(self)
        self.schedulers[passed(self._milestones, 0)]._initial_step()
        self.note_rates()

    def _undo(self, scheduler: LRScheduler) -> None:
        """Take back the first step that schedules make when they are made."""
        if isinstance(scheduler, _Several):
            for one in scheduler.schedulers:
                self._undo(one)
        else:
            scheduler.last_epoch = scheduler.last_epoch - 1

    def _update_lr(self, epoch: Any) -> None:
        if epoch is not None:
            self.last_epoch = epoch
            place = passed(self._milestones, epoch)
            begin = self._milestones[place - 1] if place else 0
            self.schedulers[place]._update_lr(epoch - begin)
            self.note_rates()
            return
        self.last_epoch = self.last_epoch + 1
        count = self.last_epoch
        if not isinstance(count, Tensor):
            place = passed(self._milestones, count)
            again = place > 0 and self._milestones[place - 1] == count
            self.schedulers[place]._update_lr(0 if again else None)
            self.note_rates()
            return
        begins = [-1, *self._milestones]
        for place, one in enumerate(self.schedulers):
            last = place == len(self.schedulers) - 1
            until = True if last else count < begins[place + 1]
            if place:
                again = (count == begins[place]) & until
                masked(again, one.state(), partial(one._update_lr, 0))
            along = (count > begins[place]) & until
            masked(along, one.state(), partial(one._update_lr, None))
        self.note_rates()
