"""Runs lowered graphs on memory that shows every mistake.

Buffers lie as the plan says, between guards; all that nobody has set yet (padding, the arena, the
space of results) is filled with bytes that read as NaN, -1 or 255. Native code runs a second time
where every buffer, those of the arena too, lies alone between pages that may not be touched, with
no more than the slack behind it: what it reads outside ends the process.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mynn.compiler import pipeline
from mynn.compiler.compilation import Compilation
from mynn.compiler.host.step import STEP
from mynn.compiler.loop_ir import ir
from mynn.compiler.loop_ir.canonical import canonical
from mynn.compiler.loop_ir.evaluate import evaluate_kernel
from mynn.compiler.loop_ir.format import format_kernel
from mynn.compiler.loop_ir.ir import Buffer, Kernel, Prefetch
from mynn.compiler.loop_ir.op_types import DTYPES
from mynn.compiler.loop_ir.parse import parse_kernel
from mynn.compiler.loop_ir.repeat import innermost
from mynn.compiler.loop_ir.walk import statements
from mynn.compiler.lowering.inline import Place
from mynn.compiler.parallel.footprint import Footprints
from mynn.compiler.parallel.loops import share_kernels
from mynn.core import interpreter
from mynn.core.graph import Graph, Node
from mynn.core.types import Array, Shape
from mynn.runtime.llvm_jit import NativeModule, build
from mynn.target.storage import ALIGNMENT, SLACK, dense_strides, padded_strides
from mynn.target.target import Target, host
from tests.helpers import same_bits
from tests.pages import AVAILABLE, guarded

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


def guarded_memory(lowered: Compilation, values: Mapping[Node, Array], at_end: bool) -> Memory:
    """A block of its own for every buffer, between pages that may not be touched."""
    memory = Memory()
    for buffer in buffers_of(lowered):
        dtype = DTYPES[buffer.type]
        nbytes = buffer.elements * dtype.itemsize
        memory.flat[buffer] = guarded(nbytes + SLACK, at_end)[:nbytes].view(dtype)
    fill_in(lowered, memory, values)
    return memory


def buffers_of(lowered: Compilation) -> list[Buffer]:
    """All buffers of a program, each once."""
    plan = lowered.plan
    places = [*plan.places.values(), *(result_place(lowered, i) for i in range(len(plan.results)))]
    return list(dict.fromkeys([*(place.buffer for place in places), *lowered.table]))


def fill_in(lowered: Compilation, memory: Memory, values: Mapping[Node, Array]) -> None:
    """Inputs and constants, where they lie."""
    for node, value in {**lowered.plan.constants, **values}.items():
        view(memory, lowered.plan.places[node], node.shape)[...] = value


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
    for buffer in buffers_of(lowered):
        dtype = DTYPES[buffer.type]
        if buffer in plan.arena:
            offset = plan.arena[buffer]
            assert offset % ALIGNMENT == 0, buffer
            piece = arena[offset : offset + buffer.elements * dtype.itemsize]
        else:
            piece = memory.block(buffer.name, buffer.elements * dtype.itemsize)
        memory.flat[buffer] = piece.view(dtype)
    fill_in(lowered, memory, values)
    return memory


def result_place(lowered: Compilation, number: int) -> Place:
    """Where a result lies."""
    return lowered.plan.results[number].place


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


def memory_buffers(kernel: Kernel) -> list[Buffer]:
    """All buffers in memory that a kernel names."""
    reads, writes = ir.buffers_of(kernel)
    fetched = (s.buffer for s in statements(kernel.body) if isinstance(s, Prefetch))
    return list(dict.fromkeys([*reads, *writes, *fetched]))


def shared_kernels(lowered: Compilation) -> list[Kernel]:
    """The kernels with their loops shared among workers."""
    return share_kernels(lowered.kernels, Footprints(lowered.plan.location))


def check_printed_form(kernel: Kernel) -> None:
    """What is printed and read again is the same."""
    text = format_kernel(kernel)
    again = parse_kernel(text, memory_buffers(kernel))
    if canonical(again) != canonical(kernel):
        assert format_kernel(again) == text
        raise AssertionError(f"what is read of it is another kernel:\n{text}")


# What cases are compiled for where they do not say it: a test may set another function.
default_target: Callable[[], Target] = host


@dataclass
class Case:
    """A graph with state and layouts, lowered for a target."""

    graph: Graph
    writes: dict[Node, int] = field(default_factory=dict)
    layouts: dict[Node, Shape] = field(default_factory=dict)
    target: Target = field(default_factory=lambda: default_target())
    wanted: dict[int, Shape] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lowered = pipeline.lower(
            self.graph,
            self.target,
            self.writes,
            self.layouts,
            check=True,
            wanted=self.wanted,
        )
        for kernel in innermost(self.lowered.kernels):
            check_printed_form(kernel)

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
            self, build(pipeline.finish(self.lowered, check=True).text, self.target), arguments
        )

    def interpreted(self, arguments: Sequence[Array]) -> list[Array]:
        """Outputs by the interpreter, which defines them."""
        return interpreter.evaluate(self.graph, arguments)


def dense(graph: Graph) -> Case:
    """The graph with nothing between the rows of inputs and outputs, as large ones are given."""
    return Case(
        graph,
        layouts={node: dense_strides(node.shape) for node in graph.inputs},
        wanted={number: dense_strides(node.shape) for number, node in enumerate(graph.outputs)},
    )


def run_native(case: Case, native: NativeModule, arguments: Sequence[Array]) -> list[Array]:
    """Outputs of native code, which may neither write nor read outside its buffers."""
    memory = case.memory(arguments)
    call_step(case.lowered, native, memory)
    memory.check_guards(SLACK)
    outputs = case.outputs(memory)
    if AVAILABLE:
        values = dict(zip(case.graph.inputs, arguments, strict=True))
        alone = guarded_memory(case.lowered, values, at_end=True)
        call_step(case.lowered, native, alone)
        for a, b in zip(case.outputs(alone), outputs, strict=True):
            assert same_bits(a, b), "where the buffers lie changes the result"
    return outputs


def call_step(lowered: Compilation, native: NativeModule, memory: Memory) -> None:
    """One run of native code on such memory."""
    addresses = [memory.flat[buffer].ctypes.data for buffer in lowered.table]
    table = np.array(addresses or [0], np.uint64)
    native.function(STEP, ctypes.c_void_p)(table.ctypes.data)


def layout(node: Node, order: tuple[int, ...]) -> Shape:
    """Strides of padded storage with the axes in this order, slowest first."""
    return padded_strides(node.shape, node.dtype.itemsize, order)
