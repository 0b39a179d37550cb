"""The record of a program on its way to LLVM IR, which the passes of the compiler fill in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from mynn.base.dataclass import dataclass
from mynn.base.lazy import lazy
from mynn.compiler.codegen.function import Module
from mynn.compiler.fusion.groups import Fusion
from mynn.compiler.fusion.stored import is_leaf
from mynn.compiler.graph.layout import Layouts
from mynn.compiler.loop_ir.ir import Buffer, Kernel, buffers_of
from mynn.compiler.memory.order import Order
from mynn.compiler.memory.places import Places
from mynn.compiler.memory.plan import Plan
from mynn.compiler.parallel.barriers import ScheduledKernel
from mynn.compiler.parallel.cache_blocks import CacheBlock
from mynn.compiler.parallel.footprint import Footprints
from mynn.core.graph import Graph, Node
from mynn.core.types import Shape
from mynn.target.storage import padded_strides
from mynn.target.target import Target


@dataclass(frozen=True)
class Compilation:
    """A program on its way to LLVM IR: what was asked for, then what each pass found.

    - `graph`, `target`: what to compile, for what.
    - `writes`: for each input that is state, the number of the output that is its new value.
    - `given`: strides in elements of inputs that are not row-major with a padded last axis;
      `wanted`: those of outputs, by their numbers.
    - `apart`: for inputs, and outputs by their numbers, that are parts of something larger: after
      how many elements the next part begins.
    - `split`: whether several workers share the kernels.
    - `status`: whether the last output is the status word.
    - `layouts`, `pads`: the order of axes in memory; the paddings that products do without.
    - `order`, `places`: the kernels to be, in order; where stored values lie.
    - `kernels`: the kernels in the order in which they run, in the end with their loops shared.
    - `blocks`, `schedule`: what one thread runs; what each of several workers runs.
    - `settled`: for each pass that goes node by node those that it leaves as they are.
    - `check`: whether verifiers run, within bodies of loops too.
    - `seconds`: what each stage took.
    """

    graph: Graph
    target: Target
    writes: Mapping[Node, int] = field(default_factory=dict)
    given: Mapping[Node, Shape] = field(default_factory=dict)
    wanted: Mapping[int, Shape] = field(default_factory=dict)
    apart: Mapping[Node | int, int] = field(default_factory=dict)
    split: bool = False
    status: bool = False
    layouts: Layouts = field(default_factory=lambda: Layouts({}))
    pads: frozenset[Node] = frozenset()
    fusion: Fusion = field(default_factory=Fusion)
    order: Order = field(default_factory=Order)
    places: Places = field(default_factory=Places)
    plan: Plan = field(default_factory=Plan)
    kernels: Sequence[Kernel] = ()
    blocks: Sequence[CacheBlock] = ()
    footprints: Footprints = field(default_factory=lambda: Footprints(lambda b: (b, 0)))
    schedule: Sequence[ScheduledKernel] = ()
    module: Module | None = None
    settled: dict[str, set[Node]] = field(default_factory=dict)
    check: bool = False
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def results(self) -> list[Node]:
        """The outputs that are handed to the caller: those that are no new state."""
        written = set(self.writes.values())
        return [node for i, node in enumerate(self.graph.outputs) if i not in written]

    @property
    def strides(self) -> list[Shape]:
        """Strides in elements of these results."""
        written = set(self.writes.values())
        return [
            self.wanted[i] if i in self.wanted else padded_strides(node.shape, node.dtype.itemsize)
            for i, node in enumerate(self.graph.outputs)
            if i not in written
        ]

    @property
    def rooms(self) -> list[int]:
        """Of these results: after how many elements the next part of something larger begins; 0
        where they are no parts.
        """
        written = set(self.writes.values())
        return [self.apart.get(i, 0) for i in range(len(self.graph.outputs)) if i not in written]

    @property
    def lying(self) -> dict[Node, Shape]:
        """Strides of inputs and of results that are stored for the caller, where they are not row-
        major with a padded last axis.
        """
        outputs = self.graph.outputs
        found = {outputs[i]: self.wanted[i] for i in sorted(self.wanted, reverse=True)}
        return {x: strides for x, strides in found.items() if not is_leaf(x)} | dict(self.given)

    @lazy
    def table(self) -> list[Buffer]:
        """The buffers whose addresses the program is given, in order."""
        used: dict[Buffer, None] = {}
        for kernel in self.plan.kernels:
            reads, written = buffers_of(kernel)
            used.update(dict.fromkeys([*reads, *written]))
        if self.plan.scratch is not None:
            used[self.plan.scratch] = None
        return list(used)

    @property
    def slots(self) -> dict[Buffer, int]:
        """Each buffer's place in the table."""
        return {buffer: place for place, buffer in enumerate(self.table)}

    @property
    def text(self) -> str:
        """LLVM IR, once the last pass has run."""
        assert self.module is not None
        return self.module.text()

    @property
    def stack_bytes(self) -> int:
        """What a run takes of the stack of a thread at most."""
        assert self.module is not None
        return self.module.stack_bytes

    @property
    def state(self) -> set[Buffer]:
        """The buffers of state that changes."""
        places = self.plan.places
        inputs = {places[node].buffer for node in self.graph.inputs if node in places}
        return {b for kernel in self.kernels for b in buffers_of(kernel)[1] if b in inputs}
