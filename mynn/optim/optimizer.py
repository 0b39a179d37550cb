"""The base of optimisers: groups of parameters, their options, and the state that an update keeps.

`step()` is made of `Tensor` operations and `.assign` alone, on tensors made in the constructor, so
that a traced step finds them as program state. The learning rate is a tensor too: a new value
needs no new program.
"""

from __future__ import annotations

import copy
import functools
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from mynn.base import forks, notices, recording, sharing
from mynn.base.arguments import check_constructor
from mynn.errors import ArgumentError, ArgumentTypeError, UsageError
from mynn.optim import saved
from mynn.optim.closures import evaluated
from mynn.optim.options import (
    IMPLEMENTATION,
    NO_OPERATION,
    Check,
    ParamGroup,
    between,
    check_note,
    checked_parameters,
    listed,
    refuse_option,
    switch,
)
from mynn.optim.rows import refuse_sparse
from mynn.optim.slots import Slots, State, loaded
from mynn.target.storage import allocate, axis_order
from mynn.tensor import Parameter, Tensor, no_grad
from mynn.tensor.gradients.history import array_of, clear
from mynn.tensor.state_dict import StateDict
from mynn.tensor.view import value_of
from mynn.trace import tracing
from mynn.trace.guards import Guards
from mynn.trace.snapshot import is_plain

# Attributes that are this class's own; `signature` stands for what a trace builds in of them.
_OWN = frozenset({"defaults", "param_groups", "state", "_splits", "_kept", "_recorded"})

# Options that no trace builds in.
_NOT_BUILT_IN = frozenset({"lr", "params", *NO_OPERATION})

# Eager steps of all optimisers, and what they make while a step is traced.
_turns = forks.register(threading.RLock())


