"""Modes that modules have within a call, whatever they are set to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar

Result = TypeVar("Result")

_modes: ContextVar[Mapping[Any, bool]] = ContextVar("modes", default={})  # noqa: B039 - never written


def mode_of(module: Any, own: bool) -> bool:
    """The mode as this thread or asynchronous task sees it, `own` being what the module is set
    to.
    """
    return _modes.get().get(module, own)


def present() -> Mapping[Any, bool]:
    """The modes that this thread or asynchronous task sees, where they are not those that modules
    are set to.
    """
    return _modes.get()


def called_in_modes(modes: Mapping[Any, bool], function: Callable[[], Result]) -> Result:
    """What `function` returns, called with the modules in these modes, for this thread or
    asynchronous task; what others see is as it was.
    """
    before = _modes.get()
    try:
        _modes.set({**before, **modes})
        return function()
    finally:
        _modes.set(before)
