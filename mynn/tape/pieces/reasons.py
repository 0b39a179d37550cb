"""Why a tape gains nothing, said once with `MYNN_DEBUG=1`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from mynn import debug
from mynn.base.notices import is_ours

# So many programs of one sequence, for other results that are held each time, are many.
MANY = 8


class Reasons:
    """What a tape has said already."""

    def __init__(self) -> None:
        self.told: set[str] = set()

    def nothing_repeats(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        """New calls are run one by one from now on, because none of the last ones came again."""
        if "repeats" not in self.told and debug.level() >= 1:
            self.told.add("repeats")
            name = getattr(function, "__name__", type(function).__name__)
            kinds = ", ".join(str(getattr(one, "spec", type(one).__name__)) for one in args)
            debug.say(
                f"mynn: eager calls are run one by one, without programs, since sequences of them "
                f"do not repeat; a new one is {name}({kinds}) at {_place()}. The same functions, "
                "shapes, dtypes and numbers in the same order between two looks repeat."
            )

    def many_programs(self, programs: int, last: str) -> None:
        """The same calls were compiled again and again, for other results that somebody holds."""
        if programs >= MANY and "held" not in self.told and debug.level() >= 1:
            self.told.add("held")
            debug.say(
                f"mynn: one sequence of eager calls has {programs} programs, since each time other "
                f"results of it are still held; its last call is {last}, looked at from "
                f"{_place()}. Drop what is not needed, or keep the same results each time."
            )


def _place() -> str:
    """The line of the user's code."""
    frame = sys._getframe(2)
    while is_ours(frame) and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
