"""The base of optimisers: groups of parameters, their options, and the state that an update keeps.

`step()` is made of `Tensor` operations and `.assign` alone, on tensors made in the constructor, so
that a traced step finds them as program state. The learning rate is a tensor too: a new value
needs no new program.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np

from mynn import tracing
from mynn.errors import ArgumentError, ShapeError, UsageError
from mynn.graph import Array
from mynn.jit import guards
from mynn.runtime.buffers import axis_order
from mynn.tensor import Parameter, Tensor, no_grad


def check_range(name: str, value: Any, low: float, high: float = math.inf) -> float:
    """`value` as a float in [low, high) (so that it is finite), or `ArgumentError` naming it."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ArgumentError(f"{name} must be a number, it is {value!r}") from None
    if not low <= number < high:
        limits = f"at least {low:g} and finite" if high == math.inf else f"in [{low:g}, {high:g})"
        raise ArgumentError(f"{name} must be {limits}, it is {value}")
    return number


# Attributes that are this class's own; `signature` stands for what a trace builds in of them.
_OWN = frozenset({"defaults", "param_groups", "state", "_splits", "_kept"})


class ParamGroup(MutableMapping[str, Any]):
    """Parameters and their options, used as the dicts in PyTorch's `param_groups` are.

    `group["lr"]` reads as a number, and setting it changes the tensor `rate` in place, so that
    compiled steps see it. Inside a traced function it reads as that tensor, and setting it writes
    program state.
    """

    def __init__(self, params: list[Parameter], options: Mapping[str, Any]) -> None:
        self.options = {"params": params, **options}
        self.rate = Tensor.from_value(np.array(check_range("lr", options["lr"], 0.0)))
        self.rate.name = "lr"

    def __getitem__(self, key: str) -> Any:
        if key != "lr":
            return self.options[key]
        return self.rate if tracing.active() is not None else float(self.rate.data)

    def __setitem__(self, key: str, value: Any) -> None:
        if key != "lr":
            self.options[key] = value
        elif isinstance(value, Tensor) and tracing.active() is not None:
            self.rate.assign(value.reshape(()))
        else:
            self.rate.assign(np.array(check_range("lr", value, 0.0)))

    def __delitem__(self, key: str) -> None:
        raise UsageError(f"the option {key!r} of a group cannot be taken away")

    def __iter__(self) -> Iterator[str]:
        return iter(self.options)

    def __len__(self) -> int:
        return len(self.options)

    def __repr__(self) -> str:
        return repr(dict(self))


