"""`Credit`: what a tape may spend on calls that did not come before.

A call that comes for the first time where a tape stands costs more than running it: a step is made,
and of calls of other kinds than before the outcome is traced. That is worth it where programs are
made of what comes again, so that programs that run give credit back. Without credit calls are run
at once, but for some now and then: what never repeats takes little longer than at once, and what
begins to repeat is found.

Nothing but counts decides, so that equal programs have equal bits.
"""

from __future__ import annotations

# At the beginning, and never more: so many calls are traced.
CREDIT = 400.0
# What a call costs of a kind that never came, and a new step of a known kind, in traced calls.
FIRST, STEP = 0.5, 0.25
# What each call of a program that runs gives back; what is given each time that a new call is run
# at once for want of credit, and each time that all are, for a while.
AGAIN, REGAINED, PROBE = 0.1, 0.02, 10.0
# After so many new calls in a row without credit, so many calls are run at once without a key;
# twice as many each time, up to the last number, until programs have brought back half of all.
REFUSED, REST, LONGEST = 16, 500, 16000

# From so many calls on that were run in new orders the ways of a program are taken for random; of
# the calls that programs run so large a part speaks against it.
STRAYED, FOUND = 1000.0, 0.25


class Credit:
    """What is left, in traced calls.

    - `spent`: whether nothing was left, and less than `PROBE` came back since.
    - `rest`: how many calls are still to be run without a key.

    Example:
        >>> credit = Credit()
        >>> credit.spend(1.0)
        >>> credit.left < CREDIT
        True
        >>> credit.gain(20)
        >>> credit.left == CREDIT
        True
    """

    __slots__ = ("_most", "_next", "_refused", "_strayed", "left", "rest", "spent")

    def __init__(self) -> None:
        self.left = self._most = CREDIT
        self.spent = False
        self.rest = 0
        # How many calls were run in new orders, less some of those that programs have run since.
        self._strayed = 0.0
        # How many calls are to be run without a key the next time.
        self._next = REST
        # How many new calls in a row were run at once.
        self._refused = 0

    def spend(self, amount: float) -> None:
        """A new call was looked at, or a step made for it."""
        self.left -= amount
        self.spent = self.left <= 0
        self._refused = 0

    def gain(self, calls: int) -> None:
        """A program of so many calls has run."""
        if self.left < self._most:  # mostly it is not
            self._add(AGAIN * calls)
        if self._strayed:
            self._strayed = max(self._strayed - FOUND * calls, 0.0)
        if 2 * self.left > self._most:
            self._next = REST

    def stray(self, calls: int) -> None:
        """So many calls are run in an order that did not come before."""
        self._strayed = min(self._strayed + calls, 2.0 * STRAYED)

    def begin(self) -> None:
        """A training begins: what came before says nothing of its orders."""
        self._strayed = 0.0

    @property
    def strays(self) -> bool:
        """Whether so many orders of calls are new that each next one is likely to be new too."""
        return self._strayed > STRAYED

    def refuse(self) -> bool:
        """A new call is run at once; whether all that follow are, for a while."""
        self._add(REGAINED)
        self._refused += 1
        if self._refused < REFUSED:
            return False
        self._add(PROBE)
        self._refused, self.rest = 0, self._next
        self._next = min(2 * self._next, LONGEST)
        return True

    def _add(self, amount: float) -> None:
        self.left = min(self._most, self.left + amount)
        self.spent = self.spent and self.left < PROBE


__all__ = ["FIRST", "STEP", "Credit"]
