"""The meaning of a graph: every node evaluated in turn with NumPy.

Compiled programs must agree with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mynn.core.failure import Failure, failure
from mynn.core.graph import CONSTANT, INPUT, Graph, Node, topological
from mynn.core.primitive import Primitive
from mynn.core.types import Array, Tuple, Type
from mynn.errors import ShapeError

Observer = Callable[[Node, Array], None]


def compute(node: Node, arguments: Sequence[Array]) -> Array:
    """The value of one node from the values of its inputs."""
    return apply(node.primitive, arguments, node.params, node.type)


def apply(
    primitive: Primitive, arguments: Sequence[Array], params: Mapping[str, Any], type: Type
) -> Array:
    """The value of a primitive, which has this type."""
    if primitive.view:
        return np.asarray(primitive.numpy(*arguments, **params))
    with np.errstate(all="ignore"):
        result = primitive.numpy(*arguments, **params)
    if isinstance(type, Tuple):
        several: Array = result
        return several
    value = np.asarray(result)
    return value if value.dtype == type.dtype else value.astype(type.dtype)


def evaluate_nodes(
    outputs: Sequence[Node], known: Mapping[Node, Array], observe: Observer | None = None
) -> list[Array]:
    """Values of `outputs`, where the values of the nodes in `known` are given.

    `observe(node, value)` is called for every node as it is computed, in topological order; not for
    those with several values, whose parts are nodes too.
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
        if observe is not None and not isinstance(node.type, Tuple):
            observe(node, values[node])
    return [values[node] for node in outputs]


def evaluate(
    graph: Graph, arguments: Sequence[Array], observe: Observer | None = None
) -> list[Array]:
    """Outputs of `graph` for `arguments`, one for each declared input.

    Raises `DataError` or `IndexRangeError` where one of its checks is true, or warns.
    """
    known = bound(graph, arguments)
    checks = frozenset(graph.checks)
    warnings: list[Failure] = []

    def watch(node: Node, value: Array) -> None:
        if node in checks and value:
            failed = next(failures(graph, known, (node,)))
            if not failed.warns:
                raise failed.error()
            warnings.append(failed)
        if observe is not None:
            observe(node, value)

    values = evaluate_nodes((*graph.checks, *graph.outputs), known, watch if checks else observe)
    for failed in warnings:
        failed.warn()
    return values[len(graph.checks) :]


def bound(graph: Graph, arguments: Sequence[Array]) -> dict[Node, Array]:
    """The declared inputs of `graph` with their values, whose types are looked at."""
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
    return known


def failures(
    graph: Graph, known: Mapping[Node, Array], checks: Sequence[Node] | None = None
) -> Iterator[Failure]:
    """The checks of `graph` that fail, where the values of its inputs are known."""
    for check in graph.checks if checks is None else checks:
        value = evaluate_nodes((check.inputs[0],), known)[0]
        failed = failure(check, value)
        if failed is not None:
            yield failed