class Optimizer:
    """Base class of optimisers.

    Args:
        params: parameters; or (name, parameter) pairs; or dicts with "params" and options that
            stand in place of the defaults for them.
        defaults: options of every group.

    A subclass makes its slots in `make_slots` and updates a group in `update`, with operations of
    tensors and `assign` alone.

    Example:
        >>> from mynn import nn
        >>> from mynn.optim.optimizer import Optimizer
        >>> class SignSGD(Optimizer):
        ...     def update(self, group, params):
        ...         for p in params:
        ...             p.assign(p.detach() - group.rate.astype(p.dtype) * p.grad.sign())
        >>> optimizer = SignSGD(nn.Linear(2, 1).parameters(), {"lr": 0.1, "weight_decay": 0.0})
    """

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]) -> None:
        self.defaults = dict(defaults)
        self.param_groups: list[ParamGroup] = []
        self.state: dict[Tensor, dict[str, Tensor]] = {}
        self._splits = 0
        self._kept: set[str] = set()
        entries: list[Any] = [params] if isinstance(params, Tensor) else list(params)
        if not entries:
            raise ArgumentError(f"{type(self).__name__}: the list of parameters is empty")
        grouped = isinstance(entries[0], Mapping)
        for group in entries if grouped else [{"params": entries}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Train more parameters, with options of their own."""
        unknown = set(param_group) - set(self.defaults) - {"params"}
        if unknown:
            known = ", ".join(self.defaults)
            raise ArgumentError(
                f"{type(self).__name__}: a group has unknown options {sorted(unknown)}; "
                f"known are {known}"
            )
        options = {key: param_group.get(key, value) for key, value in self.defaults.items()}
        self.check(options)
        params = _parameters(type(self).__name__, param_group.get("params"))
        for place, parameter in enumerate(params):
            if parameter in self.state or any(parameter is other for other in params[:place]):
                raise ArgumentError(
                    f"{type(self).__name__}: parameter {parameter.name or parameter.shape} is "
                    "given twice"
                )
        self.state.update((parameter, {}) for parameter in params)
        group = ParamGroup(params, options)
        self.make_slots(group)
        self.param_groups.append(group)

    # -- what an optimiser defines -----------------------------------------------------------------

    def check(self, options: Mapping[str, Any]) -> None:
        """Raise `ArgumentError` where an option is out of its range."""
        check_range("lr", options["lr"], 0.0)
        check_range("weight_decay", options["weight_decay"], 0.0)

    def make_slots(self, group: ParamGroup) -> None:
        """Make the state of a group's parameters, where it is not there yet."""

    def update(self, group: ParamGroup, params: list[Parameter]) -> None:
        """Change those parameters of a group that have a gradient; called under `no_grad`."""
        raise NotImplementedError

    # -- what they share ---------------------------------------------------------------------------

    def slot(self, parameter: Parameter, name: str) -> None:
        """Zeros with the parameter's shape, dtype and memory order: `state[parameter][name]`."""
        if name not in self.state[parameter]:
            zeros = Tensor.from_value(np.zeros(parameter.shape, parameter.dtype))
            zeros.home(axis_order(parameter.data))
            self.state[parameter][name] = zeros

    def counter(self, group: ParamGroup) -> None:
        """A count of updates, one for a group until some of its parameters are left out."""
        new = [p for p in group["params"] if "step" not in self.state[p]]
        if new:
            shared = _count(0.0)
            for parameter in new:
                self.state[parameter]["step"] = shared

    def advance(self, params: list[Parameter]) -> list[tuple[Tensor, list[Parameter]]]:
        """Add 1 to the counts of `params`; returns each with the parameters that share it."""
        cohorts: dict[Tensor, list[Parameter]] = {}
        for parameter in params:
            cohorts.setdefault(self.state[parameter]["step"], []).append(parameter)
        for step, members in cohorts.items():
            together = set(members)
            sharing = [p for p, slots in self.state.items() if slots.get("step") is step]
            self._split(step, [p for p in sharing if p not in together])
            step.assign(step + 1.0)
        return list(cohorts.items())

    def _split(self, step: Tensor, params: list[Any], value: float | None = None) -> None:
        """Give `params` a count of their own, which starts from the present one or from `value`."""
        if params:
            own = _count(float(step.data) if value is None else value)
            for parameter in params:
                self.state[parameter]["step"] = own
            self._splits += 1

    @property
    def signature(self) -> tuple[Any, ...]:
        """What a traced step has built in: options but lr, what is trained, who shares a count."""
        groups = tuple(
            (
                *(value for key, value in group.options.items() if key not in ("lr", "params")),
                *(p.requires_grad for p in group["params"]),
            )
            for group in self.param_groups
        )
        return (self._splits, *groups)

    def step(self) -> None:
        """Update every parameter that has a gradient."""
        tracer = tracing.active()
        if tracer is not None:
            self._name_slots()
        with no_grad():
            for group in self.param_groups:
                trained = [p for p in group["params"] if p.requires_grad and p.grad is not None]
                if trained:
                    self.make_slots(group)
                    self.update(group, trained)
        if tracer is not None:
            tracer.guards[self, "signature"] = self.signature
            self._keep(tracer)

    def _keep(self, tracer: tracing.Tracer) -> None:
        """The trace has built in whatever plain attributes a subclass has."""
        for name, value in vars(self).items():
            if name not in _OWN:
                self._kept.add(name)
                tracer.keep(self, name, value)
        for kind in type(self).__mro__:
            if not kind.__module__.startswith("mynn.") and kind is not object:
                for name, value in vars(kind).items():
                    if not name.startswith("__") and guards.is_plain(value):
                        self._kept.add(name)
                        tracer.keep_default(kind, name, value)
                        if name not in vars(self):
                            tracer.keep_absence(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        if name in self.__dict__.get("_kept", ()):
            tracing.note_edit()

    def _name_slots(self) -> None:
        """Names for the printed graph: `0.weight.momentum_buffer`."""
        for parameter, slots in self.state.items():
            for name, slot in slots.items():
                if name != "step" and parameter.name:
                    slot.name = f"{parameter.name}.{name}"

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or set them to zeros."""
        for parameter in self.state:
            zero = not set_to_none and parameter.grad is not None
            parameter.grad = np.zeros(parameter.shape, parameter.dtype) if zero else None

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
        """PyTorch's form, with arrays.

        `{"state": {number: {name: array}}, "param_groups": [{..., "params": [numbers]}]}`
        """
        numbers = {parameter: i for i, parameter in enumerate(self.state)}
        return {
            "state": {
                numbers[p]: {name: slot.numpy() for name, slot in slots.items()}
                for p, slots in self.state.items()
                if slots
            },
            "param_groups": [
                {**group, "params": [numbers[p] for p in group["params"]]}
                for group in self.param_groups
            ],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of this class, here or in PyTorch.

        Slots that it lacks stay at zero, as before the first step.

        Raises:
            ArgumentError: other groups. ShapeError: another shape. Nothing has been changed then.
        """
        given = list(state_dict["param_groups"])
        sizes = [len(group["params"]) for group in given]
        own = [len(group["params"]) for group in self.param_groups]
        if sizes != own:
            raise ArgumentError(
                f"{type(self).__name__}: the state has groups of {sizes} parameters, "
                f"there are {own}"
            )
        numbers = [number for group in given for number in group["params"]]
        order = [p for group in self.param_groups for p in group["params"]]
        plan = self._matched(state_dict["state"], dict(zip(numbers, order, strict=True)))
        for new, group in zip(given, self.param_groups, strict=True):
            options = {key: new[key] for key in self.defaults if key in new}
            self.check({**group, **options})
        for new, group in zip(given, self.param_groups, strict=True):
            for key in self.defaults:
                if key in new:
                    group[key] = new[key]
        for parameter, name, value in plan:
            slot = self.state[parameter][name]
            if name == "step" and float(slot.data) != value:
                self._set_count(parameter, {p: float(v) for p, n, v in plan if n == name})
            slot = self.state[parameter][name]
            slot.data = value

    def _set_count(self, parameter: Parameter, values: Mapping[Any, float]) -> None:
        """Part from those who share a count with the parameter and are to have another value."""
        step = self.state[parameter]["step"]
        others = [
            p
            for p, slots in self.state.items()
            if slots.get("step") is step and values[p] != values[parameter]
        ]
        self._split(step, others)

    def _matched(
        self, state: Mapping[int, Mapping[str, Any]], parameters: Mapping[int, Parameter]
    ) -> list[tuple[Parameter, str, Array]]:
        """The values that the slots are to have, with their shapes checked."""
        plan = []
        for number, parameter in parameters.items():
            given = state.get(number, {})
            for name, slot in self.state[parameter].items():
                # PyTorch's SGD keeps no count: its buffer tells that a step was made.
                started = name == "step" and any(other is not None for other in given.values())
                value = np.full(slot.shape, float(started), slot.dtype)
                if given.get(name) is not None:
                    value = np.asarray(given[name])
                if value.shape != slot.shape:
                    raise ShapeError(
                        f"{type(self).__name__}: {name} of {parameter.name or number} has shape "
                        f"{slot.shape}, the state {value.shape}"
                    )
                plan.append((parameter, name, value))
        return plan

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {key}: {value}" for key, value in group.items() if key != "params"]
        return "\n".join([*lines, ")"])


def _count(value: float) -> Tensor:
    count = Tensor.from_value(np.array(value))
    count.name = "step"
    return count


def _parameters(name: str, params: Any) -> list[Parameter]:
    """A group's parameters as a list, checked."""
    if params is None:
        raise ArgumentError(f'{name}: a group needs "params"')
    entries = [params] if isinstance(params, Tensor) else list(params)
    result: list[Any] = [one[1] if isinstance(one, tuple) else one for one in entries]
    for entry in result:
        if not isinstance(entry, Tensor) or entry.value is None or entry.dtype.kind != "f":
            raise ArgumentError(
                f"{name}: parameters are float tensors made outside a trace, one is {entry!r}"
            )
    return result
