"""`Program`: the glass box, and the memory it is bound to."""

from __future__ import annotations

import copy
import gc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor, nn, optim
from mynn.compiler.loop_ir.verify import verify_kernel
from mynn.core.types import Array
from mynn.errors import ArgumentError, CompileError, UsageError
from mynn.jit.program import BufferInfo, Program
from mynn.runtime.llvm_jit import assembly
from mynn.target.storage import (
    ALIGNMENT,
    allocate,
    axis_order,
    padded_extent,
    padded_strides,
    storage_elements,
)
from mynn.target.target import named

BATCH, IN, HIDDEN, OUT = 8, 3, 20, 5


def mlp_step() -> tuple[Any, Array, Array]:
    """A step of a network IN-HIDDEN-OUT with SGD, and a batch."""
    net = nn.Sequential(nn.Linear(IN, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, OUT))
    optimizer = optim.SGD(net.parameters(), lr=0.1)

    @mynn.compile
    def step(x: Any, t: Any) -> Any:
        loss = nn.MSELoss()(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(BATCH, IN)), rng.normal(size=(BATCH, OUT))
    return step, x.astype(np.float32), t.astype(np.float32)


@pytest.fixture(scope="module")
def program() -> Program:
    step, x, t = mlp_step()
    result: Program = step.program(x, t)
    return result


# -- what it tells ---------------------------------------------------------------------------------


def test_operations(program: Program) -> None:
    """At least the five products of a step, two operations for each multiply-add, and not much
    more: every value of a layer or a parameter is touched a few times."""
    products = 2 * BATCH * (2 * IN * HIDDEN + 3 * HIDDEN * OUT)
    values = BATCH * (HIDDEN + OUT) + IN * HIDDEN + HIDDEN + HIDDEN * OUT + OUT
    assert products <= program.operations <= products + 4 * values


def test_operations_of_single_kernels() -> None:
    """Counted by hand."""
    x, w, b = np.ones((4, 7), np.float32), Tensor(np.ones((7, 9))), Tensor(np.ones(9))
    for function, expected in [
        (lambda x: x @ w, 2 * 4 * 7 * 9),
        (lambda x: (x @ w + b).tanh(), 2 * 4 * 7 * 9 + 4 * 9),
        (lambda x: x + 1.0, 4 * 7),
        (lambda x: x.sum(), 4 * 7),
        (lambda x: (x.sum(1), x * 2.0), 2 * 4 * 7),
    ]:
        run = mynn.compile(function)  # type: Any
        assert run.program(x.astype(np.float64)).operations == expected


def test_bytes(program: Program) -> None:
    """Each kernel reads and writes whole buffers: at least the parameters twice."""
    sizes = [p.elements * 4 for p in program.buffers if p.role == "input"]
    assert program.bytes >= 2 * 4 * (IN * HIDDEN + HIDDEN + HIDDEN * OUT + OUT)
    assert program.bytes >= sum(sizes)
    assert program.bytes == sum(kernel.nbytes for kernel in program.lowered.kernels)


def test_graph_and_kernels(program: Program) -> None:
    assert program.graph.startswith("graph(%arg0: f32[8,3], %arg1: f32[8,5], ")
    assert "%0.weight: f32[20,3]" in program.graph
    assert program.graph.count("matmul") == 5
    lines = program.kernels.splitlines()
    assert len(lines) == len(program.lowered.kernels)
    assert "matmul[8, 20]" in program.kernels
    assert "tanh[8, 20]" in program.kernels
    assert all("ops" in line and "bytes" in line for line in lines)


def test_loop_ir(program: Program) -> None:
    assert program.loop_ir.count("kernel ") == len(program.lowered.kernels)
    assert "fma(" in program.loop_ir
    for kernel in program.lowered.kernels:
        verify_kernel(kernel)


