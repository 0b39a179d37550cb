"""Signal handlers that raise at random moments of eager loops on a tape: the mode `--tape` of
`tests.fuzz.signals`.

After each moment nothing is left half recorded, locked or hidden, parameters and statistics are
what some number of whole calls leaves, and the loop that follows gives what it gives at once.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import signal
import threading
import time
from typing import Any

import numpy as np

import mynn
import mynn.functional as F
from mynn import Tensor, nn, optim
from mynn.base import recording
from mynn.core.types import Array
from mynn.errors import UsageError
from mynn.tape.pieces.trial import PATIENCE
from mynn.tensor import grad_enabled
from mynn.tensor.gradients.grad_mode import _enabled
from mynn.trace import tracing
from tests.fuzz.interruption import interrupt
from tests.helpers import own_tape

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(4, 12, 4)).astype(np.float32)
T = DRAW.integers(0, 3, (4, 12))
_HANGS = 60


class Subject:
    """A network with statistics and draws, its optimiser, and loops over both."""

    def __init__(self) -> None:
        mynn.manual_seed(1)
        self.net = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Tanh(), nn.Linear(8, 3)
        )
        self.optimizer = optim.SGD(self.net.parameters(), lr=0.1, momentum=0.9)
        self.seen: Any = None

    def train(self, steps: int = 3) -> list[float]:
        """The usual loop."""
        self.net.train()
        losses = []
        for number in range(steps):
            self.optimizer.zero_grad()
            loss = F.cross_entropy(self.net(Tensor(X[number % 4])), Tensor(T[number % 4]))
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return losses

    def look_first(self, steps: int = 3) -> list[float]:
        """A look stands before `backward`."""
        self.net.train()
        losses = []
        for number in range(steps):
            loss = F.cross_entropy(self.net(Tensor(X[number % 4])), Tensor(T[number % 4]))
            losses.append(loss.item())
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return losses

    def predict(self) -> Array:
        """Without gradients; the result is kept in the hands of the handler too."""
        self.net.eval()
        with mynn.no_grad():
            y = self.seen = F.softmax(self.net(Tensor(X[0])), 1)
            return y.numpy()

    def small(self, rows: int = 12) -> Array:
        """Many small calls, views among them."""
        x = y = Tensor(X[0, :rows])
        for _ in range(5):
            y = (y * 0.5 + x).tanh()
        self.seen = y
        return y.reshape(-1)[1:4].numpy()

    def arrays(self) -> list[Array]:
        """Copies of all that training changes."""
        tensors = [*self.net.parameters(), *self.net.buffers()]
        tensors += [slot for slots in self.optimizer.state.values() for slot in slots.values()]
        return [tensor.numpy() for tensor in tensors]

    def put(self, arrays: list[Array]) -> None:
        """Set all that training changes."""
        tensors = [*self.net.parameters(), *self.net.buffers()]
        tensors += [slot for slots in self.optimizer.state.values() for slot in slots.values()]
        for tensor, array in zip(tensors, arrays, strict=True):
            tensor.data = array
        self.optimizer.zero_grad()


def is_free(lock: Any) -> bool:
    """Whether another thread gets the lock."""
    taken: list[bool] = []

    def take() -> None:
        taken.append(lock.acquire(timeout=10))
        if taken[0]:
            lock.release()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    return taken[0]


def check_tape(own: Any) -> None:
    """Nothing is left half done in this thread, whether or not calls wait."""
    current = recording.current
    assert current.tape is own, "the tape is lost"
    assert current.own is own
    assert current.place is None, "the place of a call is left"
    assert tracing.active() is None, "still tracing"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, "Ctrl-C is deaf"
    assert is_free(own.lock), "the lock of the tape is held"
    assert not recording.is_holding(), "a lock is held"
    waits = own.position is not own.root
    assert not waits or own in recording.waiting, "calls wait that nobody knows of"
    recording.settle()
    assert own.position is own.root
    assert not recording.waiting, "a tape waits that has nothing"
    assert not own.hidden
    assert own.running is None


def look_and_record() -> None:
    """What a handler may do: record, and look; but not where it comes into a trace."""
    if tracing.active() is not None:
        return
    y = (Tensor(X[1]) * 2.0).tanh()
    np.testing.assert_allclose(y.numpy(), np.tanh(X[1] * 2), rtol=1e-5)
    (Tensor(X[2]) + 1.0).sum()


def run(moments: int, seed: int) -> dict[str, int]:
    """How many moments were within each kind of work."""
    kinds = ("train", "look_first", "predict", "small")
    counts = dict.fromkeys(kinds, 0)
    rng = np.random.default_rng(seed)
    gc.collect()
    PATIENCE.piece = PATIENCE.call = 0.0
    with mynn.eager("tape"):
        own = own_tape()
        subject = Subject()
        start = subject.arrays()
        typical = {}
        for kind in kinds:
            for _ in range(3):
                began = time.perf_counter()
                getattr(subject, kind)()
                typical[kind] = time.perf_counter() - began
        for number in range(moments):
            if number % 50 == 49:  # everything is new again: calls are traced and compiled
                subject = Subject()
                subject.train(1)
                start = subject.arrays()
            kind = kinds[number % len(kinds)]
            seconds = float(rng.uniform(1e-6, 2 * typical[kind]))
            if number % 50 < 4:
                seconds *= 20
            before = look_and_record if number // 4 % 2 else lambda: None
            faulthandler.dump_traceback_later(_HANGS, exit=True)
            try:
                counts[kind] += interrupt(getattr(subject, kind), seconds, before)
                _enabled.set(True)  # the end of the user's own block can be interrupted
                check(subject, own, start)
            except AssertionError as error:
                raise AssertionError(f"moment {number}, {kind}") from error
    faulthandler.cancel_dump_traceback_later()
    return counts


def check(subject: Subject, own: Any, start: list[Array]) -> None:
    """All is whole, and what follows is as it is at once."""
    check_tape(own)
    assert grad_enabled()
    for parameter in subject.net.parameters():
        assert parameter.requires_grad
        assert np.isfinite(parameter.numpy()).all()
    if subject.seen is not None:
        with contextlib.suppress(UsageError):  # it was interrupted as it was made
            assert np.isfinite(subject.seen.numpy()).all()
        subject.seen = None
    again: dict[str, list[Any]] = {}
    for mode in ("tape", "at once"):
        subject.put(start)
        mynn.manual_seed(3)
        with mynn.eager(mode):  # type: ignore[arg-type]
            again[mode] = [subject.train(2), subject.look_first(1), subject.predict()]
            again[mode] += subject.arrays()
    recording.current.tape = recording.current.own = own
    for one, other in zip(again["tape"], again["at once"], strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)
