"""AArch64 code of all kinds of programs, run by an emulator; `make test-arm` runs more of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mynn.compiler.parallel import split
from mynn.runtime.llvm_jit import object_code
from tests.compiler.harness import Case
from tests.fuzz.programs import gradient, plain, stateful
from tests.helpers import f32, graph_of
from tests.target import arm, foreign
from tests.target.arm import Check

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


def test_primitives() -> None:
    check(list(arm.primitives("float32")))


def test_schedules() -> None:
    check(list(arm.schedules(17)))


@workers
@pytest.mark.parametrize("kind", [plain, gradient, stateful])
def test_random_graphs(
    kind: Callable[[int], Any], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(split, "SMALL", 0)
    check(list(arm.graphs(kind, range(1000, 1004))), workers)


@pytest.mark.parametrize(("name", "workers"), [("W1", 0), ("W2", 3), ("W4", 0), ("W8", 3)])
def test_steps(name: str, workers: int) -> None:
    check([arm.work(name)], workers)


def test_a_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(text: str, target: Any) -> bytes:
        return object_code(text.replace(" fadd ", " fsub "), target)

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
    running.job.text = store
    foreign.run([running.job], tmp_path)
    with pytest.raises(AssertionError, match="written before"):
        running.outputs()


def test_a_crash_is_told(tmp_path: Path) -> None:
    case = Case(graph_of(lambda x: x * 2.0, f32(3)), target=arm.ARM)
    running = foreign.prepare(case, [np.ones(3, np.float32)])
    trap = "declare void @llvm.trap()\ndefine void @mynn_step(ptr %table) {\n"
    running.job.text = trap + "  call void @llvm.trap()\n  ret void\n}\n"
    with pytest.raises(AssertionError, match="qemu-aarch64"):
        foreign.run([running.job], tmp_path)
