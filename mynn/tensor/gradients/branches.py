"""Branches and loops with a condition: their gradients, and derivatives in a direction.

The gradient of a branch is a branch on the same predicate, between the gradients of the two: what a
branch computes of its operands is computed once more there, since the other one has nothing that
could be kept in its place.

A loop whose number of rounds is not known has no gradient that could be computed backwards: what
stands for it (`while_pullback`) refuses to be computed. But it is linear in what arrives, and its
transpose can: the same loop with a tangent beside each float of the carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn.core import autodiff
from mynn.core.graph import Graph, Node, apply, constant, input_node
from mynn.core.types import Type
from mynn.ops import branches, movement
from mynn.tensor.gradients.control import several, wrapped, zeros
from mynn.tensor.gradients.grad_mode import enable_grad
from mynn.tensor.gradients.history import graph_node
from mynn.trace import tracing


def _is_float(node: Node) -> bool:
    return node.dtype.kind == "f"


def _nothing(type: Type) -> Node:
    """A node of zeros, which take no memory."""
    zero = constant(np.zeros((1,) * len(type.shape), type.dtype))
    return apply(movement.broadcast_to, zero, shape=type.shape) if type.shape else zero


def _reached(seeds: Sequence[tuple[Node, Node]], wanted: Sequence[Node]) -> list[Node]:
    """The cotangents of the wanted leaves, within a graph, from those of other nodes."""
    given: dict[Node, Any] = {}
    for node, seed in seeds:
        g = wrapped(seed)
        given[node] = given[node] + g if node in given else g
    leaves = set(wanted)
    found = autodiff.reverse(given, leaves.__contains__, wrapped)
    return [graph_node(found[x]) if x in found else _nothing(x.type) for x in wanted]


def _gradient(body: Graph, arriving: Sequence[int]) -> Graph:
    """The cotangents of a body's float inputs; of its inputs, and cotangents of some outputs."""
    with tracing.tracing(), enable_grad():
        later = [input_node(body.outputs[number].type) for number in arriving]
        seeds = [(body.outputs[j], g) for j, g in zip(arriving, later, strict=True)]
        found = _reached(seeds, list(filter(_is_float, body.inputs)))
    return Graph((*body.inputs, *later), tuple(found))


def cond_cotangents(
    self: Any, g: Sequence[Any], operands: Sequence[Any], true: Graph, false: Graph
) -> tuple[Any, ...]:
    """The cotangents of the operands of a branch, from those of its values (None: none arrives)."""
    arriving = [j for j, one in enumerate(g) if one is not None]
    bodies = {"true": _gradient(true, arriving), "false": _gradient(false, arriving)}
    given = [*operands, *(g[j] for j in arriving)]
    found = iter(several(branches.cond, given, True, **bodies))
    return tuple([next(found) if x.dtype.kind == "f" else None for x in operands])


def while_cotangents(
    self: Any, g: Sequence[Any], operands: Sequence[Any], body: Graph, carry: int
) -> tuple[Any, ...]:
    """The cotangents of the operands of a loop: what stands for them, until it is transposed."""
    seeds = [
        zeros(node.type) if one is None else one
        for node, one in zip(body.outputs, g, strict=True)
        if _is_float(node)
    ]
    params = {"body": body, "carry": carry}
    found = iter(several(branches.while_pullback, [*seeds, *operands], True, **params))
    return tuple([next(found) if x.dtype.kind == "f" else None for x in operands])


def while_tangents(
    self: Any, g: Sequence[Any], inputs: Sequence[Any], body: Graph, carry: int
) -> tuple[Any, ...]:
    """The cotangents of the inputs of a `while_pullback`: of those that arrive there, the tangents
    of the last carry; of the operands, what stands for theirs.
    """
    count = len(inputs) - len(body.inputs)
    seeds, operands = inputs[:count], inputs[count:]
    floats = [number for number, node in enumerate(body.inputs) if _is_float(node)]
    carried = [number for number in floats if number < carry]
    moving = {
        number: input_node(body.inputs[number].type)
        for number, one in zip(floats, g, strict=True)
        if number < carry or one is not None
    }
    with tracing.tracing(), enable_grad():
        # Twice backwards is forwards: the first cotangents are linear in helpers, which are zeros.
        outputs = [body.outputs[number] for number in carried]
        helpers = [constant(np.zeros(node.shape, node.dtype)) for node in outputs]
        slopes = _reached(
            list(zip(outputs, helpers, strict=True)), [body.inputs[number] for number in moving]
        )
        tangents = _reached(list(zip(slopes, moving.values(), strict=True)), helpers)
    given = [
        zeros(body.inputs[j].type) if one is None else one for j, one in zip(floats, g, strict=True)
    ]
    known = dict(zip(floats, given, strict=True))
    before, after = list(body.inputs[:carry]), list(body.inputs[carry:])
    late = [number for number in moving if number >= carry]
    inner = Graph(
        (*before, *(moving[j] for j in carried), *after, *(moving[j] for j in late)),
        (*body.outputs, *tangents),
    )
    first = [*operands[:carry], *(known[j] for j in carried)]
    fixed = [*operands[carry:], *(known[j] for j in late)]
    made = several(branches.while_loop, [*first, *fixed], True, body=inner, carry=len(first))
    params = {"body": body, "carry": carry}
    rest = iter(several(branches.while_pullback, [*seeds, *operands], True, **params))
    others = [next(rest) if x.dtype.kind == "f" else None for x in operands]
    return (*made[carry:], *others)
