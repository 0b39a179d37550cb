"""Computations that are repeated often become programs.

`train`, `update` and `loss` called sample by sample in Python spend their time between the
operations. So from the seventeenth call with the same tools and shapes on, each runs as one
program, traced from the same operations. The values are the same, to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mynn.jit.compile import Compiled

# Calls that run operation by operation before a program is made: about what making it costs.
CALLS_BEFORE_COMPILING = 16

# Those used last are kept; a caller that makes new tools for every call shall not fill the memory.
KEPT = 32


class Programs:
    """Counts calls by what a program would be made for, and makes it when they are many."""

    def __init__(self) -> None:
        # The things that keys name by identity are kept, so that identities last.
        self._entries: dict[Any, tuple[int, Any, Compiled | None]] = {}

    def get(self, key: Any, keep: Any, make: Callable[[], Callable[..., Any]]) -> Compiled | None:
        """The program for `key`, or None as long as it has been asked for a few times only."""
        count, kept, program = self._entries.get(key, (0, keep, None))
        if program is None and count >= CALLS_BEFORE_COMPILING:
            program = Compiled(make())
        self._entries.pop(key, None)
        self._entries[key] = (count + 1, kept, program)
        if len(self._entries) > KEPT:
            del self._entries[next(iter(self._entries))]
        return program
