"""Side effects: what a traced function did beside computing, which will not be done again.

Python in a compiled function runs once, while it is traced. What it changes (a counter, a list), or
reads from a source that goes on (random numbers, the time), is found by comparing before and after,
and said with the line and what to write instead.
"""

from __future__ import annotations

import random
import types
from collections.abc import Callable
from dataclasses import field
from typing import Any

import numpy as np

from mynn.base import notices
from mynn.base.dataclass import dataclass
from mynn.base.notices import Place
from mynn.trace import free_variables
from mynn.trace.free_variables import GONE
from mynn.trace.guards import Guards
from mynn.trace.snapshot import ArrayContent, changes_in_place, same, snapshot

_DRAWN = (
    "{what} gave numbers while the function was traced: they are built into the program, the same "
    "in every call. Draw them outside and pass them as an argument, or use mynn.random, as "
    "in mynn.random.normal(shape)"
)
_COUNTED = (
    "{what} is changed by a compiled function: that happens once, while it is traced, and every "
    "call after that finds {new}. Make it state: {name} = mynn.Tensor({old}) outside, "
    "{name}.assign({name} + 1) here; or change it outside"
)
_GROWN = (
    "{what} is changed by a compiled function: that happens once, while it is traced. Return the "
    "value instead, and add what each call returns"
)
_CLOCK = (
    "{what} is read once, while the function is traced: the program has that time built in. Read "
    "the clock outside"
)
_LOOKED = (
    "the value of {what} is looked at while the function is traced: the program has it built in, "
    "and later values are not seen. Use the tensor itself, or .detach() of it"
)
_WRITTEN = (
    "the values of {what} are written through .value while the function is traced: that happens "
    "once. Write the tensor itself under mynn.no_grad(): {what}[...] = value, {what}.copy_(value)"
)
_SWALLOWED = (
    "the function goes on after an error that says that it cannot be traced ({message}): the "
    "program takes the way through `except` in every call. Take the `try` away, and use mynn.where "
    "for a choice between values"
)


@dataclass
class Effects:
    """What a trace noted while it went on.

    - `assigned`: attributes of modules that were assigned, with the lines.
    - `looks`: tensors whose values were looked at, with the lines and the content then.
    - `refused`: what could not be traced, with the lines.
    """

    assigned: dict[tuple[Any, str], Place] = field(default_factory=dict)
    looks: dict[Any, tuple[Place, ArrayContent]] = field(default_factory=dict)
    refused: list[tuple[str, Place]] = field(default_factory=list)


class Watch:
    """What the function could change, as it was before the trace."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.names = free_variables.scan(function)
        self.lengths = [
            (bound, len(bound.kept)) for bound in self.names.bound if _is_list(bound.kept)
        ]
        self.numpy = free_variables.state_of(np.random.mtrand._rand)
        self.python = random.getstate()

    def compare(self, guards: Guards, effects: Effects) -> None:
        """Say what was changed and what was read that goes on; the rest becomes guards."""
        read = len(self.names.bound), len(self.names.contents), len(guards.attributes)
        drawn = self._sources(guards)
        grown = self._bound()
        attributes(guards, effects)
        kept = len(self.names.bound), len(self.names.contents), len(guards.attributes)
        once = drawn or grown or self.names.clocks or effects.looks or effects.refused
        guards.complete = not once and kept == read
        for name in dict.fromkeys(self.names.clocks):
            place = self.names.place(name)
            notices.warn("clock", _CLOCK.format(what=name), place)
        for tensor, (place, content) in effects.looks.items():
            written = not same(content, tensor._value)
            if not written and guards.keep_look(tensor, content):
                continue
            message = _WRITTEN if written else _LOOKED
            notices.warn("look", message.format(what=tensor.name or "a tensor"), place)
        for message, place in effects.refused:
            notices.warn("refused", _SWALLOWED.format(message=message), place)
        guards.keep_names(self.names)

    def _sources(self, guards: Guards) -> bool:
        drawn = []
        if free_variables.state_of(np.random.mtrand._rand) != self.numpy:
            drawn.append(("numpy.random", self.names.place("random")))
        if random.getstate() != self.python:
            drawn.append(("Python's random", self.names.place("random")))
        for name, source, state in self.names.sources:
            if free_variables.state_of(source) != state:
                drawn.append((f"the generator {name}", self.names.place(name)))
        for (owner, name), (source, state) in guards.sources.items():
            if free_variables.state_of(source) != state:
                what = f"the generator {name} of {type(owner).__name__}"
                drawn.append((what, self.names.place(name)))
        for what, place in drawn:
            notices.warn("random", _DRAWN.format(what=what), place)
        return bool(drawn)

    def _bound(self) -> bool:
        grown = [bound for bound, length in self.lengths if len(bound.kept) != length]
        for bound in grown:
            place = self.names.place(bound.name)
            notices.warn("list", _GROWN.format(what=f"the list {bound.name}"), place)
        self.names.bound = [bound for bound in self.names.bound if not self._own(bound)]
        self.names.contents = [bound for bound in self.names.contents if not self._own(bound)]
        return bool(grown)

    def _own(self, bound: free_variables.Bound) -> bool:
        """Whether the function itself changes the value, so that it cannot be held to it."""
        now = bound.now()
        if same(bound.kept, now):
            return False
        if _are_numbers(bound.kept, now):
            place = self.names.place(bound.name, store=True)
            notices.warn("counter", _counted(bound.name, bound.name, bound.kept, now), place)
            return True
        if not changes_in_place(bound.kept):
            return False
        what = f"the {type(now).__name__} {bound.name}"
        _changed_content(what, bound.kept, now, self.names.place(bound.name))
        return True


def attributes(guards: Guards, effects: Effects) -> None:
    """The same for attributes of modules, which the trace saw being read."""
    for (owner, name), kept in list(guards.attributes.items()):
        now = vars(owner).get(name, GONE)
        if same(kept, now):
            continue
        place = effects.assigned.get((owner, name))
        what = f"{type(owner).__name__}.{name}"
        if _are_numbers(kept, now):
            notices.warn("counter", _counted(f"self.{name}", what, kept, now), place)
        elif changes_in_place(kept) and changes_in_place(snapshot(now)):
            _changed_content(what, kept, now, place)
        else:
            continue
        del guards.attributes[owner, name]
    guards.contents = [
        (owner, name, kept)
        for owner, name, kept in guards.contents
        if (owner, name) in guards.attributes
    ]


def _changed_content(what: str, kept: Any, now: Any, place: Place | None) -> None:
    """A container was changed in place. New keys of a dict are taken for a memory of results."""
    known = kept.items() if isinstance(kept, dict) and isinstance(now, dict) else None
    if known is not None and all(k in now and not _are_numbers(v, now[k]) for k, v in known):
        return
    notices.warn("list", _GROWN.format(what=what), place)


def _counted(name: str, what: str, old: Any, new: Any) -> str:
    return _COUNTED.format(name=name, what=what, old=old, new=new)


def _are_numbers(kept: Any, now: Any) -> bool:
    """Whether one number stands in place of another."""
    return all(
        isinstance(value, int | float | np.number) and not isinstance(value, bool)
        for value in (kept, now)
    ) and not same(kept, now)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and not isinstance(value, types.GenericAlias)
