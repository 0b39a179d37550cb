"""Work that a signal handler interrupts after some seconds."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any


class Late(Exception):
    """What the handler raises."""


def interrupt(
    work: Callable[[], Any], seconds: float, before: Callable[[], None] | None = None
) -> bool:
    """Work until a handler of signals raises after so many seconds; whether it did.

    `before` is what the handler does first. Where Python ignores the exception, in a finaliser, the
    work ends by itself.
    """
    end = time.perf_counter() + seconds + 0.2

    def handler(number: int, frame: Any) -> None:
        if before is not None:
            before()
        raise Late

    signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        while time.perf_counter() < end:
            work()
    except Late:
        return True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return False
