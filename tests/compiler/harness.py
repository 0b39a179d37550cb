"""Runs lowered graphs on memory that shows every mistake.

Buffers lie as the plan says, between guards; all that nobody has set yet (padding, the arena, the
space of results) is filled with bytes that read as NaN, -1 or 255.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mynn.compiler import pipeline
from mynn.compiler.loop_ir.evaluate import evaluate_kernel
from mynn.compiler.loop_ir.ir import Buffer
from mynn.compiler.loop_ir.op_types import DTYPES
from mynn.compiler.lowering.inline import Place
from mynn.compiler.pipeline import Compilation
from mynn.core import interpreter
from mynn.core.graph import Graph, Node
from mynn.core.types import Array, Shape
from mynn.runtime.llvm_jit import NativeModule, build
from mynn.target.storage import ALIGNMENT, SLACK, padded_strides
from mynn.target.target import Target, host

FILL = 0xFF
GUARD = 256


@dataclass
class Memory:
    """Blocks of bytes with guards around them, and the address of each buffer."""

    flat: dict[Buffer, Array] = field(default_factory=dict)
    blocks: list[tuple[str, Array, int, int]] = field(default_factory=list)

    def block(self, name: str, nbytes: int, slack: int = SLACK) -> Array:
        """Aligned bytes, with as much slack as `allocate` leaves."""
        raw = np.full(nbytes + slack + 2 * GUARD + ALIGNMENT, FILL, np.uint8)
        start = GUARD + -(raw.ctypes.data + GUARD) % ALIGNMENT
        self.blocks.append((name, raw, start, start + nbytes))
        return raw[start : start + nbytes]

    def check_guards(self, slack: int) -> None:
        """Nothing may have been written outside the blocks and their slack."""
        for name, raw, start, end in self.blocks:
            assert (raw[:start] == FILL).all(), f"written before {name}"
            assert (raw[end + slack :] == FILL).all(), f"written after {name}"


def view(memory: Memory, place: Place, shape: Shape) -> Array:
    """The logical array that lies at a place."""
    flat = memory.flat[place.buffer]
    strides = tuple(step * flat.itemsize for step in place.strides)
    return np.lib.stride_tricks.as_strided(flat, shape, strides)


def memory_for(lowered: Compilation, values: Mapping[Node, Array]) -> Memory:
    """Memory for all buffers of a program, with its inputs and constants in place."""
    memory = Memory()
    plan = lowered.plan
    arena = memory.block("arena", plan.arena_bytes)
    places = [*plan.places.values(), *(result_place(lowered, i) for i in range(len(plan.results)))]
    known = {place.buffer for place in places}
    extra = [buffer for buffer in lowered.table if buffer not in known]
    for buffer in dict.fromkeys([*known, *extra]):
        dtype = DTYPES[buffer.type]
        if buffer in plan.arena:
            offset = plan.arena[buffer]
            assert offset % ALIGNMENT == 0, buffer
            piece = arena[offset : offset + buffer.elements * dtype.itemsize]
        else:
            piece = memory.block(buffer.name, buffer.elements * dtype.itemsize)
        memory.flat[buffer] = piece.view(dtype)
    for node, value in {**plan.constants, **values}.items():
        view(memory, plan.places[node], node.shape)[...] = value
    return memory


def result_place(lowered: Compilation, number: int) -> Place:
    """Where a result lies: row-major, the last axis padded."""
    result = lowered.plan.results[number]
    node = result.node
    return Place(result.buffer, padded_strides(node.shape, node.dtype.itemsize))


def outputs_of(lowered: Compilation, memory: Memory, writes: Mapping[Node, int]) -> list[Array]:
    """All outputs of the graph in order: results, and new values of state."""
    graph, plan = lowered.graph, lowered.plan
    written = {number: plan.places[state] for state, number in writes.items()}
    numbers = iter(range(len(plan.results)))
    places = [
        written[i] if i in written else result_place(lowered, next(numbers))
        for i in range(len(graph.outputs))
    ]
    return [
        np.array(view(memory, place, node.shape))
        for place, node in zip(places, graph.outputs, strict=True)
    ]


# What cases are compiled for where they do not say it: a test may set another function.
default_target: Callable[[], Target] = host


@dataclass
class Case:
    """A graph with state and layouts, lowered for a target."""

    graph: Graph
    writes: dict[Node, int] = field(default_factory=dict)
    layouts: dict[Node, Shape] = field(default_factory=dict)
    target: Target = field(default_factory=lambda: default_target())

    def __post_init__(self) -> None:
        self.lowered = pipeline.lower(
            self.graph, self.target, self.writes, self.layouts, check=True
        )

    def memory(self, arguments: Sequence[Array]) -> Memory:
        """Memory with the arguments in place."""
        return memory_for(self.lowered, dict(zip(self.graph.inputs, arguments, strict=True)))

    def outputs(self, memory: Memory) -> list[Array]:
        """What lies in the outputs."""
        return outputs_of(self.lowered, memory, self.writes)

    def evaluated(self, arguments: Sequence[Array]) -> list[Array]:
        """Outputs by the evaluator of the loop IR."""
        memory = self.memory(arguments)
        for kernel in self.lowered.kernels:
            evaluate_kernel(kernel, memory.flat)
        memory.check_guards(0)
        return self.outputs(memory)

    def native(self, arguments: Sequence[Array]) -> list[Array]:
        """Outputs by native code."""
        return run_native(
            self, build(pipeline.emit(self.lowered, check=True).text(), self.target), arguments
        )

    def interpreted(self, arguments: Sequence[Array]) -> list[Array]:
        """Outputs by the interpreter, which defines them."""
        return interpreter.evaluate(self.graph, arguments)


def run_native(case: Case, native: NativeModule, arguments: Sequence[Array]) -> list[Array]:
    """Outputs of one run of native code, which may not write outside its buffers."""
    memory = case.memory(arguments)
    addresses = [memory.flat[buffer].ctypes.data for buffer in case.lowered.table]
    table = np.array(addresses or [0], np.uint64)
    native.function(pipeline.STEP, ctypes.c_void_p)(table.ctypes.data)
    memory.check_guards(SLACK)
    return case.outputs(memory)


def layout(node: Node, order: tuple[int, ...]) -> Shape:
    """Strides of padded storage with the axes in this order, slowest first."""
    return padded_strides(node.shape, node.dtype.itemsize, order)
