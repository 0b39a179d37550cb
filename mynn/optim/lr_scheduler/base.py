"""What schedules share: the count, the rates, state dicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mynn.base import notices
from mynn.base.arguments import check_constructor, number, shown
from mynn.errors import ArgumentError, ArgumentTypeError, UsageError
from mynn.optim.lr_scheduler.numbers import Number, State, Stateful, plain, put
from mynn.optim.optimizer import Optimizer
from mynn.optim.options import NOTES
from mynn.tensor import Tensor
from mynn.trace import free_variables, tracing
from mynn.trace.snapshot import snapshot

# What is no part of a state dict, or lies in it in another form.
_ASIDE = frozenset({"optimizer", "tensors", "schedulers", "_rates", "lr_lambdas", "_scale_fn"})
# Before the numbers of groups: the names of the rates after the last step.
_LAST = "last_lr."
# What PyTorch's state dicts hold of how its objects work.
_THEIRS = frozenset({"_step_count", "_last_lr", "_get_lr_called_within_step", "_is_initial"})


class LRScheduler(Stateful):
    """Base class of schedules: after each `step()` the rates are those of `get_lr()`.

    Args:
        optimizer: whose groups get the rates. `group["initial_lr"]` is the rate that each had.
        last_epoch: the number of the last step; -1 begins anew.

    `step()` belongs behind `optimizer.step()`: in the loop, or in the function that
    `mynn.compile` or `mynn.fit` take, where it runs natively with the step. There `last_epoch`,
    `group["lr"]` and what is computed of them are tensors: write `mynn.where` in place of `if`.

    A subclass defines `get_lr`, which returns a rate for each group, from `last_epoch`,
    `base_lrs` and the present `group["lr"]`.

    Example:
        >>> import mynn
        >>> from mynn.optim.lr_scheduler import LRScheduler
        >>> class Inverse(LRScheduler):
        ...     def get_lr(self):
        ...         return [rate / (1 + self.last_epoch) for rate in self.base_lrs]
        >>> sgd = mynn.optim.SGD(mynn.nn.Linear(2, 1).parameters(), lr=1.0)
        >>> schedule = Inverse(sgd)
        >>> schedule.step()
        >>> schedule.get_last_lr(), sgd.lr
        ([0.5], 0.5)
    """

    last_epoch = State()
    _is_initial = False

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        check_constructor(cls)

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self.begin(optimizer)
        groups = optimizer.param_groups
        for place, group in enumerate(groups):
            if last_epoch == -1:
                group.options.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ArgumentError(
                    f"{type(self).__name__}: last_epoch is {last_epoch}, but group {place} has no "
                    '"initial_lr"; load the state of the optimizer first, or leave last_epoch out'
                )
        self.base_lrs = [float(group["initial_lr"]) for group in groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def begin(self, optimizer: Any) -> None:
        """Take the optimiser, and make room for the rates that `get_last_lr` gives."""
        name = type(self).__name__
        if not isinstance(optimizer, Optimizer):
            raise ArgumentTypeError(
                f"{name}: optimizer must be one of mynn.optim, it is {shown(optimizer)}; give "
                "the optimizer whose learning rates are to change"
            )
        if tracing.active() is not None:
            notices.warn(
                "made",
                f"the schedule {name} is made inside a compiled function: that happens once, while "
                "it is traced. Make it outside, and call step() inside",
            )
        self.optimizer = optimizer
        self.note_rates()

    def _initial_step(self) -> None:
        self._is_initial = True
        try:
            self._update_lr(None)
        finally:
            del self._is_initial

    # -- what a schedule defines -------------------------------------------------------------------

    def get_lr(self) -> list[Number]:
        """The rate of each group after this step."""
        raise UsageError(
            f"{type(self).__name__} does not define get_lr; write def get_lr(self) in it, which "
            "returns a learning rate for each group"
        )

    # What computes the rates from the count alone, where there is such a formula.
    _get_closed_form_lr: Callable[[], list[Number]] | None = None

    def functions(self) -> list[Callable[..., Any]]:
        """Functions of the user's that steps call."""
        own = type(self).get_lr
        return [] if own.__module__.startswith("mynn.") else [self.get_lr]

    # -- what they share ---------------------------------------------------------------------------

    @property
    def rates(self) -> list[Number]:
        """The present rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def step(self, epoch: Any = None) -> None:
        """The next step; or step `epoch`, by the formula that needs no steps before it."""
        self.guard()
        self._update_lr(epoch)

    def guard(self) -> None:
        """A trace builds in what is plain about the schedule."""
        trace = tracing.active()
        if trace is not None:
            trace.guards.properties[self, "built_in"] = self.built_in
            for function in self.functions():
                trace.guards.keep_names(free_variables.scan(function))

    def _update_lr(self, epoch: Any) -> None:
        form = None
        if epoch is None:
            self.last_epoch = self.last_epoch + 1
        else:
            self.last_epoch, form = epoch, self._get_closed_form_lr
        rates = self.get_lr() if form is None else form()
        groups = self.optimizer.param_groups
        if len(rates) != len(groups):
            raise UsageError(
                f"{type(self).__name__}: there are {len(rates)} learning rates for "
                f"{len(groups)} groups; make the schedule after add_param_group"
            )
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate
        self.note_rates()

    def note_rates(self) -> None:
        """Keep the present rates for `get_last_lr`."""
        for place, rate in enumerate(self.rates):
            put(self.tensor(f"{_LAST}{place}"), rate)

    def get_last_lr(self) -> list[float]:
        """The rate of each group after the last step of this schedule."""
        groups = range(len(self.optimizer.param_groups))
        return [float(self.tensor(f"{_LAST}{place}").item()) for place in groups]

    def state(self) -> list[Tensor]:
        """The tensors that a step may change, those of the optimiser's groups too."""
        own = list(self.__dict__["tensors"].values())
        return own + [one for group in self.optimizer.param_groups for one in group.tensors()]

    @property
    def built_in(self) -> tuple[Any, ...]:
        """What a traced step has built in: plain attributes, and what groups have noted."""
        own = {name: value for name, value in vars(self).items() if name not in _ASIDE}
        notes = [
            value
            for group in self.optimizer.param_groups
            for name, value in group.options.items()
            if name in NOTES
        ]
        return snapshot(own), tuple(notes), tuple(self.functions())

    # -- state -------------------------------------------------------------------------------------

    def _states(self) -> list[str]:
        """The attributes that are state."""
        return [name for name in self.__dict__["tensors"] if not name.startswith(_LAST)]

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's form: all attributes but the optimiser; of functions, the objects' content."""
        own = {name: value for name, value in vars(self).items() if name not in _ASIDE}
        own |= {name: getattr(self, name) for name in self._states()}
        own["_step_count"] = own.get("last_epoch", 0) + 1
        own["_last_lr"] = self.get_last_lr()
        return {name: copied(value) for name, value in own.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of this class, here or in PyTorch; the optimiser's state has
        its rates, and is loaded by itself.

        Raises:
            ArgumentError: the state of another class, or for another number of groups. Nothing has
                been changed then.
        """
        if tracing.active() is not None:
            raise UsageError(
                f"load_state_dict of {type(self).__name__} inside a compiled function would run "
                "once, while it is traced; call it outside"
            )
        self._load(self.checked_state(state_dict))

    def checked_state(self, given: Any) -> dict[str, Any]:
        """A state dict that fits; raises `ArgumentError` otherwise."""
        where = f"load_state_dict of {type(self).__name__}"
        if not isinstance(given, Mapping):
            raise ArgumentTypeError(
                f"{where}: the state must be a dict, it is {shown(given)}; give what state_dict() "
                "returned"
            )
        own = self.state_dict()
        missing = sorted(set(own) - set(given) - _THEIRS)
        extra = sorted(set(map(str, given)) - set(own) - _THEIRS - {"verbose"})
        if missing or extra:
            wrong = f"lacks {', '.join(missing)}" if missing else f"has {', '.join(extra)}"
            raise ArgumentError(
                f"{where}: the state {wrong}, it is that of another schedule; known are "
                f"{', '.join(sorted(own))}"
            )
        new = {
            name: _like(f"{where}: {name}", mine, given[name])
            for name, mine in own.items()
            if name in given
        }
        for name in self._states():
            new[name] = number(f"{where}: {name}", new[name])
        return new

    def _load(self, new: dict[str, Any]) -> None:
        states = set(self._states())
        for place, rate in enumerate(new.pop("_last_lr", ())):
            put(self.tensor(f"{_LAST}{place}"), rate)
        for name, value in new.items():
            if name in states:
                setattr(self, name, value)
            elif name not in _THEIRS:
                vars(self)[name] = value

    def __repr__(self) -> str:
        return f"{type(self).__name__}(last_epoch={plain(self.__dict__['tensors']['last_epoch'])})"


def copied(value: Any) -> Any:
    """A copy of a plain value."""
    if isinstance(value, dict):
        return type(value)({key: copied(one) for key, one in value.items()})
    if isinstance(value, list):
        return [copied(one) for one in value]
    return value


def _like(what: str, own: Any, given: Any) -> Any:
    """A value from a state dict, of the kind that there is; JSON makes texts of keys."""
    if isinstance(own, dict) and isinstance(given, Mapping):
        return type(own)(
            {int(key) if str(key).isdecimal() else key: one for key, one in given.items()}
        )
    if isinstance(own, list | tuple) and not isinstance(given, str | Mapping):
        values = list(given)
        if len(values) != len(own):
            raise ArgumentError(
                f"{what} has {len(values)} values, here there are {len(own)}; it is that of an "
                "optimizer with other groups"
            )
        return type(own)(values)
    plain = bool | int | float | None
    if isinstance(own, plain) != isinstance(given, plain) or isinstance(own, str) != isinstance(
        given, str
    ):
        raise ArgumentError(f"{what} must be like {own!r}, it is {shown(given)}")
    return given
