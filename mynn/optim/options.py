"""Groups of parameters with their options, and what is checked about options."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from typing import Any

import numpy as np

from mynn.base.arguments import nearest
from mynn.errors import ArgumentError, UsageError
from mynn.tensor import Parameter, Tensor
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
# Options of PyTorch's groups that say how it computes, not what, and what its schedulers note.
NO_OPERATION = frozenset(
    {"foreach", "fused", "capturable", "differentiable", "decoupled_weight_decay"}
    | {"initial_lr", "param_names"}
)


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


def check_flag(name: str, value: Any) -> None:
    """Raise `ArgumentError` unless `value` is True or False; a text would count as true."""
    if not isinstance(value, bool | np.bool_) and value not in (0, 1, None):
        raise ArgumentError(f"{name} must be True or False, it is {value!r}")


def meant(name: str, known: Iterable[str], cutoff: float = 0.75) -> str | None:
    """The option that somebody may have meant by an unknown name."""
    options = list(known)
    if _ALIASES.get(name.lower()) in options:
        return _ALIASES[name.lower()]
    return nearest(name, options, cutoff)


def unknown_option(where: str, name: Any, known: Iterable[str]) -> ArgumentError:
    """The error for an option that does not exist; it says which one may be meant."""
    options = list(known)
    close = meant(str(name), options)
    hint = f'; did you mean "{close}"?' if close else ""
    return ArgumentError(f"{where} has no option {name!r}, known are {', '.join(options)}{hint}")


class ParamGroup(MutableMapping[str, Any]):
    """Parameters and their options, used as the dicts in PyTorch's `param_groups` are.

    `group["lr"]` reads as a number, and setting it changes the tensor `rate` in place, so that
    compiled steps see it. Inside a traced function it reads as that tensor, and setting it writes
    program state. `check` is the optimiser's: it sees the options before any is changed.
    """

    def __init__(
        self,
        params: list[Parameter],
        options: Mapping[str, Any],
        owner: str = "the optimizer",
        check: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.options = {"params": params, **options}
        self.owner = owner
        self.check = check
        self.rate = Tensor.from_value(np.array(check_range("lr", options["lr"], 0.0)))
        self.rate.name = "lr"

    def __getitem__(self, key: str) -> Any:
        if key != "lr":
            return self.options[key]
        return self.rate if tracing.active() is not None else float(self.rate.data)

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "lr":
            self._set_rate(value)
        elif key in NO_OPERATION:
            self.options[key] = value
        elif key == "params":
            raise UsageError(
                f"{self.owner}: the parameters of a group cannot be replaced, because their state "
                "belongs to them; make a new optimizer, or use add_param_group"
            )
        elif key not in self.options:
            known = (name for name in self.options if name not in ("params", *NO_OPERATION))
            raise unknown_option(f"{self.owner}: a group", key, known)
        else:
            if self.check is not None:
                self.check({**self.options, key: value})
            self.options[key] = value

    def _set_rate(self, value: Any) -> None:
        if isinstance(value, Tensor) and tracing.active() is not None:
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
