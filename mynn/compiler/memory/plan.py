"""The plan: kernels in order, and where everything lies.

Guarantees, held by `verify_plan`: a kernel runs after those whose results it loads; the new value
of a piece of state is written over the old one only where every kernel that needs the old value has
run before, or reads the very element that it writes; values that are not needed at the same time
share memory. Kernels that make the status word run before all that write state.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import field

from mynn.base.dataclass import dataclass
from mynn.compiler.fusion.groups import Fusion, is_loop
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Buffer, For, Kernel, Let, Load, Statement, Store, buffers_of
from mynn.compiler.loop_ir.repeat import views_of
from mynn.compiler.loop_ir.walk import sub_expressions
from mynn.compiler.lowering.equal_groups import Lowering
from mynn.compiler.lowering.inline import Place
from mynn.compiler.lowering.map import copy_kernel
from mynn.compiler.memory.arena import live_spans
from mynn.compiler.memory.loop import MakeBody, loop_of
from mynn.compiler.memory.order import Order, Step
from mynn.compiler.memory.places import Places, Result
from mynn.core.graph import Graph, Node
from mynn.core.types import Array
from mynn.errors import VerifyError
from mynn.target.storage import ALIGNMENT, SLACK
from mynn.target.target import Target


@dataclass(frozen=True)
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

    def lasting(self, inputs: Sequence[Node]) -> dict[Buffer, tuple[str, int]]:
        """The buffers that live longer than a run: which input, constant or result each is; and the
        views of loops, which lie in others.
        """
        known: dict[Buffer, tuple[str, int]] = {}
        for role, nodes in (("input", inputs), ("constant", self.constants)):
            for number, node in enumerate(nodes):
                known[self.places[node].buffer] = (role, number)
        for number, result in enumerate(self.results):
            known[result.buffer] = ("result", number)
        for number, buffer in enumerate(views_of(self.kernels)):
            known[buffer] = ("view", number)
        return known


def lower_steps(
    fusion: Fusion,
    order: Order,
    places: Places,
    target: Target,
    make_body: MakeBody,
    status: bool = False,
) -> Plan:
    """The kernels of all steps, each kind lowered once, then those that set state at the end.

    With `status` the last result is the status word; `make_body` lowers the graphs of loops.
    """
    of, constants = dict(places.of), dict(places.constants)
    lowering = Lowering(places.of, target)
    copies = [step for step in order.steps if step.group is None]
    names = {step: f"copy{number}" for number, step in enumerate(copies)}

    def kernel(step: Step) -> Kernel:
        if step.group is not None:
            name, group = f"k{step.group}", fusion.groups[step.group]
            if not is_loop(group):
                return lowering.kernel(name, group)
            loop = loop_of(name, group, places.of, target, make_body)
            for node, (value, place) in loop.constants.items():
                of[node], constants[node] = place, value
            return loop.kernel
        assert step.node is not None
        to = places.old[step.node] if step.result is None else places.results[step.result].place
        return copy_kernel(names[step], step.node, places.of.get(step.node), to, target)

    kernels = [kernel(step) for step in order.steps]
    for number, (state, node) in enumerate(order.late):
        source = places.old.get(node) or places.of.get(node)
        kernels.append(copy_kernel(f"set{number}", node, source, places.of[state], target))
    word = places.results[-1].buffer if status else None
    in_place = list(order.in_place.values())
    return Plan(
        kernels,
        of,
        constants=constants,
        results=places.results,
        in_place=in_place,
        status=word,
    )


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


def _same_element_only(
    body: Sequence[Statement], buffer: Buffer, still: frozenset[str] = frozenset()
) -> bool:
    """Whether every load of `buffer` stands in the same body as a store to the same element.

    Variables that are `still` are 0: their loops have one round.
    """

    def element(index: Affine) -> Affine:
        return Affine(index.constant, tuple(term for term in index.terms if term[0] not in still))

    stores: set[Affine] = set()
    loads: set[Affine] = set()
    for statement in body:
        if isinstance(statement, For):
            inner = still | {statement.var} if statement.extent == 1 else still
            if not _same_element_only(statement.body, buffer, inner):
                return False
        elif isinstance(statement, Let | Store):
            for expr in sub_expressions(statement.value):
                if isinstance(expr, Load) and expr.buffer is buffer:
                    loads.add(element(expr.index))
            if isinstance(statement, Store) and statement.buffer is buffer:
                stores.add(element(statement.index))
    return loads <= stores


def verify_plan(plan: Plan, graph: Graph, writes: Mapping[Node, int]) -> None:
    """Raise `VerifyError` where the plan breaks what this module guarantees.

    Each buffer that a kernel touches is an input, a constant or a result, or lies in the arena.
    Those of the arena are aligned, lie inside it, are set before they are read, and share no byte
    with another that is live at the same time. Inputs that are not state and constants are not
    changed. Results and new state are set, state not before the status word.
    """
    spans = live_spans(plan.kernels, plan.lasting(graph.inputs))
    extents: list[tuple[Buffer, int, int, int, int]] = []
    for buffer, (start, end) in spans.items():
        if buffer not in plan.arena:
            raise VerifyError(f"{plan.kernels[start].name} touches {buffer}, which has no place")
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
    for state in plan.in_place:
        buffer = plan.places[state].buffer
        for kernel in plan.kernels:
            writes_it = buffer in buffers_of(kernel)[1]
            if writes_it and not _same_element_only(kernel.body, buffer):
                raise VerifyError(f"{kernel.name} reads elements of {buffer} that it overwrites")
    wanted = [(r.node, r.buffer) for r in plan.results]
    wanted += [(state, plan.places[state].buffer) for state in writes]
    for node, buffer in wanted:
        if node.type.size and buffer not in stored:
            raise VerifyError(f"no kernel sets {buffer}")
