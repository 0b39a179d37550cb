"""Zeros in rows that are not there: what must be 0, because rows are summed, and where that is
best seen to.

The gradient of a loss is linear in its cotangent. So where a choice makes that 0 beyond the last
row, so is all that comes of it on the way back, and sums over rows of it need nothing more. A
product is 0 where a factor is, and the other one finite. So three things are followed (`Facts`).
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence

from mynn.base.dataclass import dataclass
from mynn.core.graph import CONSTANT, Node, bodies_of
from mynn.jit.lengths.axis import Rows
from mynn.ops import (
    along,
    attention,
    contraction,
    control,
    convolution,
    elementwise,
    gather,
    movement,
    reduce,
    scan,
    special,
    windows,
)


@dataclass(frozen=True)
class Facts:
    """What is known of a value in rows that are not there, each of which begins as a copy of one
    that is.

    - `zero`: it is 0.
    - `pure`: it is what such a row gives: nothing that it is made of was set to 0.
    - `tame`: it is finite where the value of the row is that is copied.
    """

    zero: bool = False
    pure: bool = True
    tame: bool = True


CHOSEN = Facts(zero=True, pure=False)

# Sets of inputs of a primitive; where those of any set are 0, so is the result.
Ways = Sequence[Sequence[int]]

_KEPT = (
    *(elementwise.neg, elementwise.abs, elementwise.sign, elementwise.sqrt, elementwise.sin),
    *(elementwise.tanh, elementwise.erf, elementwise.relu, elementwise.floor),
    *(elementwise.stop_gradient, elementwise.cast),
    *(special.asin, special.atan, special.sinh, special.asinh, special.atanh, special.round),
    *(movement.reshape, movement.transpose, movement.broadcast_to, movement.slice_, movement.flip),
    *(windows.windows, reduce.sum, reduce.prod, reduce.max, reduce.min, scan.cumsum),
    *(elementwise.div, attention.gradient, gather.scatter_add, along.take_along),
)
_SUMS = (
    *(elementwise.add, elementwise.sub, elementwise.maximum, elementwise.minimum),
    *(movement.concatenate, movement.update_slice),
)
_PRODUCTS = (elementwise.mul, contraction.matmul, contraction.contract, convolution.conv)
# Primitives whose result is finite where all inputs are.
_TAME = {
    *(elementwise.neg, elementwise.abs, elementwise.sign, elementwise.sin, elementwise.cos),
    *(elementwise.tanh, elementwise.erf, elementwise.relu, elementwise.floor),
    *(elementwise.logistic, elementwise.where, elementwise.stop_gradient, elementwise.cast),
    *(elementwise.less, elementwise.less_equal, elementwise.equal, elementwise.not_equal),
    *(movement.reshape, movement.transpose, movement.broadcast_to, movement.slice_, movement.flip),
    *(movement.pad, windows.windows, reduce.sum, reduce.max, reduce.min),
    *(gather.take, gather.take_rows, gather.scatter_add, along.take_along, along.scatter_along),
    *(attention.attention, attention.gradient),
    *_SUMS,
    *_PRODUCTS,
}
# Constants of more elements are not looked at.
_MOST = 4096


def ways(node: Node) -> Ways:
    """Which of its inputs must be 0, so that the value is."""
    primitive, count = node.primitive, len(node.inputs)
    if primitive is CONSTANT:
        value = node.value
        return [()] if value is not None and value.size <= _MOST and not value.any() else []
    if primitive is elementwise.where:
        return [(1, 2)]
    if primitive is movement.pad:
        return [] if node.params["value"] else [(0,)]
    if primitive in _SUMS:
        return [range(count)]
    if primitive in _PRODUCTS:
        return [(number,) for number in range(count)]
    return [(0,)] if primitive in _KEPT else []


def facts_of(node: Node, given: Sequence[Facts]) -> Facts:
    """What is known of a value, from what is known of its inputs."""
    zero = False
    for way in ways(node):
        others = [one for number, one in enumerate(given) if number not in way]
        finite = all(one.pure if node.primitive is elementwise.div else one.tame for one in others)
        zero = zero or (finite and all(given[number].zero for number in way))
    pure = all(one.pure for one in given)
    tame = zero or pure or (_is_tame(node, given) and all(one.tame for one in given))
    return Facts(zero, pure, tame)


def _is_tame(node: Node, given: Sequence[Facts]) -> bool:
    return node.primitive in _TAME or (node.primitive is elementwise.div and given[1].pure)


@dataclass(frozen=True)
class Sum:
    """A node that combines rows, so that one of some inputs must be `neutral` where rows are not
    there: all that it combines, or one factor of each of its products.
    """

    node: Node
    operands: tuple[int, ...]
    neutral: float = 0.0


def places(
    nodes: Sequence[Node],
    rows: Mapping[Node, Rows | None],
    sums: Sequence[Sum],
    wild: Container[Node],
) -> set[Node]:
    """Nodes that are best 0 in rows that are not there: those of few elements from which what is
    summed has its zeros, and which are not `wild`.
    """
    cost: dict[Node, float] = {}
    best: dict[Node, Sequence[int] | None] = {}
    for node in nodes:
        lowest: float = math.inf if rows[node] is None or node in wild else node.type.size
        way: Sequence[int] | None = None
        for inputs in ways(node):
            total = sum(cost[node.inputs[number]] for number in inputs)
            if total <= lowest:
                lowest, way = total, inputs
        cost[node], best[node] = lowest, way
    found: set[Node] = set()
    for each in sums:
        operands = [each.node.inputs[number] for number in each.operands]
        cheapest = min(operands, key=lambda x: cost[x])
        pending = [] if each.neutral or cost[cheapest] == math.inf else [cheapest]
        while pending:
            node = pending.pop()
            way = best[node]
            if way is not None:
                pending += [node.inputs[number] for number in way]
            elif origin(node) is not origin(cheapest):
                found.add(node)
    return found


def wild_values(nodes: Sequence[Node], sums: Container[Node]) -> set[Node]:
    """Values of which something is made that need not be finite where they are 0."""
    found: set[Node] = set()
    for node in reversed(nodes):
        if node in sums:
            continue
        if node in found or not _all_tame(node):
            found.update(node.inputs)
        elif node.primitive is elementwise.div:
            found.add(node.inputs[1])
    return found


def _all_tame(node: Node) -> bool:
    bodies = bodies_of(node)
    if bodies:
        inner = (x for body in bodies for x in body.nodes() if x.inputs)
        return node.primitive is control.scan and all(map(_all_tame, inner))
    return node.primitive in _TAME or node.primitive in (elementwise.div, control.part)


_MOVED = {
    *(movement.transpose, movement.reshape, movement.slice_, movement.flip, windows.windows),
    movement.pad,
}


def origin(node: Node) -> Node:
    """The value whose elements these are, at other places."""
    while node.primitive in _MOVED and ways(node):
        node = node.inputs[0]
    return node
