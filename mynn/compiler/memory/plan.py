"""Planning: where every value lies, the order of the kernels, and which updates are in place.

Expects a fusion. Guarantees: a kernel runs after those whose results it loads; the new value of a
piece of state is written over the old one only where every kernel that needs the old value has run
before, or reads the very element that it writes; values that are not needed at the same time share
memory. Kernels that make the status word run before all that write state.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from mynn.compiler.fusion.groups import Fusion, Group
from mynn.compiler.fusion.stored import is_leaf
from mynn.compiler.graph.contraction_dims import is_contraction
from mynn.compiler.graph.index_map import peel
from mynn.compiler.graph.layout import Layouts
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Buffer, For, Kernel, Let, Load, Statement, Store, buffers_of
from mynn.compiler.loop_ir.walk import sub_expressions
from mynn.compiler.lowering.base import Context
from mynn.compiler.lowering.inline import Place
from mynn.compiler.lowering.lower import lower_group
from mynn.compiler.lowering.map import copy_kernel
from mynn.compiler.memory.scratch import scratch_buffer
from mynn.core.graph import CONSTANT, Graph, Node
from mynn.core.types import Array
from mynn.errors import VerifyError
from mynn.target.storage import ALIGNMENT, SLACK, padded_strides, storage_elements
from mynn.target.target import Target


@dataclass(frozen=True)
class Result:
    """An output that is handed to the caller: the node, and the buffer it lies in, row-major."""

    node: Node
    buffer: Buffer


# Up to so many bytes of an arena are left to one buffer each.
_ROOM = 1 << 18


@dataclass
class Plan:
    """Kernels in order, and where everything lies.

    `arena` gives offsets in bytes of the buffers that only live within a run, `scratch` is a
    worker's share of the memory that lives within a kernel. `results` are the outputs that are not
    written to state, in order; `status` is the buffer of the last one, where that is the status
    word.
    """

    kernels: list[Kernel] = field(default_factory=list)
    places: dict[Node, Place] = field(default_factory=dict)
    arena: dict[Buffer, int] = field(default_factory=dict)
    arena_bytes: int = 0
    constants: dict[Node, Array] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    in_place: list[Node] = field(default_factory=list)
    scratch: Buffer | None = None
    status: Buffer | None = None

    def location(self, buffer: Buffer) -> tuple[Hashable, int]:
        """What memory a buffer lies in, and its first byte there: the arena is one, all others are
        their own.
        """
        return ("arena", self.arena[buffer]) if buffer in self.arena else (buffer, 0)


@dataclass(eq=False)
class _Task:
    """A kernel with what it loads and what it writes."""

    kernel: Kernel
    reads: set[Node]
    group: Group | None = None


class _Planner:
    def __init__(
        self,
        graph: Graph,
        fusion: Fusion,
        writes: Mapping[Node, int],
        layouts: Layouts,
        pads: Container[Node],
        target: Target,
        status: bool,
    ) -> None:
        self.layouts = layouts
        self.made: dict[tuple[Node, int], Place] = {}
        self.tasks: dict[int, tuple[_Task, dict[Node, Place]]] = {}
        self.graph = graph
        self.fusion = fusion
        self.target = target
        self.status = status
        self.count = 0
        self.targets = {state: graph.outputs[number] for state, number in writes.items()}
        written = set(writes.values())
        self.result_nodes = [n for i, n in enumerate(graph.outputs) if i not in written]
        self.leaves: dict[Node, Place] = {}
        self.constants: dict[Node, Array] = {}
        operands = {peel(x, pads) for n in graph.nodes() if is_contraction(n) for x in n.inputs}
        for node in graph.nodes():
            scalar = node.primitive is CONSTANT and node.type.size == 1
            if is_leaf(node) and (not scalar or node in operands):
                self.leaves[node] = self.new_place(node, node.name or "c")
                if node.primitive is CONSTANT and node.value is not None:
                    self.constants[node] = node.value

    def new_place(self, node: Node, name: str) -> Place:
        """Storage for a node: that of an input as it is given, otherwise new."""
        strides = self.layouts.strides(node)
        clean = "".join(c if c.isalnum() or c in "._" else "_" for c in name)
        self.count += 1
        size = storage_elements(node.shape, node.dtype.itemsize, self.layouts.order(node))
        last = sum((n - 1) * s for n, s in zip(node.shape, strides, strict=True))
        elements = max(size, last + 1)
        steps = [s for n, s in zip(node.shape, strides, strict=True) if n > 1 and s > 1]
        pitch = min(steps, default=0)
        name = f"{clean}.{self.count}"
        return Place(Buffer(name, node.type.short, elements, pitch=pitch), strides)

    # -- one attempt -------------------------------------------------------------------------------

    def attempt(self, refused: set[Node]) -> Plan | Node:
        """A plan that updates no state of `refused` in place, or the state node to refuse next."""
        places = dict(self.leaves)
        owner: dict[Node, Node] = {}
        for state, node in self.targets.items():
            if node in self.fusion.stored and node not in owner and state not in refused:
                owner[node] = state
        results: list[Result] = []
        for node in self.result_nodes:
            if node in self.fusion.stored and node not in places and node not in owner:
                places[node] = self.same_place(node, "out", len(results))
                results.append(Result(node, places[node].buffer))
            else:
                place = self.same_place(node, "out", len(results))
                results.append(Result(node, place.buffer))
        for node in self.graph.nodes():
            if node not in self.fusion.stored:
                continue
            if node in owner:
                places[node] = self.leaves[owner[node]]
            elif node not in places:
                places[node] = self.same_place(node, node.name or node.primitive.name)
        tasks = [self.group_task(i, group, places) for i, group in enumerate(self.fusion.groups)]
        writers = {node: task for task in tasks if task.group for node in task.group.outputs}
        for node, state in owner.items():
            if not _same_element_only(writers[node].kernel.body, self.leaves[state].buffer):
                return state
        early, late = self.copies(places, owner, results)
        status = results[-1].buffer if self.status else None
        ordered = self.order([*tasks, *early], owner, status)
        if isinstance(ordered, Node):
            return ordered
        kernels = [task.kernel for task in ordered] + late
        arena, size = self.arena(kernels, places, results)
        return Plan(
            kernels,
            places,
            arena,
            size,
            self.constants,
            results,
            list(owner.values()),
            scratch_buffer(kernels),
            status,
        )

    def group_task(self, number: int, group: Group, places: Mapping[Node, Place]) -> _Task:
        """Lower one group, unless all that it touches lies where it lay in the attempt before."""
        if number in self.tasks:
            task, known = self.tasks[number]
            if all(places[node] is place for node, place in known.items()):
                return task
        context = Context(group, places, places, self.target, f"k{number}")
        kernel = lower_group(f"k{number}", context)
        task = _Task(kernel, context.loaded, group)
        anchor = [group.anchor] if group.anchor is not None else []
        touched = [node for node in (*task.reads, *group.outputs, *anchor) if node in places]
        self.tasks[number] = task, {node: places[node] for node in touched}
        return task

    def same_place(self, node: Node, name: str, number: int = -1) -> Place:
        """New storage for a node, or for the result of a number: the same in every attempt."""
        if (node, number) not in self.made:
            self.made[node, number] = self.new_place(node, name)
        return self.made[node, number]

    def order(
        self, tasks: list[_Task], owner: Mapping[Node, Node], status: Buffer | None
    ) -> list[_Task] | Node:
        """Tasks in order: those that overwrite state after the readers of its old value, and after
        the status word is there.
        """
        first = {t for t in tasks if status in buffers_of(t.kernel)[1]} if status else set()
        makers = {n: t for t in tasks if t.group is not None for n in t.group.outputs}
        before: dict[_Task, set[_Task]] = {
            t: {makers[n] for n in t.reads if n in makers} - {t} for t in tasks
        }
        for node, state in owner.items():
            writer = makers[node]
            if writer in first:
                return state
            before[writer] |= {t for t in tasks if state in t.reads or t in first} - {writer}
        done = _in_order(tasks, before)
        if len(done) < len(tasks):
            return self.culprit([t for t in tasks if t not in done], owner, makers, first)
        return list(done)

    def culprit(
        self,
        stuck: list[_Task],
        owner: Mapping[Node, Node],
        makers: Mapping[Node, _Task],
        first: set[_Task],
    ) -> Node:
        """State that cannot be overwritten in place: a reader of its old value needs the writer, or
        one that must run first.
        """
        needs = {t: {makers[n] for n in t.reads if n in makers} - {t} for t in stuck}

        def depends(task: _Task, target: _Task) -> bool:
            seen, rest = {task}, [task]
            while rest:
                for other in needs.get(rest.pop(), set()) - seen:
                    if other is target:
                        return True
                    seen.add(other)
                    rest.append(other)
            return False

        candidates = [(node, state) for node, state in owner.items() if makers[node] in stuck]
        for node, state in candidates:
            readers = [t for t in stuck if state in t.reads or t in first]
            readers = [t for t in readers if t is not makers[node]]
            if any(depends(reader, makers[node]) for reader in readers):
                return state
        if not candidates:
            raise VerifyError("the groups of a fusion depend on each other in a circle")
        return candidates[0][1]

    def copies(
        self, places: Mapping[Node, Place], owner: Mapping[Node, Node], results: Sequence[Result]
    ) -> tuple[list[_Task], list[Kernel]]:
        """Results and state that no kernel writes directly.

        The first copies take their turn among the kernels, before anything overwrites what they
        read; the second ones set state at the end.
        """
        first: list[tuple[Node, Place]] = []
        second: list[tuple[Node, Place | None, Place]] = []
        for result in results:
            place = places.get(result.node)
            if place is None or place.buffer is not result.buffer:
                strides = padded_strides(result.node.shape, result.node.dtype.itemsize)
                first.append((result.node, Place(result.buffer, strides)))
        for state, node in self.targets.items():
            if owner.get(node) is state:
                continue
            source = places.get(node)
            if node in self.targets:
                source = self.new_place(node, "old")
                first.append((node, source))
            second.append((node, source, self.leaves[state]))
        early = [
            _Task(copy_kernel(f"copy{i}", node, places.get(node), target, self.target), {node})
            for i, (node, target) in enumerate(first)
        ]
        late = [
            copy_kernel(f"set{i}", node, source, target, self.target)
            for i, (node, source, target) in enumerate(second)
        ]
        return early, late

    def arena(
        self, kernels: Sequence[Kernel], places: Mapping[Node, Place], results: Sequence[Result]
    ) -> tuple[dict[Buffer, int], int]:
        """Offsets for the buffers of one run; those not needed together share memory.

        Few bytes are not shared: workers would have to meet before one of them uses them again.
        """
        fixed = {place.buffer for place in self.leaves.values()} | {r.buffer for r in results}
        spans: dict[Buffer, tuple[int, int]] = {}
        for time, kernel in enumerate(kernels):
            reads, writes = buffers_of(kernel)
            for buffer in [*reads, *writes]:
                if buffer not in fixed:
                    spans[buffer] = (spans.get(buffer, (time, time))[0], time)
        if sum(buffer.nbytes + SLACK for buffer in spans) <= _ROOM:
            spans = dict.fromkeys(spans, (0, len(kernels)))
        taken: list[tuple[int, int, int, int]] = []
        offsets: dict[Buffer, int] = {}
        total = 0
        for buffer, (start, end) in sorted(spans.items(), key=lambda x: -x[0].elements):
            size = buffer.nbytes + SLACK
            size = -(-size // ALIGNMENT) * ALIGNMENT
            offset = 0
            for low, high, s, e in sorted(taken):
                if s <= end and start <= e and offset + size > low:
                    offset = max(offset, high)
            taken.append((offset, offset + size, start, end))
            offsets[buffer] = offset
            total = max(total, offset + size)
        return offsets, total


def _in_order(tasks: Sequence[_Task], before: Mapping[_Task, set[_Task]]) -> dict[_Task, None]:
    """Again and again the first task that may run; without those that never may."""
    number = {task: place for place, task in enumerate(tasks)}
    missing = {task: len(before[task]) for task in tasks}
    behind: dict[_Task, list[_Task]] = {task: [] for task in tasks}
    for task, others in before.items():
        for other in others:
            behind[other].append(task)
    ready = [place for place, task in enumerate(tasks) if not missing[task]]
    done: dict[_Task, None] = {}
    while ready:
        task = tasks[heapq.heappop(ready)]
        done[task] = None
        for other in behind[task]:
            missing[other] -= 1
            if not missing[other]:
                heapq.heappush(ready, number[other])
    return done


def _same_element_only(body: Sequence[Statement], buffer: Buffer) -> bool:
    """Whether every load of `buffer` stands in the same body as a store to the same element."""
    stores: set[Affine] = set()
    loads: set[Affine] = set()
    for statement in body:
        if isinstance(statement, For):
            if not _same_element_only(statement.body, buffer):
                return False
        elif isinstance(statement, Let | Store):
            for expr in sub_expressions(statement.value):
                if isinstance(expr, Load) and expr.buffer is buffer:
                    loads.add(expr.index)
            if isinstance(statement, Store) and statement.buffer is buffer:
                stores.add(statement.index)
    return loads <= stores


def make_plan(
    graph: Graph,
    fusion: Fusion,
    writes: Mapping[Node, int],
    layouts: Layouts,
    pads: Container[Node],
    target: Target,
    status: bool = False,
) -> Plan:
    """Place, lower and order; state that cannot be updated in place is copied at the end.

    With `status` the last output is the status word.
    """
    planner = _Planner(graph, fusion, writes, layouts, pads, target, status)
    refused: set[Node] = set()
    while True:
        result = planner.attempt(refused)
        if isinstance(result, Plan):
            return result
        refused.add(result)


def format_plan(plan: Plan, table: Sequence[Buffer]) -> str:
    """Where everything lies: each buffer of the table, and what is updated in place."""
    known = {place.buffer: place for place in plan.places.values()}
    lines = []
    for buffer in table:
        at = f"arena at {plan.arena[buffer]}" if buffer in plan.arena else "of its own"
        strides = known[buffer].strides if buffer in known else "rows"
        lines.append(f"{buffer.name:14} {buffer.type}[{buffer.elements}] {strides} {at}")
    lines.append(f"arena: {plan.arena_bytes} bytes")
    lines.append(f"in place: {', '.join(str(node.name) for node in plan.in_place)}")
    return "\n".join(lines)


# -- checking --------------------------------------------------------------------------------------


def live_spans(plan: Plan) -> dict[Buffer, tuple[int, int]]:
    """For each buffer of the arena the numbers of the first and the last kernel that touch it."""
    spans: dict[Buffer, tuple[int, int]] = {}
    for time, kernel in enumerate(plan.kernels):
        reads, writes = buffers_of(kernel)
        for buffer in [*reads, *writes]:
            if buffer in plan.arena:
                spans[buffer] = (spans.get(buffer, (time, time))[0], time)
    return spans


def verify_plan(plan: Plan, graph: Graph, writes: Mapping[Node, int]) -> None:
    """Raise `VerifyError` where the plan breaks what this module guarantees.

    Buffers of the arena are aligned, lie inside it, are set before they are read, and share no byte
    with another that is live at the same time. Inputs that are not state and constants are not
    changed. Results and new state are set, state not before the status word.
    """
    spans = live_spans(plan)
    extents: list[tuple[Buffer, int, int, int, int]] = []
    for buffer, (start, end) in spans.items():
        low = plan.arena[buffer]
        high = low + buffer.nbytes + SLACK
        if low % ALIGNMENT or low < 0 or high > plan.arena_bytes:
            raise VerifyError(f"{buffer} lies badly in the arena: {low} to {high}")
        for other, a, b, s, e in extents:
            if s <= end and start <= e and a < high and low < b:
                raise VerifyError(f"{buffer} and {other} share memory while both are live")
        extents.append((buffer, low, high, start, end))
    fixed = {plan.places[n].buffer for n in graph.inputs if n in plan.places and n not in writes}
    fixed |= {plan.places[node].buffer for node in plan.constants}
    stored: set[Buffer] = set()
    for kernel in plan.kernels:
        reads, written = buffers_of(kernel)
        for buffer in reads:
            if buffer in plan.arena and buffer not in stored and buffer not in written:
                raise VerifyError(f"{kernel.name} reads {buffer}, which nobody has set")
        for buffer in written:
            if buffer in fixed:
                raise VerifyError(f"{kernel.name} changes {buffer}, which is no state")
            if plan.status in written and any(plan.places[n].buffer in stored for n in writes):
                raise VerifyError(f"state is changed before {kernel.name}, which checks")
        stored.update(written)
    wanted = [(r.node, r.buffer) for r in plan.results]
    wanted += [(state, plan.places[state].buffer) for state in writes]
    for node, buffer in wanted:
        if node.type.size and buffer not in stored:
            raise VerifyError(f"no kernel sets {buffer}")
