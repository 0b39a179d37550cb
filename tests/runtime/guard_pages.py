"""Programs whose memory ends at pages that may be neither read nor written.

Run by `test_guard_pages.py` in a process of its own, which an access outside ends.

python -m tests.runtime.guard_pages programs start
python -m tests.runtime.guard_pages fuzz end 0 40
python -m tests.runtime.guard_pages fit end
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import mynn
from benchmarks.ours import Trainer
from benchmarks.works import work_named
from mynn import functional, nn, optim
from mynn.compiler import pipeline
from mynn.core.graph import Graph, Node
from mynn.core.interpreter import evaluate
from mynn.core.types import Array
from mynn.runtime.llvm_jit import build
from mynn.target import storage
from mynn.target.storage import SLACK
from mynn.target.target import host
from mynn.transform.grad import grad
from tests.compiler.harness import call_step, guarded_memory, outputs_of
from tests.fuzz import native
from tests.fuzz.programs import stateful
from tests.helpers import assert_close, f32, graph_of, random_arrays
from tests.pages import guarded


def run(graph: Graph, arguments: Sequence[Array], writes: dict[Node, int], at_end: bool) -> None:
    """One run of a program agrees with the interpreter: shared where its memory ends at a page."""
    expected = evaluate(graph, arguments)
    lowered = pipeline.lower(graph, host(), writes)
    memory = guarded_memory(lowered, dict(zip(graph.inputs, arguments, strict=True)), at_end)
    # What is not split runs before such pages in all tests of native code: tests/compiler/harness.
    text = pipeline.finish(lowered, split=at_end).text
    call_step(lowered, build(text, lowered.target), memory)
    assert_close(outputs_of(lowered, memory, writes), expected, scale=100.0)


def window_gradients(x: mynn.Tensor) -> Any:
    return grad(lambda x: (functional.max_pool2d(x, 2) ** 2).sum())(x)


def convolution_gradients(x: mynn.Tensor, w: mynn.Tensor) -> Any:
    def loss(x: mynn.Tensor, w: mynn.Tensor) -> mynn.Tensor:
        return (functional.conv2d(x, w, padding=1).tanh() ** 2).sum()

    return grad(loss, argnums=(0, 1))(x, w)


# Sizes of one, of a vector and one more, of a vector but one, of several tiles and more.
SIZES = (1, 15, 17, 33, 65)
FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[[int], list[Any]]]] = {
    "map": (lambda x, y: x * y + 1.0, lambda n: [f32(3, n), f32(3, n)]),
    "turned map": (lambda x, y: x.T * y, lambda n: [f32(n, 5), f32(5, n)]),
    "sum of rows": (lambda x: x.sum(1), lambda n: [f32(7, n)]),
    "sum of columns": (lambda x: x.sum(0), lambda n: [f32(7, n)]),
    "softmax": (lambda x: functional.softmax(x, -1), lambda n: [f32(5, n)]),
    "product": (lambda x, w: (x @ w).tanh(), lambda n: [f32(9, n), f32(n, 18)]),
    "product, turned": (lambda x, w: x @ w.T, lambda n: [f32(9, n), f32(18, n)]),
    "product of columns": (lambda x, w: x.T @ w, lambda n: [f32(9, n), f32(9, 18)]),
    "few columns": (lambda x, w: x @ w.T, lambda n: [f32(n, 64), f32(3, 64)]),
    "slices": (lambda x: x[:, ::2] + x[:, ::-1][:, ::2], lambda n: [f32(4, n)]),
    "joined": (lambda x, y: functional.concatenate([x, y], 1), lambda n: [f32(4, n), f32(4, 3)]),
    "windows": (window_gradients, lambda n: [f32(2, 3, 8, 2 * n)]),
    "convolution": (convolution_gradients, lambda n: [f32(2, 3, 6, n), f32(5, 3, 3, 3)]),
    "argmax": (lambda x: x.argmax(1), lambda n: [f32(6, n)]),
}


def programs(at_end: bool) -> None:
    """The table, at every size."""
    for name, (function, types) in FUNCTIONS.items():
        for n in SIZES:
            graph = graph_of(function, *types(n))
            run(graph, random_arrays(graph), {}, at_end)
        print(name, "done", flush=True)


def fuzz(at_end: bool, first: int, count: int) -> None:
    """Random programs with state, bound as they are for users."""
    guard_everything(at_end)
    for seed in range(first, first + count):
        program = stateful(seed)
        if program is not None:
            native.run(program)
    print("fuzz done", flush=True)


def data(value: Array, at_end: bool) -> Array:
    """A copy that ends or begins exactly at a page that may not be touched."""
    raw = guarded(value.nbytes, at_end, alignment=1)
    copy: Array = raw.view(value.dtype).reshape(value.shape)
    copy[...] = value
    return copy


def guard_everything(at_end: bool) -> None:
    """From here on all memory that is made for native code lies so: parameters, arguments, results,
    the arena, scratch memory, and the words that workers share.
    """
    original = storage.aligned_bytes

    def aligned_bytes(nbytes: int) -> Array:
        raw = guarded(nbytes + SLACK, at_end)
        raw[...] = 0
        return raw[:nbytes]

    for module in list(sys.modules.values()):
        if getattr(module, "aligned_bytes", None) is original:
            vars(module)["aligned_bytes"] = aligned_bytes


# The others have the same layers, with more channels or wider.
TRAINED = ("W1", "W3", "W4", "W8")


def works(at_end: bool) -> None:
    """One epoch of networks that are timed."""
    guard_everything(at_end)
    for work in map(work_named, TRAINED):
        for threads in (1, 3):
            assert np.isfinite(Trainer(work, threads).train(1))
        print(work.name, "done", flush=True)


def outside(at_end: bool) -> None:
    """Reads a byte outside, which must end the process."""
    inside = guarded(4096, at_end)
    ctypes.string_at(inside.ctypes.data + (4096 if at_end else -1), 1)


def fit(at_end: bool) -> None:
    """Training, evaluation and prediction on data that ends where the memory ends."""
    guard_everything(at_end)
    rng = np.random.default_rng(0)
    for width, batch in ((3, 4), (17, 8), (33, 37)):
        for threads in (1, 2):
            net = nn.Sequential(nn.Linear(width, 6), nn.Tanh(), nn.Linear(6, 3))
            optimizer = optim.Adam(net.parameters())

            @mynn.compile(threads=threads)
            def step(
                x: mynn.Tensor,
                t: mynn.Tensor,
                net: nn.Module = net,
                optimizer: optim.Optimizer = optimizer,
            ) -> mynn.Tensor:
                loss = functional.cross_entropy(net(x), t)
                loss.backward()
                optimizer.step()
                return loss

            x = data(rng.standard_normal((37, width)).astype(np.float32), at_end)
            t = data(rng.integers(0, 3, 37), at_end)
            for shuffle in (True, False):
                mynn.fit(step, (x, t), epochs=2, batch_size=batch, shuffle=shuffle, verbose=False)
            mynn.predict(net, x, batch_size=batch)
            compiled = mynn.compile(net, threads=threads)
            np.testing.assert_allclose(compiled(x), net(x).numpy(), rtol=1e-4, atol=1e-5)
    print("fit done", flush=True)


if __name__ == "__main__":
    where = {"start": False, "end": True}[sys.argv[2]]
    modes: dict[str, Callable[..., None]] = {
        "programs": programs,
        "fuzz": fuzz,
        "fit": fit,
        "works": works,
        "outside": outside,
    }
    modes[sys.argv[1]](where, *map(int, sys.argv[3:]))
