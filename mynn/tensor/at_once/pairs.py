"""Operations on two operands at once, without a tensor for each step to the common shape.

    x + 1.0:  the number in the dtype of x, reshaped, repeated to the shape of x, and added

are four operations, each with its tensor; here they are found once for two shapes and dtypes
(`Pair`), and then run on the arrays. What remembers where it came from gets the nodes that the
operations would have made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn.core.graph import Node, constant
from mynn.core.kinds import Kind, kind_of, quietly
from mynn.core.primitive import Primitive
from mynn.core.types import Array, Shape
from mynn.ops import elementwise, movement
from mynn.tensor.gradients.grad_mode import enabled
from mynn.tensor.gradients.history import graph_node
from mynn.tensor.value import Value
from mynn.tensor.view import current

# So many are kept; then all are forgotten.
MOST = 4096
# So many shapes of a number.
FEW = 64


class Pair:
    """A primitive on two arrays of certain shapes and one dtype.

    - `kind`: the primitive on their common shape; `compute` takes arrays that are not repeated.
    - `left`, `right`: what repeats the operands, step by step.
    """

    __slots__ = ("compute", "kind", "left", "right")

    def __init__(self, primitive: Primitive, x: Array, y: Array) -> None:
        shape = np.broadcast_shapes(x.shape, y.shape)
        self.left, self.right = _repeating(x, shape), _repeating(y, shape)
        kind = kind_of(primitive, {}, [_repeated(x, self.left)[-1], _repeated(y, self.right)[-1]])
        assert kind is not None
        self.kind = kind
        self.compute = self._compute if not isinstance(primitive.numpy, np.ufunc) else kind.compute

    def _compute(self, x: Array, y: Array) -> Any:
        return self.kind.compute(_repeated(x, self.left)[-1], _repeated(y, self.right)[-1])


def at_once(primitive: Primitive, x: Any, y: Any, floating: bool) -> Any:
    """A primitive of two tensors of one dtype, or of one and a number of its kind; None for others,
    and where something is wrong.
    """
    left = right = None
    if isinstance(x, Value):
        a = x._value if x._view is None else current(x, x._view)
        if a is None:
            return None
        if isinstance(y, Value):
            b = y._value if y._view is None else current(y, y._view)
        else:
            right = _number(y, a.dtype)
            b = None if right is None else right.value
    elif isinstance(y, Value):
        b = y._value if y._view is None else current(y, y._view)
        left = None if b is None else _number(x, b.dtype)
        a = None if left is None else left.value
    else:
        return None
    if a is None or b is None:
        return None
    pair = _pair(primitive, a, b, floating)
    if pair is None:
        return None
    kind = pair.kind
    value = quietly(pair.compute, a, b)
    asked = (left is None and x.requires_grad) or (right is None and y.requires_grad)
    if not asked or kind.type.dtype.kind != "f" or not enabled():
        return Value.from_value(value)
    nodes = (
        _followed(graph_node(x), pair.left) if left is None else left.repeated(pair.left),
        _followed(graph_node(y), pair.right) if right is None else right.repeated(pair.right),
    )
    node = Node(primitive, nodes, kind.params, kind.type, value)
    node.kind = kind
    return Value.from_value(value, node)


_pairs: dict[Any, Pair | None] = {}


def _pair(primitive: Primitive, a: Array, b: Array, floating: bool) -> Pair | None:
    """The pair for two arrays; None where they have no dtype in common, or no shape."""
    key = (primitive, a.shape, a.dtype, b.shape, b.dtype, floating)
    try:
        return _pairs[key]
    except KeyError:
        pass
    found = None
    kind = a.dtype.kind
    if a.dtype == b.dtype and kind != "b" and (kind == "f" or not floating):
        try:
            found = Pair(primitive, a, b)
        except (ValueError, TypeError):  # who asks says what is wrong
            found = None
    if len(_pairs) >= MOST:
        _pairs.clear()
    _pairs[key] = found
    return found


def _repeating(x: Array, shape: Shape) -> tuple[Kind, ...]:
    """What makes an array one of this shape, as `broadcast_to` does."""
    steps: list[Kind] = []
    for primitive, extents in (
        (movement.reshape, (1,) * (len(shape) - x.ndim) + x.shape),
        (movement.broadcast_to, shape),
    ):
        if extents != x.shape:
            kind = kind_of(primitive, {"shape": extents}, [x])
            assert kind is not None
            steps.append(kind)
            x = kind.compute(x)
    return tuple(steps)


def _repeated(x: Array, steps: Sequence[Kind]) -> list[Array]:
    """The array, and what the steps make of it."""
    values = [x]
    for kind in steps:
        values.append(kind.compute(values[-1]))
    return values


def _followed(node: Node, steps: Sequence[Kind]) -> Node:
    """The node of what the steps make of a node."""
    for kind in steps:
        value = None if node.value is None else kind.compute(node.value)
        node = Node(kind.primitive, (node,), kind.params, kind.type, value)
        node.kind = kind
        node.function = kind.primitive.name
    return node


# -- numbers ---------------------------------------------------------------------------------------


class Number:
    """A number in some dtype, as an array and as nodes, which are shared by all graphs."""

    __slots__ = ("_nodes", "value")

    def __init__(self, value: Array) -> None:
        node = constant(value)
        assert node.value is not None
        self.value = node.value
        self._nodes: dict[Shape, Node] = {(): node}

    def repeated(self, steps: Sequence[Kind]) -> Node:
        """The node of the number repeated by the steps, which end in a shape."""
        shape = steps[-1].type.shape if steps else ()
        node = self._nodes.get(shape)
        if node is None:
            if len(self._nodes) >= FEW:
                self._nodes = {(): self._nodes[()]}
            node = self._nodes[shape] = _followed(self._nodes[()], steps)
        return node


_numbers: dict[Any, Number] = {}


def _number(value: Any, dtype: np.dtype[Any]) -> Number | None:
    """A number of Python's beside a tensor of its kind, or of a later one; None for all else."""
    kind = type(value)
    if kind is float and dtype.kind == "f":
        key: Any = (value.hex(), dtype)  # 0.0 and -0.0 are equal
    elif kind is int and dtype.kind != "b" and -(2**63) <= value < 2**63:
        key = (value, dtype)
    else:
        return None
    found = _numbers.get(key)
    if found is None:
        if len(_numbers) >= MOST:
            _numbers.clear()
        found = _numbers[key] = Number(elementwise.convert(np.asarray(value), dtype))
    return found


__all__ = ["at_once"]
