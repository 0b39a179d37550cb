"""Values at an index: the statements that compute an element of a node inside a loop body.

A `Puller` walks from an output to the stored nodes that it is made of. Movement turns into index
arithmetic, an elementwise node into one operation, a stored node into a load. Everything is
computed once for each index.

What computes a node is a generator: it yields each element of an input that it needs, is sent the
expression for it, and returns its own. So chains of nodes may be longer than Python's stack.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mynn.compiler.fusion.pool_windows import MOST
from mynn.compiler.graph.index_map import PLACING, Index, is_affine, reshape_index, source_index
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import INDEX, Buffer, Const, Expr, Let, Load, Op, Statement, Var
from mynn.compiler.loop_ir.walk import expr_type
from mynn.core.graph import CONSTANT, Node
from mynn.core.types import Shape
from mynn.errors import CompileError
from mynn.ops import fused, movement

# The computation of an element: yields (node, index) for what it needs, and is sent its expression.
Computation = Generator[tuple[Node, Index], Expr, Expr]

# What adds a value to a sum, a maximum or a minimum.
COMBINE = {"sum": "add", "max": "maximum", "min": "minimum"}


@dataclass(frozen=True)
class Place:
    """Where a stored node lies: its buffer and the stride of each axis, in elements."""

    buffer: Buffer
    strides: Shape

    def offset(self, index: Index) -> Affine:
        """The flat offset of the element at `index`."""
        result = Affine()
        for i, stride in zip(index, self.strides, strict=True):
            result = result + i * stride
        return result


class Names:
    """Fresh variable names, unique within a kernel."""

    def __init__(self) -> None:
        self._count = itertools.count()

    def fresh(self, prefix: str = "t") -> str:
        """A name that was not given before."""
        return f"{prefix}{next(self._count)}"


class Puller:
    """Builds the `Let`s of one loop body.

    - `places`: where stored nodes lie; `inside(node)` says that a stored node is computed here
      instead of loaded.
    - `touched`: collects the nodes that are loaded.
    - `given`: values that are known for a node at one index, such as the result of a contraction.
    - `extents`: how many values the variables of loops around take, where that is known.
    """

    def __init__(
        self,
        places: Mapping[Node, Place],
        inside: Callable[[Node], bool],
        names: Names,
        touched: set[Node],
        given: Mapping[tuple[Node, Index], Expr] | None = None,
        extents: Mapping[str, int] | None = None,
    ) -> None:
        self.places = places
        self.inside = inside
        self.names = names
        self.touched = touched
        self.body: list[Statement] = []
        self.memo: dict[tuple[Node, Index], Expr] = dict(given or {})
        self.extents = extents or {}
        self.divided: dict[tuple[Affine, int, int], Affine] = {}

    def let(self, value: Expr) -> Expr:
        """Bind a value to a variable, unless it is a number or a variable already."""
        if isinstance(value, Const | Var):
            return value
        name = self.names.fresh()
        self.body.append(Let(name, value))
        return Var(name, expr_type(value))

    def integer(self, value: Expr) -> Affine:
        """An integer expression as an index."""
        if isinstance(value, Affine):
            return value
        if isinstance(value, Const):
            return Affine(int(value.value))
        if expr_type(value) != INDEX:
            value = Op("cast", (value,), INDEX)
        bound = self.let(value)
        assert isinstance(bound, Var)
        return Affine.var(bound.name)

    def value(self, node: Node, index: Index) -> Expr:
        """The element of `node` at `index`."""
        key = (node, index)
        found = self.memo.get(key)
        if found is None:
            found = self.memo[key] = self._run(self._compute(node, index))
        return found

    def _run(self, computation: Computation) -> Expr:
        """What a computation returns, after those that it waits for."""
        waiting: list[tuple[tuple[Node, Index], Computation]] = []
        answer: Expr | None = None
        while True:
            try:
                needed = next(computation) if answer is None else computation.send(answer)
            except StopIteration as end:
                result: Expr = end.value
                if not waiting:
                    return result
                key, computation = waiting.pop()
                answer = self.memo[key] = result
                continue
            answer = self.memo.get(needed)
            if answer is None:
                waiting.append((needed, computation))
                computation = self._compute(*needed)

    def _compute(self, node: Node, index: Index) -> Computation:
        if node.primitive is CONSTANT and node.value is not None and node.type.size:
            axes = list(zip(index, node.shape, strict=True))
            if all(n == 1 or not i.terms for i, n in axes):
                number = node.value[tuple(0 if n == 1 else i.constant for i, n in axes)]
                return Const(number.item(), node.type.short)
        place = self.places.get(node)
        if place is not None and not self.inside(node):
            self.touched.add(node)
            return self.let(Load(place.buffer, place.offset(index)))
        if node.primitive.family == "elementwise":
            return (yield from self._elementwise(node, index))
        if is_affine(node):
            return (yield node.inputs[0], source_index(node, index))
        rule = _RULES.get(node.primitive.name)
        if rule is None:
            raise CompileError(f"{node!r} can only be computed by a kernel of its own")
        return (yield from rule(self, node, index))

    def _elementwise(self, node: Node, index: Index) -> Computation:
        values = []
        for x in node.inputs:
            values.append((yield x, index))
        args = tuple(values)
        name = node.primitive.name
        if name == "stop_gradient":
            return args[0]
        if name == "shift_right":
            args = (*args, Const(node.params["bits"], node.type.short))
        if name == "fma":
            args = self._signed(args, node.params["form"])
        return self.let(Op("mul" if name == "mul_unrounded" else name, args, node.type.short))

    def _signed(self, args: tuple[Expr, ...], form: str) -> tuple[Expr, ...]:
        """The operands of a multiply-add, with the signs of its form."""
        x, y, z = args
        if form == "z-xy":
            x = self.let(Op("neg", (x,), expr_type(x)))
        if form == "xy-z":
            z = self.let(Op("neg", (z,), expr_type(z)))
        return x, y, z

    def combine(self, node: Node, total: Expr, x: Node, index: Index) -> Expr:
        """What a reduction, `node`, makes of its total so far and the element of `x` at an index.

        A product that only sums read is not rounded, unless it is stored: that holds for the whole
        program, so a sum that is written out in several kernels is the same in all of them.
        """
        return self._run(self.combining(node, total, x, index))

    def combining(self, node: Node, total: Expr, x: Node, index: Index) -> Computation:
        """The same as a computation."""
        type, op = node.type.short, COMBINE[node.primitive.name]
        path = self._to_product(x) if op == "add" else None
        if path is None:
            return Op(op, (total, (yield x, index)), type)
        for moved in path:
            inner = moved.inputs[0]
            if moved.primitive is movement.reshape:
                index = reshape_index(inner.shape, moved.shape, index, self.divide)
            else:
                index = source_index(moved, index)
            x = inner
        a, b = x.inputs
        first = yield a, index
        second = yield b, index
        return Op("fma", (first, second, total), type)

    def _to_product(self, x: Node) -> list[Node] | None:
        """Movement between a sum and a product that it need not round; None without such."""
        path: list[Node] = []
        while x not in self.places:
            if x.primitive is fused.mul_unrounded:
                return path
            if x.primitive not in PLACING:
                break
            path.append(x)
            x = x.inputs[0]
        return None

    # -- movement whose index is not affine, and other sources of values ---------------------------

    def divide(self, value: Affine, divisor: int, modulus: int) -> Affine:
        """(value // divisor) % modulus, for value >= 0."""
        if all(c % divisor == 0 for _, c in value.terms):
            terms = tuple((name, c // divisor) for name, c in value.terms)
            value, divisor = Affine(value.constant // divisor, terms), 1
            if all(c % modulus == 0 for _, c in terms):
                return Affine(value.constant % modulus)
            if self.largest(value) < modulus:
                return value
        key = (value, divisor, modulus)
        if key not in self.divided:
            result: Expr = value
            if divisor != 1:
                result = Op("quotient", (result, Const(divisor, INDEX)), INDEX)
            result = Op("remainder", (result, Const(modulus, INDEX)), INDEX)
            self.divided[key] = self.integer(result)
        return self.divided[key]

    def largest(self, value: Affine) -> float:
        """What an index is at most."""
        ends = (c * (self.extents.get(name, math.inf) - 1) for name, c in value.terms)
        return value.constant + sum(max(end, 0) for end in ends)

    def clamp(self, value: Affine, extent: int) -> Affine:
        """The nearest valid index into an axis."""
        low = Op("maximum", (value, Const(0, INDEX)), INDEX)
        return self.integer(Op("minimum", (low, Const(extent - 1, INDEX)), INDEX))

    def both(self, a: Expr | None, b: Expr) -> Expr:
        """Logical and, where None stands for true."""
        return b if a is None else self.let(Op("bitwise_and", (a, b), "bool"))


def _reshape(self: Puller, node: Node, index: Index) -> Computation:
    x = node.inputs[0]
    return (yield x, reshape_index(x.shape, node.shape, index, self.divide))


def _pad(self: Puller, node: Node, index: Index) -> Computation:
    x = node.inputs[0]
    fill = Const(_number(node.params["value"], node), node.type.short)
    if x.type.size == 0:
        return fill
    places = []
    valid: Expr | None = None
    for i, extent, (low, high, interior) in zip(index, x.shape, node.params["widths"], strict=True):
        inner = i + -low
        if low == high == interior == 0:
            places.append(inner)
            continue
        limit = (extent - 1) * (interior + 1)
        valid = self.both(valid, self.let(Op("less_equal", (Const(0, INDEX), inner), "bool")))
        valid = self.both(valid, self.let(Op("less_equal", (inner, Const(limit, INDEX)), "bool")))
        clamped = self.clamp(inner, limit + 1)
        if interior:
            rest = self.divide(clamped, 1, interior + 1)
            hit = self.let(Op("equal", (rest, Const(0, INDEX)), "bool"))
            valid = self.both(valid, hit)
            clamped = self.divide(clamped, interior + 1, extent)
        places.append(clamped)
    value = yield x, tuple(places)
    return value if valid is None else self.let(Op("where", (valid, value, fill), node.type.short))


def _concatenate(self: Puller, node: Node, index: Index) -> Computation:
    axis = node.params["axis"]
    result: Expr | None = None
    end = node.shape[axis]
    for x in reversed(node.inputs):
        extent = x.shape[axis]
        start = end - extent
        end = start
        if not extent:
            continue
        place = self.clamp(index[axis] + -start, extent)
        piece = yield x, (*index[:axis], place, *index[axis + 1 :])
        if result is None:
            result = piece
            continue
        test = Op("less", (index[axis], Const(start + extent, INDEX)), "bool")
        result = self.let(Op("where", (self.let(test), piece, result), node.type.short))
    assert result is not None
    return result


def _iota(self: Puller, node: Node, index: Index) -> Computation:
    yield from ()
    value: Expr = index[node.params["axis"]]
    return self.let(value if node.type.short == INDEX else Op("cast", (value,), node.type.short))


def _take(self: Puller, node: Node, index: Index) -> Computation:
    x, picked = node.inputs
    axis = node.params["axis"]
    span = len(picked.shape)
    row = self.integer((yield picked, index[axis : axis + span]))
    place = self.clamp(row, x.shape[axis])
    return (yield x, (*index[:axis], place, *index[axis + span :]))


def _random_bits(self: Puller, node: Node, index: Index) -> Computation:
    key = node.inputs[0]
    first = yield key, (Affine(0),)
    second = yield key, (Affine(1),)
    count = Affine()
    for i, extent in zip(index, node.shape, strict=True):
        count = count * extent + i
    counter = self.let(Op("cast", (count,), "u32"))
    return self.let(Op("threefry2x32", (first, second, counter, Const(0, "u32")), "u32"))


def _reduction(self: Puller, node: Node, index: Index) -> Computation:
    """A reduction of a few values, written out."""
    x, axes = node.inputs[0], node.params["axes"]
    if x.type.size > MOST * node.type.size:
        # A kernel of its own adds up in another order.
        raise CompileError(f"{node!r} can only be computed by a kernel of its own")
    total: Expr | None = None
    for place in itertools.product(*(range(x.shape[axis]) for axis in axes)):
        kept, inner = iter(index), dict(zip(axes, place, strict=True))
        at = tuple(
            Affine(inner[axis]) if axis in inner else next(kept) for axis in range(len(x.shape))
        )
        if total is None:
            total = yield x, at
        else:
            total = self.let((yield from self.combining(node, total, x, at)))
    assert total is not None
    return total


def _number(value: float, node: Node) -> float | int | bool:
    result: float | int | bool = np.asarray(value, node.dtype).item()
    return result


_RULES: dict[str, Callable[[Puller, Node, Index], Computation]] = {
    "reshape": _reshape,
    "pad": _pad,
    "concatenate": _concatenate,
    "iota": _iota,
    "take": _take,
    "random_bits": _random_bits,
    "sum": _reduction,
    "max": _reduction,
    "min": _reduction,
}


def loads(body: list[Statement]) -> Iterator[Load]:
    """The loads that a body binds."""
    for statement in body:
        if isinstance(statement, Let) and isinstance(statement.value, Load):
            yield statement.value
