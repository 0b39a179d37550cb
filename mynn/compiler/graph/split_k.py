"""Long sums of few results are taken in parts, so that several threads share them.

Threads share the results of a kernel, never a sum: so results are the same bits for any number of
them. A convolution's gradient for its weights sums over every place of every image, and has few
results. Cut along its first axis into parts, each part has results of its own.

Before: `contract(a, b)`, a sum over (n, ...).
After: `sum(contract(a', b'), axes=(0,))`, with the parts as a batch axis of the contraction, each a
sum over (n / parts, ...). `sum(x)` likewise becomes the sum of its parts.
"""

from __future__ import annotations

import math

from mynn.compiler.graph.contraction_dims import dims_of
from mynn.core.graph import Graph, Node, apply
from mynn.core.rewrite import rewrite
from mynn.core.types import Shape
from mynn.ops import contraction, movement, reduce

# How many parts, in the order of preference: the first that divides the axis is taken.
_PARTS = (4, 6, 5, 3, 2)
# Sums of at least so many terms, and at least so many operations in all.
_LEAST_TERMS = 2048
_LEAST_OPERATIONS = 200_000
# More results than this for each term of the sum are easily shared as they are.
_MOST_RESULTS = 4
# So many rows of results are enough for all threads, whatever the terms. Results that lie side by
# side are not: who sums a few columns of each row reads all rows, and parts of them fit the cache.
_ENOUGH_ROWS = 32


def split_k(graph: Graph) -> Graph:
    """Take the long sums of `graph` in parts."""

    def rule(node: Node) -> Node | None:
        if node.primitive is contraction.contract:
            return _contract(node)
        return _sum(node) if node.primitive is reduce.sum else None

    return rewrite(graph, rule)


def _parts(extent: int, terms: int, operations: int) -> int:
    """The number of parts of a sum, 1 where it stays whole."""
    if terms < _LEAST_TERMS or operations < _LEAST_OPERATIONS:
        return 1
    return next((n for n in _PARTS if extent % n == 0 and extent > n), 1)


def _cut(x: Node, axis: int, parts: int) -> Node:
    """Axis n of `x` as the axes parts, n / parts."""
    shape = x.shape
    shape = (*shape[:axis], parts, shape[axis] // parts, *shape[axis + 1 :])
    return apply(movement.reshape, x, shape=shape)


def _contract(node: Node) -> Node | None:
    a, b = node.inputs
    axes = dims_of(node)
    terms = math.prod(axes.summed)
    results = math.prod((*axes.batch, *axes.rows, *axes.columns))
    if len(axes.summed) < 2 or results > _MOST_RESULTS * terms:
        return None
    parts = _parts(axes.summed[0], terms, axes.operations)
    if parts == 1:
        return None
    batch, first = len(axes.batch), len(a.shape) - len(axes.summed)
    cut = _cut(a, first, parts)
    order: Shape = tuple(range(len(cut.shape)))
    order = (*order[:batch], first, *order[batch:first], *order[first + 1 :])
    each = apply(
        contraction.contract,
        apply(movement.transpose, cut, axes=order),
        _cut(b, batch, parts),
        batch=batch + 1,
        summed=len(axes.summed),
        source=node.source,
    )
    return apply(reduce.sum, each, axes=(batch,), source=node.source)


def _sum(node: Node) -> Node | None:
    x, axes = node.inputs[0], node.params["axes"]
    terms = math.prod(x.shape[axis] for axis in axes)
    if not axes or x.dtype.kind != "f" or math.prod(x.shape[: axes[0]]) >= _ENOUGH_ROWS:
        return None
    parts = _parts(x.shape[axes[0]], terms, terms * node.type.size)
    if parts == 1:
        return None
    cut = _cut(x, axes[0], parts)
    inner = tuple(axis + 1 for axis in axes)
    each = apply(reduce.sum, cut, axes=inner, source=node.source)
    kept_before = sum(axis not in axes for axis in range(axes[0]))
    return apply(reduce.sum, each, axes=(kept_before,), source=node.source)
