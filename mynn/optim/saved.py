"""State dicts of optimisers read back: from here or PyTorch, through JSON or `np.savez`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mynn.base.dataclass import dataclass
from mynn.core.types import Array
from mynn.errors import ArgumentError
from mynn.optim.options import NO_OPERATION, NOTES, meant
from mynn.tensor import Parameter, Tensor
from mynn.tensor.loaded import checked_mapping, loaded_array, unboxed

# Options that came late, so that older states lack them.
_OPTIONAL = frozenset({"maximize", "amsgrad", "nesterov", *NO_OPERATION})
# Notes in groups of other classes that say nothing of how they compute.
_TOLD = frozenset({"decoupled_weight_decay"})


@dataclass(frozen=True)
class Saved:
    """A state dict: the options of each group, what else it notes, its parameters' numbers, slots
    by number.
    """

    options: list[dict[str, Any]]
    notes: list[dict[str, Any]]
    numbers: list[list[int]]
    slots: dict[int, dict[str, Any]]


def read(
    name: str,
    defaults: Mapping[str, Any],
    kind: str | None,
    given: Any,
    others: Collection[str] = frozenset(),
) -> Saved:
    """A state dict of an optimiser of class `name`, with numbers and names as they were.

    `kind` is an option whose value, that of `defaults`, tells the class from another one; `others`
    are the options of other classes.

    Raises:
        ArgumentError: it is none, or that of another class.
    """
    where = f"load_state_dict of {name}"
    state = checked_mapping(where, given)
    if "state" not in state or "param_groups" not in state:
        raise ArgumentError(
            f'{where}: the dict needs "state" and "param_groups", it has {_shown(state)}; give '
            "what state_dict() of an optimizer returned"
        )
    groups = state["param_groups"]
    if isinstance(groups, str | Mapping) or not hasattr(groups, "__iter__"):
        raise ArgumentError(f'{where}: "param_groups" must be a list of dicts, it is {groups!r}')
    groups = [checked_mapping(f"{where}: each of param_groups", group) for group in groups]
    numbers = [[_number(where, n) for n in group.get("params", ())] for group in groups]
    options = [_options(where, group, defaults, kind, others) for group in groups]
    known = {*defaults, *NO_OPERATION, *_TOLD, "params"}
    notes = [{k: v for k, v in group.items() if str(k) not in known} for group in groups]
    trained = {number for group in numbers for number in group}
    slots = {}
    for key, entry in checked_mapping(f"{where}: state", state["state"]).items():
        number = _number(where, key)
        if number not in trained:
            raise ArgumentError(
                f"{where}: the state of parameter {number} belongs to no group; groups have "
                f"{sorted(trained)}"
            )
        entry = checked_mapping(f"{where}: the state of parameter {number}", entry)
        slots[number] = {
            str(slot): unboxed(value) for slot, value in entry.items() if unboxed(value) is not None
        }
    return Saved(options, notes, numbers, slots)


def options_of(kind: Any) -> set[str]:
    """The options of a class of optimisers, and of all that derive from it."""
    return set(kind.ranges).union(*map(options_of, kind.__subclasses__()))


def check_slots(name: str, number: int, given: Iterable[str], own: Iterable[str]) -> None:
    """Raise `ArgumentError` where a parameter's saved slots are not those that the class has."""
    extra = sorted(set(given) - set(own))
    missing = sorted(set(own) - set(given) - {"step"})
    if extra or (missing and set(given)):
        wrong = f"has {', '.join(extra)}" if extra else f"lacks {', '.join(missing)}"
        raise ArgumentError(
            f"load_state_dict of {name}: the state of parameter {number} {wrong}, where {name} "
            f"with these options keeps {', '.join(own) or 'nothing'}; it is that of another class, "
            "or of other options: make the optimizer that it was saved from"
        )


def matched(
    name: str,
    new: Saved,
    order: Sequence[Parameter],
    state: Mapping[Tensor, Any],
) -> list[tuple[Parameter, str, Array]]:
    """The values that the slots of the parameters, in order, are to have: names, shapes and dtypes
    are checked.
    """
    plan = []
    numbers = (n for group in new.numbers for n in group)
    for number, parameter in zip(numbers, order, strict=True):
        given, own = new.slots.get(number, {}), state[parameter]
        check_slots(name, number, given, own)
        for key, slot in own.items():
            # PyTorch's SGD keeps no count: its buffer tells that a step was made.
            made = key == "step" and bool(given)
            value = given.get(key, 1.0 if made else own.first.get(key, 0.0))
            if key in given:
                what = f"{name}: {key} of {parameter.name or number}"
                value = loaded_array(what, value, slot.shape, slot.dtype)
            plan.append((parameter, key, np.broadcast_to(value, slot.shape)))
    return plan


def _options(
    where: str,
    group: Mapping[Any, Any],
    defaults: Mapping[str, Any],
    kind: str | None,
    others: Collection[str],
) -> dict[str, Any]:
    """A group's options as they were, or an error where they are those of another class."""
    unknown = set(map(str, group)) - {*defaults, "params"} - NO_OPERATION - _TOLD
    extra = sorted(one for one in unknown if one in others or meant(one, defaults) is not None)
    missing = sorted({*defaults} - set(group) - _OPTIONAL - {kind})
    other = kind is not None and bool(unboxed(group.get(kind))) != bool(defaults[kind])
    if extra or missing or other:
        wrong = f"has options {extra}" if extra else f"lacks options {missing}"
        if not extra and not missing:
            wrong = f"has {kind}={group.get(kind)} (that is Adam's or AdamW's)"
        raise ArgumentError(
            f"{where}: a group of the state {wrong}, it is that of another optimizer; known "
            f"options are {', '.join(defaults)}"
        )
    names = (*defaults, *sorted(NOTES))
    return {key: _plain(group[key]) for key in names if key in group}


def _plain(value: Any) -> Any:
    """An option out of JSON or an archive: lists are tuples, arrays without axes numbers."""
    value = unboxed(value)
    if isinstance(value, list | tuple | np.ndarray):
        return tuple(map(_plain, value))
    return value


def _number(where: str, key: Any) -> int:
    """The number of a parameter; JSON makes it a text."""
    key = unboxed(key)
    if isinstance(key, str) and key.isdecimal():
        return int(key)
    if isinstance(key, int | float) and not isinstance(key, bool) and key == int(key):
        return int(key)
    raise ArgumentError(f"{where}: parameters have numbers, one is called {key!r}")


def _shown(state: Mapping[Any, Any]) -> str:
    names = [repr(key) for key in state]
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") if names else "nothing"
