"""Looks at values within a trace: those of the user's code decide what is traced, and are noted."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Any

from mynn.base import notices
from mynn.tensor import Tensor
from mynn.trace import tracing
from mynn.trace.snapshot import ArrayContent

# What tells the value of a tensor; the value of state is in no description.
_LOOKS = ("item", "numpy", "tolist", "__array__", "__bool__", "__index__", "__float__", "__int__")
_own = {name: inspect.getattr_static(Tensor, name) for name in (*_LOOKS, "value")}


# This one is asked for by indices and sizes that the user gives.
_GIVEN = "__index__"


def _note(tensor: Tensor, name: str) -> None:
    """A value is looked at by the code that called the caller."""
    trace = tracing.active()
    if trace is None or tensor._value is None:
        return
    frame: Any = sys._getframe(2)
    if notices.is_ours(frame) and name != _GIVEN:
        trace.guards.general &= name == "value"  # there to see whether there is one
        return
    trace.guards.general = False
    while notices.is_ours(frame) and frame.f_back is not None:
        frame = frame.f_back
    place = notices.Place(frame.f_code.co_filename, frame.f_lineno)
    content = ArrayContent.of(_own["value"].fget(tensor))
    trace.effects.looks.setdefault(tensor, (place, content))


def _noting(name: str) -> Any:
    """A method or a property of tensors that notes who looks."""
    own = _own[name]
    if isinstance(own, property):
        get: Any = own.fget

        def look(self: Tensor) -> Any:
            _note(self, name)
            return get(self)

        return property(look, own.fset, doc=own.__doc__)

    @functools.wraps(own)
    def call(self: Tensor, *args: Any, **named: Any) -> Any:
        _note(self, name)
        return own(self, *args, **named)

    return call


_watching = {name: _noting(name) for name in _own}


def watch(on: bool) -> None:
    """Looking at values costs nothing more while nothing is traced."""
    for name, attribute in (_watching if on else _own).items():
        type.__setattr__(Tensor, name, attribute)
