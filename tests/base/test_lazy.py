from __future__ import annotations

import doctest
import threading
from pathlib import Path

import mynn
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


def test_no_lock_is_shared_by_all_instances() -> None:
    """The child of a fork hung where another thread held one (in one run of ten)."""
    package = Path(mynn.__file__).parent
    users = [
        path for path in package.rglob("*.py") if "@functools.cached_property" in path.read_text()
    ]
    assert not users, "use mynn.base.lazy"
