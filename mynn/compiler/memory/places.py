"""Places: where inputs, constants, results and all other stored values lie.

Expects an order. Guarantees: a place for every stored node, of its own but for new state that
overwrites the old one and for results that are written at once; rows are padded to whole vectors.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import field

from mynn.base.dataclass import dataclass
from mynn.compiler.fusion.groups import Fusion
from mynn.compiler.fusion.stored import is_leaf
from mynn.compiler.graph.contraction_dims import is_contraction
from mynn.compiler.graph.index_map import strip_views
from mynn.compiler.graph.layout import Layouts
from mynn.compiler.loop_ir.ir import Buffer
from mynn.compiler.lowering.inline import Place
from mynn.compiler.memory.order import Order
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import Loop
from mynn.core.graph import CONSTANT, Graph, Node, node_names
from mynn.core.types import Array, Shape
from mynn.target.storage import dense_strides, storage_elements


@dataclass(frozen=True)
class Result:
    """An output that is handed to the caller: the node, and where it lies, row-major."""

    node: Node
    place: Place

    @property
    def buffer(self) -> Buffer:
        """What it lies in."""
        return self.place.buffer


@dataclass(frozen=True)
class Places:
    """Where stored nodes lie (`of`), constants with their values, results, and the old values of
    state that are kept aside.
    """

    of: dict[Node, Place] = field(default_factory=dict)
    constants: dict[Node, Array] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)
    old: dict[Node, Place] = field(default_factory=dict)


def places_of(
    graph: Graph,
    fusion: Fusion,
    order: Order,
    results: Sequence[tuple[Node, Shape, int]],
    layouts: Layouts,
    pads: Container[Node],
    apart: Mapping[Node | int, int],
) -> Places:
    """A place for everything that is stored; products see through the padding in `pads`.

    `results` have the strides in elements that they are to lie with, and how far off the next part
    of something larger begins, as `apart` says of inputs; 0 where there is none.
    """
    count = 0

    def new(node: Node, name: str, strides: Shape | None = None, room: int = 0) -> Place:
        nonlocal count
        count += 1
        return _new_place(node, f"{name}.{count}", layouts, strides, room or apart.get(node, 0))

    places: dict[Node, Place] = {}
    constants: dict[Node, Array] = {}
    operands = {strip_views(x, pads) for n in graph.nodes() if is_contraction(n) for x in n.inputs}
    operands |= {x for n in graph.nodes() if isinstance(rule_of(n), Loop) for x in n.inputs}
    for node in graph.nodes():
        scalar = node.primitive is CONSTANT and node.type.size == 1
        if is_leaf(node) and (not scalar or node in operands):
            places[node] = new(node, node.name or "c")
            if node.primitive is CONSTANT and node.value is not None:
                constants[node] = node.value
    outputs: list[Result] = []
    for number, (node, strides, room) in enumerate(results):
        place = new(node, "out", strides, room)
        outputs.append(Result(node, place))
        if order.direct.get(node) == number:
            places[node] = place
    for node in graph.nodes():
        if node in order.in_place:
            places[node] = places[order.in_place[node]]
        elif node in fusion.stored and node not in places:
            places[node] = new(node, node.name or node.primitive.name)
    kept = [step.node for step in order.steps if step.node is not None and step.result is None]
    return Places(places, constants, outputs, {node: new(node, "old") for node in kept})


def _new_place(node: Node, name: str, layouts: Layouts, strides: Shape | None, room: int) -> Place:
    """Storage for a node: with these strides, or as it is given, otherwise new.

    Where it is a row of something larger, the next one begins after `room` elements.
    """
    strides = layouts.strides(node) if strides is None else strides
    size = storage_elements(node.shape, node.dtype.itemsize, layouts.order(node))
    last = sum((n - 1) * s for n, s in zip(node.shape, strides, strict=True))
    if strides == dense_strides(node.shape) != layouts.padded(node):
        size = 0  # nothing lies between the rows, nor behind the last one
    steps = [s for n, s in zip(node.shape, strides, strict=True) if n > 1 and s > 1]
    if room > last > 0:
        size = min(size, room)
        steps.append(room)
    clean = "".join(c if c.isalnum() or c in "._" else "_" for c in name)
    buffer = Buffer(clean, node.type.short, max(size, last + 1), pitch=min(steps, default=0))
    return Place(buffer, strides)


def format_places(places: Places, graph: Graph) -> str:
    """A line for each node that lies in memory: its buffer and strides."""
    names = node_names(graph)
    lines = [
        f"{names[node]}: {place.buffer.name} {place.buffer.type}[{place.buffer.elements}] "
        f"strides {place.strides}"
        for node, place in places.of.items()
    ]
    return "\n".join(lines)
