"""Values at an index: the statements that compute an element of a node inside a loop body.

An `ElementBuilder` walks from an output to the stored nodes that it is made of, and asks the record
of each primitive on the way. Movement turns into index arithmetic, an elementwise node into one
operation, a stored node into a load. Everything is computed once for each index.

What computes a node is a generator: it yields each element of an input that it needs, is sent the
expression for it, and returns its own. So chains of nodes may be longer than Python's stack.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Generator, Iterator, Mapping

from mynn.base.dataclass import dataclass
from mynn.compiler.fusion.pool_windows import MOST_INLINED
from mynn.compiler.graph.index_map import merged_strides
from mynn.compiler.loop_ir.affine import Affine, Index, dot
from mynn.compiler.loop_ir.ir import Buffer, Const, Expr, Let, Load, Op, Statement
from mynn.compiler.lowering.logic import Logic
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.expressions import Expressions, Names, bind
from mynn.compiler.rules.record import Computation, Computed, Elementwise, Movement, Reduction
from mynn.core.graph import CONSTANT, Node
from mynn.core.primitive import Cost
from mynn.core.types import Shape
from mynn.errors import CompileError
from mynn.ops import fused


@dataclass(frozen=True)
class Place:
    """Where a stored node lies: its buffer and the stride of each axis, in elements."""

    buffer: Buffer
    strides: Shape

    def offset(self, index: Index) -> Affine:
        """The flat offset of the element at `index`."""
        return dot(index, self.strides)


class ElementBuilder(Expressions):
    """Builds the `Let`s of one loop body.

    - `places`: where stored nodes lie; `inside(node)` says that a stored node is computed here
      instead of loaded.
    - `loaded`: collects the nodes that are loaded; `costly`: whether something that is computed is.
    - `given`: values that are known for a node at one index, such as the result of a contraction.
    """

    def __init__(
        self,
        places: Mapping[Node, Place],
        inside: Callable[[Node], bool],
        names: Names,
        loaded: set[Node],
        given: Mapping[tuple[Node, Index], Expr] | None = None,
    ) -> None:
        super().__init__(names)
        self.places = places
        self.inside = inside
        self.loaded = loaded
        self.costly = False
        self.memo: dict[tuple[Node, Index], Expr] = dict(given or {})
        # A circle with `self.let` would wait for the garbage collector, with all that is in `memo`.
        self.logic = Logic(functools.partial(bind, names, self.body))

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
            self.loaded.add(node)
            return self.let(Load(place.buffer, place.offset(index)))
        self.costly |= node.primitive.cost is Cost.HEAVY
        rule = rule_of(node)
        if isinstance(rule, Elementwise):
            return (yield from self._elementwise(node, rule, index))
        if isinstance(rule, Movement):
            merged = self._merged(node, index)
            if merged is not None:
                return self.let(merged)
            return (yield node.inputs[0], self._source(node, rule, index))
        if isinstance(rule, Computed):
            return (yield from rule.element(self, node, index))
        if isinstance(rule, Reduction):
            return (yield from self._written_out(node, rule, index))
        raise CompileError(f"{node!r} can only be computed by a kernel of its own")

    def _elementwise(self, node: Node, rule: Elementwise, index: Index) -> Computation:
        values = []
        for x in node.inputs:
            values.append((yield x, index))
        if rule.op is None:
            return values[0]
        operands = tuple(values)
        if rule.operands is not None:
            operands = rule.operands(self, node, operands)
        return self.logic.let(Op(rule.op, operands, node.type.short))

    def _merged(self, node: Node, index: Index) -> Load | None:
        """An element of a reshape that merges axes which lie side by side in memory."""
        x = node.inputs[0]
        place = self.places.get(x)
        if place is None or self.inside(x):
            return None
        strides = merged_strides(node, lambda x: self.places[x].strides)
        if strides is None:
            return None
        self.loaded.add(x)
        return Load(place.buffer, Place(place.buffer, strides).offset(index))

    def _source(self, node: Node, rule: Movement, index: Index) -> Index:
        """The index into the input of a movement."""
        if rule.divided is not None and not rule.affine(node):
            return rule.divided(node, index, self)
        return rule.index(node, index)

    def combine(self, op: str, total: Expr, x: Node, index: Index) -> Expr:
        """What a reduction by `op` makes of its total so far and the element of `x` at an index.

        A product that only sums read is not rounded, unless it is stored: that holds for the whole
        program, so a sum that is written out in several kernels is the same in all of them.
        """
        return self._run(self._combining(op, total, x, index))

    def _combining(
        self, op: str, total: Expr, x: Node, index: Index
    ) -> Generator[tuple[Node, Index], Expr, Op]:
        type = x.type.short
        path = self._to_product(x) if op == "add" else None
        if path is None:
            return Op(op, (total, (yield x, index)), type)
        for moved, rule in path:
            index = self._source(moved, rule, index)
            x = moved.inputs[0]
        a, b = x.inputs
        first = yield a, index
        second = yield b, index
        return Op("fma", (first, second, total), type)

    def _to_product(self, x: Node) -> list[tuple[Node, Movement]] | None:
        """Movement between a sum and a product that it need not round; None without such."""
        path: list[tuple[Node, Movement]] = []
        while x not in self.places:
            if x.primitive is fused.mul_unrounded:
                return path
            rule = rule_of(x)
            if not isinstance(rule, Movement) or not rule.places:
                break
            path.append((x, rule))
            x = x.inputs[0]
        return None

    def _written_out(self, node: Node, rule: Reduction, index: Index) -> Computation:
        """A reduction of a few values, written out."""
        x, axes = node.inputs[0], node.params["axes"]
        if x.type.size > MOST_INLINED * node.type.size:
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
                combined = yield from self._combining(rule.combine, total, x, at)
                total = self.logic.let(combined)
        assert total is not None
        return total


def loads(body: list[Statement]) -> Iterator[Load]:
    """The loads that a body binds."""
    for statement in body:
        if isinstance(statement, Let) and isinstance(statement.value, Load):
            yield statement.value
