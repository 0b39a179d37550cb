"""Programs in the cache on disk: what is found again, what is not, and their names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor
from mynn.compiler import pipeline
from mynn.core.graph import CONSTANT, Graph, apply, constant, input_node
from mynn.core.primitive import Primitive
from mynn.core.types import Type
from mynn.jit import code as programs
from mynn.ops import elementwise
from mynn.runtime import cache
from mynn.runtime.artifact import Artifact
from mynn.runtime.graph_key import _canonical, graph_key
from tests.runtime.cached import entries, trained, was_lowered
from tests.runtime.test_cache import DAMAGES


@pytest.fixture
def lowerings(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """The graphs that are lowered from now on."""
    seen: list[Graph] = []

    def lower(graph: Graph, *arguments: Any) -> Any:
        seen.append(graph)
        return pipeline.lower(graph, *arguments)

    monkeypatch.setattr(programs, "lower", lower)
    return seen


# -- programs --------------------------------------------------------------------------------------


def test_a_program_is_not_lowered_again(folder: Path, lowerings: list[Graph]) -> None:
    first, expected = trained()
    assert was_lowered(first)
    assert len(lowerings) == 1
    _, values = trained()
    assert values == expected
    assert len(lowerings) == 1
    assert len(entries(folder)) >= 2


def test_looking_into_a_cached_program(folder: Path) -> None:
    """Everything can be seen after a hit, and is the same."""
    first, _ = trained()
    again, _ = trained()
    for name in ("kernels", "operations", "bytes", "buffers", "threads"):
        assert getattr(again, name) == getattr(first, name)
    assert again.argument_layouts == first.argument_layouts
    assert again.result_layouts == first.result_layouts
    assert not was_lowered(again)
    assert "lowered" not in vars(again.code.request)
    for name in ("graph", "loop_ir", "llvm_ir", "assembly"):
        assert getattr(again, name) == getattr(first, name)
    assert "lowered" in vars(again.code.request)


def test_other_programs_miss(folder: Path, lowerings: list[Graph]) -> None:
    for options in ({}, {"bias": 1e-6}, {"hidden": 21}):
        trained(**options)
    assert len(lowerings) == 3
    trained(lr=0.2)  # a value of the state, not a part of the program
    assert len(lowerings) == 3


def test_state_in_other_storage_misses(folder: Path, lowerings: list[Graph]) -> None:
    values = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    for order in ((0, 1), (1, 0)):
        weight = mynn.Parameter(values, order=order)
        run = mynn.compile(lambda x, weight=weight: x @ weight)
        result = run(np.eye(3, dtype=np.float32))
        np.testing.assert_array_equal(result, values)
    assert len(lowerings) == 2


def test_threads_are_told_apart(folder: Path, lowerings: list[Graph]) -> None:
    for threads in (1, 2, 3, 2):
        run = mynn.compile(lambda x: x * 2.0, threads=threads)
        assert run.program(np.ones(5, np.float32)).threads == threads
    assert len(lowerings) == 3


def test_another_version_misses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained()
    monkeypatch.setattr(cache, "_sources", lambda: "another version")
    assert was_lowered(trained()[0])


def test_damaged_programs_are_made_again(folder: Path) -> None:
    _, expected = trained()
    for damage in DAMAGES.values():
        for path in entries(folder):
            path.write_bytes(damage(path.read_bytes()))
        again, values = trained()
        assert was_lowered(again)
        assert values == expected
        assert not was_lowered(trained()[0])


def test_code_that_was_evicted(folder: Path) -> None:
    program, expected = trained()
    (folder / (program.native.key + ".bin")).unlink()
    again, values = trained()
    assert was_lowered(again)
    assert values == expected


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"slots": 1}', b"\xff\n", b"null\n"])
def test_images_that_are_none(content: bytes) -> None:
    assert Artifact.from_bytes(content) is None


def test_images_as_bytes(folder: Path) -> None:
    artifact = trained()[0].artifact
    again = Artifact.from_bytes(artifact.to_bytes())
    assert again is not None
    assert again.to_bytes() == artifact.to_bytes()
    assert (again.slots, again.types) == (artifact.slots, artifact.types)
    assert again.kernels == artifact.kernels
    assert Artifact.from_bytes(artifact.to_bytes()[:-1]) is None or not artifact.constants


def test_constants_are_kept(folder: Path) -> None:
    """Tables that the traced function closes over come back with the artifact."""
    for dtype in (np.float32, np.float64, np.int32, np.uint8, np.bool_):
        table = (np.arange(30) % 7).astype(dtype).reshape(5, 6)
        run = [mynn.compile(lambda i, table=table: Tensor(table)[i]) for _ in range(2)]
        rows = np.array([4, 0, 2], np.int32)
        for one in run:
            mynn.programs().clear()
            np.testing.assert_array_equal(one(rows), table[rows])
        assert not was_lowered(run[1].program(rows))


def test_a_new_process_hits(folder: Path) -> None:
    """What one process compiles another one loads; and no entry is written twice."""
    root = Path(mynn.__file__).parent.parent
    code = (
        "import numpy as np, mynn\n"
        "run = mynn.compile(lambda x: x.tanh().sum())\n"
        "x = np.linspace(0, 1, 100, dtype=np.float32)\n"
        "print(run(x).tobytes().hex(), 'cache' not in run.program(x).seconds)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(root)}
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        ).stdout.split()
        for _ in range(2)
    ]
    assert outputs[0][0] == outputs[1][0]
    assert [flag for _, flag in outputs] == ["True", "False"]


# -- names -----------------------------------------------------------------------------------------


def graph_of(shape: tuple[int, ...] = (2, 3), **changes: Any) -> tuple[Graph, dict[str, Any]]:
    x = input_node(Type(shape, np.dtype(changes.get("dtype", "float32"))), changes.get("name"))
    y = apply(changes.get("primitive", elementwise.tanh), x)
    z = apply(elementwise.mul, y, constant(np.full(shape, changes.get("value", 2)), dtype=x.dtype))
    graph = Graph((x,), (z, y) if changes.get("swapped") else (y, z))
    writes = {x: changes["write"]} if "write" in changes else {}
    layouts = {x: changes["layout"]} if "layout" in changes else {}
    return graph, {"writes": writes, "layouts": layouts}


def test_graph_keys() -> None:
    """Equal for graphs built twice, different where anything differs that lowering goes by."""

    def key(**changes: Any) -> bytes | None:
        graph, others = graph_of(**changes)
        return graph_key(graph, **others)

    assert key() == key() is not None
    changes: list[dict[str, Any]] = [
        {},
        {"shape": (3, 2)},
        {"dtype": "float64"},
        {"name": "x"},
        {"primitive": elementwise.exp},
        {"value": 3},
        {"value": np.float32(2.0000002)},
        {"swapped": True},
        {"write": 0},
        {"write": 1},
        {"layout": (1, 2)},
        {"layout": (4, 1)},
    ]
    assert len({key(**change) for change in changes}) == len(changes)


def test_parameters_as_text() -> None:
    values = [0, 0.0, -0.0, False, "0", b"0", None, (0,), ((0,),), (0, 0), {"a": 0}, {"b": 0}]
    values += [np.float32(0), np.zeros(1), np.zeros((1, 1)), np.dtype("f4"), slice(0, 1), slice(0)]
    assert len({_canonical(value) for value in values}) == len(values)


def test_primitives_of_others_are_not_kept(folder: Path) -> None:
    """Nothing is known of what they mean but their name."""
    x = input_node(Type((2,), np.dtype("float32")))
    tanh = elementwise.tanh
    twice = Primitive(
        "twice",
        tanh.infer,
        lambda x: x + x,
        None,
        tanh.samples,
        expand=lambda x: apply(elementwise.add, x, x),
    )
    assert graph_key(Graph((x,), (apply(twice, x),)), {}, {}) is None
    odd = apply(tanh, x)
    odd.params = {"thing": object()}
    assert graph_key(Graph((x,), (odd,)), {}, {}) is None
    assert constant(1.0).primitive is CONSTANT
