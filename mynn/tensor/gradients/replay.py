"""Traced nodes outside of their trace: computed on tensors, with a history where asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mynn.core.graph import Node, topological
from mynn.core.types import Tuple
from mynn.ops import control
from mynn.tensor.gradients.control import several
from mynn.tensor.gradients.grad_mode import grad_enabled
from mynn.tensor.gradients.history import wrap
from mynn.tensor.promotion import apply


def replay(outputs: Sequence[Node], known: Mapping[Node, Any]) -> list[Any]:
    """The tensors that stand for `outputs`, where those of the nodes in `known` are given.

    Nodes that have a value are eager ones: with what they were computed from they stay as they are.
    """
    tensors = dict(known)
    stop = lambda node: node in known or node.value is not None  # noqa: E731
    for node in topological(outputs, stop=stop):
        if node in known:
            continue
        if node.value is not None:
            tensors[node] = wrap(node)
        elif isinstance(node.type, Tuple):
            given = [tensors[x] for x in node.inputs]
            asks = grad_enabled() and any(x.requires_grad for x in given)
            tensors[node] = several(node.primitive, given, asks, **node.params)
        elif node.primitive is control.part:
            tensors[node] = tensors[node.inputs[0]][node.params["number"]]
        else:
            tensors[node] = apply(node.primitive, *(tensors[x] for x in node.inputs), **node.params)
    return [tensors[node] for node in outputs]
