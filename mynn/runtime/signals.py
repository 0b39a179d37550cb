"""Deferred SIGINT: Ctrl-C takes effect after a block that must run as a whole."""

from __future__ import annotations

# `signal` makes enums of what it is given and gives, in ten times the time.
import _signal  # type: ignore[import-not-found]
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C within the block raises `KeyboardInterrupt` at its end, so that what the block changes
    is changed as a whole.

    Programs that handle the signal themselves, and other threads, are left alone.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or _signal.getsignal(_signal.SIGINT) is not _signal.default_int_handler:
        yield
        return
    pending: list[bool] = []

    def note(number: int, frame: Any) -> None:
        pending.append(True)

    try:
        _signal.signal(_signal.SIGINT, note)
        yield
    finally:
        try:
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        except BaseException:  # another handler has raised instead
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
            raise
    if pending:
        raise KeyboardInterrupt
