"""The compiler: the passes from a graph to native code, in order.

status    checks -> a word          a further output             compiler/graph/status.py
simplify  graph -> graph            fold, algebra, shared work   compiler/graph/simplify.py
multiply  graph -> graph            which products are rounded   compiler/graph/multiply_add.py
fuse      graph -> groups           which nodes share a kernel   compiler/fusion/fuse.py
plan      groups -> places          storage, updates in place    compiler/memory/plan.py
lower     groups -> kernels         loops: tiles, vectors        compiler/lowering/lower.py
emit      kernels -> LLVM IR        text                         compiler/codegen/kernel.py
build     LLVM IR -> machine code   LLVM's own passes            runtime/llvm_jit.py
bind      plan -> memory            the table of addresses       runtime/artifact.py
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mynn.compiler.codegen.dedupe import emit_kernels
from mynn.compiler.codegen.function import Module
from mynn.compiler.codegen.host import emit_function
from mynn.compiler.codegen.ops import verify_exact
from mynn.compiler.graph.multiply_add import fuse_multiply_adds
from mynn.compiler.graph.simplify import simplify
from mynn.compiler.graph.status import with_status
from mynn.compiler.graph.uniform import is_number
from mynn.compiler.host.parked_workers import add_calls
from mynn.compiler.host.step import STEP, split_step, step
from mynn.compiler.host.workers import add_barrier
from mynn.compiler.loop_ir.ir import Buffer, Kernel, buffers_of
from mynn.compiler.loop_ir.verify import verify_kernel
from mynn.compiler.memory.plan import Plan, make_plan, verify_plan
from mynn.compiler.parallel.barriers import arrange, choose
from mynn.compiler.parallel.cache_blocks import CacheBlock, cache_blocks
from mynn.compiler.parallel.split import parallelise
from mynn.core.graph import Graph, Node, verify
from mynn.core.types import Shape
from mynn.target.target import Target


@dataclass
class Lowered:
    """A graph as kernels, before LLVM: what `make_plan` gives, with the table of buffers.

    `seconds` is what each stage took.
    """

    graph: Graph
    plan: Plan
    table: list[Buffer]
    target: Target
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def kernels(self) -> Sequence[Kernel]:
        """The kernels in the order in which they run."""
        return self.plan.kernels

    @functools.cached_property
    def blocks(self) -> list[CacheBlock]:
        """The kernels as one thread runs them."""
        return cache_blocks(self.kernels, self.plan.location, self.plan.status)

    @property
    def state(self) -> set[Buffer]:
        """The buffers of state that changes."""
        places = self.plan.places
        inputs = {places[node].buffer for node in self.graph.inputs if node in places}
        return {b for kernel in self.kernels for b in buffers_of(kernel)[1] if b in inputs}

    @property
    def slots(self) -> dict[Buffer, int]:
        """Each buffer's place in the table."""
        return {buffer: place for place, buffer in enumerate(self.table)}


def lower(
    graph: Graph,
    target: Target,
    writes: Mapping[Node, int] | None = None,
    layouts: Mapping[Node, Shape] | None = None,
    check: bool = False,
) -> Lowered:
    """All passes up to the loop IR.

    - `target`: what code is made for.
    - `writes`: for each input that is state, the number of the output that is its new value.
    - `layouts`: strides in elements of inputs that are not row-major with a padded last axis.
    - `check`: run the verifiers between the passes.
    """
    if check:
        verify(graph)
    start = time.perf_counter()
    graph, status = _simplified(graph)
    if target.has_fma:
        graph = fuse_multiply_adds(graph)
    simplified = time.perf_counter()
    if check:
        verify(graph)
    plan = make_plan(graph, dict(writes or {}), dict(layouts or {}), target, status)
    seconds = {"simplify": simplified - start, "plan": time.perf_counter() - simplified}
    if check:
        verify_plan(plan, graph, writes or {})
        for kernel in plan.kernels:
            verify_kernel(kernel)
    used: dict[Buffer, None] = {}
    for kernel in plan.kernels:
        reads, written = buffers_of(kernel)
        used.update(dict.fromkeys([*reads, *written]))
    if plan.scratch is not None:
        used[plan.scratch] = None
    return Lowered(graph, plan, list(used), target, seconds)


def _simplified(graph: Graph) -> tuple[Graph, bool]:
    """The graph, simplified, and whether its last output is the status word."""
    simple = simplify(with_status(graph))
    word = simple.outputs[-1] if graph.checks else None
    if word is not None and is_number(word, 0):  # no check can fail
        return Graph(simple.inputs, simple.outputs[:-1]), False
    return simple, word is not None


def emit(lowered: Lowered, split: bool = False, check: bool = False) -> Module:
    """LLVM IR for the kernels and a function that runs them in order.

    - `split`: the outer loops are shared among workers, and `mynn_step_split` is what each of them
      runs.
    - `check`: run the verifiers on the kernels that were split, and on the text.
    """
    module = Module(lowered.target)
    if split:
        kernels = shared_kernels(lowered)
        blocks = [CacheBlock(tuple(kernels))]
    else:
        blocks = lowered.blocks
        kernels = [kernel for block in blocks for kernel in block.kernels]
    status = lowered.plan.status
    for kernel in kernels if check else ():
        verify_kernel(kernel)
    emit_kernels(module, kernels, lowered.slots, lowered.plan.scratch)
    checking = {kernel.name for kernel in kernels if status in buffers_of(kernel)[1]}
    slot = None if status is None else lowered.slots[status]
    emit_function(module, step(blocks, checking, slot))
    if split:
        turns = arrange(kernels, lowered.plan.location, status, lowered.state)
        add_barrier(module)
        emit_function(module, split_step(turns, slot))
        add_calls(module, STEP)
    if check:
        verify_exact(module.text())
    return module


def shared_kernels(lowered: Lowered) -> list[Kernel]:
    """The kernels with their loops shared among workers."""
    ways = [parallelise(kernel) for kernel in lowered.kernels]
    return choose(ways, lowered.plan.location)
