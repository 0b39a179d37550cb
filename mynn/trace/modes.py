"""Modes that modules have within a block, whatever they are set to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

Result = TypeVar("Result")

_modes: ContextVar[Mapping[Any, bool]] = ContextVar("modes", default={})  # noqa: B039 - never written


def mode_of(module: Any, own: bool) -> bool:
    """The mode as this thread or asynchronous task sees it, `own` being what the module is set
    to.
    """
    return _modes.get().get(module, own)


@contextmanager
def in_modes(modes: Mapping[Any, bool]) -> Iterator[None]:
    """The modules in these modes within the block, for this thread or asynchronous task; what
    others see is as it was.
    """
    before = _modes.get()
    _modes.set({**before, **modes})
    try:
        yield
    finally:
        _modes.set(before)


def called_in_modes(modes: Mapping[Any, bool], function: Callable[[], Result]) -> Result:
    """What `function` returns, called in such a block; a signal handler that raises cannot keep it
    from its end.
    """
    before = _modes.get()
    try:
        _modes.set({**before, **modes})
        return function()
    finally:
        _modes.set(before)
