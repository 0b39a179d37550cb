"""Tapes of several threads, tasks and processes: nobody waits for ever, and nothing is lost."""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mynn
import mynn.functional as F
from mynn import Tensor, nn, optim, random
from mynn.base import recording, sharing
from tests.fuzz.tape_signals import Subject, T, X
from tests.helpers import own_tape
from tests.subset import count

# Seconds after which threads count as waiting for each other.
_HANGS = 60


@pytest.fixture(autouse=True)
def tape() -> Iterator[Any]:
    """A tape; where threads hang, what they are about is printed."""
    before = sys.getswitchinterval()
    faulthandler.dump_traceback_later(_HANGS, exit=False)
    sys.setswitchinterval(1e-5)
    with mynn.eager("tape"):
        yield own_tape()
    sys.setswitchinterval(before)
    faulthandler.cancel_dump_traceback_later()


def together(*works: Callable[[], Any]) -> list[Any]:
    """What the functions return, each in a thread of its own; their errors are raised here."""
    found: list[Any] = [None] * len(works)
    wrong: list[BaseException] = []

    def run(number: int) -> None:
        try:
            found[number] = works[number]()
        except BaseException as error:
            wrong.append(error)

    threads = [
        threading.Thread(target=run, args=(number,), daemon=True) for number in range(len(works))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_HANGS / 2)
    assert not any(thread.is_alive() for thread in threads)
    if wrong:
        raise wrong[0]
    return found


def test_one_trains_and_one_predicts(tape: Any) -> None:
    """Predictions in training mode too, which put off the same statistics."""
    subject = Subject()
    subject.train(4)
    stop = threading.Event()

    def train() -> None:
        try:
            for _ in range(40):
                subject.optimizer.zero_grad()
                loss = F.cross_entropy(subject.net(Tensor(X[0])), Tensor(T[0]))
                loss.backward()
                subject.optimizer.step()
                assert np.isfinite(loss.item())
        finally:
            stop.set()

    def predict() -> int:
        count = 0
        while count < 3 or not stop.is_set():
            with mynn.no_grad():
                y = subject.net(Tensor(X[1]))
                if count % 3 == 0:
                    subject.net[1].running_mean.numpy()
                assert np.isfinite(F.softmax(y, 1).numpy()).all()
            count += 1
        return count

    assert together(train, predict)[1] > 1
    recording.settle()
    assert all(np.isfinite(array).all() for array in subject.arrays())
    assert not recording.waiting


@pytest.mark.one_in(3)
@pytest.mark.parametrize("own", [True, False])
def test_sixteen_threads(own: bool) -> None:
    """Each with a network, or all with one, and with what others have not made yet."""
    shared = Subject()
    left: list[Tensor] = []

    def work(number: int) -> Any:
        subject = Subject() if own else shared
        total = 0.0
        for turn in range(count(10, 4)):
            x = Tensor(X[turn % 4] + number)
            y = (x * 2.0 - x.exp()).tanh()
            left.append(y.sum())
            if own:
                subject.optimizer.zero_grad()
                loss = F.cross_entropy(subject.net(x), Tensor(T[turn % 4]))
                loss.backward()
                subject.optimizer.step()
            else:
                loss = F.cross_entropy(subject.net(x), Tensor(T[turn % 4]))
            other = left[turn * number % len(left)]
            total += (y.mean() + other).item() + loss.item()
        return total

    assert np.isfinite(together(*[lambda n=n: work(n) for n in range(16)])).all()
    recording.settle()
    assert not recording.waiting


def test_values_that_another_thread_has_not_made(tape: Any) -> None:
    """They come over a queue, in both directions at once."""
    there: list[list[Tensor]] = [[], []]
    barrier = threading.Barrier(2, timeout=_HANGS)

    def work(number: int) -> None:
        for turn in range(100):
            y = Tensor(X[turn % 4]) * (2.0 + number)
            there[number].append(y + 1.0)
            barrier.wait()
            z = there[1 - number][turn] + y
            np.testing.assert_allclose(z.numpy(), X[turn % 4] * 5 + 1, rtol=1e-5, atol=1e-5)

    together(lambda: work(0), lambda: work(1))


def test_a_lock_in_the_hands_of_one_that_reads_what_another_has_put_off(tape: Any) -> None:
    """State is read in whole steps while the tape that is to write it waits for the same lock."""
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
    other = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
    for _ in range(4):
        net(Tensor(X[0])).numpy()
        other(Tensor(X[0])).numpy()
    statistics = net[1].running_mean
    inside, go = threading.Event(), threading.Event()

    def reader() -> Any:
        def read() -> Any:
            inside.set()
            go.wait(_HANGS)
            time.sleep(0.05)  # the other one has begun to run, and waits for this lock
            return statistics.numpy()

        return sharing.run_whole(read, [net[1].running_mean, net[1].running_var])

    def writer() -> Any:
        inside.wait(_HANGS)
        y = net(Tensor(X[1]))
        assert ("_value", id(statistics)) in {(name, n) for n, name in own_tape().hidden}
        go.set()
        return y.numpy()

    before = statistics.numpy()
    seen, _ = together(reader, writer)
    np.testing.assert_array_equal(seen, before)
    assert (statistics.numpy() != before).any()


