"""Sums of few of many rows, that are read once each: no array of all rows is made.

The gradient of a table of which a batch reads a few rows is zero elsewhere. An update that changes
every row (momentum moves on) reads it, row by row: it finds those that were added to by their
place among the batch's.

Before:
    %0: f32[5000,64] = scatter_add(%u, %i) axis=0 extent=5000
After:
    %0: i64[2048] = first_equal(%i) extent=5000
    %1: f32[2049,64] = scatter_add(%u, %0) axis=0 extent=2049         the last row stays zero
    %2: i64[5000] = scatter_along(2048.., %i, %0) axis=0 mode=set     where each row's sum is
    %3: f32[5000,64] = take(%1, %2) axis=0
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import Elementwise
from mynn.core.graph import Graph, Node, apply, constant
from mynn.core.rewrite import rewrite
from mynn.ops import along, gather, movement

# Bytes of all rows from which it pays, and of one row.
_LEAST_BYTES, _LEAST_ROW = 1 << 18, 64


def find_few_rows(graph: Graph) -> Graph:
    """Take sums of rows that only elementwise nodes read from an array of the rows added to."""
    users: dict[Node, list[Node]] = {}
    for node in graph.nodes():
        for x in node.inputs:
            users.setdefault(x, []).append(node)
    wanted = {
        node
        for node in graph.nodes()
        if node.primitive is gather.scatter_add and _pays(node) and _read_once(node, graph, users)
    }
    return rewrite(graph, lambda node: _few(node) if node in wanted else None) if wanted else graph


def _pays(node: Node) -> bool:
    updates, picked = node.inputs
    extent, count = node.params["extent"], picked.type.size
    row = math.prod(node.shape[1:]) * node.dtype.itemsize
    return (
        node.params["axis"] == 0
        and node.dtype.kind == "f"
        and 0 < count < extent
        and updates.type.size == count * math.prod(node.shape[1:])
        and row >= _LEAST_ROW
        and extent * row >= _LEAST_BYTES
    )


def _read_once(node: Node, graph: Graph, users: Mapping[Node, list[Node]]) -> bool:
    """Whether it need not be stored for who reads it."""
    own = users.get(node, [])
    return node not in graph.outputs and all(isinstance(rule_of(x), Elementwise) for x in own)


def _few(node: Node) -> Node:
    updates, picked = node.inputs
    extent, count = node.params["extent"], picked.type.size
    source = node.source
    if picked.shape != (count,):
        picked = apply(movement.reshape, picked, shape=(count,), source=source)
    rows = (count, *node.shape[1:])
    if updates.shape != rows:
        updates = apply(movement.reshape, updates, shape=rows, source=source)
    first = apply(gather.first_equal, picked, extent=extent, source=source)
    few = apply(gather.scatter_add, updates, first, axis=0, extent=count + 1, source=source)
    nowhere = constant(np.full(extent, count, np.int64))
    place = apply(along.scatter_along, nowhere, picked, first, axis=0, mode="set", source=source)
    return apply(gather.take, few, place, axis=0, source=source)
