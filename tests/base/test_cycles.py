from __future__ import annotations

import doctest
import gc
import weakref

from mynn.base import cycles
from mynn.base.cycles import Waiting


class Circle:
    def __init__(self) -> None:
        self.itself = self


def test_doctest() -> None:
    assert doctest.testmod(cycles).failed == 0


def test_what_is_in_use_may_wait_once_more() -> None:
    """So that collections do not come more often where much is in use."""
    waiting = Waiting(least=10)
    used = [Circle() for _ in range(100)]
    for circle in used:
        waiting.add(circle, 1)
    dead = [weakref.ref(Circle()) for _ in range(50)]
    for circle in dead:
        found = circle()
        assert found is not None
        waiting.add(found, 1)
        del found
    assert all(circle() is not None for circle in dead)


def test_off_is_off() -> None:
    gc.disable()
    try:
        waiting, circle = Waiting(least=1), weakref.ref(Circle())
        found = circle()
        waiting.add(found, 100)
        del found
        waiting.add(Circle(), 100)
        assert circle() is not None
    finally:
        gc.enable()
