"""The name of a graph: a digest of all that its code depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from mynn.core.graph import CONSTANT, Graph, Node
from mynn.core.types import Shape


class _Unknown(Exception):
    """A parameter of a kind that has no canonical text, or a primitive that is not mynn's own."""


def _primitive_name(node: Node) -> str:
    """The name of a node's primitive, which stands for its meaning where it is one of mynn's."""
    expand = node.primitive.expand
    if expand is not None and not expand.__module__.startswith("mynn."):
        raise _Unknown(node.primitive.name)
    return node.primitive.name


# Types whose `repr` says all.
_PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})


def _canonical(value: Any) -> str:
    """A text that differs wherever values of parameters differ."""
    if type(value) in _PLAIN or (type(value) is tuple and _PLAIN.issuperset(map(type, value))):
        return repr(value)
    if type(value) is dict:  # before the slower looks at what classes say of themselves
        return f"{{{','.join([f'{_canonical(k)}:{_canonical(v)}' for k, v in value.items()])}}}"
    if isinstance(value, np.dtype):
        return f"dtype({value.str})"
    if isinstance(value, np.generic | np.ndarray) and value.dtype.kind != "O":
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"array({value.dtype.str}, {value.shape}, {digest})"
    if isinstance(value, tuple | list):
        return f"({','.join(map(_canonical, value))})"
    if isinstance(value, Mapping):
        items = (f"{_canonical(k)}:{_canonical(v)}" for k, v in value.items())
        return f"{{{','.join(items)}}}"
    if isinstance(value, slice):
        return f"slice{_canonical((value.start, value.stop, value.step))}"
    if isinstance(value, Graph):
        return f"graph({_digest(value, {}, {}).hex()})"
    if is_dataclass(value) and not isinstance(value, type):
        parts = (f"{f.name}={_canonical(getattr(value, f.name))}" for f in fields(value))
        return f"{type(value).__qualname__}({','.join(parts)})"
    raise _Unknown(type(value).__name__)


def graph_key(
    graph: Graph, writes: Mapping[Node, int], layouts: Mapping[Node, Shape]
) -> bytes | None:
    """A digest of all that lowering goes by: nodes, parameters, constants by their bytes, layouts
    and writes of state. None where a part is of a kind that cannot be told apart by text.
    """
    try:
        return _digest(graph, writes, layouts)
    except _Unknown:
        return None


def _digest(graph: Graph, writes: Mapping[Node, int], layouts: Mapping[Node, Shape]) -> bytes:
    numbers: dict[Node, int] = {}
    texts: list[str] = []
    for node in graph.nodes():
        declared = len(numbers) < len(graph.inputs)
        inputs = [] if declared else [numbers[x] for x in node.inputs]
        numbers[node] = len(numbers)
        texts.append(
            f"{_primitive_name(node)} {inputs} {node.type} {node.name!r} "
            f"{_canonical(node.params)} {writes.get(node)} {layouts.get(node)}\n"
        )
        if node.primitive is CONSTANT:
            texts.append(_canonical(node.value))
    digest = hashlib.sha256("".join(texts).encode())
    outputs = [numbers[node] for node in graph.outputs]
    checks = [numbers[node] for node in graph.checks]
    digest.update(f"{len(graph.inputs)} {outputs} {checks} {np.__version__}".encode())
    return digest.digest()
