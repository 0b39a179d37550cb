"""Loops within one tape: what is called again and again is one piece for each time.

An episode's losses are hundreds of equal calls, one after the other, which one program would hold
one after the other too: it is long in the making, and each length of an episode is another one. So
what has come `TIMES` times in a row is run some times at once from then on, about `TOGETHER` calls:
one short program, and a gradient of that, whatever the length.
"""

from __future__ import annotations

import sys
from typing import Any

from mynn.tape.calls.step import Step

# So many times in a row; shorter loops stay one program.
TIMES = 64
# A body has no more calls than that.
LONGEST = 12
# The same of loops through which no gradients flow.
QUIET_TIMES, QUIET_LONGEST = 16, 32
# So many calls of a loop are run together, or those of one round if that has more.
TOGETHER = 32
# So many bodies are known at most.
_MANY = 64


class Loops:
    """The bodies of loops that a tape has found, by what their calls do.

    Example:
        >>> loops = Loops()
        >>> loops.ends_with_body(Step(None, None, None))
        False
    """

    def __init__(self) -> None:
        # With what they do, so that no other outcome gets its identity.
        self.bodies: dict[tuple[int, ...], tuple[Any, ...]] = {}

    def ends_with_body(self, step: Step) -> bool:
        """Whether a new step ends what is run together of a loop."""
        outcomes = step.outcomes
        last = tuple(map(id, outcomes[-QUIET_LONGEST:]))
        for count in range(1, len(last) + 1):
            if last[-count:] in self.bodies:
                return _is_complete(step, count)
        for count in range(1, min(QUIET_LONGEST, len(outcomes) // QUIET_TIMES) + 1):
            body = outcomes[-count:]
            quiet = not any(one is None or one.requires_grad for one in body)
            times = QUIET_TIMES if quiet else TIMES
            if (count > LONGEST and not quiet) or _rounds(outcomes, count, times) < times:
                continue
            if len(self.bodies) >= _MANY:
                self.bodies.clear()
            self.bodies[last[-count:]] = body
            # The steps up to here may come again.
            before = step.parent
            for number in range(1, count * times):
                assert before is not None
                if number % count == 0 and _is_complete(before, count):
                    before.last = True
                before = before.parent
            return _is_complete(step, count)
        return False


def _is_complete(step: Step, count: int) -> bool:
    """Whether so many rounds of a loop of so many calls have come as are run together."""
    return _rounds(step.outcomes, count) % max(TOGETHER // count, 1) == 0


def _rounds(outcomes: tuple[Any, ...], count: int, most: int = sys.maxsize) -> int:
    """How many times in a row the last `count` have come, at `most`."""
    last = place = len(outcomes) - 1
    while place >= count and last - place < count * (most - 1):
        if outcomes[place] is None or outcomes[place] is not outcomes[place - count]:
            break
        place -= 1
    return (last - place) // count + 1
