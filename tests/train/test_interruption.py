"""Ctrl-C, threads, and machines without LLVM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import History, Tensor, jit
from mynn.runtime import llvm_jit
from mynn.train.engine.interpreted import InterpretedExecutor
from tests.train.reference import Problem, Watch, assert_same_state, backends


def later(seconds: float) -> Iterator[None]:
    """Ctrl-C after a while."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    yield
    timer.join()


@backends
def test_ctrl_c(backend: str) -> None:
    """It stops at once, between two steps: what was trained is a whole number of steps."""
    one, two = Problem(), Problem()
    watch = Watch(one)
    step = one.compiled(backend)
    mynn.fit(step, one.data, batch_size=5, shuffle=False)
    waiting = later(0.3)
    next(waiting)
    begin = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        mynn.fit(step, one.data, epochs=10**9, batch_size=5, shuffle=False, callbacks=[watch])
    stopped = time.perf_counter() - begin - 0.3
    next(waiting, None)
    assert stopped < 0.5, stopped  # promised: 0.2; generous for a machine that is busy
    assert watch.events[-1].startswith("end")
    state = one.state()
    assert all(np.isfinite(value).all() for value in state.values())
    again = two.compiled(backend)
    mynn.fit(again, two.data, batch_size=5, shuffle=False)
    epochs = int(watch.events[-1].removeprefix("end "))
    if epochs:
        mynn.fit(again, two.data, epochs=epochs, batch_size=5, shuffle=False)
    for number in range(10):
        if all(np.array_equal(value, two.state()[key]) for key, value in state.items()):
            return
        rows = slice(5 * number, 5 * number + 5)
        again(two.x[rows], two.t[rows])
    pytest.fail("the state is not that of a whole number of steps")


def test_ctrl_c_before_a_step_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter's state and its counters change together: here in the last batch of an epoch,
    when the state is written and the epoch is not counted yet."""
    one, two = Problem(), Problem()
    watch = Watch(one)
    inner = InterpretedExecutor.call
    calls = iter(range(30))

    def interrupted(self: InterpretedExecutor, *arguments: Any) -> Any:
        results = inner(self, *arguments)
        if next(calls) == 19:
            signal.raise_signal(signal.SIGINT)
        return results

    monkeypatch.setattr(InterpretedExecutor, "call", interrupted)
    step = one.compiled("interpreter")
    with pytest.raises(KeyboardInterrupt):
        mynn.fit(step, one.data, epochs=3, batch_size=5, shuffle=False, callbacks=[watch])
    assert watch.events[-1] == "end 2"
    monkeypatch.undo()
    mynn.fit(two.compiled("interpreter"), two.data, epochs=2, batch_size=5, shuffle=False)
    assert_same_state(one.state(), two.state())


def test_ctrl_c_in_a_process_of_its_own() -> None:
    """As a user does it: the process ends with KeyboardInterrupt, quickly."""
    code = """if True:
        import sys, numpy as np, mynn
        from mynn import nn, optim
        net = nn.Linear(2, 2)
        optimizer = optim.SGD(net.parameters(), lr=1e-3)
        def step(x):
            loss = (net(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss
        class Ready(mynn.Callback):
            def on_progress(self, epoch, step, logs):
                if epoch > 100:
                    print("ready", flush=True)
        try:
            mynn.fit(step, np.ones((64, 2), np.float32), epochs=10**9, callbacks=[Ready()])
        except KeyboardInterrupt:
            print("\\ninterrupted", np.isfinite(net.weight.value).all())
    """
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert "interrupted True" in out
    assert process.returncode == 0


def test_fit_in_another_thread() -> None:
    """Training beside a main thread that does something else."""
    one, two = Problem(), Problem()
    done: list[History] = []
    thread = threading.Thread(
        target=lambda: done.append(mynn.fit(one.step, one.data, epochs=300, batch_size=4, seed=0))
    )
    thread.start()
    while thread.is_alive():
        assert (Tensor([1.0]) * 2.0).item() == 2
    thread.join()
    mynn.fit(two.step, two.data, epochs=300, batch_size=4, seed=0)
    assert_same_state(one.state(), two.state())
    assert done[0].epochs == 300


def test_without_llvm(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The same training, interpreted; said once."""

    def fails() -> None:
        raise RuntimeError("no code generator for this processor")

    one, two = Problem(), Problem()
    expected = mynn.fit(one.step, one.data, epochs=2, batch_size=8, seed=0)
    monkeypatch.setattr(llvm_jit, "self_test", fails)
    jit._native_available.cache_clear()
    try:
        history = mynn.fit(two.step, two.data, epochs=2, batch_size=8, seed=0)
        mynn.fit(two.step, two.data, epochs=1, batch_size=8, seed=0)
    finally:
        jit._native_available.cache_clear()
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-5)
    assert capfd.readouterr().err.count("no code generator") == 1
