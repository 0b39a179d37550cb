"""Groups of parameters with their options, and what is checked about options."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from mynn.base.arguments import in_range, nearest, shown, truth
from mynn.errors import ArgumentError, UsageError
from mynn.tensor import Parameter, Tensor
from mynn.tensor.view import value_of
from mynn.trace import tracing

# What others call an option.
_ALIASES = {
    "learning_rate": "lr",
    "learningrate": "lr",
    "rate": "lr",
    "eta": "lr",
    "l2": "weight_decay",
    "decay": "weight_decay",
    "epsilon": "eps",
    "beta": "betas",
    "beta1": "betas",
    "beta2": "betas",
}
# Raises where an option, of that name and value, is out of its range.
Check = Callable[[str, Any], Any]


def between(low: float, high: float = math.inf) -> Check:
    """A number in [low, high), so that it is finite."""
    return lambda name, value: in_range(name, value, low, high)


def above(low: float) -> Check:
    """A finite number above `low`."""

    def check(name: str, value: Any) -> None:
        if in_range(name, value, low, math.inf) <= low:
            raise ArgumentError(f"{name} must be above {low:g}, it is {value}")

    return check


def pair_between(low: float, high: float) -> Check:
    """Two numbers in [low, high)."""

    def check(name: str, value: Any) -> None:
        if not isinstance(value, Sequence) or len(value) != 2:
            raise ArgumentError(f"{name} must be two numbers (b1, b2), they are {value!r}")
        for i, one in enumerate(value):
            in_range(f"{name}[{i}]", one, low, high)

    return check


def switch(name: str, value: Any) -> None:
    """True or False, or None for False; a text would count as true."""
    if value is not None and value is not False and value is not True:
        truth(name, value)


def closed(low: float, high: float) -> Check:
    """A number in [low, high]."""

    def check(name: str, value: Any) -> None:
        if in_range(name, value, low) > high:
            raise ArgumentError(f"{name} must be in [{low:g}, {high:g}], it is {value}")

    return check


def one_of(*choices: Any) -> Check:
    """One of a few values."""

    def check(name: str, value: Any) -> None:
        if not any(value is one or value == one for one in choices):
            known = ", ".join(map(repr, choices))
            raise ArgumentError(f"{name} must be one of {known}, it is {shown(value)}")

    return check


def _not_differentiable(name: str, value: Any) -> None:
    switch(name, value)
    if value:
        raise UsageError(
            "differentiable=True is not there: steps do not remember where they came from; compute "
            "p - lr * g with g = mynn.autograd.grad(loss, p, create_graph=True)"
        )


# Options of PyTorch's optimisers that say how it computes, not what. They are taken, and change
# nothing.
IMPLEMENTATION: dict[str, Check] = {
    "foreach": switch,
    "fused": switch,
    "capturable": switch,
    "differentiable": _not_differentiable,
}
# What schedules note in groups.
NOTES = frozenset({"initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr"})
NO_OPERATION = frozenset({*IMPLEMENTATION, *NOTES, "param_names"})


def meant(name: str, known: Iterable[str], cutoff: float = 0.75) -> str | None:
    """The option that somebody may have meant by an unknown name."""
    options = list(known)
    if _ALIASES.get(name.lower()) in options:
        return _ALIASES[name.lower()]
    return nearest(name, options, cutoff)


def check_note(where: str, name: Any, known: Iterable[str]) -> None:
    """Raise `ArgumentError` where what is to be noted is an option that is written wrongly."""
    options = list(known)
    if meant(str(name), options) is not None:
        raise unknown_option(where, name, options)


def unknown_option(where: str, name: Any, known: Iterable[str]) -> ArgumentError:
    """The error for an option that does not exist; it says which one may be meant."""
    options = list(known)
    close = meant(str(name), options)
    hint = f'; did you mean "{close}"?' if close else ""
    return ArgumentError(f"{where} has no option {name!r}, known are {', '.join(options)}{hint}")


class Parameters(list[Any]):
    """The parameters of a group, which stay the same."""

    def __reduce__(self) -> Any:
        return type(self), (list(self),)

    def refuse(self, *_: Any, **__: Any) -> Any:
        raise UsageError(
            "the parameters of a group cannot be replaced, because their state belongs to them; "
            "make a new optimizer, or use optimizer.add_param_group"
        )

    append = extend = insert = remove = pop = clear = refuse
    __setitem__ = __delitem__ = __iadd__ = refuse


def refuse_option(owner: str, name: str, value: Any, known: Iterable[str]) -> None:
    """Raise `ArgumentError` where an attribute that is set looks like an option."""
    option = meant(name, known)
    if option is None:
        return
    remedy = f"optimizer.lr = {value!r}"
    if option != "lr":
        remedy = f'for group in optimizer.param_groups: group["{option}"] = {value!r}'
    raise ArgumentError(
        f"{owner} has no attribute {name!r}, setting it to {value!r} would change nothing; write "
        f"{remedy}"
    )


class ParamGroup(MutableMapping[str, Any]):
    """Parameters and their options, used as the dicts in PyTorch's `param_groups` are.

    `group["lr"]` reads as a number, and setting it changes the tensor `rate` in place, so that
    compiled steps see it. Inside a traced function it reads as that tensor, and setting it writes
    program state. So it is with the momentum, or the first of `betas`, once a schedule has called
    `vary`. `check` is the optimiser's: it sees the options before any is changed.

    Under names that are no option's, nor nearly one's, a group keeps whatever it is given, as in
    PyTorch (a "name", a "counter"): its `notes`, of which no program knows.
    """

    def __init__(
        self,
        params: list[Parameter],
        options: Mapping[str, Any],
        owner: str = "the optimizer",
        check: Callable[[Mapping[str, Any]], None] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        self.options = {"params": Parameters(params), **options}
        self.notes = dict(notes or {})
        self.owner = owner
        self.check = check
        self.rate = Tensor.from_value(np.array(in_range("lr", options["lr"], 0.0)))
        self.rate.name = "lr"
        self.varied: dict[str, Tensor] = {}

    def vary(self, key: str) -> None:
        """From here on "momentum", or the first of "betas", is state as the rate is: programs do
        not have it built in.
        """
        if key not in self.varied:
            value = self.options[key]
            first = value[0] if key == "betas" else value
            made = self.varied[key] = Tensor.from_value(np.array(float(first)))
            made.name = "beta1" if key == "betas" else key

    def tensors(self) -> list[Tensor]:
        """The options that are state."""
        return [self.rate, *self.varied.values()]

    def __getitem__(self, key: str) -> Any:
        tensor = self.rate if key == "lr" else self.varied.get(key)
        if tensor is None:
            return self.options[key] if key in self.options else self.notes[key]
        value = tensor if tracing.active() is not None else float(tensor.item())
        return (value, *self.options[key][1:]) if key == "betas" else value

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "lr":
            self._set_rate(value)
        elif key in self.varied:
            self._set_varied(key, value)
        elif key in NO_OPERATION:
            self.options[key] = value
        elif key == "params":
            self.options[key].refuse()
        elif key not in self.options:
            known = (name for name in self.options if name not in ("params", *NO_OPERATION))
            check_note(f"{self.owner}: a group", key, known)
            self.notes[key] = value
        else:
            if self.check is not None:
                self.check({**self.options, key: value})
            self.options[key] = value

    def _set_rate(self, value: Any) -> None:
        if isinstance(value, Tensor) and tracing.active() is not None:
            self.rate.assign(value.reshape(()))
        else:
            self.rate.assign(np.array(in_range("lr", value, 0.0)))

    def _set_varied(self, key: str, value: Any) -> None:
        """A momentum, or betas the first of which is state."""
        first = value[0] if key == "betas" else value
        if not isinstance(first, Tensor) or tracing.active() is None:
            if self.check is not None:
                self.check({**self, key: value})
            first = np.array(float(first))
        self.varied[key].assign(first)
        if key == "betas":
            self.options[key] = (self.options[key][0], *value[1:])

    def adopt(self, options: Mapping[str, Any]) -> None:
        """Take the options of a state dict, which have been checked; not yet those that are
        state: `adopt_state`.
        """
        self.options.update(
            {key: value for key, value in options.items() if key not in ("lr", *self.varied)}
        )

    def adopt_state(self, options: Mapping[str, Any]) -> None:
        """Take the rate of a state dict, and what else is state."""
        for key in ("lr", *self.varied):
            if key in options:
                self[key] = options[key]

    def __delitem__(self, key: str) -> None:
        if key in self.notes:
            del self.notes[key]
            return
        raise UsageError(f"the option {key!r} of a group cannot be taken away")

    def __iter__(self) -> Iterator[str]:
        return iter((*self.options, *self.notes))

    def __len__(self) -> int:
        return len(self.options) + len(self.notes)

    def __repr__(self) -> str:
        return repr(dict(self))


# -- what is given for `params` --------------------------------------------------------------------


def _instead(given: Any) -> str:
    """What to give instead of something that is no parameter."""
    kind = type(given).__module__.partition(".")[0]
    if kind == "torch":
        return "it is PyTorch's: build the network with mynn.nn"
    if callable(given):
        return "give net.parameters(), with its parentheses"
    return "give net.parameters()"


def listed(name: str, params: Any) -> list[Any]:
    """What was given for `params`, as a list."""
    if isinstance(params, Tensor):
        return [params]
    if not isinstance(params, Iterable) or isinstance(params, str):
        raise ArgumentError(
            f"{name}: params must be a list of parameters, it is {shown(params)}; "
            f"{_instead(params)}"
        )
    return list(params)


def checked_parameters(name: str, params: Any) -> tuple[list[Parameter], list[str]]:
    """A group's parameters as a list, checked, and their names, where it has some."""
    if params is None:
        raise ArgumentError(f'{name}: a group needs "params"')
    entries = listed(name, params)
    named = [isinstance(one, tuple) for one in entries]
    if any(named) and not all(named):
        raise ArgumentError(
            f"{name}: some parameters have names, others have none; give (name, parameter) pairs "
            "for all of them or for none"
        )
    names = [str(one[0]) for one in entries] if any(named) else []
    result: list[Any] = [one[1] if isinstance(one, tuple) else one for one in entries]
    for entry in result:
        if not isinstance(entry, Tensor) or value_of(entry) is None or entry.dtype.kind != "f":
            raise ArgumentError(
                f"{name}: params must be float tensors made outside a trace, one is "
                f"{shown(entry)}; {_instead(entry)}"
            )
    return result, names
