"""The meaning of a graph: every node evaluated in turn with NumPy.

Compiled programs must agree with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mynn.errors import ShapeError
from mynn.graph import CONSTANT, INPUT, Array, Graph, Node, Type, topological

Observer = Callable[[Node, Array], None]


def compute(node: Node, arguments: Sequence[Array]) -> Array:
    """The value of one node from the values of its inputs."""
    with np.errstate(all="ignore"):
        value = np.asarray(node.primitive.numpy(*arguments, **node.params))
    return value if value.dtype == node.type.dtype else value.astype(node.type.dtype)


def evaluate_nodes(
    outputs: Sequence[Node], known: Mapping[Node, Array], observe: Observer | None = None
) -> list[Array]:
    """Values of `outputs`, where the values of the nodes in `known` are given.

    `observe(node, value)` is called for every node as it is computed, in topological order.
    """
    values: dict[Node, Array] = dict(known)
    for node in topological(outputs, stop=known.__contains__):
        if node in values:
            continue
        if node.primitive is CONSTANT and node.value is not None:
            values[node] = node.value
            continue
        if node.primitive is INPUT:
            raise ShapeError(f"no value was given for input {node.name or node!r}")
        values[node] = compute(node, [values[x] for x in node.inputs])
        if observe is not None:
            observe(node, values[node])
    return [values[node] for node in outputs]


def evaluate(
    graph: Graph, arguments: Sequence[Array], observe: Observer | None = None
) -> list[Array]:
    """Outputs of `graph` for `arguments`, one for each declared input."""
    if len(arguments) != len(graph.inputs):
        raise ShapeError(
            f"the graph has {len(graph.inputs)} inputs, {len(arguments)} values were given"
        )
    known = {}
    for node, value in zip(graph.inputs, arguments, strict=True):
        array = np.asarray(value)
        if Type.of(array) != node.type:
            raise ShapeError(
                f"input {node.name or node!r} must be {node.type}, it was given {Type.of(array)}"
            )
        known[node] = array
    return evaluate_nodes(graph.outputs, known, observe)
