from __future__ import annotations

import doctest
import gc
import weakref
from collections.abc import Iterator

import pytest

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


@pytest.mark.usefixtures("nothing_set_aside")
def test_how_often_collections_come_is_left_as_others_set_it() -> None:
    before = gc.get_threshold()
    try:
        cycles.undisturbed(lambda: gc.set_threshold(500, 5, 5))
        assert gc.get_threshold() == (500, 5, 5)
        for never in (0, 10**6):
            cycles._done.clear()
            gc.set_threshold(never, 5, 5)
            assert cycles.undisturbed(gc.get_threshold) == (never, 5, 5)
            assert gc.get_threshold() == (never, 5, 5)
    finally:
        gc.set_threshold(*before)


@pytest.fixture
def nothing_set_aside() -> Iterator[None]:
    """The tests themselves are set aside, for the time that they take."""
    gc.unfreeze()
    before = list(cycles._done)
    cycles._done.clear()
    yield
    cycles._done[:] = before
    gc.freeze()


@pytest.mark.usefixtures("nothing_set_aside")
def test_the_first_program_is_made_undisturbed() -> None:
    """Collections go on, of what is made meanwhile; what there was before waits until the end."""
    old = weakref.ref(Circle())
    thresholds = gc.get_threshold()

    def work() -> int:
        assert gc.get_threshold() == (cycles.RARELY, *thresholds[1:])
        new = weakref.ref(Circle())
        gc.collect()
        assert new() is None
        assert old() is not None
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        cycles.undisturbed(work)
    assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == thresholds
    gc.collect()
    assert old() is None
    assert cycles.undisturbed(gc.get_freeze_count) == 0, "the second time"


@pytest.mark.usefixtures("nothing_set_aside")
def test_what_the_user_has_set_aside_stays_there() -> None:
    gc.freeze()
    count = gc.get_freeze_count()
    assert cycles.undisturbed(gc.get_freeze_count) == count
    assert gc.get_freeze_count() == count
    gc.unfreeze()
    cycles._done.clear()
    gc.disable()
    try:
        assert cycles.undisturbed(gc.get_freeze_count) == 0
    finally:
        gc.enable()


@pytest.mark.usefixtures("nothing_set_aside")
def test_what_is_set_aside_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python counts those objects one by one: among millions, as long as a program takes."""
    asked: list[None] = []

    def count() -> int:
        asked.append(None)
        return 7

    monkeypatch.setattr(gc, "get_freeze_count", count)
    for _ in range(3):
        cycles.undisturbed(int)
    assert len(asked) == 1