def test_llvm_ir_and_assembly(program: Program) -> None:
    for kernel in program.lowered.kernels:
        assert f"@{kernel.name}(ptr %table)" in program.llvm_ir
    assert "define void @mynn_step(ptr %table)" in program.llvm_ir
    assert "fma" in program.llvm_ir
    assert "mynn_step" in program.assembly
    assert len(program.assembly.splitlines()) > 100


@pytest.mark.parametrize(
    ("name", "wanted", "never"),
    [
        ("x86-64", "mulps", "ymm"),
        ("x86-64-v3", "vfmadd", "zmm"),
        ("x86-64-v4", "zmm", "fmla"),
        ("aarch64", "fmla", "xmm"),
    ],
)
def test_assembly_for_another_target(program: Program, name: str, wanted: str, never: str) -> None:
    text = program.assembly_for(name)
    assert "mynn_step:" in text
    assert wanted in text
    assert never not in text


def test_a_target_that_there_is_not(program: Program) -> None:
    with pytest.raises(ArgumentError, match="no target is called 'sparc'"):
        program.assembly_for("sparc")
    other = replace(named("aarch64"), triple="m0-unknown-none")
    with pytest.raises(CompileError, match="this LLVM makes no code for m0-unknown-none"):
        assembly(program.llvm_ir, other)


def test_buffers(program: Program) -> None:
    roles: dict[str, list[BufferInfo]] = {}
    for buffer in program.buffers:
        roles.setdefault(buffer.role, []).append(buffer)
        assert buffer.dtype in (("u8",) if buffer.role == "scratch" else ("f32", "f64"))
        assert buffer.elements >= 1
    names = {role: {b.name.rpartition(".")[0] for b in some} for role, some in roles.items()}
    assert names["input"] == {"arg0", "arg1"}
    assert {"0.weight", "0.bias", "2.weight", "2.bias"} <= names["state"]
    assert len(roles["result"]) == 1
    assert roles["arena"]
    assert set(roles) <= {"input", "state", "constant", "arena", "result", "scratch"}


def test_seconds(program: Program) -> None:
    assert 0 < program.native.seconds < program.compile_seconds < 30
    assert str(program).startswith(f"Program of {len(program.lowered.kernels)} kernels, ")
    assert program.backend == "native"


def test_interpreted_program_shows_its_graph() -> None:
    run = mynn.compile(lambda x: x + 1.0, backend="interpreter")
    program = run.program(np.ones(3, np.float32))
    assert program.backend == "interpreter"
    assert "add(" in program.graph
    assert program.compile_seconds == 0
    for name in ("llvm_ir", "assembly", "kernels"):
        with pytest.raises(UsageError, match=f"{name}; compile with backend='native'"):
            getattr(program, name)
    assert not hasattr(program, "__array__")
    assert not hasattr(program, "asembly")
    assert copy.copy(program).graph == program.graph


# -- how it runs -----------------------------------------------------------------------------------


def test_running_by_hand() -> None:
    """Arguments are copied into the program's own arrays; `run` works on what lies there."""
    program = mynn.compile(lambda x, y: (x + y, x * y)).program(*[np.zeros(3, np.float32)] * 2)
    program.arguments[0][...] = [1, 2, 3]
    program.arguments[1][...] = 10
    program.run()
    np.testing.assert_array_equal(program.outputs[0], [11, 12, 13])
    np.testing.assert_array_equal(program.outputs[1], [10, 20, 30])
    with pytest.raises(ValueError, match="2 arguments are needed, there are 1"):
        program([np.zeros(3, np.float32)])


def test_layouts() -> None:
    program = mynn.compile(lambda x, y: x.sum()).program(*[np.zeros((3, 5), np.float32)] * 2)
    layout = program.argument_layouts[0]
    assert layout.slot is not None
    assert program.table[layout.slot] == program.arguments[0].ctypes.data
    assert (layout.shape, layout.strides) == ((3, 5), program.arguments[0].strides)
    assert (layout.blocks, layout.block_bytes, layout.pitch) == (1, 20, layout.strides[0])
    assert program.argument_layouts[1].slot is None  # not read
    result = program.result_layouts[0]
    assert program.table[result.slot] == program.outputs[0].ctypes.data
    assert (result.type, result.shape) == ("f32", ())


