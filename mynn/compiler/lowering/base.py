"""What all schedules share: the context of a group, loops, and the choice of the vector axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field

from mynn.base.dataclass import dataclass
from mynn.compiler.fusion.groups import Group
from mynn.compiler.loop_ir.affine import ZERO, Affine, Index
from mynn.compiler.loop_ir.ir import Expr, For, Let, Statement, Store
from mynn.compiler.loop_ir.walk import variables
from mynn.compiler.lowering.inline import ElementBuilder, Place, loads
from mynn.compiler.rules.expressions import Names
from mynn.core.graph import Node
from mynn.core.types import Shape
from mynn.target.target import Target


@dataclass
class Context:
    """What lowering a group needs to know.

    - `places`: where every stored node, input and constant lies; `targets`: where the outputs of
      the group go.
    """

    group: Group
    places: Mapping[Node, Place]
    targets: Mapping[Node, Place]
    target: Target
    name: str = ""
    names: Names = field(default_factory=Names)
    loaded: set[Node] = field(default_factory=set)

    def builder(self, given: Mapping[tuple[Node, Index], Expr] | None = None) -> ElementBuilder:
        """A new loop body."""
        inside = self.group.maps.__contains__
        return ElementBuilder(self.places, inside, self.names, self.loaded, given)

    def emit_outputs(self, builder: ElementBuilder, *points: Index) -> list[Statement]:
        """Statements that compute and store every output for points of the group's space."""
        stores: list[Statement] = []
        for loops in points:
            for node in self.group.outputs:
                index = self.index_of(node, loops)
                value = builder.value(node, index)
                place = self.targets[node]
                stores.append(Store(place.buffer, place.offset(index), value))
        return builder.logic.without_unused([*builder.body, *stores])

    def index_of(self, node: Node, loops: Index) -> Index:
        """The index of an output at a point of the space."""
        return tuple([ZERO if m is None else loops[m] for m in self.group.maps[node]])

    def lanes(self) -> int:
        """Elements of a vector in this kernel: as many as fit of the widest float or output."""
        nodes = [*self.group.outputs]
        if self.group.anchor is not None:
            nodes.append(self.group.anchor)
            nodes.extend(x for x in self.group.anchor.inputs if x.dtype.kind == "f")
        return self.target.lanes(max(max(node.dtype.itemsize for node in nodes), 4))


def serial(loops: list[tuple[str, int]], body: list[Statement]) -> list[Statement]:
    """`body` inside serial loops, the first outermost."""
    for var, extent in reversed(loops):
        body = [For(var, extent, tuple(body))]
    return body


def chunks(extent: int, lanes: int) -> list[tuple[int, int, int]]:
    """An axis cut into vectors: (start, number of vectors, elements in each)."""
    whole, remainder = divmod(extent, lanes)
    pieces = []
    if whole:
        pieces.append((0, whole, lanes))
    if remainder:
        pieces.append((whole * lanes, 1, remainder))
    return pieces


def over_chunks(
    names: Names,
    prefix: str,
    extent: int,
    lanes: int,
    body: Callable[[Affine, int], list[Statement]],
) -> list[Statement]:
    """Loops over an axis cut into vectors; `body(first, width)` gives the statements for the
    `width` elements from `first` on.
    """
    result: list[Statement] = []
    for start, count, width in chunks(extent, lanes):
        block = names.fresh(prefix, count)
        inner = body(Affine.var(block, width) + start if count > 1 else Affine(start), width)
        result += [For(block, count, tuple(inner))] if count > 1 else inner
    return result


def vector_loops(
    names: Names,
    extent: int,
    lanes: int,
    body: Callable[[Affine], list[Statement]],
) -> list[Statement]:
    """Loops over an axis in vectors; `body(i)` gives the statements for index i."""
    result: list[Statement] = []
    for start, count, width in chunks(extent, lanes):
        lane, block = names.fresh("v", width), names.fresh("i", count)
        index = Affine.var(lane) + start
        if count > 1:
            index = index + Affine.var(block, width)
        inner: Statement = For(lane, width, tuple(body(index)), "vector")
        result.append(For(block, count, (inner,)) if count > 1 else inner)
    return result


def axis_scores(context: Context, node: Node) -> dict[int, int]:
    """For each axis longer than 1, how well vectors along it suit the loads and store of `node`.

    A load or store of neighbours counts 1 (a store 2), one that has to be gathered -2 (a store -4).
    """
    probe = context.builder()
    names = [f"axis{axis}" for axis in range(len(node.shape))]
    probe.value(node, tuple(Affine.var(name) for name in names))
    accesses = [load.index for load in loads(probe.body)]
    if node in context.targets:
        place = context.targets[node]
        accesses += [place.offset(tuple(Affine.var(name) for name in names))] * 2
    behind = _behind(probe.body)

    def score(name: str) -> int:
        total = 0
        for access in accesses:
            steps = access.coefficient(name)
            indirect = any(name in behind.get(term, ()) for term, _ in access.terms)
            total += -2 if indirect or steps not in (0, 1) else steps
        return total

    return {axis: score(names[axis]) for axis, extent in enumerate(node.shape) if extent > 1}


def index_variables(body: list[Statement]) -> set[str]:
    """All variables that the values of a body depend on."""
    return set().union(*_behind(body).values())


def _behind(body: list[Statement]) -> dict[str, set[str]]:
    """For each variable that a body binds, all variables that its value depends on."""
    result: dict[str, set[str]] = {}
    for statement in body:
        if isinstance(statement, Let):
            names = variables(statement.value)
            result[statement.name] = names.union(*(result.get(name, ()) for name in names))
    return result


def best_axis(context: Context, node: Node) -> int:
    """The axis along which vectors touch memory best; the longer one where two are equal."""
    scores = axis_scores(context, node)
    if not scores:
        return max(len(node.shape) - 1, 0)
    return max(scores, key=lambda axis: (scores[axis], min(node.shape[axis], 16), axis))


def plain_index(names: list[str], shape: Shape) -> list[Affine]:
    """A variable for each axis; 0 where the extent is 1."""
    return [Affine.var(n) if e > 1 else Affine() for n, e in zip(names, shape, strict=True)]


def canonical(index: Index, shape: Shape) -> Index:
    """The index with 0 for every axis of extent 1, so that equal places have equal indices."""
    return tuple([ZERO if n == 1 else i for i, n in zip(index, shape, strict=True)])
