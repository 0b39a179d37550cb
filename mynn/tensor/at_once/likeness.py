"""Whether two results are the same: bits, order in memory, and what they came from."""

from __future__ import annotations

from typing import Any

from mynn.core.graph import Node, topological
from mynn.core.types import Array
from mynn.tensor.gradients.history import graph_node


def alike(one: Any, other: Any) -> bool:
    """Whether two results have the same bits, in the same order in memory, and nodes alike."""
    a, b = one._value, other._value
    same = a.dtype == b.dtype and a.shape == b.shape and a.strides == b.strides
    if not same or a.tobytes() != b.tobytes() or one.requires_grad != other.requires_grad:
        return False
    if _looks(one) != _looks(other):
        return False
    return not one.requires_grad or _same_history(graph_node(one), graph_node(other))


def _looks(result: Any) -> bool:
    """Whether a result is another look at something, and not all of it."""
    return result._view is not None and bool(result._view.steps)


def _same_history(one: Node, other: Node) -> bool:
    """Whether two nodes were made by the same primitives, down to the same leaves; what has no
    gradient may have come about in another way.
    """
    pairs = [(one, other)]
    seen: dict[Node, Node] = {}
    while pairs:
        a, b = pairs.pop()
        if a is b:
            continue
        if a in seen:
            if seen[a] is not b and (_asked(a) or _asked(b)):
                return False
            continue
        seen[a] = b
        if a.type != b.type or not _same_bits(a.value, b.value):
            return False
        if not a.inputs or not b.inputs:
            if _asked(a) or _asked(b):
                return False
            continue
        alike = a.primitive is b.primitive and dict(a.params) == dict(b.params)
        called = getattr(a, "function", None) == getattr(b, "function", None)
        if not alike or not called or len(a.inputs) != len(b.inputs):
            if not (_asked(a) or _asked(b)):
                continue
            return False
        pairs += zip(a.inputs, b.inputs, strict=True)
    return True


def _asked(node: Node) -> bool:
    """Whether a leaf that a node was made of asked for a gradient."""
    return any(one.params.get("asked") for one in topological((node,)) if not one.inputs)


def _same_bits(a: Array | None, b: Array | None) -> bool:
    return a is None or b is None or a.tobytes() == b.tobytes()


__all__ = ["alike"]
