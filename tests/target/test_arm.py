"""AArch64 code of all kinds of programs, run by an emulator; `make test-arm` runs more of them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mynn import nn, optim
from mynn.compiler.codegen.function import Module
from mynn.compiler.codegen.host import emit_functions
from mynn.compiler.loop_ir.parse import parse_function
from mynn.compiler.parallel import split
from mynn.ops import PRIMITIVES
from mynn.runtime.llvm_objects import object_code
from tests.compiler.harness import Case
from tests.fuzz.programs import gradient, plain, stateful
from tests.helpers import assert_close, f32, graph_of
from tests.subset import count
from tests.target import arm, foreign
from tests.target.arm import Check
from tests.target.foreign import Call, Job
from tests.target.loop import Training

pytestmark = pytest.mark.skipif(bool(foreign.missing()), reason=foreign.missing() or "all is there")

# One worker's code, and code that three threads share.
workers = pytest.mark.parametrize("workers", [0, 3])


def check(checks: list[Check], workers: int = 0) -> None:
    """All of them agree with the interpreter, and with x86."""
    report = arm.examine(checks, workers)
    assert report.programs == len(checks) > 0
    assert report.problems == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_functions(dtype: str) -> None:
    check(list(arm.functions(dtype, 5000)))


@pytest.mark.one_in(2)
@pytest.mark.parametrize("part", range(4))
def test_primitives(part: int) -> None:
    check(list(arm.primitives("float32", only=[*PRIMITIVES][part::4])))


def test_schedules() -> None:
    check(list(arm.schedules(17)))


@workers
@pytest.mark.parametrize("kind", [plain, gradient, stateful])
def test_random_graphs(
    kind: Callable[[int], Any], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "SMALL", 0)
    check(list(arm.graphs(kind, range(1000, 1000 + count(4, 2)))), workers)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("name", "workers"), [("W1", 0), ("W2", 3), ("W4", 0), ("W8", 3)])
def test_steps(name: str, workers: int) -> None:
    check([arm.work(name)], workers)


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_training_loop(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shuffled epochs of a classifier: gather, steps, sums; with workers that are led."""
    monkeypatch.setattr(split, "SMALL", 0)
    net = nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 3))
    optimizer = optim.Adam(net.parameters(), lr=0.01)

    def step(x: Any, t: Any) -> Any:
        loss = nn.CrossEntropyLoss()(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(24, 6)).astype(np.float32), rng.integers(0, 3, 24)
    training = Training(step, [x, t], batch=8, epochs=4)
    losses, state, acquired = training.run(tmp_path, workers)
    expected = training.interpreted()
    assert acquired == workers
    np.testing.assert_allclose(losses, expected[0], rtol=1e-6)
    assert_close(state, expected[1], 10)


def test_denormals(tmp_path: Path) -> None:
    """Flushed between two calls, as results and as operands, and not behind them."""
    functions = """
        function mynn_products(x: ptr) noinline:
          view values: f32[4] at x
          values[2] = mul(values[0], 0.5)
          values[3] = mul(values[1], 2.0)

        function mynn_step(table: ptr) exported:
          view entries: ptr[] at table
          let mode: u32 = call flush_denormals()
          call mynn_products(entries[0])
          call set_float_mode(mode)
          call mynn_products(entries[1])
        """
    texts = textwrap.dedent(functions).strip().split("\n\n")
    module = emit_functions(Module(arm.ARM), map(parse_function, texts))
    small = np.array([1.5e-38, 1e-40, 7, 7], np.float32)
    blocks = [small, small.copy(), np.zeros(2, np.uint64)]
    blocks[2][:] = [block.ctypes.data for block in blocks[:2]]
    foreign.run([Job((module.text(),), blocks, {2: range(2)}, [Call("mynn_step", 2)])], tmp_path)
    assert blocks[0].tolist() == [small[0], small[1], 0, 0]
    assert blocks[1].tolist() == [small[0], small[1], small[0] / 2, small[1] * 2]


def test_a_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(text: str, target: Any, codemodel: str) -> bytes:
        return object_code(text.replace(" fadd ", " fsub "), target, codemodel)

    monkeypatch.setattr(foreign, "object_code", wrong)
    graph = graph_of(lambda x: x + 1.0, f32(3))
    report = arm.examine([Check("sum", Case(graph, target=arm.ARM), [np.ones(3, np.float32)])])
    assert "3 of 3 differ" in report.problems[0]


def test_what_is_written_outside_is_found(tmp_path: Path) -> None:
    graph = graph_of(lambda x: x * 2.0, f32(3))
    case = Case(graph, target=arm.ARM)
    running = foreign.prepare(case, [np.ones(3, np.float32)])
    store = "define void @mynn_step(ptr %table) {\n  %p = load ptr, ptr %table\n"
    store += "  %q = getelementptr i8, ptr %p, i64 -8\n  store i64 1, ptr %q\n  ret void\n}\n"
    running.job.texts = (store,)
    foreign.run([running.job], tmp_path)
    with pytest.raises(AssertionError, match="written before"):
        running.outputs()


def test_a_crash_is_told(tmp_path: Path) -> None:
    case = Case(graph_of(lambda x: x * 2.0, f32(3)), target=arm.ARM)
    running = foreign.prepare(case, [np.ones(3, np.float32)])
    trap = "declare void @llvm.trap()\ndefine void @mynn_step(ptr %table) {\n"
    running.job.texts = (trap + "  call void @llvm.trap()\n  ret void\n}\n",)
    with pytest.raises(AssertionError, match="qemu-aarch64"):
        foreign.run([running.job], tmp_path)
