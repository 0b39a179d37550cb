"""Whether a program is worth its making.

Calls are run one by one first, for about as long as making a program takes, as far as types tell
it (`mynn.tape.pieces.work`). So what repeats is at most twice as slow or so as if one had known,
and so is what stops repeating.

What asks for gradients is mostly a loop's, and what ends in an update nearly always: these become
programs sooner. Nothing but counts and types decides, so that equal trainings have equal bits.
"""

from __future__ import annotations

from typing import Any

from mynn.base.dataclass import dataclass


@dataclass
class Patience:
    """The seconds that are given to calls, before they are made a program: some for each piece, and
    some for each of its calls. Where gradients are asked for it is a part of that.
    """

    piece: float = 0.02
    call: float = 0.001
    of_gradients: float = 0.25


PATIENCE = Patience()
# How often an update of so many calls is run one by one before it is a program; an update whose
# gradients came from elsewhere is often one of a loop's first steps, and does not come again.
CALLS, ALONE = 100, 4
# How often what gradients are asked of is run one by one at most, and where they go on to what
# other programs made.
OFTEN, FURTHER = 12, 2
# No sooner than after so many updates of an optimizer: the first of them depend on which calls
# have come before in the process, programs shall not.
SETTLED = 2
# So many programs of an optimizer are made as soon; each further one waits twice as often, as where
# each batch has another shape, and twice as long, up to so many doublings: then it is waited for
# about as long as making a program really takes, since the next path may be another one again.
SOON, DOUBLINGS = 4, 4


def times_before(made: int) -> int:
    """How often what is like `made` others, which came from the same beginning, is left before it
    is worth a trace: the first few never, each further one twice as often as the one before, to
    about as often as takes as long as a trace.
    """
    return 0 if made <= SOON else 1 << min(made - SOON - 1, 6)


# The seconds, as types tell them, that gradients of runs took one by one, of all threads.
SPENT = [0.0]


class Trial:
    """How often, and how long, calls have been run one by one, roughly.

    Example:
        >>> trial = Trial()
        >>> trial.over(3)
        False
        >>> trial.add(1.0)
        >>> trial.over(3)
        True
    """

    __slots__ = ("seconds", "times")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.times = 0

    def add(self, seconds: float) -> None:
        """They were run once more."""
        self.seconds += seconds
        self.times += 1

    def over(
        self, calls: int, gradients: bool = False, updates: Any = None, further: bool = False
    ) -> bool:
        """Whether it took longer than the patience for so many calls.

        `gradients` says whether they are asked for, and `further` whether they go on to what other
        programs made; `updates` is the table of the optimizer that the calls end with (`Recorded`).
        """
        more = 0
        if updates is not None:
            rounds = ALONE if calls == 1 else 1 + calls // CALLS
            more = max(updates.programs - SOON + 1, 0)
            if self.times >= rounds << more and updates.count > SETTLED:
                return True
        times = 1 << min(more, DOUBLINGS)
        if gradients and self.times >= times * (FURTHER if further else OFTEN):
            return True
        part = times * (PATIENCE.of_gradients if gradients else 1.0)
        return self.seconds > part * (PATIENCE.piece + PATIENCE.call * calls)
