"""Large modules in parts: each is whole, and together they do what the module does."""

from __future__ import annotations

import re

import llvmlite.binding as llvm
import numpy as np
import pytest

from mynn.compiler import pipeline
from mynn.compiler.codegen import split_module
from mynn.compiler.codegen.split_module import Part, parts_of
from mynn.runtime import llvm_objects
from mynn.runtime.llvm_jit import build
from mynn.target.target import host
from mynn.tensor import Tensor
from tests.compiler.codegen.deep import train_deep
from tests.compiler.harness import Case, run_native
from tests.helpers import f32, graph_of, random_arrays


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of some lines, for three threads."""
    monkeypatch.setattr(split_module, "SIZE", 2000)
    monkeypatch.setattr(llvm_objects, "processors", lambda: 3)
    monkeypatch.setenv("MYNN_CACHE", "0")


def waves(x: Tensor) -> tuple[Tensor, ...]:
    """Kernels of different shapes, which call functions of the library."""
    return tuple((x[: 3 + n].sin() * n).exp() @ x[:, : 3 + n].tanh() for n in range(1, 9))


def test_small_modules_stay_whole() -> None:
    graph = graph_of(lambda x: x.exp() @ x.tanh(), f32(12, 12))
    text = pipeline.finish(pipeline.lower(graph, host())).text
    assert parts_of(text) == [Part(text)]


@pytest.mark.usefixtures("small")
def test_no_part_is_empty() -> None:
    """One kernel, as long as several parts."""
    text = pipeline.finish(pipeline.lower(graph_of(lambda x: x @ x, f32(30, 30)), host())).text
    assert len(text) > 3 * split_module.SIZE
    assert [part.functions for part in parts_of(text)] == [(), ("k0",)]


@pytest.mark.usefixtures("small")
def test_every_function_lies_in_one_part() -> None:
    case = Case(graph_of(waves, f32(12, 12)))
    text = pipeline.finish(case.lowered).text
    first, *others = parts_of(text)
    assert len(others) > 3
    moved = [name for part in others for name in part.functions]
    assert len(set(moved)) == len(moved)
    for part in (first, *others):
        llvm.parse_assembly(part.text, llvm.create_context()).verify()
        own = re.findall(r"^define void @([\w.]+)\(", part.text, re.M)
        assert set(own) - {"mynn_step"} == set(part.functions)
    assert set(re.findall(r"^declare void @(k[\w.]+)\(", first.text, re.M)) == set(moved)
    kept = set(re.findall(r"^define .*@(k[\w.]+)\(", first.text, re.M))
    assert kept.isdisjoint(moved)
    assert kept | set(moved) == set(re.findall(r"^define .*@(k[\w.]+)\(", text, re.M))
    # A sine of large numbers is a function that another one of the library calls.
    assert any(re.search(r"^define .*rare", part.text, re.M) for part in others)


@pytest.mark.usefixtures("small")
def test_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(graph_of(waves, f32(12, 12)))
    arguments = [100 * value for value in random_arrays(case.graph)]
    text = pipeline.finish(case.lowered).text
    native = build(text, case.target)
    assert len(native.engines) > 4
    monkeypatch.setattr(split_module, "SIZE", len(text))
    alone = build(text, case.target)
    assert len(alone.engines) == 1
    for found, expected in zip(
        run_native(case, native, arguments), run_native(case, alone, arguments), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.one_in(3)
@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("processors", "most"), [(1, 1), (2, 4), (64, split_module.MOST)])
def test_as_many_parts_as_threads_are_busy_with(
    processors: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llvm_objects, "processors", lambda: processors)
    case = Case(graph_of(lambda x: waves(x) + waves(x + 1.0), f32(12, 12)))
    text = pipeline.finish(case.lowered).text
    assert len(text) > split_module.MOST * split_module.SIZE
    assert 1 <= len(build(text, case.target).engines) <= most


@pytest.mark.usefixtures("small")
def test_what_is_shown_has_all_parts() -> None:
    native = build(pipeline.finish(Case(graph_of(waves, f32(12, 12))).lowered).text, host())
    names = [name for part in parts_of(native.text) for name in part.functions]
    for text in (native.optimized, native.assembly()):
        assert all(re.search(rf"\b{re.escape(name)}\b", text) for name in ["mynn_step", *names])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("threads", [1, 3])
def test_training(threads: int) -> None:
    losses = [train_deep(6, threads, backend) for backend in ("native", "interpreter")]
    np.testing.assert_allclose(*losses, rtol=2e-5)
