"""Whether a program is worth its making.

Calls are run one by one first, for about as long as making a program takes, as far as types tell
it (`mynn.tape.work`). So what repeats is at most twice as slow or so as if one had known, and so is
what stops repeating.
"""

from __future__ import annotations

from mynn.base.dataclass import dataclass


@dataclass
class Patience:
    """The seconds that are given to calls, before they are made a program: some for each piece, and
    some for each of its calls.
    """

    piece: float = 0.02
    call: float = 0.001


PATIENCE = Patience()


# The seconds, as types tell them, that gradients of runs took one by one, of all threads.
SPENT = [0.0]


class Trial:
    """How long calls have been run one by one, roughly.

    Example:
        >>> trial = Trial()
        >>> trial.over(3)
        False
        >>> trial.seconds += 1.0
        >>> trial.over(3)
        True
    """

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds = 0.0

    def over(self, calls: int) -> bool:
        """Whether it took longer than the patience for so many calls."""
        return self.seconds > PATIENCE.piece + PATIENCE.call * calls
