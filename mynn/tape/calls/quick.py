"""`Quick`: a tape whose known calls are recorded by native code, once there were many of them."""

from __future__ import annotations

from typing import Any

from mynn.base import forks
from mynn.tape.calls.step import Step

# So many calls have run as programs before the native function is looked for in the cache on disk,
# and before it is compiled: that takes as long as recording these in Python does.
SOME, MANY = 4000, 32000


class Quick:
    """What a tape has for `mynn.tape.calls.native`: its fields as slots, and how many calls it ran.

    - `knows`: whether native code records the calls that it knows; what it knows of one is noted
      when that comes again in Python (`describe`).
    """

    # Native code reads these, and `spare`, a tensor that it has made for the next result.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "claimed",
        "externals",
        "index",
        "outputs",
        "position",
        "replaced",
        "root",
        "rows",
        "spare",
        "tidied",
    )

    def __init__(self) -> None:
        self.knows = False
        self._ran, self._next = 0, SOME

    def call(self, *given: Any) -> Any:
        """Record a call; of a class above this one."""
        raise NotImplementedError

    def note_run(self, calls: int) -> None:
        """A program has run so many calls."""
        self._ran += calls
        if self._ran > self._next and not self.knows:
            self._next = MANY if self._ran <= MANY else 2 * self._ran
            self._begin(self._ran > MANY)

    def _begin(self, make: bool) -> None:
        """Native code records from now on, where there is any, or can be made."""
        with forks.loading:
            from mynn.tape.calls.native import recorder

        kind: Any = type(self)
        found = recorder(self, kind.call, kind.checked, make)
        if found is not None:
            vars(self)["call"] = found
            self.knows = True

    def describe(self, step: Step, varies: bool) -> None:
        """A call came again that leads to this step: native code is to know it. A number in it may
        be any other where it `varies`.
        """
        from mynn.tape.calls.native import describe

        step.known_call = describe(step, varies) or False
