"""What a traced function did beside computing: it will not be done again.

Python in a compiled function runs once, while it is traced. What it changes (a counter, a list), or
reads from a source that goes on (random numbers, the time), is found by comparing before and after,
and said with the line and what to write instead.
"""

from __future__ import annotations

import random
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mynn.base import notices
from mynn.base.notices import Place
from mynn.trace import guards, names

if TYPE_CHECKING:
    from mynn.trace.tracing import Tracer

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
    "the values of {what} are written through .data while the function is traced: that happens "
    "once. Write the tensor itself under mynn.no_grad(): {what}[...] = value, {what}.copy_(value)"
)
_SWALLOWED = (
    "the function goes on after an error that says that it cannot be traced ({message}): the "
    "program takes the way through `except` in every call. Take the `try` away, and use mynn.where "
    "for a choice between values"
)


class Watch:
    """What the function could change, as it was before the trace."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.names = names.scan(function)
        self.lengths = [
            (bound, len(bound.kept)) for bound in self.names.bound if _is_list(bound.kept)
        ]
        self.numpy = names.state_of(np.random.mtrand._rand)
        self.python = random.getstate()

    def compare(self, tracer: Tracer) -> None:
        """Say what was changed and what was read that goes on; the trace keeps the rest."""
        self._sources(tracer)
        self._bound()
        attributes(tracer)
        for name in dict.fromkeys(self.names.clocks):
            place = self.names.place(name)
            notices.warn("clock", _CLOCK.format(what=name), place)
        for tensor, (place, content) in tracer.looks.items():
            written = not guards.same(content, tensor.value)
            message = _WRITTEN if written else _LOOKED
            notices.warn("look", message.format(what=tensor.name or "a tensor"), place)
        for message, place in tracer.refused:
            notices.warn("refused", _SWALLOWED.format(message=message), place)
        tracer.keep_names(self.names)

    def _sources(self, tracer: Tracer) -> None:
        drawn = []
        if names.state_of(np.random.mtrand._rand) != self.numpy:
            drawn.append(("numpy.random", self.names.place("random")))
        if random.getstate() != self.python:
            drawn.append(("Python's random", self.names.place("random")))
        for name, source, state in self.names.sources:
            if names.state_of(source) != state:
                drawn.append((f"the generator {name}", self.names.place(name)))
        for (owner, name), (source, state) in tracer.sources.items():
            if names.state_of(source) != state:
                what = f"the generator {name} of {type(owner).__name__}"
                drawn.append((what, self.names.place(name)))
        for what, place in drawn:
            notices.warn("random", _DRAWN.format(what=what), place)

    def _bound(self) -> None:
        for bound, length in self.lengths:
            if len(bound.kept) != length:
                place = self.names.place(bound.name)
                notices.warn("list", _GROWN.format(what=f"the list {bound.name}"), place)
        self.names.bound = [bound for bound in self.names.bound if not self._own(bound)]
        self.names.contents = [bound for bound in self.names.contents if not self._own(bound)]

    def _own(self, bound: names.Bound) -> bool:
        """Whether the function itself changes the value, so that it cannot be held to it."""
        now = bound.now()
        if guards.same(bound.kept, now):
            return False
        if _are_numbers(bound.kept, now):
            place = self.names.place(bound.name, store=True)
            notices.warn("counter", _counted(bound.name, bound.name, bound.kept, now), place)
            return True
        if not guards.changes_in_place(bound.kept):
            return False
        what = f"the {type(now).__name__} {bound.name}"
        _changed_content(what, bound.kept, now, self.names.place(bound.name))
        return True


def attributes(tracer: Tracer) -> None:
    """The same for attributes of modules, which the trace saw being read."""
    for (owner, name), kept in list(tracer.attributes.items()):
        now = vars(owner).get(name, names.GONE)
        if guards.same(kept, now):
            continue
        place = tracer.assigned.get((owner, name))
        what = f"{type(owner).__name__}.{name}"
        if _are_numbers(kept, now):
            notices.warn("counter", _counted(f"self.{name}", what, kept, now), place)
        elif guards.changes_in_place(kept) and guards.changes_in_place(guards.snapshot(now)):
            _changed_content(what, kept, now, place)
        else:
            continue
        del tracer.attributes[owner, name]
    tracer.contents = [
        (owner, name, kept)
        for owner, name, kept in tracer.contents
        if (owner, name) in tracer.attributes
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
    ) and not guards.same(kept, now)


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and not isinstance(value, types.GenericAlias)
