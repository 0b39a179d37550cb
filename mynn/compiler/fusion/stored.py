"""Which values a program stores, and why; all others are computed where they are needed.

A value that is not stored costs nothing but its operations, once for each kernel and each element
that needs it. One that is stored costs a store, the loads, and a place in memory.
"""

from __future__ import annotations

import enum
from collections.abc import Container, Sequence

from mynn.compiler.graph.contraction_dims import is_contraction
from mynn.compiler.graph.index_map import strip_views
from mynn.compiler.graph.pack_operands import is_copy
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import (
    Attention,
    Computed,
    Elementwise,
    Leaf,
    Loop,
    Movement,
    Part,
    Scan,
    ScatterAlong,
)
from mynn.core.graph import Graph, Node
from mynn.core.primitive import Cost
from mynn.ops import fused

# A shared expression of more nodes than this is stored. To load it takes a store, which is one
# operation for every reader, and a load, which is two a cycle beside the arithmetic; of tanh', say,
# two nodes, each reader computes its own.
SHARED_LIMIT = 6
# An expression of more nodes is stored in any case: its intermediate values must fit in registers,
# and LLVM takes more than linear time for a function.
SIZE_LIMIT = 96


class Reason(enum.Enum):
    """Why a value is stored."""

    OUTPUT = "an output"
    COPY = "an operand copied so that a product can read it"
    OPERAND = "read by a product"
    PUT = "put into other values, which may be those that it is made of"
    KERNEL = "computed by loops of its own"
    STEPS = "read or made step by step"
    REPEATED = "costly, and repeated by what reads it"
    SERIAL = "costly, and read by running totals, one element after the other"
    PICKED = "a small reduction whose elements are picked one by one"
    SHARED_EPILOGUE = "the epilogue of a product, read more than once"
    SHARED_COSTLY = "costly, and read more than once"
    SHARED_LONG = f"more than {SHARED_LIMIT} operations, and read more than once"
    LONG = f"more than {SIZE_LIMIT} operations"


def is_leaf(node: Node) -> bool:
    """Whether the node is there before the program runs."""
    return isinstance(rule_of(node), Leaf)


def runs_serially(node: Node) -> bool:
    """Whether running totals go along the axis that mostly lies in a row: no vector does then."""
    return isinstance(rule_of(node), Scan) and node.params["axis"] == len(node.shape) - 1


