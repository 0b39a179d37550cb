"""Which row of a batch a value comes from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mynn.core.failure import Failure
from mynn.core.graph import Node, topological
from mynn.core.types import Array
from mynn.jit.stage import Staged
from mynn.ops import gather, movement, windows

_MOVES = {
    movement.reshape,
    movement.transpose,
    movement.broadcast_to,
    movement.slice_,
    movement.flip,
    windows.windows,
}


def row_of(staged: Staged, known: Mapping[Node, Array], found: Failure) -> int | None:
    """The row of the batch that holds what a check found, where each value comes from one row.

    Row numbers take the way of the values: movement moves them, elementwise operations keep them.
    `known` holds the values of the graph's inputs.
    """
    rows: dict[Node, Array] = {}
    for node in staged.arguments:
        numbers = np.arange(node.shape[0]).reshape(-1, *[1] * (len(node.shape) - 1))
        rows[node] = np.broadcast_to(numbers, node.shape)
    target = found.check.inputs[0]
    for node in topological((target,), stop=known.__contains__):
        if node in known:
            continue
        given = [rows[x] for x in node.inputs if x in rows]
        if node.primitive.elementwise and given:
            if all(np.array_equal(other, given[0]) for other in given[1:]):
                rows[node] = given[0]
        elif node.primitive in _MOVES and given:
            rows[node] = node.primitive.numpy(*given, **node.params)
        elif node.primitive is gather.take and node.inputs[1] in rows:
            index, axis = rows[node.inputs[1]], node.params["axis"]
            shape = node.shape
            around = (1,) * axis, (1,) * (len(shape) - axis - index.ndim)
            rows[node] = np.broadcast_to(index.reshape(*around[0], *index.shape, *around[1]), shape)
    return int(rows[target][found.index]) if target in rows else None
