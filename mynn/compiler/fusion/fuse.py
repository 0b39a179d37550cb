"""Fusion: the nodes of a graph grouped into kernels.

A group has at most one *anchor* (a contraction, a reduction, a scatter, a concatenation of many
values); around it stand elementwise nodes that are computed for the same element at the same time,
so that their values never reach memory. Movement is never computed: it becomes index arithmetic
(`mynn.compiler.graph.index_map`).

Expects a simplified graph. Guarantees: every stored node belongs to one group, groups come in an
order in which each runs after those it loads from, and everything else a kernel needs is recomputed
from stored nodes.

Example: for  h = tanh(x @ w + b)  the matmul is the anchor, the sum and the tanh its epilogue; only
h is stored.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field

from mynn.compiler.fusion.pool_windows import blocks, small
from mynn.compiler.graph.contraction_dims import PRODUCTS, choose_mode
from mynn.compiler.graph.index_map import is_affine, peel, unit_reshape, view_of
from mynn.compiler.graph.layout import Layouts
from mynn.core.graph import CONSTANT, INPUT, Graph, Node, apply, topological
from mynn.core.rewrite import rewrite
from mynn.core.types import Shape
from mynn.ops import elementwise, gather, movement

AxisMap = tuple[int | None, ...]

# Worth storing rather than computing twice.
_HEAVY = frozenset(
    ["exp", "expm1", "log", "log1p", "tanh", "logistic", "erf", "sin", "cos", "pow", "random_bits"]
)
_MODERATE = _HEAVY | {"div", "sqrt", "mod"}
# An element of their input may be several of theirs.
_REPEATS = {movement.broadcast_to, gather.take}
_ANCHORS = PRODUCTS | frozenset(["sum", "max", "min", "argmax", "scatter_add"])
# A concatenation of fewer values than this is computed by asking at each element which it is of.
_MANY_PIECES = 4
# A shared expression of more nodes than this is stored; one of more than the second in any case.
_SHARED_LIMIT = 6
_SIZE_LIMIT = 96
# A group of more nodes takes no more of them: what LLVM takes for a function grows faster than its
# length, and values that are needed at once must not fill the stack.
_GROUP_LIMIT = 2 * _SIZE_LIMIT


@dataclass(eq=False)
class Group:
    """The nodes of one kernel.

    - `anchor`: the contraction, reduction, scatter or concatenation, if there is one.
    - `space`: extents of the loops around an output element.
    - `maps`: for the anchor and the outputs, which loop each of their axes follows (None: extent
      1).
    - `outputs`: nodes whose values are stored (the anchor only if it is among them).
    - `needs`: the groups that it loads from. `weight`: how many nodes it computes.
    """

    anchor: Node | None
    space: Shape
    maps: dict[Node, AxisMap]
    outputs: list[Node] = field(default_factory=list)
    needs: set[Group] = field(default_factory=set)
    weight: int = 0


@dataclass(frozen=True)
class Fusion:
    """Groups in order, and the nodes that have storage beside inputs and constants."""

    groups: tuple[Group, ...]
    stored: frozenset[Node]


def is_leaf(node: Node) -> bool:
    """Whether the node is there before the program runs."""
    return node.primitive in (INPUT, CONSTANT)


def identity_map(shape: Shape) -> AxisMap:
    """Each axis follows the loop of the same number."""
    return tuple(range(len(shape)))


class _Planner:
    def __init__(self, graph: Graph, layouts: Layouts, pads: Container[Node]) -> None:
        self.graph = graph
        self.pads = pads
        self.small = small(graph, layouts)
        self.blocks = blocks(graph, self.small)
        self.order = [node for node in graph.nodes() if not is_leaf(node)]
        self.consumers: dict[Node, int] = {}
        for node in self.order:
            for x in dict.fromkeys(node.inputs):
                self.consumers[x] = self.consumers.get(x, 0) + 1
        self.stored: set[Node] = set()
        self.frontiers: dict[Node, frozenset[Node]] = {}
        self.home: dict[Node, Group] = {}
        self.groups: list[Group] = []
        self.number: dict[Group, int] = {}
        # Nodes that are computed where a node is: itself, and those under it that are not stored.
        self.weight: dict[Node, int] = {}

    def is_anchor(self, node: Node) -> bool:
        """Whether the node needs loops of its own."""
        if node.primitive is movement.concatenate:
            return len(node.inputs) >= _MANY_PIECES
        return node.primitive.name in _ANCHORS and node not in self.small

    # -- which nodes are stored --------------------------------------------------------------------

    def choose_stored(self) -> None:
        weight = self.weight
        heavy: dict[Node, bool] = {}
        epilogue: set[Node] = set()
        self.stored.update(node for node in self.graph.outputs if not is_leaf(node))
        views = self.store_operands()
        for node in self.order:
            if node not in self.blocks:
                self.store_repeated(node, heavy)
            name = node.primitive.name
            if self.is_anchor(node):
                self.stored.add(node)
            open_inputs = [x for x in node.inputs if x not in self.stored and not is_leaf(x)]
            weight[node] = 1 + (name == "fma") + sum(weight[x] for x in open_inputs)
            if node in self.small:
                weight[node] *= node.inputs[0].type.size // node.type.size
            heavy[node] = (
                name in _MODERATE or node in self.small or any(heavy[x] for x in open_inputs)
            )
            shared = self.consumers.get(node, 0) > 1
            elementwise_of_product = node.primitive.family == "elementwise" and any(
                x.primitive.name in PRODUCTS or x in epilogue for x in node.inputs
            )
            if elementwise_of_product:
                epilogue.add(node)
            if (
                (shared and elementwise_of_product)
                or (name in _HEAVY and shared)
                or (shared and weight[node] > _SHARED_LIMIT)
                or weight[node] > _SIZE_LIMIT
            ) and not (node in views or node in self.blocks):
                self.stored.add(node)

    def store_operands(self) -> set[Node]:
        """Store what products read; returns the movement that they see it through."""
        views: set[Node] = set()
        for node in self.order:
            if node.primitive.name in PRODUCTS:
                for x in node.inputs:
                    base = peel(x, self.pads)
                    if not is_leaf(base):
                        self.stored.add(base)
                    while x is not base:
                        views.add(x)
                        x = x.inputs[0]
        return views

    def store_repeated(self, node: Node, heavy: dict[Node, bool]) -> None:
        """Store what a broadcast or a take repeats, where it costs more to compute again than to
        load.

        And small reductions whose elements other movement picks one by one.
        """
        repeats = node.primitive in _REPEATS
        repeats = repeats and node.inputs[0].type.size < node.type.size
        picks = node.primitive is gather.take
        picks = picks or (node.primitive.family == "movement" and not is_affine(node))
        for x in node.inputs if repeats or picks else ():
            base = peel(x)
            if not is_leaf(base) and (
                (repeats and heavy.get(base, False)) or (picks and base in self.small)
            ):
                self.stored.add(base)

    # -- groups ------------------------------------------------------------------------------------

    def frontier(self, node: Node) -> frozenset[Node]:
        """Stored nodes that are loaded when `node` is computed from scratch."""
        waiting = [node]
        while waiting:
            top = waiting[-1]
            inside = [x for x in top.inputs if x not in self.stored and not is_leaf(x)]
            missing = [x for x in inside if x not in self.frontiers]
            if missing and top not in self.frontiers:
                waiting += missing
                continue
            waiting.pop()
            loaded = frozenset(x for x in top.inputs if x in self.stored)
            self.frontiers[top] = loaded.union(*(self.frontiers[x] for x in inside))
        return self.frontiers[node]

    def reaches(self, start: Group, target: Group) -> bool:
        stack, seen = [start], {start}
        while stack:
            group = stack.pop()
            if group is target:
                return True
            stack.extend(other for other in group.needs if other not in seen)
            seen |= group.needs
        return False

    def place(self, node: Node) -> None:
        frontier = self.frontier(node)
        producers = dict.fromkeys(self.home[x] for x in frontier)
        if not self.is_anchor(node):
            ranked = sorted(producers, key=self.number.__getitem__, reverse=True)
            for group in ranked:
                if group.anchor is not None and group.anchor.primitive.name == "scatter_add":
                    continue
                if group.weight > _GROUP_LIMIT:
                    continue
                axis_map = _axis_map(node, group, self.stored)
                if axis_map is None or not _covers(axis_map, node.shape, group.space):
                    continue
                others = [other for other in producers if other is not group]
                if any(self.reaches(other, group) for other in others):
                    continue
                group.maps[node] = axis_map
                group.outputs.append(node)
                group.weight += self.weight[node]
                group.needs.update(others)
                self.home[node] = group
                return
        group = Group(
            node if self.is_anchor(node) else None,
            node.shape,
            {node: identity_map(node.shape)},
            [node],
            set(producers),
            self.weight[node],
        )
        self.number[group] = len(self.groups)
        self.groups.append(group)
        self.home[node] = group

    def ordered(self) -> tuple[Group, ...]:
        """The groups, each after those that it needs, otherwise in the order they were begun in."""
        result: dict[Group, None] = {}
        for first in self.groups:
            waiting = [first]
            while waiting:
                group = waiting[-1]
                missing = [other for other in group.needs if other not in result]
                if missing and group not in result:
                    waiting += sorted(missing, key=self.number.__getitem__, reverse=True)
                    continue
                waiting.pop()
                result.setdefault(group)
        return tuple(result)

    def drop_unused_stores(self) -> frozenset[Node]:
        """An anchor, or a shared value, that nothing outside its group loads need not be stored."""
        wanted = {node for node in self.graph.outputs if not is_leaf(node)}
        for group in self.groups:
            for node in group.outputs:
                wanted.update(x for x in self.frontier(node) if self.home[x] is not group)
            if group.anchor is not None and group.anchor not in group.outputs:
                wanted.update(self.frontier(group.anchor))
        for group in self.groups:
            group.outputs = [node for node in group.outputs if node in wanted]
        return frozenset(wanted)


def _axis_map(node: Node, group: Group, stored: set[Node]) -> AxisMap | None:
    """How the axes of `node` follow the loops of `group`; None where they do not."""

    def is_end(x: Node) -> bool:
        return x in group.maps or is_leaf(x) or (x in stored and x is not node)

    def step(x: Node) -> AxisMap | str | None:
        """A map, None for 'not related to the group', or "conflict"."""
        if is_end(x):
            return group.maps.get(x)
        maps = [found for found in (known[y] for y in x.inputs) if found is not None]
        if not maps:
            return None
        if any(found == "conflict" or found != maps[0] for found in maps):
            return "conflict"
        found = maps[0]
        assert isinstance(found, tuple)
        if x.primitive.family == "elementwise":
            return found
        if x.primitive.name == "transpose":
            return tuple(found[axis] for axis in x.params["axes"])
        if x.primitive.name == "reshape" and unit_reshape(x.inputs[0].shape, x.shape):
            old = x.inputs[0].shape
            rest = iter([m for m, n in zip(found, old, strict=True) if n != 1])
            return tuple(None if n == 1 else next(rest) for n in x.shape)
        return "conflict"

    known: dict[Node, AxisMap | str | None] = {}
    for x in topological((node,), stop=is_end):
        known[x] = step(x)
    result = known[node]
    return result if isinstance(result, tuple) else None


def _covers(axis_map: AxisMap, shape: Shape, space: Shape) -> bool:
    used = [m for m, n in zip(axis_map, shape, strict=True) if n != 1 and m is not None]
    wide = [axis for axis, n in enumerate(space) if n != 1]
    return sorted(used) == wide and all(
        m is None or shape[axis] == space[m] for axis, m in enumerate(axis_map)
    )


def _copies(graph: Graph) -> list[Node]:
    """The copies that `insert_packing` made: every identity that is left in the graph."""
    return [node for node in graph.nodes() if node.primitive is elementwise.stop_gradient]


def insert_packing(graph: Graph, layouts: Layouts) -> Graph:
    """Copies of the operands of products that lie the wrong way for any schedule.

    Before: `matmul(a, b)`; after: `matmul(a, copy(b))`, where the copy has its columns side by
    side.
    """
    packed: dict[Node, Node] = {}

    def rule(node: Node) -> Node | None:
        if node.primitive.name not in PRODUCTS:
            return None
        a, b = (view_of(x, layouts.strides, borders=False) for x in node.inputs)
        if choose_mode(node, a.strides, b.strides).kind != "pack":
            return None
        left, right = node.inputs
        if right not in packed:
            packed[right] = copy = apply(elementwise.stop_gradient, right)
            layouts.row_major(copy)
        return apply(node.primitive, left, packed[right], **node.params)

    return rewrite(graph, rule)


def fuse(graph: Graph, layouts: Layouts, pads: Container[Node] = ()) -> Fusion:
    """Group the nodes of `graph` into kernels; products see through the padding in `pads`."""
    planner = _Planner(graph, layouts, pads)
    planner.stored.update(_copies(graph))
    planner.choose_stored()
    for node in planner.order:
        if node in planner.stored:
            planner.place(node)
    stored = planner.drop_unused_stores()
    groups = tuple(group for group in planner.ordered() if group.outputs)
    return Fusion(groups, stored)
