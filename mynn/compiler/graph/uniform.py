"""Nodes whose elements are all the same constant.

The one form of such a *uniform* node is
`broadcast_to(constant[1,1])`, with as many axes as the result, or the constant alone where it has
one element: so it stays a scalar for code generation.
"""

from __future__ import annotations

import numpy as np

from mynn.core.graph import CONSTANT, Node, apply, constant
from mynn.core.types import Array, Shape
from mynn.ops import movement

_PLACING = {movement.reshape, movement.broadcast_to, movement.transpose}


def uniform_value(node: Node) -> Array | None:
    """The value that all elements of a node share, as an array without axes, or None.

    Looks through chains of reshape, broadcast_to and transpose down to a constant of one element.
    """
    while node.primitive in _PLACING:
        node = node.inputs[0]
    if node.primitive is CONSTANT and node.type.size == 1 and node.value is not None:
        return node.value.reshape(())
    return None


def full(value: Array, shape: Shape) -> Node:
    """The uniform node of `shape` whose elements are `value`, in its one form."""
    ones = (1,) * len(shape)
    scalar = constant(np.asarray(value).reshape(ones))
    return scalar if shape == ones else apply(movement.broadcast_to, scalar, shape=shape)


def is_number(node: Node, number: float) -> bool:
    """Whether all elements are `number` (a zero of either sign counts as 0)."""
    value = uniform_value(node)
    return value is not None and bool(value == number)
