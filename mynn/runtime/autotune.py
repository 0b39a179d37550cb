"""How many workers to run with, found by trying while a network trains.

A second worker helps where steps are long and its processor is free; where another process needs
the processor, workers wait for each other and are slower than one. Which it is, nobody knows
beforehand, and it changes. The results are the same bits for any number of workers, so the number
is changed on the way: now and then a few steps run with more or fewer of them, and the faster one
is kept.

Trials take about a millisecond. Where they bring nothing they become rarer, down to one in ten
seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable

# Runs up to so many steps with so many workers; returns how many ran.
Run = Callable[[int, int], int]

_TRIAL = 1e-3
_LONG = 10 * _TRIAL  # of a step so long one is enough
_SOONEST = 0.1
_LATEST = 10.0
# A trial may cost at most this share of the time.
_SHARE = 0.02
# What must be gained for a change.
_BETTER = 0.95


class Autotuner:
    """The number of workers for a run: at most `most`, which it starts with.

    Example:
        >>> tuner = Autotuner(4)
        >>> tuner.counts, tuner.workers
        ((1, 2, 4), 4)
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.perf_counter) -> None:
        counts = [1]
        while counts[-1] < most:
            counts.append(min(2 * counts[-1], most))
        self.counts = tuple(counts)
        self._index = len(counts) - 1
        self._clock = clock
        self._first = True
        self._step = 0.0  # seconds of a step with the present number
        self._down = True  # the direction of the next trial
        self._interval = _SOONEST
        self._due = 0.0

    @property
    def workers(self) -> int:
        """The number that is fastest as far as is known."""
        return self.counts[self._index]

    def run(self, budget: int, run: Run) -> None:
        """Run `budget` steps, with a trial among them where one is due.

        A first step by itself runs with one worker: it is over before threads have started.
        """
        first, self._first = self._first, False
        if first and budget == 1:
            run(1, 1)
            return
        if self._step and self._clock() >= self._due:
            index = self._other()
            steps = max(1, int(_TRIAL / self._step))
            few = 4 * steps <= budget
            if index is not None and (few or self._step >= _LONG):
                budget -= self._try(index, steps, run, wake=few)
        if budget > 0:
            self._step = self._timed(self.workers, budget, run) or self._step

    def _other(self) -> int | None:
        """The index of the number to try next: fewer and more in turn."""
        fits = [i for i in (self._index - 1, self._index + 1) if 0 <= i < len(self.counts)]
        if not fits:
            return None
        self._down = not self._down
        return fits[0] if self._down else fits[-1]

    def _try(self, index: int, steps: int, run: Run, wake: bool) -> int:
        """Run steps with another number, which becomes ours where it is faster.

        With `wake`, a step before them wakes the workers and is not timed.
        """
        began = self._clock()
        workers = self.counts[index]
        if wake:
            run(workers, 1)
        seconds = self._timed(workers, steps, run)
        if seconds and seconds < _BETTER * self._step:
            self._index, self._step, self._interval = index, seconds, _SOONEST
        else:
            self._interval = min(2 * self._interval, _LATEST)
        now = self._clock()
        self._due = now + max(self._interval, (now - began) / _SHARE)
        return steps + wake

    def _timed(self, workers: int, steps: int, run: Run) -> float:
        """Seconds of one step, 0 where none ran."""
        began = self._clock()
        ran = run(workers, steps)
        return (self._clock() - began) / ran if ran else 0.0