class Storing:
    """The stored nodes of a graph with their reasons, in `why`.

    - `inlined`: reductions that are written out where they are needed.
    - `windows`: nodes that are needed for the elements of one window each, so that nothing is
      repeated.
    - `pads`: paddings that products see through; `merged`: reshapes that they see through.
    - `weight`: for each node the operations that compute an element of it from what is stored.
    """

    def __init__(
        self,
        graph: Graph,
        inlined: Container[Node],
        windows: Container[Node],
        pads: Container[Node],
        merged: Container[Node],
    ) -> None:
        self.inlined = inlined
        self.windows = windows
        self.why: dict[Node, Reason] = {}
        self.weight: dict[Node, int] = {}
        self._costly: dict[Node, bool] = {}
        self._epilogue: set[Node] = set()
        self._readers: dict[Node, int] = {}
        # What attention needs for each score, as large as all scores: it is never stored.
        self._matrices: set[Node] = set()
        order = [node for node in graph.nodes() if not is_leaf(node)]
        for node in order:
            for x in dict.fromkeys(node.inputs):
                self._readers[x] = self._readers.get(x, 0) + 1
        for node in graph.outputs:
            self._store(node, Reason.OUTPUT)
        self._seen_through = self._store_operands(order, pads, merged)
        for node in order:
            self._store_repeated(node)
            self._measure(node)
            reason = self.why_stored(node)
            if reason is not None:
                self._store(node, reason)

    def is_anchor(self, node: Node) -> bool:
        """Whether the node needs loops of its own."""
        return rule_of(node).own_kernel(node) and node not in self.inlined

    def is_costly(self, node: Node) -> bool:
        """Whether it takes long to compute an element of the node from what is stored."""
        return self._costly.get(node, False)

    def why_stored(self, node: Node) -> Reason | None:
        """Why a node whose inputs are settled is stored; None where it is computed as needed."""
        if node in self.why:
            return self.why[node]
        if is_copy(node):
            return Reason.COPY
        if self.is_anchor(node):
            return Reason.KERNEL
        if isinstance(rule_of(node), Part):
            return Reason.STEPS
        if node in self._seen_through or node in self.windows or node in self._matrices:
            return None
        if self._readers.get(node, 0) > 1:
            if node in self._epilogue:
                return Reason.SHARED_EPILOGUE
            if node.primitive.cost is Cost.HEAVY:
                return Reason.SHARED_COSTLY
            if self.weight[node] > SHARED_LIMIT:
                return Reason.SHARED_LONG
        return Reason.LONG if self.weight[node] > SIZE_LIMIT else None

    def _store(self, node: Node, reason: Reason) -> None:
        if not is_leaf(node):
            self.why.setdefault(node, reason)

    def _store_operands(
        self, order: list[Node], pads: Container[Node], merged: Container[Node]
    ) -> set[Node]:
        """Store what products, scatters and loops read; returns the movement that products and
        scatters see it through.
        """
        seen_through: set[Node] = set()
        for node in order:
            for x in node.inputs if isinstance(rule_of(node), Loop) else ():
                self._store(x, Reason.STEPS)
            rule, padded = rule_of(node), pads
            operands: Sequence[Node] = ()
            if isinstance(rule, Attention):
                operands, padded = rule.operands(node), ()
                self._note_matrices(rule.masks(node))
            elif is_contraction(node):
                operands = node.inputs
            for x in operands:
                base = strip_views(x, padded)
                if base in merged and base not in self.why:
                    base = base.inputs[0]
                self._store(base, Reason.OPERAND)
                while x is not base:
                    seen_through.add(x)
                    x = x.inputs[0]
            if isinstance(rule_of(node), ScatterAlong):
                self._store(node.inputs[2], Reason.PUT)
        return seen_through

    def _note_matrices(self, masks: Sequence[Node]) -> None:
        waiting = list(masks)
        while waiting:
            x = waiting.pop()
            if x in self._matrices or is_leaf(x) or rule_of(x).own_kernel(x):
                continue
            if x.type.size >= masks[0].type.size:
                self._matrices.add(x)
                waiting += x.inputs

    def _store_repeated(self, node: Node) -> None:
        """Store what a node repeats where it costs more to compute again than to load.

        And what is costly where it would be computed element by element, and small reductions whose
        elements it picks one by one.
        """
        if node in self.windows or not node.inputs:
            return
        rule = rule_of(node)
        repeats = rule.repeats and node.inputs[0].type.size < node.type.size
        picks = isinstance(rule, Computed) and rule.picks
        picks = picks or (isinstance(rule, Movement) and not rule.affine(node))
        if runs_serially(node) and self.is_costly(strip_views(node.inputs[0])):
            self._store(strip_views(node.inputs[0]), Reason.SERIAL)
        for x in node.inputs if repeats or picks else ():
            base = strip_views(x)
            if repeats and self._costly.get(base, False):
                self._store(base, Reason.REPEATED)
            if picks and base in self.inlined:
                self._store(base, Reason.PICKED)

    def _measure(self, node: Node) -> None:
        """What it takes to compute an element of the node, and whether that is costly."""
        computed = [x for x in node.inputs if x not in self.why and not is_leaf(x)]
        weight = 1 + sum(self.weight[x] for x in computed)
        if node.primitive is fused.fma:
            weight += 1  # two operations
        if node in self.inlined:
            weight *= node.inputs[0].type.size // node.type.size
        self.weight[node] = weight
        self._costly[node] = (
            node.primitive.cost is not Cost.LIGHT
            or node in self.inlined
            or any(self._costly[x] for x in computed)
        )
        if isinstance(rule_of(node), Elementwise) and any(
            is_contraction(x) or x in self._epilogue for x in node.inputs
        ):
            self._epilogue.add(node)
