"""What programs take of the stack: the bound, and the frames of the machine code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import functional, nn
from mynn.compiler import pipeline
from mynn.compiler.codegen.stack import AROUND, MOST_STACK, kernel_stack, needed, stack_bytes
from mynn.compiler.host.train_loop import Loop
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Buffer, Const, For, Kernel, Let, Load, Local, Op, Store, Var
from mynn.core.graph import Graph
from mynn.errors import CompileError
from mynn.runtime.llvm_jit import build
from mynn.target.target import Target, host
from mynn.tensor import Tensor
from mynn.train.engine import native
from mynn.transform.grad import grad
from tests.compiler.codegen.frames import deepest, functions
from tests.fuzz.programs import gradient
from tests.helpers import f32, graph_of
from tests.subset import count

linux_x86 = pytest.mark.skipif(
    not (host().is_x86 and sys.platform == "linux"), reason="frames are read from code for x86"
)
widths = pytest.mark.parametrize("vector_bytes", [16, 32, 64])
AT = Affine.var("v")
X, Y = Buffer("x", "f32", 4096), Buffer("y", "f32", 4096)


def values(count: int) -> Kernel:
    """Loads so many vectors before it stores the first of them."""
    loads = [Let(f"t{i}", Load(X, AT + 16 * i)) for i in range(count)]
    stores = [Store(Y, AT + 16 * i, Op("neg", (Var(f"t{i}", "f32"),), "f32")) for i in range(count)]
    return Kernel("k", (For("v", 16, (*loads, *stores), "vector"),), "many values")


def test_values_that_are_needed_at_once_count() -> None:
    assert kernel_stack(values(100)) - kernel_stack(values(50)) == 50 * 64
    one = Kernel("k", (Local(Buffer("acc", "f32", 256, "register")),))
    assert kernel_stack(one) - kernel_stack(Kernel("k", ())) == 1024
    scratch = Kernel("k", (Local(Buffer("panel", "f32", 1 << 20, "scratch")),))
    assert kernel_stack(scratch) == kernel_stack(Kernel("k", ()))


def test_the_kernel_that_takes_most_is_found_wherever_it_stands() -> None:
    several = [values(3), values(40), Kernel("k", ()), values(39), values(1)]
    for turn in range(len(several)):
        kernels = several[turn:] + several[:turn]
        assert stack_bytes(kernels) == kernel_stack(values(40)) + AROUND
    assert stack_bytes([]) == AROUND


def test_what_loops_need_of_the_values_before_them() -> None:
    use = Store(Y, AT, Op("add", (Var("a", "f32"), Var("b", "f32")), "f32"))
    body = (Let("b", Const(1.0, "f32")), For("v", 4, (use,), "vector"))
    assert needed(For("w", 2, body), {}) == {"a"}


def test_too_many_are_refused() -> None:
    assert stack_bytes([]) == AROUND
    assert stack_bytes([values(100)]) <= MOST_STACK
    with pytest.raises(CompileError, match=r"kernel k \(many values\) may take \d+ bytes of stack"):
        stack_bytes([values(1000)])


def check(graph: Graph, target: Target, split: bool) -> None:
    """The frames of a program are within what it says, and that is not too much."""
    lowered = pipeline.lower(graph, target)
    made = pipeline.finish(lowered, split=split)
    found = functions(build(made.text, target).assembly())
    assert found
    assert made.stack_bytes <= MOST_STACK
    for kernel in lowered.kernels:
        for name in {kernel.name, f"{kernel.name}.body"} & set(found):
            assert deepest(found, name) <= kernel_stack(kernel) + AROUND // 4
    for name in {"mynn_step", "mynn_call", "mynn_serve", "mynn_step_split"} & set(found):
        assert deepest(found, name) <= made.stack_bytes


@pytest.fixture
def target(vector_bytes: int) -> Target:
    registers = 32 if vector_bytes == 64 else 16
    narrow = min(vector_bytes, host().vector_bytes)
    return replace(host(), vector_bytes=narrow, vector_registers=registers)


def product(rng: np.random.Generator) -> Graph:
    """A product of any size, its operands turned or not, with an epilogue of any length."""
    p, k, q = (int(2 ** rng.uniform(0, top)) for top in (7, 17, 8))
    k = min(k, 2_000_000 // (p + q))
    turned = rng.integers(0, 2, 2)
    shapes = [(k, p) if turned[0] else (p, k), (q, k) if turned[1] else (k, q)]

    def function(a: Tensor, b: Tensor) -> Tensor:
        y = (a.T if turned[0] else a) @ (b.T if turned[1] else b)
        return y.tanh() * y.sigmoid() if rng.random() < 0.5 else y

    return graph_of(function, *(f32(*shape) for shape in shapes))


def convolution(rng: np.random.Generator) -> Graph:
    """A convolution, or its gradient."""
    n, c, o = (int(rng.integers(1, top)) for top in (9, 40, 40))
    side, window = int(rng.integers(6, 20)), int(rng.integers(1, 6))
    padding = int(rng.integers(0, window))

    def loss(x: Tensor, w: Tensor) -> Tensor:
        y: Tensor = functional.conv2d(x, w, padding=padding)
        return (y.tanh() * y).sum()

    function: Callable[..., Any] = grad(loss, argnums=(0, 1)) if rng.random() < 0.5 else loss
    return graph_of(lambda *a: function(*a), f32(n, c, side, side), f32(o, c, window, window))


@pytest.mark.one_in(3)
@linux_x86
@widths
@pytest.mark.parametrize("kind", [product, convolution])
def test_random_products(
    kind: Callable[[np.random.Generator], Graph], vector_bytes: int, target: Target
) -> None:
    for seed in range(count(4, 2)):
        rng = np.random.default_rng(100 * vector_bytes + seed)
        check(kind(rng), target, split=bool(seed % 2))


@linux_x86
@widths
def test_random_graphs(vector_bytes: int, target: Target) -> None:
    for seed in range(vector_bytes, vector_bytes + count(4, 2)):
        program = gradient(seed)
        if program is not None:
            check(program.graph, target, split=bool(seed % 2))


@pytest.mark.one_in(3)
@linux_x86
@widths
def test_values_kept_for_a_gradient(target: Target) -> None:
    def chain(x: Tensor) -> Tensor:
        for number in range(300):
            x = x * x + 0.5 if number % 2 else x.tanh()
        return x.sum()

    check(graph_of(lambda x: grad(chain)(x), f32(40)), target, split=False)


@linux_x86
@pytest.mark.parametrize("threads", [1, 2])
def test_the_loop_around_a_step(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not in kernels takes less than what is kept free for it."""
    made: list[Any] = []
    find = native.loop_code_for

    def found(loop: Loop, target: Target) -> tuple[native.LoopCode, float]:
        result = find(loop, target)
        made.append(result[0])
        return result

    monkeypatch.setattr(native, "loop_code_for", found)
    net = nn.Linear(6, 3)
    step = mynn.compile(lambda x, t: ((net(x) - t) ** 2).mean(), threads=threads)
    x, t = np.zeros((10, 6), np.float32), np.zeros((10, 3), np.float32)
    mynn.evaluate(step, (x, t), batch_size=4)
    frames = functions(made[0].native.assembly())
    assert max(deepest(frames, name) for name in frames) <= AROUND // 2


def test_a_program_says_what_it_takes() -> None:
    program = mynn.compile(nn.Linear(300, 200)).program(np.ones((64, 300), np.float32))
    assert AROUND < program.stack_bytes <= MOST_STACK
