"""Workers never outlive what they read, and nobody waits for one that is not there."""

from __future__ import annotations

import _thread
import gc
import time
import weakref
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.compiler.host.control_block import SHUTDOWN, Sync, WorkerState, worker_word
from mynn.runtime import threads as bounds
from mynn.runtime import worker_pool
from mynn.train.engine import native
from mynn.train.engine.native import NativeExecutor
from tests.runtime.children import run_child

X = np.random.default_rng(0).normal(size=(37, 20)).astype(np.float32)


def network() -> nn.Sequential:
    mynn.manual_seed(7)
    return nn.Sequential(nn.Linear(20, 40), nn.Tanh(), nn.Linear(40, 33))


def train(threads: int, epochs: int = 20) -> list[np.ndarray]:
    net = network()
    optimizer = optim.Adam(net.parameters(), lr=0.01)

    @mynn.compile(threads=threads)
    def step(x: mynn.Tensor) -> mynn.Tensor:
        loss = (net(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    mynn.fit(step, X, batch_size=8, epochs=epochs, verbose=False)
    return [p.numpy() for p in net.parameters()]


def gone(running: int, deadline: float = 10) -> bool:
    """Whether no more threads are left than there were, within some seconds."""
    end = time.perf_counter() + deadline
    while _thread._count() > running:
        if time.perf_counter() > end:
            return False
        time.sleep(0.005)
    return True


@pytest.mark.wide
def test_handlers_that_raise_in_fit() -> None:
    """A timeout as those of test runners and task queues, again and again, at random moments."""
    out = run_child(
        """
        class Late(Exception): pass

        def handler(number, frame):
            if frame.f_back is not None:  # not between two of the lines below
                raise Late
        signal.signal(signal.SIGALRM, handler)
        rng = np.random.default_rng(1)
        late = 0
        net = network()
        steps = [make_step(net, threads) for threads in (2, 3, 4)]
        for step in steps:
            mynn.fit(step, X, batch_size=8, verbose=False)
        for number in range(300):
            epochs = 10**6 if number % 2 else 1  # within the loop, or as it begins and ends
            try:
                # And again: Python ignores what is raised in a callback of a weak reference.
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-5, 3e-3), 0.02)
                while True:
                    mynn.fit(steps[number % 3], X, batch_size=8, epochs=epochs, verbose=False)
            except Late:
                signal.setitimer(signal.ITIMER_REAL, 0)
                late += 1
            junk = [np.full(3000, -1.0) for _ in range(100)]  # over whatever was freed
            assert all(np.isfinite(p.numpy()).all() for p in net.parameters())
        # One that is still on its way would end the process once Python has taken its handler away.
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        print(late)
        """
    )
    assert out.split() == ["300"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_exception_as_a_worker_of_fit_is_started(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever was started leaves."""
    running = _thread._count()
    expected = train(1)
    start = _thread.start_new_thread

    def interrupted(*arguments: Any) -> int:
        if moment == "after":
            start(*arguments)
        raise TimeoutError

    for _ in range(5):
        with monkeypatch.context() as patch:
            patch.setattr(_thread, "start_new_thread", interrupted)
            with pytest.raises(TimeoutError):
                train(3)
        for a, b in zip(expected, train(3), strict=True):
            np.testing.assert_array_equal(a, b)
    gc.collect()
    assert gone(running)


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_call_whose_workers_cannot_be_started(allowed: int) -> None:
    """Fewer workers and the same bits; the next call does not wait for those."""
    run_child(
        f"""
        from mynn.runtime import threads as bounds
        bounds.LEAST_OPERATIONS = 1
        net = network()
        expected = mynn.compile(net, threads=1)(X)
        shared = mynn.compile(net, threads=4)
        shared.program(X)
        start, left = _thread.start_new_thread, [{allowed}]
        def refuse(*arguments):
            left[0] -= 1
            if left[0] < 0:
                raise RuntimeError("can't start new thread")
            return start(*arguments)
        _thread.start_new_thread = refuse
        for _ in range(50):
            np.testing.assert_array_equal(shared(X), expected)
        _thread.start_new_thread = start
        for _ in range(50):
            np.testing.assert_array_equal(shared(X), expected)
        """,
        timeout=30,
    )


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_fit_whose_workers_cannot_be_started(
    allowed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(1)
    start: Any = _thread.start_new_thread
    left = [allowed]

    def refuse(*arguments: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("can't start new thread")
        return start(*arguments)

    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    for a, b in zip(expected, train(4), strict=True):
        np.testing.assert_array_equal(a, b)
    assert left[0] < 0


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_exception_as_a_worker_is_started(moment: str) -> None:
    """The call has run as a whole or not at all, and the next one runs."""
    run_child(
        f"""
        from mynn.runtime import threads as bounds
        bounds.LEAST_OPERATIONS = 1
        net = network()
        expected = mynn.compile(net, threads=1)(X)
        shared = mynn.compile(net, threads=3)
        shared.program(X)
        start = _thread.start_new_thread
        def interrupted(*arguments):
            if "{moment}" == "after":
                start(*arguments)
            raise TimeoutError
        for _ in range(20):
            _thread.start_new_thread = interrupted
            try:
                shared(X)
            except TimeoutError:
                pass
            _thread.start_new_thread = start
            np.testing.assert_array_equal(shared(X), expected)
            time.sleep(0.002)
        """,
        timeout=30,
    )


def test_an_abandoned_run_lets_its_threads_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody closes the executor; it is forgotten, and its data after its threads."""
    running = _thread._count()
    seen: list[weakref.ref[Any]] = []

    class Abandoned(mynn.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            raise KeyboardInterrupt

    def close(self: NativeExecutor) -> None:
        if self.pool is not None:
            seen.append(weakref.ref(self.pool.sync.words))

    monkeypatch.setattr(NativeExecutor, "close", close)
    net = network()
    step = mynn.compile(lambda x: (net(x) ** 2).mean(), threads=3)
    with (
        pytest.raises(KeyboardInterrupt),
        pytest.warns(UserWarning, match="changes no parameter"),
    ):
        mynn.fit(step, X, batch_size=8, callbacks=[Abandoned()], verbose=False)
    gc.collect()
    assert gone(running)
    # Threads of earlier tests may have been among those that ran at the start.
    until = time.monotonic() + 20
    while any(words() is not None for words in seen) and time.monotonic() < until:
        time.sleep(0.01)
    assert len(seen) == 1
    assert seen[0]() is None


def test_threads_that_nobody_tells_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """The executor lives on, in a traceback for example, and its threads do not stay."""
    running = _thread._count()
    kept: list[NativeExecutor] = []
    monkeypatch.setattr(NativeExecutor, "close", lambda self: kept.append(self))
    expected = train(1)
    for a, b in zip(expected, train(3), strict=True):
        np.testing.assert_array_equal(a, b)
    assert gone(running)
    executor = kept[-1]
    assert executor.pool is not None
    assert executor.pool.sync.all_away()


def test_a_second_thread_for_a_worker_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "LEAST_OPERATIONS", 1)
    program = mynn.compile(network(), threads=2).program(X)
    pool = program._first.function._pool
    words = pool.sync.words
    words[worker_word(1)] = WorkerState.PARKED
    worker_pool._work(*pool._arguments, 1)
    words[worker_word(1)] = WorkerState.AWAY
    words[Sync.PHASE] = SHUTDOWN
    worker_pool._work(*pool._arguments, 1)


def test_all_workers_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer are for times of need."""
    kept: list[NativeExecutor] = []
    close = NativeExecutor.close
    monkeypatch.setattr(NativeExecutor, "close", lambda self: (kept.append(self), close(self)))
    for _ in range(10):
        train(3, epochs=200)
        if kept[-1].control.acquired == 3:
            return
    pytest.fail(f"so many took part: {[executor.control.acquired for executor in kept]}")


def test_turns_are_short_where_workers_outnumber_processors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A step may take a thousand times as long as the one before: no turn has many of them."""
    monkeypatch.setattr(native, "_processors", lambda: 1)
    turns = []
    run = NativeExecutor._run

    def counted(self: Any, workers: int, budget: int) -> int:
        turns.append(budget)
        return run(self, workers, budget)

    monkeypatch.setattr(NativeExecutor, "_run", counted)
    step = mynn.compile(lambda x: (x * x).sum(), threads=2)
    mynn.fit(step, np.ones((64, 8), np.float32), batch_size=8, epochs=100, verbose=False)
    assert max(turns) <= 64
    assert sum(turns) >= 800
