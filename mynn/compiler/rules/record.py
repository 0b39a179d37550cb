"""What the compiler knows of a primitive: one record, whose class says how it is lowered.

    Rule ::= Elementwise      one operation on the elements of its inputs at the same index
           | Movement         an element of its input, at an index that is computed from its own
           | Computed         an element by statements: gathers, paddings, random bits
           | Concatenation    the same, or a kernel of its own where it joins many values
           | Reduction        elements along axes, combined by an operation of the loop IR
           | Scan             the same, with every total on the way a result
           | Contraction      products summed over axes
           | ArgMax | ArgSort | Selection | FirstEqual | ScatterAdd | ScatterAlong | Bernoulli
           | Attention | AttentionGradient
           | Loop             graphs of its own: step after step, or one of them
           | Part             one of a loop's values
           | Composite        written in terms of other primitives before anything asks
           | Leaf             there before the program runs

`mynn.compiler.rules` has the record of each primitive. Passes ask the record, never for a name: so
a new reduction, say, is one line there, and every pass knows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import field

from mynn.base.dataclass import dataclass
from mynn.compiler.loop_ir.affine import Index
from mynn.compiler.loop_ir.ir import Expr
from mynn.compiler.loop_ir.ranges import TYPE_RANGES
from mynn.compiler.rules.expressions import Expressions
from mynn.core.graph import Node
from mynn.core.types import Shape

# The computation of an element: yields (node, index) for what it needs, and is sent its expression.
Computation = Generator[tuple[Node, Index], Expr, Expr]
Element = Callable[[Expressions, Node, Index], Computation]
# Axes from the slowest to the fastest in memory.
Order = tuple[int, ...]
# For each axis of a result the axis of the input that it is; None for one of extent 1, or repeated.
AxisMap = tuple[int | None, ...]


def row_major(node: Node, orders: Sequence[Order]) -> Order:
    """Axes in the order in which the shape has them."""
    return tuple(range(len(node.shape)))


def same_order(node: Node, orders: Sequence[Order]) -> Order:
    """Axes in the order of the first input."""
    return orders[0]


def same_axes(node: Node) -> AxisMap | None:
    """Element i of the result is made of element i of each input."""
    return tuple(range(len(node.shape)))


def no_axes(node: Node) -> AxisMap | None:
    """The axes of the result are not those of the input."""
    return None


def zero(type: str) -> float:
    """0 in a dtype, given by its short name."""
    return 0.0 if type[0] == "f" else 0


def one(type: str) -> float:
    """1 in a dtype, given by its short name."""
    return 1.0 if type[0] == "f" else 1


def least(type: str) -> float:
    """No number of a dtype, given by its short name, is smaller."""
    return -math.inf if type[0] == "f" else TYPE_RANGES[type][0]


def largest(type: str) -> float:
    """No number of a dtype, given by its short name, is larger."""
    return math.inf if type[0] == "f" else TYPE_RANGES[type][1]


def always(node: Node) -> bool:
    """Of every application of the primitive."""
    return True


def never(node: Node) -> bool:
    """Of no application of the primitive."""
    return False


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What all records have.

    - `axes(node)`: which axes of the inputs the axes of the result are, where an element is made of
      the elements at the same place along them.
    - `order(node, orders)`: in which order the axes lie in memory, from the orders of the inputs.
    - `any_order(node)`: whether nothing that lies in memory gives the axes an order.
    - `repeats`: whether an element of the first input may be several of the result.
    - `keeps_uniform`: whether a result of equal elements is that element.
    - `over_nothing`: the elements of a result that is made of none, where there are such.
    - `own_kernel(node)`: whether it needs loops of its own, as the anchor of a kernel.
    - `epilogue`: whether a kernel around it may go on with its result, element by element.
    """

    axes: Callable[[Node], AxisMap | None] = no_axes
    order: Callable[[Node, Sequence[Order]], Order] = row_major
    any_order: Callable[[Node], bool] = never
    repeats: bool = False
    keeps_uniform: bool = False
    over_nothing: float | None = None
    own_kernel: Callable[[Node], bool] = never
    epilogue: bool = True


@dataclass(frozen=True)
class Elementwise(Rule):
    """y[i] = op(x[i], ...).

    - `op`: the operation of the loop IR; None for the identity.
    - `operands(expressions, node, values)`: its operands, where they are not just the elements.
    - `commutative`: whether op(x, y) and op(y, x) are the same bits.
    """

    op: str | None
    operands: Callable[[Expressions, Node, tuple[Expr, ...]], tuple[Expr, ...]] | None = None
    commutative: bool = False
    axes: Callable[[Node], AxisMap | None] = field(default=same_axes, kw_only=True)


@dataclass(frozen=True)
class Movement(Rule):
    """y[i] = x[index(i)], without a value of its own.

    - `index(node, i)`: the index into the input, where `affine(node)`: it is affine then.
    - `divided(node, i, expressions)`: the index otherwise.
    - `places`: whether each element of the input is at most one of the result.
    """

    index: Callable[[Node, Index], Index]
    affine: Callable[[Node], bool] = always
    divided: Callable[[Node, Index, Expressions], Index] | None = None
    places: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Computed(Rule):
    """y[i] by the statements of `element`.

    `picks`: whether it needs single elements of its input, whose neighbours need not lie beside
    each other; what is costly to compute there is stored.
    """

    element: Element
    picks: bool = field(default=True, kw_only=True)


