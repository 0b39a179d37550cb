"""Loops within one tape: what is called again and again is one piece for each time.

An episode's losses are hundreds of equal calls, one after the other, which one program would hold
one after the other too: it is long in the making, and each length of an episode is another one. So
what has come `TIMES` times in a row is run each time that it is complete from then on: one short
program, and a gradient of that for each.
"""

from __future__ import annotations

from typing import Any

from mynn.tape.step import Step

# So many times in a row; shorter loops stay one program.
TIMES = 64
# A body has no more calls than that.
LONGEST = 12
# The same of loops through which no gradients flow.
QUIET_TIMES, QUIET_LONGEST = 16, 32
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
        """Whether the last calls of a new step are the body of a loop."""
        outcomes = step.outcomes
        last = tuple(map(id, outcomes[-QUIET_LONGEST:]))
        if any(last[-count:] in self.bodies for count in range(1, len(last) + 1)):
            return True
        for count in range(1, min(QUIET_LONGEST, len(outcomes) // QUIET_TIMES) + 1):
            body = outcomes[-count:]
            quiet = not any(one is None or one.requires_grad for one in body)
            times = QUIET_TIMES if quiet else TIMES
            if len(outcomes) < count * times or (count > LONGEST and not quiet):
                continue
            if _repeats(outcomes, count, times):
                if len(self.bodies) >= _MANY:
                    self.bodies.clear()
                self.bodies[last[-count:]] = body
                if quiet:
                    _run_each(step, body)
                return True
        return False


def _run_each(step: Step | None, body: tuple[Any, ...]) -> None:
    """Steps on the way to this one are run where the body is complete, too."""
    while step is not None:
        if step.outcomes[-len(body) :] == body:
            step.last = True
        step = step.parent


def _repeats(outcomes: tuple[Any, ...], count: int, times: int) -> bool:
    """Whether the last `count` have come so many times."""
    place = len(outcomes) - 1
    for number in range(place, place - count * (times - 1), -1):
        if outcomes[number] is None or outcomes[number] is not outcomes[number - count]:
            return False
    return True