class Optimizer:
    """Base class of optimisers.

    Args:
        params: parameters; or (name, parameter) pairs; or dicts with "params" and options that
            stand in place of the defaults for them.
        defaults: options of every group.

    A subclass makes its slots in `make_slots` and updates a group in `update`, with operations of
    tensors and `assign` alone.

    Safe from several threads: steps, and copies of the state, take turns.

    Example:
        >>> from mynn import nn
        >>> from mynn.optim.optimizer import Optimizer
        >>> class SignSGD(Optimizer):
        ...     def update(self, group, params):
        ...         for p in params:
        ...             p.assign(p.detach() - group.rate.astype(p.dtype) * p.grad.sign())
        >>> optimizer = SignSGD(nn.Linear(2, 1).parameters(), {"lr": 0.1, "weight_decay": 0.0})
    """

    # The range of each option. A subclass adds its own.
    ranges: ClassVar[Mapping[str, Check]] = {
        "lr": between(0.0),
        "weight_decay": between(0.0),
        "maximize": switch,
        **IMPLEMENTATION,
    }

    # Numbers that parameters of a group share until some are left out, with their first values.
    shared: ClassVar[Mapping[str, float]] = {"step": 0.0}

    # An option whose value tells this class from another one.
    kind: ClassVar[str | None] = None

    # Attributes that every optimiser has.
    own_attributes: ClassVar[frozenset[str]] = _OWN

    # Whether it needs sparse gradients, which no program of a tape gives back.
    needs_sparse: ClassVar[bool] = False

    # Whether `step` is written by a user, as in PyTorch.
    has_own_step: ClassVar[bool] = False

    # Whether the update of a parameter depends on no gradient of others.
    by_parameter: ClassVar[bool] = False

    # What to do where a gradient is sparse, for those that refuse it, as in PyTorch.
    without_sparse: ClassVar[str | None] = None

    defaults: dict[str, Any]
    param_groups: list[ParamGroup]
    state: State
    _splits: int
    _kept: set[str]

    def __init_subclass__(cls, **named: Any) -> None:
        super().__init_subclass__(**named)
        check_constructor(cls)
        if "step" in vars(cls) and not cls.__module__.startswith("mynn."):
            from mynn.optim.own_step import watched  # most programs have no such class

            cls.has_own_step = True
            type.__setattr__(cls, "step", watched(vars(cls)["step"]))

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]) -> None:
        if tracing.active() is not None:
            notices.warn(
                "made",
                f"the optimizer {type(self).__name__} is made inside a compiled function: that "
                "happens once, while it is traced, and every call goes on with its state, where "
                "Python would begin anew. Make it outside",
            )
        vars(self).update(
            defaults=dict(defaults), param_groups=[], state=State(self), _splits=0, _kept=set()
        )
        if isinstance(params, Tensor):
            raise ArgumentTypeError(
                f"{type(self).__name__}: params must be a list of parameters, it is one tensor of "
                f"shape {params.shape}; give [parameter] or net.parameters()"
            )
        entries = listed(type(self).__name__, params)
        if not entries:
            raise ArgumentError(
                f"{type(self).__name__}: the list of parameters is empty; give net.parameters()"
            )
        grouped = isinstance(entries[0], Mapping)
        for group in entries if grouped else [{"params": entries}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Train more parameters, with options of their own."""
        notes = {k: v for k, v in param_group.items() if k != "params" and k not in self.defaults}
        for name in notes:
            check_note(f"{type(self).__name__}: a group", name, self.defaults)
        options = {key: param_group.get(key, value) for key, value in self.defaults.items()}
        self.check(options)
        params, names = checked_parameters(type(self).__name__, param_group.get("params"))
        if any(bool(names) != ("param_names" in group) for group in self.param_groups):
            raise ArgumentError(
                f"{type(self).__name__}: some groups have names of parameters, others have none; "
                "give (name, parameter) pairs in all of them or in none"
            )
        known = {id(p) for group in self.param_groups for p in group["params"]}
        for place, parameter in enumerate(params):
            if id(parameter) in known or any(parameter is other for other in params[:place]):
                raise ArgumentError(
                    f"{type(self).__name__}: parameter {parameter.name or parameter.shape} is "
                    "given twice"
                )
        self.state.adopt((p, self._nothing()) for p in params if p not in self.state)
        if names:
            options["param_names"] = names
        group = ParamGroup(params, options, type(self).__name__, self.check, notes)
        self.make_slots(group)
        self.param_groups.append(group)

    # -- what an optimiser defines -----------------------------------------------------------------

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise `ArgumentError` where an option is out of its range, or does not go with others."""
        for name, check in self.ranges.items():
            if name in options:
                check(name, options[name])
        if options.get("foreach") and options.get("fused"):
            raise UsageError("foreach and fused cannot both be True; leave one of them out")

    def check_gradients(self, group: ParamGroup, params: list[Parameter]) -> None:
        """Raise, before anything is changed, where the gradients are of a kind that does not do."""
        if self.without_sparse is not None:
            refuse_sparse(type(self).__name__, params, self.without_sparse)

    def make_slots(self, group: ParamGroup) -> None:
        """Make the state of a group's parameters, where it is not there yet."""

    def update(self, group: ParamGroup, params: list[Parameter]) -> None:
        """Change those parameters of a group that have a gradient; called under `no_grad`."""
        raise UsageError(
            f"{type(self).__name__} does not define update; write def update(self, group, params) "
            "in it"
        )

    # -- what they share ---------------------------------------------------------------------------

    def slot(
        self,
        parameter: Parameter,
        name: str,
        value: float = 0.0,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        """Numbers with the parameter's shape, dtype and memory order: `state[parameter][name]`."""
        slots = self.state[parameter]
        if name in slots:
            return
        like = array_of(parameter)
        if shape is None:
            numbers = allocate(like.shape, like.dtype, axis_order(like))
            if value:
                numbers[...] = value
            made = Tensor.from_value(numbers)
            made.is_native = True
        else:
            made = Tensor.from_value(np.full(shape, value, like.dtype))
        slots.begin({name: made}, {name: value})

    def _nothing(self) -> Any:
        """What is kept for a parameter at first; a class that makes no slots may keep anything."""
        own = type(self).make_slots is not Optimizer.make_slots
        return Slots() if own or type(self).__module__.startswith("mynn.") else {}

    def counter(self, group: ParamGroup) -> None:
        """A count of updates, one for a group until some of its parameters are left out.

        So are the other numbers that `shared` names.
        """
        new = [p for p in group["params"] if "step" not in self.state[p]]
        if new:
            numbers = {name: _number(name, value) for name, value in self.shared.items()}
            for parameter in new:
                self.state[parameter].begin(numbers, self.shared)

    def advance(self, params: list[Parameter]) -> list[tuple[Tensor, list[Parameter]]]:
        """Add 1 to the counts of `params`; returns each with the parameters that share it."""
        cohorts: dict[Tensor, list[Parameter]] = {}
        for parameter in params:
            cohorts.setdefault(self.state[parameter]["step"], []).append(parameter)
        for step, members in cohorts.items():
            together = set(members)
            users = [p for p, slots in self.state.items() if slots.get("step") is step]
            self._split([p for p in users if p not in together])
            step.assign(step + 1.0)
        return list(cohorts.items())

    def part(self, params: list[Any]) -> None:
        """Give `params` numbers of their own, where they share some with others."""
        for parameter in params:
            step = self.state[parameter].get("step")
            sharers = [s for s in self.state.values() if step is not None and s.get("step") is step]
            if self.shared.keys() <= self.state[parameter].keys() and len(sharers) > 1:
                self._split([parameter])

    def _split(self, params: list[Any]) -> None:
        """Give `params` a count of their own, which starts from the present one."""
        if params:
            slots = self.state[params[0]]
            own = {name: _number(name, float(array_of(slots[name]))) for name in self.shared}
            for parameter in params:
                self.state[parameter].begin(own, self.shared)
            self._splits += 1

    @property
    def signature(self) -> tuple[Any, ...]:
        """What a traced step has built in: options but lr, what is trained, who shares a count."""
        found: list[Any] = [self._splits]  # looked at before every step, so it is made in a hurry
        for group in self.param_groups:
            options = group.options
            found += [options[key] for key in options if key not in _NOT_BUILT_IN]
            found += [parameter.requires_grad for parameter in options["params"]]
        if self.has_own_step:
            from mynn.optim.own_step import built_in

            found += built_in(self)
        return tuple(found)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient.

        A `closure` computes the loss and its gradients anew before the update; its result is
        returned.

        From several threads: whole steps, one after the other, also among those of compiled steps.
        """
        loss = None if closure is None else evaluated(type(self).__name__, closure)
        recording.run_at_once(self._run)() if self.needs_sparse else self._run()
        return loss

    def _run(self) -> None:
        trace = tracing.active()
        if trace is None:
            if recording.current.tape is not None:
                recording.current.tape.step(self)
                return
            tensors = self._tensors()
            if recording.waiting:
                for parameter in self.state:  # gradients that were put off, or are put off values
                    if parameter.grad is not None:
                        value_of(parameter.grad)
                recording.settle(tensors)
            sharing.claim(tensors)
            if recording.runs:  # what they read is remembered before there are locks to be held
                for tensor in tensors:
                    recording.before_write(tensor)
            with _turns:
                recording.hold(_turns)
                update = _programs().update_of(self, tensors)
                step = self._step if update is None else update.take
                sharing.run_whole(step, tensors, write=True, noted=True)
            return
        with _turns:  # two traces at once find the same slots
            self.state.name_slots(self.shared)
            self._step()
        trace.guards.properties[self, "signature"] = self.signature
        self._keep(trace.guards)

    def _step(self) -> None:
        with no_grad():
            for group in self.param_groups:
                trained = [p for p in group["params"] if p.requires_grad and p.grad is not None]
                if trained:
                    self.check_gradients(group, trained)
                    self.make_slots(group)
                    self.update(group, trained)

    def _tensors(self) -> list[Tensor]:
        """The parameters and what is kept for them."""
        return self.state.tensors()

    def _keep(self, guards: Guards) -> None:
        """The trace has built in whatever plain attributes a subclass has."""
        for name, value in vars(self).items():
            if name not in _OWN:
                self._kept.add(name)
                guards.keep(self, name, value)
        for base in type(self).__mro__:
            if not base.__module__.startswith("mynn.") and base is not object:
                for name, value in vars(base).items():
                    if not name.startswith("__") and is_plain(value):
                        self._kept.add(name)
                        guards.keep_default(base, name, value)
                        if name not in vars(self):
                            guards.keep_absence(self, name)

    def __setstate__(self, copied: dict[str, Any]) -> None:
        vars(self).update(copied, state=State(self, copied["state"]))

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "state" and name in self.__dict__:
            self.state.replace(value)
            return
        new = name not in self.__dict__ and not hasattr(type(self), name)
        if new and sys._getframe(1).f_locals.get("self") is not self:  # no method of a subclass
            refuse_option(type(self).__name__, name, value, self.__dict__.get("defaults", ()))
        object.__setattr__(self, name, value)
        if name in self.__dict__.get("_kept", ()):
            tracing.activity.note_edit()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to zeros."""
        if set_to_none and tracing.active() is None:
            for parameter in self.state:
                if parameter._grad is not None:
                    parameter._grad = None
            return
        for parameter in self.state:
            clear(parameter, set_to_none)

    @property
    def lr(self) -> Any:
        """The learning rate of the first group; setting it sets it in all groups."""
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: Any) -> None:
        for group in self.param_groups:
            group["lr"] = value

    # -- state -------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's form: `{"state": {number: {name: tensor}}, "param_groups": [...]}`.

        Each group is its options and the numbers of its parameters, "params". The tensors share the
        memory of what the optimizer keeps, as in PyTorch: `copy.deepcopy(...)` keeps the values of
        now.
        """
        numbers = {parameter: i for i, parameter in enumerate(self.state)}
        return StateDict(
            state=self.state.shared(),
            param_groups=[
                {**group, "params": [numbers[p] for p in group["params"]]}
                for group in self.param_groups
            ],
        )

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of this class, here or in PyTorch.

        It may have gone through JSON (numbers of parameters as texts, lists) or `np.savez`.
        Parameters that it has nothing for start from zero, as before the first step.

        Raises:
            ArgumentError: the state of another class or of other groups. ShapeError: another shape.
                DTypeError: no numbers. Nothing has been changed then.
        """
        name = type(self).__name__
        if tracing.active() is not None:
            raise UsageError(
                f"load_state_dict of {name} inside a compiled function would run once, while it is "
                "traced; call it outside"
            )
        new = saved.read(name, self.defaults, self.kind, state_dict, saved.options_of(Optimizer))
        sizes = [len(numbers) for numbers in new.numbers]
        own = [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise ArgumentError(
                f"{name}: the state has groups of {sizes} parameters, there are {own}"
            )
        slots = {parameter: copy.copy(slots) for parameter, slots in self.state.items()}
        before = [dict(group.options) for group in self.param_groups]
        order = [p for group in self.param_groups for p in group["params"]]
        try:
            self._set_options(new.options)
            free = [type(self.state[p]) is not Slots for p in order]
            plan = [] if any(free) else saved.matched(name, new, order, self.state)
        except Exception:
            for group, options in zip(self.param_groups, before, strict=True):
                group.options.update(options)
            self.state.adopt(slots.items())
            raise
        for group, options, notes in zip(self.param_groups, new.options, new.notes, strict=True):
            group.adopt_state(options)
            group.notes = dict(notes)

        def put() -> None:
            if any(free):
                self.state.adopt(loaded(new, order))
            for parameter, slot_name, value in plan:
                if slot_name in self.shared:
                    self._part(parameter, plan)
                self.state[parameter][slot_name].data = value

        sharing.run_whole(put, self._tensors(), write=True, noted=True)

    def _set_options(self, new: list[dict[str, Any]]) -> None:
        """All options but the rate, checked together, and the slots that they ask for."""
        for group, options in zip(self.param_groups, new, strict=True):
            self.check({**group, **options})
            group.adopt(options)
            self.make_slots(group)

    def _part(self, parameter: Parameter, plan: list[tuple[Parameter, str, Any]]) -> None:
        """Part from those who share numbers with the parameter and are to have others."""
        values: dict[Any, list[float]] = {}
        for p, name, value in plan:
            if name in self.shared:
                values.setdefault(p, []).append(float(value))
        step = self.state[parameter]["step"]
        self._split(
            [
                p
                for p, slots in self.state.items()
                if slots.get("step") is step and values[p] != values[parameter]
            ]
        )

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            options = sorted((key, value) for key, value in group.items() if key != "params")
            lines += [f"    {key}: {value}" for key, value in options]
        return "\n".join([*lines, ")"])


@functools.cache
def _programs() -> Any:
    """Steps as programs, which come with the first step."""
    with forks.loading:
        from mynn.optim import at_once

    return at_once


def _number(name: str, value: float) -> Tensor:
    number = Tensor.from_value(np.array(value))
    number.name = name
    return number