@dataclass(frozen=True)
class Concatenation(Computed):
    """Values joined along `node.params["axis"]`."""


@dataclass(frozen=True)
class Reduction(Rule):
    """Elements along `node.params["axes"]`, combined.

    - `combine`: the operation of the loop IR, associative but for rounding.
    - `start(type)`: the number that changes nothing, for a short name of a dtype.
    """

    combine: str
    start: Callable[[str], float]
    own_kernel: Callable[[Node], bool] = field(default=always, kw_only=True)


@dataclass(frozen=True)
class Scan(Rule):
    """Along `node.params["axis"]`, each element combined with all before it.

    `pieces`: whether totals of pieces may be combined; products of some values overflow where all
    of them are 0.
    """

    combine: str
    start: Callable[[str], float]
    pieces: bool = field(default=True, kw_only=True)
    own_kernel: Callable[[Node], bool] = field(default=always, kw_only=True)


@dataclass(frozen=True)
class ContractionDims:
    """The axes of y[B | P | Q] = sum over K of a[B | P | K] b[B | K | Q], and their extents."""

    batch: Shape
    rows: Shape
    columns: Shape
    summed: Shape

    def parts(self, values: Shape, second: bool) -> tuple[Shape, Shape, Shape]:
        """Numbers for the axes of an operand: those for batch, kept and summed axes."""
        batch, rest = values[: len(self.batch)], values[len(self.batch) :]
        if second:
            return batch, rest[len(self.summed) :], rest[: len(self.summed)]
        return batch, rest[: len(self.rows)], rest[len(self.rows) :]

    @property
    def operations(self) -> int:
        """A multiply and an add for each product."""
        every = (*self.batch, *self.rows, *self.columns, *self.summed)
        return 2 * math.prod(every)


@dataclass(frozen=True)
class Contraction(Rule):
    """Products summed over axes; `dims(node)` says which."""

    dims: Callable[[Node], ContractionDims]
    own_kernel: Callable[[Node], bool] = field(default=always, kw_only=True)


@dataclass(frozen=True)
class ArgMax(Rule):
    """The index of the first of the largest elements along `node.params["axis"]`."""

    own_kernel: Callable[[Node], bool] = field(default=always, kw_only=True)


@dataclass(frozen=True)
class ArgSort(Rule):
    """The order of the elements along `node.params["axis"]`."""

    own_kernel: Callable[[Node], bool] = field(default=always, kw_only=True)


@dataclass(frozen=True)
class Selection(Rule):
    """The place of the element along `node.params["axis"]` before which so many stand in order."""

    own_kernel: Callable[[Node], bool] = field(default=always, kw_only=True)


@dataclass(frozen=True)
class FirstEqual(Rule):
    """For each index the place of the first one that is equal."""

    own_kernel: Callable[[Node], bool] = field(default=always, kw_only=True)


@dataclass(frozen=True)
class Bernoulli(Rule):
    """Random decisions, several of each evaluation of the generator."""

    own_kernel: Callable[[Node], bool] = field(default=always, kw_only=True)
    epilogue: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class ScatterAdd(Rule):
    """Zeros with updates added at indices, one after the other."""

    own_kernel: Callable[[Node], bool] = field(default=always, kw_only=True)
    epilogue: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class ScatterAlong(Rule):
    """A copy of the first input, changed at indices along `node.params["axis"]` one after the
    other, in the way that `node.params["mode"]` says.
    """

    own_kernel: Callable[[Node], bool] = field(default=always, kw_only=True)
    epilogue: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Attention(Rule):
    """Attention, block by block of the queries.

    - `products`: how many products of queries times keys it takes.
    - `cotangents`: how many inputs stand before the queries.
    """

    products: int = 2
    cotangents: int = 0
    own_kernel: Callable[[Node], bool] = field(default=always, kw_only=True)
    epilogue: bool = field(default=False, kw_only=True)

    def operands(self, node: Node) -> tuple[Node, ...]:
        """Cotangent, queries, keys and values, which lie in memory."""
        return node.inputs[: self.cotangents + 3]

    def masks(self, node: Node) -> tuple[Node, ...]:
        """What is there for each score, which is computed where it is needed."""
        return node.inputs[self.cotangents + 3 :]

    def operations(self, node: Node) -> int:
        """A multiply and an add for each product; half of them where half of the keys is seen."""
        queries, keys = node.inputs[self.cotangents : self.cotangents + 2]
        total = 2 * self.products * queries.type.size * keys.shape[1]
        return total // 2 if node.params["causal"] else total


@dataclass(frozen=True)
class AttentionGradient(Attention):
    """The gradient of attention, likewise."""

    products: int = 5
    cotangents: int = 1


@dataclass(frozen=True)
class Loop(Rule):
    """Graphs among the parameters, run step after step, or one of them; its values are parts."""

    own_kernel: Callable[[Node], bool] = field(default=always, kw_only=True)
    epilogue: bool = field(default=False, kw_only=True)


@dataclass(frozen=True)
class Part(Rule):
    """One of the values of a loop."""


@dataclass(frozen=True)
class Composite(Rule):
    """The primitive's `expand` writes it in terms of others: no pass behind that meets it."""


@dataclass(frozen=True)
class Leaf(Rule):
    """An input or a constant."""
