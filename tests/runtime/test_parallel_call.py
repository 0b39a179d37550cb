"""A single call on several threads."""

from __future__ import annotations

import _thread
import gc
import os
import threading
import time
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.jit.program import Program
from mynn.runtime import threads as bounds
from mynn.runtime.parallel_call import SharedCall
from mynn.runtime.store import STORE


@pytest.fixture
def small_calls_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "LEAST_OPERATIONS", 1)


def network() -> nn.Sequential:
    mynn.manual_seed(7)
    return nn.Sequential(nn.Linear(20, 40), nn.Tanh(), nn.Linear(40, 33), nn.ReLU())


X = np.random.default_rng(0).normal(size=(37, 20)).astype(np.float32)


@pytest.mark.one_in(3)
@pytest.mark.usefixtures("small_calls_too")
@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("pause", [0, 0.005])
def test_same_bits(threads: int, pause: float) -> None:
    """Calls that follow at once, and calls for which the threads have to be started again."""
    net = network()
    expected = mynn.compile(net, threads=1)(X)
    shared = mynn.compile(net, threads=threads)
    for _ in range(100 if pause == 0 else 10):
        np.testing.assert_array_equal(shared(X), expected)
        time.sleep(pause)
    assert isinstance(shared.program(X).take().function, SharedCall)


@pytest.mark.usefixtures("small_calls_too")
def test_steps_that_change_state() -> None:
    def train(threads: int) -> list[np.ndarray]:
        net = network()
        optimizer = optim.Adam(net.parameters(), lr=0.01)

        @mynn.compile(threads=threads)
        def step(x: mynn.Tensor) -> mynn.Tensor:
            loss = (net(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        return [step(X) for _ in range(30)] + [p.numpy() for p in net.parameters()]

    for a, b in zip(train(1), train(2), strict=True):
        np.testing.assert_array_equal(a, b)


def test_small_calls_have_one_thread() -> None:
    shared = mynn.compile(network(), threads=2)
    assert not isinstance(shared.program(X).take().function, SharedCall)


@pytest.mark.usefixtures("small_calls_too")
def test_threads_end_soon() -> None:
    running = _thread._count()
    shared = mynn.compile(network(), threads=3)
    shared(X)
    deadline = time.perf_counter() + 10
    while _thread._count() > running and time.perf_counter() < deadline:
        time.sleep(0.001)
    assert _thread._count() <= running


@pytest.mark.usefixtures("small_calls_too")
def test_programs_that_are_forgotten_at_once() -> None:
    """Their threads may still stand by."""
    net = network()
    expected = mynn.compile(net, threads=1)(X)
    for _ in range(20):
        np.testing.assert_array_equal(mynn.compile(net, threads=3)(X), expected)
        gc.collect()


@pytest.mark.usefixtures("small_calls_too")
def test_many_at_once() -> None:
    net = network()
    expected = mynn.compile(net, threads=1)(X)
    wrong: list[Any] = []

    def call() -> None:
        own = mynn.compile(net, threads=3)
        wrong.extend(i for i in range(50) if not np.array_equal(own(X), expected))

    everybody = [threading.Thread(target=call) for _ in range(4)]
    for thread in everybody:
        thread.start()
    for thread in everybody:
        thread.join(60)
        assert not thread.is_alive()
    assert not wrong


@pytest.mark.usefixtures("small_calls_too")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork() -> None:
    shared = mynn.compile(network(), threads=2)
    expected = shared(X)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(shared(X), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(shared(X), expected)


@pytest.mark.parametrize(("rows", "split"), [(512, False), (8192, True)])
def test_the_tape_makes_no_code_for_threads_that_no_call_has(
    monkeypatch: pytest.MonkeyPatch, rows: int, split: bool
) -> None:
    """A step of 6 million operations is run by one thread, so that it is made for one; one of 100
    million is shared.
    """
    monkeypatch.setattr(bounds, "processors", lambda: 2)
    monkeypatch.delenv("MYNN_THREADS", raising=False)
    x = mynn.from_numpy(np.random.default_rng(1).normal(size=(rows, 20)).astype(np.float32))
    before = _codes()
    net = network()
    optimizer = optim.SGD(net.parameters(), lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        (net(x) ** 2).mean().backward()
        optimizer.step()
    made = [code for code in _codes() if code not in before and code.operations > 3_000_000]
    assert made
    assert [code.artifact.threads > 1 for code in made] == [split] * len(made)


def test_calls_and_loops_share_the_code_of_small_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tape has made is not made again by a compiled call, nor the other way round."""
    monkeypatch.setattr(bounds, "processors", lambda: 2)
    monkeypatch.delenv("MYNN_THREADS", raising=False)
    graph = mynn.compile(network()).program(X).source
    state = mynn.compile(network()).program(X).state
    for first, second in ((None, bounds.CALLS), (bounds.CALLS, None)):
        mynn.programs().clear()
        one = Program(graph, 1, {}, state, first)
        other = Program(graph, 1, {}, state, second)
        assert other.code is one.code


def test_a_loop_does_not_run_the_code_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of larger programs the loop has code for several threads, which a call can run too."""
    monkeypatch.setattr(bounds, "processors", lambda: 2)
    monkeypatch.delenv("MYNN_THREADS", raising=False)
    x = np.zeros((2048, 20), np.float32)
    program = mynn.compile(network()).program(x)
    graph, state = program.source, program.state
    mynn.programs().clear()
    call = Program(graph, 1, {}, state, bounds.CALLS)
    loop = Program(graph, 1, {}, state)
    assert (call.threads, loop.threads) == (1, 2)
    mynn.programs().clear()
    loop = Program(graph, 1, {}, state)
    assert Program(graph, 1, {}, state, bounds.CALLS).code is loop.code
    np.testing.assert_array_equal(call([x]), loop([x]))


def _codes() -> list[Any]:
    return [entry.code for entry in list(STORE._entries.values())]
