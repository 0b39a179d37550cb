from __future__ import annotations

import doctest
import threading

from mynn.base import lazy as module
from mynn.base.lazy import lazy


def test_doctest() -> None:
    assert doctest.testmod(module).failed == 0


def test_threads_do_not_wait_for_each_other() -> None:
    started, leave = threading.Event(), threading.Event()

    class Record:
        def __init__(self, wait: bool) -> None:
            self.wait = wait

        @lazy
        def value(self) -> int:
            """What it is."""
            if self.wait:
                started.set()
                leave.wait()
            return 3

    slow = Record(True)
    other = threading.Thread(target=lambda: slow.value)
    other.start()
    started.wait()
    assert Record(False).value == 3
    leave.set()
    other.join()
    assert slow.value == 3
    assert Record.value.__doc__ == "What it is."
