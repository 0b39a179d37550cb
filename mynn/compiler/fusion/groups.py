"""The fusion IR: which nodes of a graph make a kernel together.

Grammar (as `format_fusion` prints it):

    fusion ::= {group}
    group ::= "group" number ["anchor" node] "loops" extents ":" {"load" node} {"store" output}
    output ::= node "[" {loop | "_"} "]" "=" primitive type "#" reason

Behind an output stand the loops that its axes follow (_: an axis of extent 1), and why it is
stored.

Invariants, held by `verify_fusion`: every stored node is an output of one group; a group loads what
earlier groups store, inputs and constants; an output's axes follow every loop of its group, each
once (but for loops over a graph of their own, whose outputs have axes as they like); beside its
anchor a group computes no node that needs loops of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field

from mynn.base.dataclass import dataclass
from mynn.compiler.fusion.stored import Reason, is_leaf
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import AxisMap, Loop
from mynn.core.graph import CONSTANT, Graph, Node, node_names
from mynn.core.types import Shape
from mynn.errors import VerifyError


@dataclass(eq=False)
class Group:
    """The nodes of one kernel.

    - `anchor`: the contraction, reduction, scatter or concatenation, if there is one.
    - `space`: extents of the loops around an output element.
    - `maps`: for the anchor and the outputs, which loop each of their axes follows (None: extent
      1).
    - `outputs`: nodes whose values are stored (the anchor only if it is among them).
    - `needs`: the groups that it loads from. `weight`: how many nodes it computes.

    Of a loop over a graph of its own the anchor is the loop, and the outputs are its values.
    """

    anchor: Node | None
    space: Shape
    maps: dict[Node, AxisMap]
    outputs: list[Node] = field(default_factory=list)
    needs: set[Group] = field(default_factory=set)
    weight: int = 0


def is_loop(group: Group) -> bool:
    """Whether it is a loop over a graph of its own."""
    return group.anchor is not None and isinstance(rule_of(group.anchor), Loop)


@dataclass(frozen=True)
class Fusion:
    """Groups in order, and why nodes have storage, beside inputs and constants."""

    groups: tuple[Group, ...] = ()
    stored: Mapping[Node, Reason] = field(default_factory=dict)

    def loads(self, group: Group) -> list[Node]:
        """What a group loads: stored nodes that it does not compute itself, and leaves."""
        return list(dict.fromkeys(self._loads(group)))

    def _loads(self, group: Group) -> Iterator[Node]:
        heads = [*group.outputs, *([group.anchor] if group.anchor is not None else [])]
        stack = [x for node in heads for x in node.inputs]
        seen = set(heads)
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            if is_leaf(node) or (node in self.stored and node not in group.maps):
                yield node
            else:
                stack.extend(node.inputs)


def identity_map(shape: Shape) -> AxisMap:
    """Each axis follows the loop of the same number."""
    return tuple(range(len(shape)))


def covers(axis_map: AxisMap, shape: Shape, space: Shape) -> bool:
    """Whether the axes of a value follow every loop of a space, each once."""
    used = [m for m, n in zip(axis_map, shape, strict=True) if n != 1 and m is not None]
    wide = [axis for axis, n in enumerate(space) if n != 1]
    return sorted(used) == wide and all(
        n == 1 or m is None or n == space[m] for m, n in zip(axis_map, shape, strict=True)
    )


# -- printing --------------------------------------------------------------------------------------


def format_fusion(fusion: Fusion, graph: Graph) -> str:
    """Groups as text, in the grammar of this module, with the names that the printed graph has."""
    names = node_names(graph)
    lines = []
    for number, group in enumerate(fusion.groups):
        anchor = "" if group.anchor is None else f" anchor {names[group.anchor]}"
        lines.append(f"group {number}{anchor} loops {'x'.join(map(str, group.space)) or '()'}:")
        lines += [
            f"  load {names[node]}"
            for node in fusion.loads(group)
            if node.primitive is not CONSTANT or node.type.size > 1
        ]
        for node in group.outputs:
            loops = " ".join("_" if m is None else str(m) for m in group.maps[node])
            what = f"{node.primitive.name} {node.type}"
            why = fusion.stored[node].value
            lines.append(f"  store {names[node]}[{loops}] = {what}   # {why}")
    return "\n".join(lines)


# -- checking --------------------------------------------------------------------------------------


def verify_fusion(fusion: Fusion, graph: Graph) -> None:
    """Raise `VerifyError` where a fusion of the graph breaks an invariant of this module."""
    made: set[Node] = set()
    for number, group in enumerate(fusion.groups):
        where = f"group {number}"
        for node in fusion.loads(group):
            if not is_leaf(node) and node not in made:
                raise VerifyError(f"{where} loads {node!r}, which no group before it stores")
        for node in group.outputs:
            if node in made:
                raise VerifyError(f"{where} stores {node!r}, as another group does")
            if node not in fusion.stored:
                raise VerifyError(f"{where} stores {node!r}, which has no storage")
            mapped = covers(group.maps.get(node, ()), node.shape, group.space)
            if not mapped and not is_loop(group):
                raise VerifyError(f"{where}: the axes of {node!r} do not follow its loops")
        if group.anchor is not None and group.anchor not in group.maps:
            raise VerifyError(f"{where}: no map says which loops its anchor follows")
        made.update(group.outputs)
    for node in (*fusion.stored, *graph.outputs):
        if not is_leaf(node) and node not in made:
            raise VerifyError(f"no group stores {node!r}")
