"""Reverse-mode differentiation: a gradient is more graph.

The rules live with the primitives (`Primitive.vjp`). They are applied to values that know operators
(`wrap` makes them from nodes), so the backward pass is made of ordinary nodes: it can be
simplified, fused and compiled as the forward pass is, and differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mynn.base.dataclass import dataclass
from mynn.core.graph import Node, topological
from mynn.core.placed import total
from mynn.core.rows import Rows
from mynn.core.types import Tuple
from mynn.errors import UsageError


@dataclass(frozen=True)
class OfPart:
    """A cotangent of one of several values that a node has."""

    number: int
    g: Any


def differentiable(node: Node) -> bool:
    """Whether a gradient can arrive at the node: floats, and several values."""
    return node.type.dtype.kind == "f" or isinstance(node.type, Tuple)


def cotangents_of_parts(type: Tuple, found: Sequence[OfPart]) -> tuple[Any, ...]:
    """For each part the sum of its cotangents; None where there is none."""
    parts: list[list[Any]] = [[] for _ in type.parts]
    for one in found:
        parts[one.number].append(one.g)
    return tuple([total(each) if each else None for each in parts])


def apply_rule(
    node: Node, result: Node, g: Any, wrap: Callable[[Node], Any], which: int = -1
) -> Sequence[Any]:
    """The cotangents of the inputs of a node from that of its result, by its rule.

    Those are asked for whose bit is set in `which`; others may be given too.
    """
    if node.primitive.vjp is None:
        raise UsageError(
            f"{node.primitive.name} has no gradient"
            + (f" (made at {node.source})" if node.source else "")
            + "; use .detach() where none is meant to flow"
        )
    y, *arguments = [None if isinstance(x.type, Tuple) else wrap(x) for x in (result, *node.inputs)]
    return node.primitive.vjp(g, y, *arguments, **node.params)


def reverse(
    seeds: Mapping[Node, Any],
    wanted: Callable[[Node], bool],
    wrap: Callable[[Node], Any],
    keep_rows: bool = False,
    arrived: Callable[[Node, Any], Any] | None = None,
    inside: Callable[[Node], Node | None] | None = None,
    rule: Callable[..., Sequence[Any]] = apply_rule,
) -> dict[Node, Any]:
    """Cotangents of every node between `seeds` and the wanted leaves.

    - `seeds`: output nodes with their cotangents (wrapped values).
    - `wanted(leaf)`: whether a node without inputs takes part; nodes on no path from such a leaf
      get no cotangent.
    - `wrap(node)`: the value of a node, with operators.
    - `arrived(node, cotangent)`: what takes the place of a cotangent that is complete.
    - `keep_rows`: leaves may get cotangents that are `Rows`.
    - `inside(node)`: for a node that stands for several, whose rule gives values that cannot be
      differentiated, the last of those: the cotangent is handed on to it.
    - `rule`: applies the rule of a node, as `apply_rule` does.

    Returns a wrapped cotangent for each node that was reached. A node with several values is no
    value itself: its rule is given None in its place, and a tuple of cotangents.
    """
    order = topological(tuple(seeds), inside=inside)
    inner: dict[Node, Node] = {}
    if inside is not None:
        inner = {node: one for node in order if (one := inside(node)) is not None}
    outer = {one: node for node, one in inner.items()}
    active: set[Node] = set()
    for node in order:
        inputs = (inner[node],) if node in inner else node.inputs
        if not active.isdisjoint(inputs) or wanted(node):
            active.add(node)
    parts: dict[Node, list[Any]] = {node: [g] for node, g in seeds.items() if node in active}
    cotangents: dict[Node, Any] = {}
    for node in reversed(order):
        if node not in parts:
            continue
        if isinstance(node.type, Tuple):
            g = cotangents_of_parts(node.type, parts.pop(node))
        else:
            g = total(parts.pop(node))
            if isinstance(g, Rows) and (node.inputs or not keep_rows):
                g = g.dense()
            if arrived is not None:
                g = arrived(node, g)
            cotangents[node] = g
        if node in inner:
            if inner[node] in active:
                parts.setdefault(inner[node], []).append(g)
            continue
        if active.isdisjoint(node.inputs):
            continue
        # A rule that reads the result reads that of the node which stands for it.
        which = 0
        for number, x in enumerate(node.inputs):
            if x in active and differentiable(x):
                which |= 1 << number
        found = rule(node, outer.get(node, node), g, wrap, which)
        for number, (x, part) in enumerate(zip(node.inputs, found, strict=True)):
            if part is not None and which >> number & 1:
                parts.setdefault(x, []).append(part)
    return cotangents
