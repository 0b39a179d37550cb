"""Which rows of a gradient are not zeros.

`backward` knows it of a table that layers with `sparse=True` read. The gradient is a usual tensor
all the same: a table that can be looked at. An optimiser may ask for the rows that were touched, to
change no others; in a compiled step the table is never made then. Whoever changes the gradient in
place has a gradient of which nothing is known.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from mynn.core.graph import Node
from mynn.ops import elementwise, gather
from mynn.tensor.value import AnyTensor, Value


class Touched(NamedTuple):
    """The rows that were touched, some of them more than once, while a gradient is as it was.

    - `indices`: tensors [N].
    - `mark`: the node of the gradient, or how often it had been changed.
    """

    indices: tuple[AnyTensor, ...]
    mark: Any


def _mark(gradient: AnyTensor) -> Any:
    return gradient._version if gradient._value is not None else gradient.node


def touch(gradient: AnyTensor, indices: tuple[AnyTensor, ...] | None) -> None:
    """Note that a gradient is zero but for these rows; None: that nothing is known."""
    gradient.touched = None if indices is None else Touched(indices, _mark(gradient))


def indices_of(gradient: AnyTensor) -> tuple[AnyTensor, ...] | None:
    """What was noted of a gradient, where it is as it was."""
    known: Touched | None = gradient.touched
    return None if known is None or known.mark != _mark(gradient) else known.indices


def both(a: AnyTensor, b: AnyTensor) -> tuple[AnyTensor, ...] | None:
    """What is known of the sum of two gradients."""
    first, second = indices_of(a), indices_of(b)
    return None if first is None or second is None else (*first, *second)


def touched_rows(gradient: AnyTensor) -> Any:
    """The rows [N] that were noted, or None."""
    indices = indices_of(gradient)
    if indices is None:
        return None
    if not indices:
        return Value.from_value(np.zeros(0, np.int64))
    first: Any = indices[0]
    return first.concatenate(list(indices[1:]), 0) if len(indices) > 1 else first


def scattered_rows(gradient: AnyTensor) -> Any:
    """The rows [N] outside of which a traced gradient is zero, as its node shows; or None."""
    node: Node | None = gradient.node
    while node is not None and node.primitive is elementwise.stop_gradient:
        node = node.inputs[0]
    if node is None or node.primitive is not gather.scatter_add or node.params["axis"]:
        return None
    index: Any = Value.from_node(node.inputs[1])
    return index.reshape(-1)
