"""Where scratch buffers lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mynn.compiler import pipeline
from mynn.compiler.compilation import Compilation
from mynn.compiler.loop_ir.ir import Buffer, For, Kernel, Local, Statement
from mynn.compiler.memory.scratch import scratch_buffer, scratch_offsets
from mynn.errors import CompileError
from mynn.runtime.artifact import make_artifact
from mynn.runtime.binding import bind
from mynn.target.storage import ALIGNMENT, SLACK, allocate
from mynn.target.target import host
from tests.compiler.harness import Case
from tests.helpers import f32, graph_of


def scratch(name: str, elements: int) -> Buffer:
    return Buffer(name, "f32", elements, "scratch")


def kernel(*body: Statement) -> Kernel:
    return Kernel("k", body)


A, B, C, D = (scratch(name, n) for name, n in (("a", 4096), ("b", 64), ("c", 32), ("d", 8)))


def room(buffer: Buffer) -> int:
    return -(-(buffer.nbytes + SLACK) // ALIGNMENT) * ALIGNMENT


def test_bodies_side_by_side_share_memory() -> None:
    inner = For("q", 4, (Local(B), For("r", 2, (Local(D),))))
    one = kernel(Local(A), For("p", 8, ()), inner, For("s", 2, (Local(C),)))
    offsets, nbytes = scratch_offsets(one)
    start = room(A)
    assert offsets == {A: 0, B: start, D: start + room(B), C: start}
    assert nbytes == start + room(B) + room(D)
    assert all(offset % ALIGNMENT == 0 for offset in offsets.values())


def test_registers_take_none() -> None:
    one = kernel(Local(Buffer("acc", "f32", 16, "register")))
    assert scratch_offsets(one) == ({}, 0)
    assert scratch_buffer([one]) is None


def test_kernels_share_memory() -> None:
    """Each begins at the start; shares of the workers begin on lines of their own."""
    share = scratch_buffer([kernel(Local(A)), kernel(Local(B)), kernel()])
    assert share is not None
    assert room(A) <= share.nbytes < room(A) + 128
    assert share.nbytes % 128 == 0


def product() -> Compilation:
    """A product whose second operand is copied column by column."""
    return pipeline.lower(graph_of(lambda x, w: x @ w.T, f32(12, 48), f32(40, 48)), host())


def test_a_program_lists_its_scratch_memory() -> None:
    lowered = product()
    assert lowered.plan.scratch is lowered.table[-1]
    artifact = make_artifact(lowered.plan, lowered.table, lowered.graph.inputs, threads=3)
    slot = artifact.slots[-1]
    assert (slot.role, slot.number) == ("scratch", 3)
    inputs = [allocate(node.shape, node.dtype) for node in lowered.graph.inputs]
    table, _, keep = bind(artifact, inputs)
    assert table[-1] == keep[-1].ctypes.data
    assert keep[-1].nbytes == 3 * slot.elements


def test_nothing_lies_on_the_stack() -> None:
    lowered = product()
    assert "alloca" not in pipeline.finish(lowered).text
    assert "alloca" not in pipeline.finish(lowered, split=True).text.split("mynn_barrier")[0]


def test_too_small_a_share_is_refused() -> None:
    lowered = product()
    scratch = replace(lowered.table[-1], elements=64)
    lowered = replace(lowered, plan=replace(lowered.plan, scratch=scratch))
    with pytest.raises(CompileError, match=r"k0 needs \d+ bytes of scratch memory"):
        pipeline.finish(lowered)


def test_the_evaluator_knows_it() -> None:
    rng = np.random.default_rng(0)
    graph = graph_of(lambda x, w: x @ w.T, f32(7, 40), f32(9, 40))
    values = [rng.standard_normal(node.shape).astype(np.float32) for node in graph.inputs]
    case = Case(graph)
    np.testing.assert_allclose(case.evaluated(values)[0], values[0] @ values[1].T, rtol=1e-4)
