"""Deferred SIGINT: Ctrl-C takes effect after a block that must run as a whole."""

from __future__ import annotations

import signal
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
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    pending: list[bool] = []

    def note(number: int, frame: Any) -> None:
        pending.append(True)

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if pending:
        raise KeyboardInterrupt
