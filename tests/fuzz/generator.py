"""Random graphs: reproducible from a seed, with values that stay of the size of 1.

Each node is evaluated as it is made, and dropped where its value would make a comparison of two
correct programs meaningless: not finite, too large, or close to a step (comparisons, floor, argmax
of nearly tied floats).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn.core import interpreter
from mynn.core.graph import Graph, Node, apply, constant, input_node
from mynn.core.primitive import Primitive
from mynn.core.types import Array, Type
from mynn.errors import ShapeError
from mynn.ops import elementwise, movement, reduce

EXTENTS = (1, 2, 3, 4, 5, 7, 8, 13, 15, 16, 17, 20, 31, 32, 33, 47, 64, 65)
LARGE = (1, 3, 16, 48, 100, 128, 129, 200, 257, 300)
LARGEST = 6000
BOUND = 100.0
GAP = 2e-3

COMPARISONS = (elementwise.less, elementwise.less_equal, elementwise.equal, elementwise.not_equal)


def separated(node: Node, arguments: list[Array], value: Array) -> bool:
    """Whether rounding cannot move a value across a step, nor out of a function's domain."""
    p = node.primitive
    if value.dtype.kind == "f" and not (np.abs(value) <= BOUND).all():
        return False
    if not arguments or arguments[0].dtype.kind != "f":
        return _integers_defined(node, arguments)
    x = arguments[0].astype(np.float64)
    if p in COMPARISONS:
        gap = np.abs(x - arguments[1])
        return bool(((gap == 0) | (gap > GAP)).all())
    if p in (elementwise.floor, elementwise.sign) or (
        p is elementwise.cast and value.dtype.kind in "iu"
    ):
        low = 0 if value.dtype.kind == "u" else -BOUND
        off = np.abs(x - np.round(x))
        return bool(((off > GAP) | (x == 0)).all() and (x >= low).all())
    if p is elementwise.cast and value.dtype.kind == "b":
        return bool(((np.abs(x) > GAP) | (x == 0)).all())
    if p is reduce.argmax:
        top = np.sort(np.moveaxis(x, node.params["axis"], 0), axis=0)
        return top.shape[0] < 2 or bool((top[-1] - top[-2] > GAP).all())
    return _well_conditioned(p, x, arguments)


def _integers_defined(node: Node, arguments: list[Array]) -> bool:
    if node.primitive is elementwise.mod:
        return bool((arguments[1] != 0).all())
    return True


def _well_conditioned(p: Primitive, x: Array, arguments: list[Array]) -> bool:
    if p in (elementwise.log, elementwise.sqrt):
        return bool((x > 0.05).all())
    if p is elementwise.log1p:
        return bool((x > -0.9).all())
    if p is elementwise.div:
        return bool((np.abs(arguments[1]) > 0.05).all())
    if p is elementwise.mod:
        y = arguments[1].astype(np.float64)
        if not (np.abs(y) > 0.05).all():
            return False
        return bool((np.abs(x / y - np.round(x / y)) > GAP).all())
    if p is elementwise.pow:
        y = np.abs(arguments[1])
        return bool((x > 0.05).all() and (y < 4).all())
    return True


