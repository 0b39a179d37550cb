"""Sums of rows, of which only those are looked at that something was added to."""

from __future__ import annotations

import math

from mynn.core.graph import Node, apply
from mynn.ops import gather, movement


def picked_sums(node: Node) -> Node | None:
    """Rows picked from a scatter by the scatter's own indices: no array of all rows is made.

    So the gradient of a table of which a batch reads a few rows takes no time for the others, where
    an optimiser asks for those rows alone. Those of the same index are added up in the same order,
    to the same bits.

    Before:
        %0: f32[100000,32] = scatter_add(%u, %i) axis=0 extent=100000
        %1: f32[256,32] = take(%0, %i) axis=0
    After:
        %0: i64[256] = first_equal(%i) extent=100000
        %1: f32[256,32] = scatter_add(%u, %0) axis=0 extent=256
        %2: f32[256,32] = take(%1, %0) axis=0
    """
    sums, picked = node.inputs
    if sums.primitive is not gather.scatter_add or sums.params["axis"] or node.params["axis"]:
        return None
    updates, index = sums.inputs
    count, extent = picked.type.size, sums.params["extent"]
    if len(picked.shape) != 1 or count >= extent or not count or not _same(picked, index):
        return None
    rows = (count, *sums.shape[1:])
    if math.prod(rows) != updates.type.size:
        return None
    if updates.shape != rows:
        updates = apply(movement.reshape, updates, shape=rows, source=node.source)
    first = apply(gather.first_equal, picked, extent=extent, source=node.source)
    few = apply(gather.scatter_add, updates, first, axis=0, extent=count, source=sums.source)
    return apply(gather.take, few, first, axis=0, source=node.source)


def _same(a: Node, b: Node) -> bool:
    """Whether two nodes hold the same numbers in the same order."""
    while a.primitive is movement.reshape:
        a = a.inputs[0]
    while b.primitive is movement.reshape:
        b = b.inputs[0]
    return a is b