def test_state_is_used_where_it_lies() -> None:
    step, x, t = mlp_step()
    program = step.program(x, t)
    for tensor, array in zip(program.state, program.state_arrays, strict=True):
        assert np.shares_memory(tensor.value, array)
        assert array.ctypes.data % ALIGNMENT == 0
        assert array.ctypes.data in program.table


# -- storage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extent", "itemsize", "padded"),
    [
        *((0, 4, 1), (1, 4, 1), (2, 4, 2), (3, 4, 4), (9, 4, 16), (16, 4, 16), (17, 4, 32)),
        *((5, 8, 8), (9, 8, 16), (33, 1, 64), (65, 1, 128)),
    ],
)
def test_padded_extent(extent: int, itemsize: int, padded: int) -> None:
    assert padded_extent(extent, itemsize) == padded


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 17), (17, 3), (2, 3, 5), (0, 4), (4, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "bool"])
def test_allocate(shape: tuple[int, ...], dtype: str) -> None:
    for order in (None, tuple(reversed(range(len(shape))))):
        array = allocate(shape, dtype, order)
        assert array.shape == shape
        assert array.dtype == dtype
        assert not array.any()
        assert array.flags.writeable
        strides = padded_strides(shape, array.itemsize, order)
        assert array.strides == tuple(step * array.itemsize for step in strides)
        if array.size:
            assert array.ctypes.data % ALIGNMENT == 0
            last = sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
            assert last < storage_elements(shape, array.itemsize, order)
            values = np.arange(array.size).reshape(shape).astype(dtype)
            array[...] = values
            np.testing.assert_array_equal(array, values)


def test_axis_order() -> None:
    for order in [(0, 1, 2), (2, 0, 1), (1, 2, 0)]:
        assert axis_order(allocate((3, 4, 5), "float32", order)) == order
    assert axis_order(np.zeros((3, 4)).T) == (1, 0)
    assert axis_order(np.zeros(())) == ()


def test_memory_of_runs_goes_to_the_next_program_of_the_code() -> None:
    def run() -> tuple[Any, Any]:
        layer = nn.Linear(3, 2)
        program = mynn.compile(layer).program(np.ones((4, 3), np.float32))
        instance = program.take()
        program.give_back(instance)
        return program, instance.memory

    first, memory = run()
    second, again = run()
    assert first.code is second.code
    assert memory is again
    x = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    expected = [program([x])[0] for program in (first, second)]
    for program, values in zip((first, second), expected, strict=True):
        np.testing.assert_array_equal(program([x])[0], values)
    assert not np.array_equal(*expected)


def test_memory_that_somebody_holds_stays_his() -> None:
    layer = nn.Linear(3, 2)
    program = mynn.compile(layer).program(np.ones((4, 3), np.float32))
    program([np.ones((4, 3), np.float32)])
    outputs = program.outputs[0]
    kept = outputs.copy()
    del program, layer
    gc.collect()
    other = nn.Linear(3, 2)
    mynn.compile(other)(np.full((4, 3), 7.0, np.float32))
    np.testing.assert_array_equal(outputs, kept)


def test_the_status_word_is_no_result() -> None:
    """A program with checks has one more output, which no loop adds up."""
    label = np.zeros(3, np.int64)

    def loss(t: Tensor) -> Tensor:
        return nn.functional.cross_entropy(mynn.zeros(3, 4), t)

    program = mynn.compile(loss).program(label)
    assert program.artifact.status
    assert [layout.shape for layout in program.result_layouts] == [()]
    assert program.status_slot not in (None, program.result_layouts[0].slot)
    history = mynn.fit(loss, label, batch_size=3, epochs=1, verbose=False)
    np.testing.assert_allclose(history["loss"], np.log(4.0), rtol=1e-6)