def test_draws_and_tapes_that_draw(tape: Any) -> None:
    """A generator is locked as numbers are drawn at once, and belongs to what a tape runs."""
    net = nn.Sequential(nn.Dropout(0.5))
    x = Tensor(np.ones((4, 4), np.float32))
    for _ in range(4):
        net(x).numpy()

    def draw() -> None:
        for _ in range(150):
            random.bits((2,)).numpy()
            random.default_generator().words(1)

    def drop() -> None:
        for _ in range(150):
            assert set(net(x).numpy().ravel().tolist()) <= {0.0, 2.0}

    together(draw, drop, drop, draw)


def test_a_module_of_the_user_may_wait_for_a_thread(tape: Any) -> None:
    """Nobody waits for the tape while code of the user's runs."""

    class Waits(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x * 2.0
            y = y + y
            (found,) = together(lambda: y.numpy())
            np.testing.assert_allclose(found, X[0] * 4)
            return y

    for _ in range(3):
        np.testing.assert_allclose(Waits()(Tensor(X[0])).numpy(), X[0] * 4)


def test_a_thread_that_ends_while_calls_wait(tape: Any) -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
    kept: list[Any] = []

    def work() -> None:
        for number in range(4):
            y = net(Tensor(X[number]))
            if number < 3:
                y.numpy()
        kept.append(weakref.ref(recording.current.own))
        kept.append(y)

    for keeps in (True, False):
        del kept[:]
        together(work)
        gc.collect()
        assert kept[0]() in recording.waiting
        if not keeps:
            del kept[1]
        for _ in range(2):
            (Tensor(X[0]) * 2.0).exp().numpy()
        assert not recording.waiting
        if keeps:
            assert np.isfinite(kept.pop().numpy()).all()
        gc.collect()
        assert kept[0]() is None
        assert np.isfinite(net[1].running_mean.numpy()).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_fork_while_calls_wait(tape: Any) -> None:
    """Here, and in another thread."""
    subject = Subject()
    subject.train(4)
    forked, recorded = threading.Event(), threading.Event()
    there: list[Tensor] = []

    def other() -> Any:
        y = Tensor(X[0]) * 2.0
        there.append(y + 1.0)
        recorded.set()
        forked.wait(_HANGS)
        return there[0].numpy()

    def fork() -> int:
        recorded.wait(_HANGS)
        loss = F.cross_entropy(subject.net(Tensor(X[0])), Tensor(T[0]))
        loss.backward()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                subject.optimizer.step()
                good = np.isfinite(loss.item()) and np.isfinite(subject.train(3)).all()
                good = good and np.allclose(there[0].numpy(), X[0] * 2 + 1, atol=1e-5)
                code = 0 if good else 2
            finally:
                os._exit(code)
        forked.set()
        subject.optimizer.step()
        assert np.isfinite(loss.item())
        end = time.monotonic() + _HANGS / 2
        while time.monotonic() < end:
            gone, status = os.waitpid(child, os.WNOHANG)
            if gone:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.01)
        os.kill(child, 9)
        os.waitpid(child, 0)
        return -1

    there_too, code = together(other, fork)
    assert code == 0
    np.testing.assert_allclose(there_too, X[0] * 2 + 1, rtol=1e-5)
    assert np.isfinite(subject.train(2)).all()


def test_tasks_that_interleave(tape: Any) -> None:
    """Each has its own `no_grad`, and all one tape."""

    async def train(subject: Subject) -> list[float]:
        losses = []
        for number in range(6):
            subject.optimizer.zero_grad()
            y = subject.net(Tensor(X[number % 4]))
            await asyncio.sleep(0)
            loss = F.cross_entropy(y, Tensor(T[number % 4]))
            await asyncio.sleep(0)
            loss.backward()
            await asyncio.sleep(0)
            subject.optimizer.step()
            losses.append(loss.item())
        return losses

    async def predict(net: nn.Module) -> None:
        for number in range(12):
            with mynn.no_grad():
                y = net(Tensor(X[number % 4]))
                await asyncio.sleep(0)
                assert not y.requires_grad
                z = y * 2.0
                await asyncio.sleep(0)
                assert not z.requires_grad
                np.testing.assert_allclose(z.numpy(), y.numpy() * 2, rtol=1e-5)

    def subjects() -> list[Subject]:
        found = []
        for _ in range(2):
            subject = Subject()
            subject.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
            subject.optimizer = optim.SGD(subject.net.parameters(), lr=0.1, momentum=0.9)
            found.append(subject)
        return found

    async def all_of_them() -> list[Any]:
        one, other = subjects()
        return await asyncio.gather(train(one), predict(one.net), train(other), predict(other.net))

    found = {}
    for mode in ("at once", "tape"):
        with mynn.eager(mode):  # type: ignore[arg-type]
            first, _, second, _ = asyncio.run(all_of_them())
            found[mode] = first + second
    np.testing.assert_allclose(found["tape"], found["at once"], rtol=2e-4, atol=2e-5)
