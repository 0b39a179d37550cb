"""`mynn.compile`: backends, and programs as objects."""

from __future__ import annotations

import copy
import gc
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mynn
import mynn.jit.compile
from mynn import Tensor, jit, nn, optim
from mynn.jit.interpreted import InterpretedProgram
from mynn.runtime import llvm_jit
from mynn.tensor.gradients import grad_mode
from tests.jit.harness import BACKENDS, backends, ramp, step_of

# -- backends --------------------------------------------------------------------------------------


@pytest.mark.one_in(3)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_backends_agree(name: str, dtype: Any) -> None:
    x = np.random.default_rng(0).normal(size=(9, 3)).astype(dtype)
    t = np.sin(x[:, :2])
    results = []
    for backend in BACKENDS:
        mynn.manual_seed(3)
        first, last = nn.Linear(3, 7, dtype=dtype), nn.Linear(7, 2, dtype=dtype)
        net = nn.Sequential(first, nn.Dropout(0.2), nn.GELU(), last)
        optimizer = getattr(optim, name)(net.parameters(), lr=0.01)
        run = mynn.compile(step_of(net, optimizer), backend=backend)
        losses = [run(x, t) for _ in range(5)]
        assert all(loss.dtype == dtype for loss in losses)
        results.append([*losses, *(p.numpy() for p in net.parameters())])
    tolerance = 2e-5 if dtype == np.float32 else 1e-12
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.fixture
def no_llvm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """LLVM that cannot make code for this processor."""

    def fails() -> None:
        raise RuntimeError("LLVM ERROR: 64-bit code requested\nmore")

    monkeypatch.setattr(llvm_jit, "self_test", fails)
    jit._native_available.cache_clear()
    yield
    jit._native_available.cache_clear()


@pytest.mark.usefixtures("no_llvm")
def test_without_llvm_it_runs_interpreted(capfd: pytest.CaptureFixture[str]) -> None:
    run = mynn.compile(lambda x: x + 1)
    np.testing.assert_array_equal(run(ramp(3)), ramp(3) + 1)
    np.testing.assert_array_equal(run(ramp(4)), ramp(4) + 1)
    mynn.compile(lambda x: x * 2)(ramp(4))
    assert isinstance(run.program(ramp(3)), InterpretedProgram)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "64-bit code requested" in err
    assert "interpreted" in err


def test_without_llvmlite_it_runs_interpreted() -> None:
    """A process in which llvmlite cannot be imported."""
    code = (
        "import sys; sys.modules['llvmlite'] = sys.modules['llvmlite.binding'] = None\n"
        "import numpy, mynn\n"
        "f = mynn.compile(lambda x: x + 1)\n"
        "print(f(numpy.ones(2)), f(numpy.ones(3)), f.program(numpy.ones(2)).backend)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[2. 2.] [2. 2. 2.] interpreter\n"
    assert done.stderr.count("no native code") == 1
    assert done.stderr.count("\n") == 1


# -- programs as objects ---------------------------------------------------------------------------


def test_programs_outlive_what_made_them() -> None:
    def made() -> Any:
        weight = Tensor(ramp(33, 33))
        return mynn.compile(lambda x: x @ weight).program(ramp(2, 33))

    program = made()
    expected = ramp(2, 33) @ ramp(33, 33)
    gc.collect()
    junk = [np.full((33, 48), np.nan, np.float32) for _ in range(50)]
    np.testing.assert_allclose(program([ramp(2, 33)])[0], expected, rtol=1e-5)
    assert len(junk) == 50


def test_threads_with_programs_of_their_own() -> None:
    """Native code runs without the interpreter's lock."""
    wrong: list[str] = []

    def work(number: int) -> None:
        weight = Tensor(ramp(16, 16) * number)
        run = mynn.compile(lambda x: (x @ weight).sum())
        for i in range(200):
            x = np.full((4, 16), float(i % 7), np.float32)
            expected = float((x @ weight.value).sum())
            if abs(run(x).item() - expected) > 1e-4 * abs(expected):
                wrong.append(f"{number} {i}")

    threads = [threading.Thread(target=work, args=(n,)) for n in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@backends
def test_threads_with_one_program(backend: str) -> None:
    """The memory of a program serves one call at a time; modes are those of each thread."""
    weight = Tensor(np.eye(64, dtype=np.float32), requires_grad=True)
    run = mynn.compile(lambda x: x @ weight, backend=backend)
    wrong = []

    def work(number: float) -> None:
        x = np.full((64, 64), number, np.float32)
        for i in range(100):
            with mynn.no_grad():
                if not np.array_equal(run(x), x) or (Tensor(x) * weight).requires_grad:
                    wrong.append(f"{number} {i}")

    threads = [threading.Thread(target=work, args=(float(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        assert (weight * 2.0).requires_grad
    for thread in threads:
        thread.join()
    assert not wrong


def test_memory_of_programs_is_given_back() -> None:
    def cycle(count: int) -> None:
        for _ in range(count):
            weight = Tensor(np.ones((64, 64), np.float32))

            def function(x: Any, weight: Tensor = weight) -> Any:
                return x @ weight

            mynn.compile(lambda x, f=function: f(x))(ramp(2, 64))

    cycle(20)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cycle(200)
    gc.collect()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 40_000, f"{grown} KiB"  # 200 KiB each, if nothing were given back: 40 MB


def test_methods_of_a_shallow_copy() -> None:
    """It has the attributes of the original, the programs too, and may get others."""

    class Scaled:
        def __init__(self) -> None:
            self.scale = 2.0

        @mynn.compile
        def scaled(self, x: Any) -> Any:
            return x * self.scale

    one, x = Scaled(), np.ones(3, np.float32)
    assert one.scaled(x).tolist() == [2.0] * 3
    twin = copy.copy(one)
    twin.scale = 4.0
    assert twin.scaled(x).tolist() == [4.0] * 3
    assert one.scaled(x).tolist() == [2.0] * 3


def test_a_trace_that_is_interrupted_leaves_gradients_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler may raise as a block of `no_grad` ends, before it has ended."""
    net = nn.Linear(2, 1)
    optimizer = optim.SGD(net.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        loss = (net(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    def late(self: Any, *error: object) -> None:
        raise TimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(grad_mode._Block, "__exit__", late)
        with pytest.raises(TimeoutError):
            mynn.compile(step)(np.ones((4, 2), np.float32))
    assert grad_mode.grad_enabled()
    assert mynn.compile(step)(np.ones((4, 2), np.float32)).shape == ()
