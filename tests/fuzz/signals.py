"""Signal handlers that raise, at random moments: everything is left whole.

`python -m tests.fuzz.signals --moments 10000` interrupts training, evaluation, prediction, single
calls and compiling, with 1 to 4 threads, and looks after each moment whether the state is that of a
whole number of steps, nothing is locked or being traced, and the next call is right. With `--tape`
it interrupts eager loops on a tape.
"""

from __future__ import annotations

import _thread
import argparse
import faulthandler
import operator
import sys
import time
from collections import deque
from itertools import repeat
from typing import Any

import numpy as np

import mynn
from mynn import nn, optim
from mynn.core.types import Array
from mynn.runtime import threads as bounds
from mynn.trace import tracing
from tests.fuzz import tape_signals
from tests.fuzz.interruption import interrupt

ROWS, BATCH, STEPS = 48, 8, 1500
# Seconds after which a look at what is left counts as hanging.
_HANGS = 60


class Subject:
    """A network whose every state on the way is known: the same for all numbers of threads."""

    def __init__(self, threads: int, known: dict[bytes, int] | None = None) -> None:
        self.threads = threads
        mynn.manual_seed(5)
        self.net = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 3))
        self.optimizer = optim.SGD(self.net.parameters(), lr=0.02, momentum=0.9)
        self.x: Array = np.random.default_rng(2).normal(size=(ROWS, 6)).astype(np.float32)
        self.step = mynn.compile(self._step, threads=threads)
        self.model = mynn.compile(self.net, threads=threads)
        self.measure = mynn.compile(self._measure, threads=threads)
        self.fresh = 0
        self.batches = [self.x[i : i + BATCH] for i in range(0, ROWS, BATCH)]
        self.step(self.batches[0])
        state = [*self.net.parameters(), *self._slots()]
        self.arrays = [tensor.to_native() for tensor in state]
        for array in self.arrays[len(list(self.net.parameters())) :]:
            array[...] = 0
        self.first = [array.copy() for array in self.arrays]
        self.known = known or self.walk()
        self.expected = self.model(self.x)
        self.loss = mynn.evaluate(self.measure, self.x, batch_size=BATCH)

    def walk(self) -> dict[bytes, int]:
        """All states, and after how many steps they come."""
        known = {self.bytes(): 0}
        for number in range(STEPS):
            self.step(self.batches[number % len(self.batches)])
            known[self.bytes()] = number + 1
        self.reset()
        return known

    def _slots(self) -> list[Any]:
        found = mynn.compile(self._step).lookup((self.batches[0],))[0].state
        parameters = set(self.net.parameters())
        return [t for t in found if t not in parameters and t.shape]

    def _step(self, x: mynn.Tensor) -> mynn.Tensor:
        loss = (self.net(x) ** 2).mean()
        loss.backward()
        self.optimizer.step()
        return loss

    def _measure(self, x: mynn.Tensor) -> mynn.Tensor:
        return (self.net(x) ** 2).mean()

    def bytes(self) -> bytes:
        return b"".join(array.tobytes() for array in self.arrays)

    def reset(self) -> None:
        # One call of native code, so that it is whole as well.
        deque(map(operator.setitem, self.arrays, repeat(...), self.first), maxlen=0)

    def fit(self) -> None:
        self.reset()
        epochs = STEPS // len(self.batches)
        mynn.fit(self.step, self.x, batch_size=BATCH, shuffle=False, epochs=epochs, verbose=False)

    def short_fit(self) -> None:
        self.reset()
        mynn.fit(self.step, self.x, batch_size=BATCH, shuffle=False, verbose=False)

    def steps(self) -> None:
        self.reset()
        for batch in self.batches:
            self.step(batch)

    def call(self) -> None:
        found = self.model(self.x)
        if (found != self.expected).any():  # `array_equal` takes exceptions for "no"
            rows = np.flatnonzero((found != self.expected).any(1))
            again = np.array_equal(self.model(self.x), self.expected)
            step = self.known.get(self.bytes())
            raise AssertionError(f"rows {rows} wrong, again {again}, state of step {step}")

    def predict(self) -> None:
        mynn.predict(self.net, self.x, batch_size=BATCH)

    def evaluate(self) -> None:
        mynn.evaluate(self.measure, self.x, batch_size=BATCH)

    def compile(self) -> None:
        self.fresh = (self.fresh + 1) % 50
        size = 2 + self.fresh
        mynn.compile(self._measure, threads=self.threads)(self.x[:size])

    def check(self) -> None:
        """Everything is whole, and the next call is right."""
        assert tracing.active() is None, "still tracing"
        edits = tracing.activity.edits()
        assert tracing.activity.watch == edits, "counted as tracing"
        assert self.bytes() in self.known, "not the state of a whole number of steps"
        assert all(m.training for m in self.net.modules()), "the mode was left changed"
        self.reset()
        assert np.array_equal(self.model(self.x), self.expected), "the next call is wrong"
        loss = mynn.evaluate(self.measure, self.x, batch_size=BATCH)
        assert loss == self.loss, "the next evaluation is wrong"
        self.short_fit()
        assert self.known.get(self.bytes()) == len(self.batches), "the next training is wrong"
        self.reset()


def run(moments: int, seed: int) -> dict[str, int]:
    """How many moments were within each kind of work."""
    bounds.LEAST_OPERATIONS = 1
    running = _thread._count()
    subjects = [Subject(1)]
    subjects += [Subject(threads, subjects[0].known) for threads in (2, 3, 4)]
    kinds = ("fit", "short_fit", "steps", "call", "predict", "evaluate", "compile")
    counts = dict.fromkeys(kinds, 0)
    rng = np.random.default_rng(seed)
    typical = {}
    for kind in kinds:
        subjects[1].reset()
        began = time.perf_counter()
        getattr(subjects[1], kind)()
        typical[kind] = max(time.perf_counter() - began, 1e-4)
        subjects[1].reset()
    for number in range(moments):
        subject = subjects[number % len(subjects)]
        kind = kinds[number // len(subjects) % len(kinds)]
        seconds = float(rng.uniform(1e-6, min(2 * typical[kind], 0.05)))
        faulthandler.dump_traceback_later(_HANGS, exit=True)
        try:
            counts[kind] += interrupt(getattr(subject, kind), seconds)
            subject.check()
        except AssertionError as error:
            raise AssertionError(f"moment {number}, {kind}, {subject.threads} threads") from error
    end = time.perf_counter() + 20
    while _thread._count() > running and time.perf_counter() < end:
        time.sleep(0.01)
    assert _thread._count() == running, "workers are left"
    faulthandler.cancel_dump_traceback_later()
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tape", action="store_true", help="eager loops on a tape")
    chosen = parser.parse_args()
    sys.setswitchinterval(1e-4)
    print((tape_signals.run if chosen.tape else run)(chosen.moments, chosen.seed))
