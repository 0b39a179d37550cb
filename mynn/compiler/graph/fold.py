"""Folding: what depends on constants alone is computed before the program runs."""

from __future__ import annotations

import numpy as np

from mynn.compiler.graph.uniform import full, uniform_value
from mynn.compiler.rules import rule_of
from mynn.core import interpreter
from mynn.core.graph import CONSTANT, Graph, Node, apply, constant
from mynn.core.rewrite import rewrite
from mynn.core.types import Array, Tuple
from mynn.ops import along, movement, reduce

# Results above this many elements are not computed ahead: a table would cost more memory traffic
# than it saves.
FOLD_LIMIT = 4096


def fold(graph: Graph, settled: set[Node] | None = None) -> Graph:
    """Compute what depends on constants alone, where the result has at most 4096 elements.

    Broadcasts are left to the reader of the value, so what is uniform stays one number. Empty
    values are constants too, so that the passes that follow meet few of them.

    Before:
        %0: f32[] = constant 2.0
        %1: f32[1] = reshape(%0) shape=(1,)
        %2: f32[3] = broadcast_to(%1) shape=(3,)
        %3: f32[3] = exp(%2)
        %4: f32[3] = mul(%x, %3)
    After:
        %0: f32[1] = constant [7.389056205749512]
        %1: f32[3] = broadcast_to(%0) shape=(3,)
        %2: f32[3] = mul(%x, %1)
    """
    return rewrite(graph, _fold_node, settled)


def _fold_node(node: Node) -> Node | None:
    if node.primitive is CONSTANT:
        return _fold_constant(node)
    if 0 in node.type.shape:
        return constant(np.zeros(node.shape, node.dtype))
    known = bool(node.inputs)
    for x in node.inputs:
        if 0 in x.type.shape:
            return _fold_empty(node)
        known = known and _is_known(x)
    if not known or isinstance(node.type, Tuple):
        return None
    if node.primitive is movement.broadcast_to:
        return None
    scalars = [uniform_value(x) for x in node.inputs]
    uniform = _fold_uniform(node, [x for x in scalars if x is not None])
    if uniform is not None:
        return uniform
    if node.type.size > FOLD_LIMIT:
        return None
    return constant(
        np.array(interpreter.compute(node, [_known(x) for x in node.inputs]), order="C")
    )


def _fold_empty(node: Node) -> Node | None:
    """A result that is not empty although an input is: a sum over nothing, the border of a pad, a
    value into which nothing is put.
    """
    over_nothing = rule_of(node).over_nothing
    if over_nothing is not None:
        return full(np.asarray(over_nothing, node.dtype), node.shape)
    if node.primitive is movement.pad:
        return full(np.asarray(node.params["value"], node.dtype), node.shape)
    if node.primitive is movement.concatenate:
        parts = [x for x in node.inputs if x.type.size]
        return apply(movement.concatenate, *parts, source=node.source, **node.params)
    if node.primitive is along.scatter_along:
        return node.inputs[0]
    return None


def _is_known(node: Node) -> bool:
    """Whether a node is a constant or a broadcast of one."""
    if node.primitive is movement.broadcast_to:
        node = node.inputs[0]
    return node.primitive is CONSTANT


def _known(node: Node) -> Array:
    source = node.inputs[0] if node.inputs else node
    assert source.value is not None
    return np.broadcast_to(source.value, node.shape)


def _fold_constant(node: Node) -> Node | None:
    """An array whose elements have all the same bits becomes a broadcast scalar."""
    value = node.value
    if value is None or not 1 < node.type.size <= FOLD_LIMIT:
        return None
    flat = value.reshape(-1)
    same = flat[0] == flat[-1] and flat.tobytes() == flat[:1].tobytes() * flat.size
    return full(flat[0], node.shape) if same else None


def _fold_uniform(node: Node, scalars: list[Array]) -> Node | None:
    """A node whose inputs are all uniform, where its result is uniform too."""
    if len(scalars) < len(node.inputs) or node.type.size == 0:
        return None
    primitive = node.primitive
    if primitive.elementwise:
        return full(interpreter.compute(node, scalars), node.shape)
    if rule_of(node).keeps_uniform:
        return full(scalars[0], node.shape)
    if primitive is reduce.sum:
        count = node.inputs[0].type.size // node.type.size
        total = _exact_multiple(scalars[0], count)
        return None if total is None else full(total, node.shape)
    return None


def _exact_multiple(value: Array, count: int) -> Array | None:
    """`count` * `value` where adding it up, in any order, cannot round; otherwise None."""
    if value.dtype.kind != "f":
        wrapped = int(value) * count % 2 ** (8 * value.dtype.itemsize)
        return np.asarray(wrapped, np.uint64).astype(value.dtype)
    if not np.isfinite(value):
        return None
    numerator, denominator = float(value).as_integer_ratio()
    while numerator and numerator % 2 == 0:
        numerator //= 2
    total = float(value) * count
    fits = abs(numerator) * count <= 2 ** (np.finfo(value.dtype).nmant + 1)
    if not fits or abs(total) > np.finfo(value.dtype).max or denominator > 2**100:
        return None
    return np.asarray(total, value.dtype)
