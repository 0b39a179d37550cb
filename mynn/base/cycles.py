"""Memory that waits for the garbage collector.

What is compiled of a function is kept with it, and reads what the function reads: a circle, which
only a whole collection frees. Python starts one by the number of objects, and knows nothing of the
arrays behind them; so where many bytes wait, it is started here.
"""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
# So many bytes may wait, or as many as are in use after a collection if these are more.
LEAST = 32 * 2**20


class Waiting:
    """Bytes behind objects that lie in circles.

    Example:
        >>> class Circle:
        ...     def __init__(self):
        ...         self.itself = self
        >>> waiting = Waiting(least=1000)
        >>> first, second = weakref.ref(Circle()), Circle()
        >>> first() is None
        False
        >>> waiting.add(first(), 900); waiting.add(second, 200)
        >>> first() is None
        True
    """

    def __init__(self, least: int = LEAST) -> None:
        self.least = least
        self._alive: dict[int, tuple[weakref.ref[Any], int]] = {}
        self._number = itertools.count()
        self._since = 0
        self._limit = least

    def add(self, owner: Any, nbytes: int) -> None:
        """`owner` has so many bytes more; there may be a collection now, unless Python's is off."""
        number = next(self._number)
        gone = weakref.ref(owner, lambda _: self._alive.pop(number, None))
        self._alive[number] = gone, nbytes
        self._since += nbytes
        if self._since > self._limit and gc.isenabled():
            gc.collect()
            in_use = sum(nbytes for _, nbytes in list(self._alive.values()))
            self._since, self._limit = 0, max(self.least, in_use)


WAITING = Waiting()


# So many new objects are some twenty megabytes, and all those of a large program.
RARELY = 250_000
# Whether `undisturbed` has nothing more to do.
_done: list[bool] = []


def undisturbed(work: Callable[[], T]) -> T:
    """What `work` gives. The first time in a process, collections meanwhile look at none of the
    objects that there were before, and come for every `RARELY` new ones.

    The first program loads the compiler, and makes many objects: so many that Python looks at all
    others too, whether they are garbage. That takes a sixth of the time of a small program; and
    for each 700 new ones, nearly all of which stay, it looks at these. Who has objects set aside
    himself, or does without collections, is left alone.
    """
    if _done:
        return work()
    _done.append(True)
    # Asked once: Python counts what is set aside object by object, 0.1 s for a million of them.
    before = gc.get_threshold()
    if gc.get_freeze_count() or not gc.isenabled() or not before[0]:
        return work()
    rarely = max(before[0], RARELY), *before[1:]
    try:
        gc.freeze()
        gc.set_threshold(*rarely)
        return work()
    finally:
        gc.freeze()  # as many new objects as there are would be looked at right away
        gc.unfreeze()
        if gc.get_threshold() == rarely:  # nobody else has set it meanwhile
            gc.set_threshold(*before)
