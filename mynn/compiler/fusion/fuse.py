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

import sys
from collections.abc import Collection, Container, Iterable

from mynn.compiler.fusion.groups import Fusion, Group, covers, identity_map
from mynn.compiler.fusion.pool_windows import inlined_reductions, window_blocks
from mynn.compiler.fusion.stored import SIZE_LIMIT, Storing, is_leaf, runs_serially
from mynn.compiler.graph.layout import Layouts
from mynn.compiler.graph.merged_axes import merged_axes
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import AxisMap, Part
from mynn.core.graph import Graph, Node, topological

# A group of more nodes takes no more of them: what LLVM takes for a function grows faster than its
# length, and values that are needed at once must not fill the stack.
_GROUP_LIMIT = 2 * SIZE_LIMIT


class _Planner:
    def __init__(self, graph: Graph, layouts: Layouts, pads: Container[Node]) -> None:
        self.graph, self.layouts = graph, layouts
        reductions = inlined_reductions(graph, layouts)
        blocks, merged = window_blocks(graph, reductions), merged_axes(graph, layouts)
        self.storing = Storing(graph, reductions, blocks, pads, merged)
        self.stored = self.storing.why
        self.frontiers: dict[Node, frozenset[Node]] = {}
        self.home: dict[Node, Group] = {}
        self.groups: list[Group] = []
        self.number: dict[Group, int] = {}
        # The first group that needs one which was begun after it.
        self.first_ahead = sys.maxsize
        # Groups without an anchor that load a value element by element.
        self.readers: dict[tuple[Node, AxisMap], list[Group]] = {}

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
        """Whether a group needs another one, or one that needs it."""
        place, stack, seen = self.number[target], [start], {start}
        while stack:
            group = stack.pop()
            if group is target:
                return True
            # Groups need earlier ones, but for a few from `first_ahead` on.
            if place < self.number[group] or self.first_ahead <= self.number[group]:
                stack += group.needs - seen
                seen |= group.needs
        return False

    def place(self, node: Node) -> None:
        if isinstance(rule_of(node), Part):
            self.join(node, self.home[node.inputs[0]])
            return
        frontier = self.frontier(node)
        producers = dict.fromkeys(self.home[x] for x in frontier)
        if not self.storing.is_anchor(node):
            ranked = sorted(producers, key=self.number.__getitem__, reverse=True)
            for group in ranked:
                if group.anchor is not None and not self.takes(group.anchor, node):
                    continue
                if group.weight > _GROUP_LIMIT:
                    continue
                axis_map = _axis_map(node, group, self.stored)
                if axis_map is None or not covers(axis_map, node.shape, group.space):
                    continue
                others = [other for other in producers if other is not group]
                if any(self.reaches(other, group) for other in others):
                    continue
                self.add(node, group, axis_map, others)
                return
            loaded = self.loaded(node, frontier)
            beside = self.beside(node, loaded, producers)
            if beside is not None:
                self.add(node, beside, identity_map(node.shape), producers)
                self.note(beside, loaded)
                return
        group = Group(
            node if self.storing.is_anchor(node) else None,
            node.shape,
            {node: identity_map(node.shape)},
            [node],
            set(producers),
            self.storing.weight[node],
        )
        self.number[group] = len(self.groups)
        self.groups.append(group)
        self.home[node] = group
        if group.anchor is None:
            self.note(group, self.loaded(node, frontier))

    def takes(self, anchor: Node, node: Node) -> bool:
        """Whether a kernel around the anchor may go on to compute the node, element by element."""
        serial = runs_serially(anchor) and self.storing.is_costly(node)
        return rule_of(anchor).epilogue and not serial

    def add(
        self, node: Node, group: Group, axis_map: AxisMap, producers: Collection[Group]
    ) -> None:
        """Have a group compute a node too, which needs these other groups."""
        group.maps[node] = axis_map
        group.outputs.append(node)
        group.weight += self.storing.weight[node]
        group.needs.update(producers)
        number = self.number[group]
        if any(self.number[other] > number for other in producers):
            self.first_ahead = min(self.first_ahead, number)
        self.home[node] = group

    def note(self, group: Group, loaded: Iterable[tuple[Node, AxisMap]]) -> None:
        for key in loaded:
            self.readers.setdefault(key, []).append(group)

    def loaded(self, node: Node, frontier: Iterable[Node]) -> list[tuple[Node, AxisMap]]:
        """The stored values of which one element is loaded for each, and where that lies: which
        axes of the value the axes of the node follow.
        """
        found = []
        for x in frontier:
            if x.type.size == node.type.size:
                alone = Group(None, x.shape, {x: identity_map(x.shape)})
                axis_map = _axis_map(node, alone, self.stored)
                if axis_map is not None and covers(axis_map, node.shape, x.shape):
                    found.append((x, axis_map))
        return found

    def beside(
        self,
        node: Node,
        loaded: Iterable[tuple[Node, AxisMap]],
        producers: Iterable[Group],
    ) -> Group | None:
        """A group that loads one of these values too, and needs nothing that comes after it: with
        the node in it the value is loaded once.
        """
        order = self.layouts.order(node)
        for group in dict.fromkeys(g for key in loaded for g in self.readers.get(key, ())):
            fits = group.weight + self.storing.weight[node] <= SIZE_LIMIT
            fits = fits and group.space == node.shape
            fits = fits and self.layouts.order(group.outputs[0]) == order
            if fits and not any(self.reaches(other, group) for other in producers):
                return group
        return None

    def join(self, part: Node, group: Group) -> None:
        """A value of a loop is stored by the loop."""
        group.maps[part] = identity_map(part.shape)
        group.outputs.append(part)
        self.home[part] = group

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


def _axis_map(node: Node, group: Group, stored: Container[Node]) -> AxisMap | None:
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
        axes = rule_of(x).axes(x)
        if axes is None or any(a is None and n != 1 for a, n in zip(axes, x.shape, strict=True)):
            return "conflict"
        return tuple(None if axis is None else found[axis] for axis in axes)

    known: dict[Node, AxisMap | str | None] = {}
    for x in topological((node,), stop=is_end):
        known[x] = step(x)
    result = known[node]
    return result if isinstance(result, tuple) else None


def fuse(graph: Graph, layouts: Layouts, pads: Container[Node] = ()) -> Fusion:
    """Group the nodes of `graph` into kernels; products see through the padding in `pads`."""
    planner = _Planner(graph, layouts, pads)
    for node in graph.nodes():
        if node in planner.stored:
            planner.place(node)
    wanted = planner.drop_unused_stores()
    groups = tuple(group for group in planner.ordered() if group.outputs)
    stored = {node: reason for node, reason in planner.stored.items() if node in wanted}
    return Fusion(groups, stored)