class Generator:
    """Grows one graph.

    Args:
        seed: the whole graph follows from it.
        dtype: the float dtype that most nodes have.
    """

    def __init__(self, seed: int, dtype: Any = np.float32) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = np.dtype(dtype)
        large = seed % 9 == 5
        self.largest = 10 * LARGEST if large else LARGEST
        self.extents = [
            int(n) for n in self.rng.choice(LARGE if large else EXTENTS, 4, replace=False)
        ]
        if seed % 13 == 7:
            self.extents[0] = 0
        self.inputs: list[Node] = []
        self.nodes: list[Node] = []
        self.values: dict[Node, Array] = {}
        for _ in range(int(self.rng.integers(1, 4))):
            self.new_input(self.shape(), self.dtype)

    # -- leaves ------------------------------------------------------------------------------------

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def pick(self, items: Any) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def shape(self, ndim: int | None = None) -> tuple[int, ...]:
        ndim = int(self.pick((0, 1, 1, 2, 2, 2, 2, 3, 3, 4))) if ndim is None else ndim
        for _ in range(100):
            shape = tuple(self.pick(self.extents) for _ in range(ndim))
            if math.prod(shape) <= self.largest:
                return shape
        return (1,) * ndim

    def draw(self, type: Type) -> Array:
        """A value of a type. Floats from -2 to 2 lie on a grid, so that few of them nearly tie."""
        kind, shape = type.dtype.kind, type.shape
        if kind == "f":
            grid = self.rng.integers(-400, 401, shape) / 200 + 1 / 512
            return np.asarray(grid).astype(type.dtype)
        low, high = {"b": (0, 2), "u": (0, 9), "i": (-6, 7)}[kind]
        return np.asarray(self.rng.integers(low, high, shape)).astype(type.dtype)

    def new_input(self, shape: tuple[int, ...], dtype: Any) -> Node:
        node = input_node(Type(shape, np.dtype(dtype)), f"in{len(self.inputs)}")
        self.inputs.append(node)
        self.values[node] = self.draw(node.type)
        self.nodes.append(node)
        return node

    def leaf(self, type: Type) -> Node:
        """A fresh input or constant of a type."""
        if len(self.inputs) < 7 and self.chance(0.6):
            return self.new_input(type.shape, type.dtype)
        if self.chance(0.5) and type.size:
            number = constant(self.draw(Type((1,) * len(type.shape), type.dtype)))
            node = apply(movement.broadcast_to, number, shape=type.shape)
        else:
            node = constant(self.draw(type))
        self.values[node] = interpreter.evaluate_nodes([node], {})[0]
        self.nodes.append(node)
        return node

    # -- growing -----------------------------------------------------------------------------------

    def add(self, primitive: Primitive, *inputs: Node, **params: Any) -> Node | None:
        """The node, if its shape rule and its value allow it."""
        try:
            node = apply(primitive, *inputs, **params)
        except ShapeError:
            return None  # An empty axis where values are needed.
        if node.type.size > self.largest or len(node.shape) > 6:
            return None
        arguments = [self.values[x] for x in inputs]
        value = interpreter.compute(node, arguments)
        if not separated(node, arguments, value):
            return None
        self.values[node] = value
        self.nodes.append(node)
        return node

    def any(self, kinds: str = "f", ndim: int = 0) -> Node:
        """A node made before, recent ones more often; a new one where there is none of the kind."""
        found = [
            node for node in self.nodes if node.dtype.kind in kinds and len(node.shape) >= ndim
        ]
        if not found:
            dtype = {"f": self.dtype, "i": np.int64, "u": np.uint32, "b": np.bool_}[kinds[0]]
            return self.new_input(self.shape(max(ndim, 1)), dtype)
        place = int(len(found) * self.rng.random() ** 0.5)
        return found[min(place, len(found) - 1)]

    def like(self, node: Node) -> Node | None:
        """A second operand: of the same type, or one that can be repeated to it, or a new one."""
        same = [x for x in self.nodes if x.type == node.type]
        if same and self.chance(0.5):
            return self.pick(same)
        fitting = [x for x in self.nodes if x.dtype == node.dtype and _fits(x, node)]
        if fitting and self.chance(0.7):
            x = self.pick(fitting)
            ones = (1,) * (len(node.shape) - len(x.shape))
            row = self.add(movement.reshape, x, shape=ones + x.shape)
            return row and self.add(movement.broadcast_to, row, shape=node.shape)
        return self.leaf(node.type)

    def graph(self, outputs: int | None = None) -> Graph:
        """The graph of some of the nodes; the last one among them, inner ones and leaves too."""
        count = int(self.rng.integers(1, 5)) if outputs is None else outputs
        chosen = [self.nodes[-1], *(self.pick(self.nodes) for _ in range(count - 1))]
        return Graph(tuple(self.inputs), tuple(chosen))

    def arguments(self) -> list[Array]:
        """The values of the inputs."""
        return [self.values[node] for node in self.inputs]


def _fits(x: Node, node: Node) -> bool:
    missing = len(node.shape) - len(x.shape)
    return missing >= 0 and all(
        a in (1, b) for a, b in zip(x.shape, node.shape[missing:], strict=True)
    )
