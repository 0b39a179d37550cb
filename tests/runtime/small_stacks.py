"""Programs in threads of the smallest stacks, run by `test_stack.py` in a process of its own.

python -m tests.runtime.small_stacks works 2
python -m tests.runtime.small_stacks shapes 2
"""

from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

import mynn
from benchmarks.ours import Trainer
from benchmarks.works import WORKS
from mynn import functional, nn, optim

# What musl gives to threads is 128 KB, macOS 512 KB; Python itself needs some of it.
STACK = 64 * 1024


def in_small_thread(work: Callable[[], Any]) -> Any:
    """The result of a function in a thread with a small stack, as its own threads have them."""
    results: list[Any] = []
    old = threading.stack_size(STACK)
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    threading.stack_size(old)
    if not results:
        raise AssertionError("the thread ended without a result")
    return results[0]


def same_in_small_thread(name: str, work: Callable[[], Any]) -> None:
    """Run once where everything is compiled, then in a small thread: the results are the same."""
    expected = work()
    got = in_small_thread(work)
    np.testing.assert_array_equal(got, expected)
    print(name, "done", flush=True)


def works(threads: int) -> None:
    """One epoch of each work that is timed; on one thread, of those with most on the stack."""
    for work in WORKS if threads > 1 else WORKS[-2:]:
        trainer = Trainer(work, threads)

        def train(trainer: Trainer = trainer) -> float:
            trainer.reset()
            return trainer.train(1)

        same_in_small_thread(work.name, train)


def call(name: str, function: Callable[..., Any], *arrays: Any, threads: int = 1) -> None:
    """Calls of a compiled function."""
    compiled = mynn.compile(function, threads=threads)
    same_in_small_thread(name, lambda: compiled(*arrays))


def attention(q: mynn.Tensor, k: mynn.Tensor, v: mynn.Tensor) -> mynn.Tensor:
    """Rows of `v`, weighted by how well `q` fits to `k`."""
    return functional.softmax(q @ k.T, dim=-1) @ v


def training(threads: int) -> None:
    """A batch of 8,000 rows, whose weight gradients are sums of as many products."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8_000, 784)).astype(np.float32)
    t = rng.integers(0, 10, 8_000)
    net = nn.Sequential(nn.Linear(784, 256), nn.Tanh(), nn.Linear(256, 10))
    start = copy.deepcopy(net.state_dict())
    optimizer = optim.SGD(net.parameters(), lr=0.1)

    @mynn.compile(threads=threads)
    def step(x: mynn.Tensor, t: mynn.Tensor) -> mynn.Tensor:
        loss = functional.cross_entropy(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    def train() -> list[float]:
        net.load_state_dict(start)
        return mynn.fit(step, (x, t), epochs=1, batch_size=8_000, seed=0, verbose=False)["loss"]

    same_in_small_thread("a batch of 8,000", train)


def shapes(threads: int) -> None:
    """Products whose sums are long."""
    rng = np.random.default_rng(1)

    def array(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    call("Linear(20000, 256)", nn.Linear(20_000, 256), array(64, 20_000), threads=threads)
    wide = nn.Sequential(nn.Linear(1024, 1024), nn.Linear(1024, 1000))
    call("Linear(1024, 1024)", wide, array(64, 1024), threads=threads)
    call("x.T @ x", lambda x: x.T @ x, array(20_000, 256), threads=threads)
    call("x @ w.T", lambda x, w: x @ w.T, array(9, 512), array(700, 512), threads=threads)
    call("attention", attention, array(64, 64), array(8_000, 64), array(8_000, 64))
    conv = nn.Conv2d(2048, 64, 3, padding=1)
    call("Conv2d(2048, 64, 3)", conv, array(2, 2048, 6, 6), threads=threads)
    long = nn.Conv1d(4, 64, 5000)
    call("Conv1d(4, 64, 5000)", long, array(2, 4, 6000), threads=threads)
    training(threads)


if __name__ == "__main__":
    {"works": works, "shapes": shapes}[sys.argv[1]](int(sys.argv[2]))
