"""Two steps as one: a graph for batches of any number of rows up to that of a whole one.

The step is traced for whole batches and for a smaller one. Where both graphs are the same node by
node but for extents, the graph of whole batches does for both: what it computes for the rows that
are there is what the other one computes, row by row (`mynn.jit.lengths.rules`). Rows beyond the
last one are copies of it, so that they are finite and in range where the batch is.

Before, for 4 rows and for 3:               After, with present = (1, 1, 1, 1) or (1, 1, 1, 0),
    %0: f32[4,2] = mul(%x, %x)              numbers = (0.25,) or (0.333,):
    %1: f32[] = sum(%0) axes=(0, 1)             %0: f32[4,2] = mul(%x, %x)
    %2: f32[] = constant 0.25                   %1: f32[4,2] = mul(%0, present of the row)
    %3: f32[] = mul(%1, %2)                     %2: f32[] = sum(%1) axes=(0, 1)
                                                %3: f32[] = mul(%2, numbers[0])

- Sums, products and extrema over rows have the neutral number for rows that are not there
  (`mynn.jit.lengths.zeros`).
- Constants that differ, such as 1 / n, are read from the argument `numbers`, whose values the
  traces gave. So the graph does not depend on the smaller size.
- The bodies of scans are joined likewise.
- A scan whose steps are the rows runs those that are there: its body becomes one side of a branch
  (`mynn.ops.branches`), whose other side keeps the carry, and gives zeros.
- The last row, y[:, -1], is looked up by its number; what rows put in places, y[index] = values, is
  that of the last one for rows that are not there.

Guarantees: where no row is missing, the graph computes what that of whole batches does, bit by bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mynn.base.dataclass import dataclass
from mynn.compiler.graph.scans import join_scans
from mynn.core.graph import CONSTANT, Graph, Node, apply, constant, input_node
from mynn.core.types import Array, Shape, Type
from mynn.jit.lengths.axis import NotAlike, Rows, Sizes, agreed
from mynn.jit.lengths.matched import Matched, Numbers
from mynn.jit.lengths.zeros import CHOSEN, Facts, Sum, facts_of, origin, places, wild_values
from mynn.ops import branches, checks, control, gather, movement
from mynn.ops import elementwise as ew

# The arguments of a joined graph behind those of the step.
PRESENT, NUMBERS = "present", "numbers"


@dataclass(frozen=True)
class Joined:
    """A graph for two sizes of batches, whose inputs are the arguments, `present`, `numbers`, then
    the state.

    - `whole`, `fewer`: `present` and `numbers` for either: float32 [rows], 1 for rows that are
      there and 0 for others, and float64.
    - `rows`: where the rows of each output lie.
    - `general`: whether these values follow from the number of rows, for any other number.
    """

    graph: Graph
    whole: tuple[Array, Array]
    fewer: tuple[Array, Array]
    rows: tuple[Rows | None, ...]
    general: bool

    def values(self, rows: int) -> tuple[Array, Array]:
        """`present` and `numbers` for so many rows, where that is all they depend on."""
        size, numbers = len(self.whole[0]), self.whole[1]
        present = (np.arange(size) < rows).astype(np.float32)
        return present, numbers - size + rows


def join(whole: Graph, fewer: Graph, arguments: int) -> Joined:
    """One graph for the batches of two traces, whose first inputs are so many arguments.

    Raises:
        NotAlike: they need programs of their own.
    """
    whole, fewer = join_scans(whole), join_scans(fewer)  # while equal bodies can be told
    pairs = list(zip(whole.inputs[:arguments], fewer.inputs[:arguments], strict=True))
    sizes, rows = _given_rows([(x.shape, y.shape) for x, y in pairs])
    rows += [None] * (len(whole.inputs) - arguments)
    numbers = Numbers([], [])
    matched = Matched(sizes, whole, fewer, rows, numbers)
    count = max(1, len(numbers.whole))
    given = {
        PRESENT: input_node(Type((sizes.whole,), np.dtype(np.float32)), PRESENT),
        NUMBERS: input_node(Type((count,), np.dtype(np.float64)), NUMBERS),
    }
    rewritten = _Rewritten(matched, [Facts()] * len(rows), given.__getitem__)
    inputs = (*whole.inputs[:arguments], *given.values(), *whole.inputs[arguments:])
    outputs, checks = ([rewritten.new[x] for x in xs] for xs in (whole.outputs, whole.checks))
    return Joined(
        Graph(inputs, tuple(outputs), tuple(checks)),
        _values(sizes, sizes.whole, numbers.whole),
        _values(sizes, sizes.fewer, numbers.fewer),
        tuple([matched.rows[node] for node in whole.outputs]),
        numbers.are_places,
    )


def _given_rows(shapes: Sequence[tuple[Shape, Shape]]) -> tuple[Sizes, list[Rows | None]]:
    """The two sizes, and where the rows of each argument lie: along the axis in which its shapes
    differ; some may have none.
    """
    extents = {pair for shape in shapes for pair in zip(*shape, strict=False) if pair[0] != pair[1]}
    if len(extents) != 1:
        raise NotAlike("the arguments do not differ along one axis each, by as many rows")
    sizes = Sizes(*extents.pop())
    if not 0 < sizes.fewer < sizes.whole:
        raise NotAlike(f"of {sizes.whole} and {sizes.fewer} rows the second must be fewer")
    return sizes, [sizes.first_axis(*shape) for shape in shapes]


def _values(sizes: Sizes, rows: int, numbers: list[float]) -> tuple[Array, Array]:
    """What the two further arguments are for so many rows."""
    present = (np.arange(sizes.whole) < rows).astype(np.float32)
    return present, np.array(numbers or [0.0], np.float64)


class _Rewritten:
    """The nodes of the joined graph, for those of whole batches, and what is known of them.

    - `given(name)`: the node of a further argument.
    """

    def __init__(
        self, matched: Matched, facts: Sequence[Facts], given: Callable[[str], Node]
    ) -> None:
        self.matched = matched
        self.given = given
        self.new: dict[Node, Node] = {}
        self.facts: dict[Node, Facts] = {}
        self._parts: dict[Node, list[Facts]] = {}
        self._lines: dict[tuple[int, int, np.dtype[Any]], Node] = {}
        nodes = matched.graph.nodes()
        self._wild = wild_values(nodes, {each.node for each in matched.sums})
        chosen = places(nodes, matched.rows, matched.sums, self._wild)
        sums = {each.node: each for each in matched.sums}
        for number, node in enumerate(nodes):
            if number < len(facts):
                self.new[node], self.facts[node] = node, facts[number]
            elif node in matched.along:
                self._scan_along(node)
            elif node.primitive is control.scan:
                self._scan(node)
            elif node in matched.lasts:
                self._last(node)
            elif node in matched.puts:
                self._put_rows(node)
            elif node.primitive is CONSTANT and node in matched.numbers.slots:
                self.new[node] = self._number(matched.numbers.slots[node], node.type)
                self.facts[node] = Facts()
            else:
                self._visit(node, sums.get(node))
            if node in chosen and not self.facts[node].zero:
                self._choose(node)

    def _visit(self, x: Node, combined: Sum | None) -> None:
        facts, put = Facts(), {}
        if combined is not None:
            put = self._put(combined)
        elif x.primitive is CONSTANT and self._has_rows(x):
            # Its rows that are not there are those of a larger batch, whatever they meet.
            facts = Facts(pure=False, tame=bool(np.isfinite(np.asarray(x.value)).all()))
        elif x.primitive is control.part:
            facts = self._parts[x.inputs[0]][x.params["number"]]
        elif self._has_rows(x) or not any(map(self._has_rows, x.inputs)):
            facts = facts_of(x, [self.facts[one] for one in x.inputs])
        elif x.primitive is checks.outside and not self.facts[x.inputs[0]].pure:
            put = {0: self._in_range(x)}
        inputs = [put.get(number, self.new[one]) for number, one in enumerate(x.inputs)]
        self.new[x], self.facts[x] = _again(x, inputs), facts

    def _in_range(self, check: Node) -> Node:
        """What a check looks at, with numbers in range where something was set to 0."""
        (x,), (low, high) = check.inputs, (check.params["low"], check.params["high"])
        return self._chosen(x, min(max(0, low), high)) if self._has_rows(x) else self.new[x]

    def _has_rows(self, x: Node) -> bool:
        return self.matched.rows[x] is not None

    def _put(self, combined: Sum) -> dict[int, Node]:
        """What a sum over rows takes in place of operands that do not have the neutral number in
        rows that are not there.

        What is 0 there from now on is so for all that reads it later, if it may be.
        """
        inputs = combined.node.inputs
        if combined.neutral:
            return {0: self._chosen(inputs[0], combined.neutral)}
        facts = {number: self.facts[inputs[number]] for number in combined.operands}
        left = [number for number, one in facts.items() if not (one.zero or one.tame)]
        if not any(one.zero for one in facts.values()):
            last = max(facts, key=lambda number: origin(inputs[number]).serial)
            left = list(dict.fromkeys((last, *left)))
        put = {}
        for number in left:
            if inputs[number] in self._wild:
                put[number] = self._chosen(inputs[number], 0)
            else:
                self._choose(inputs[number])
        return put

    def _choose(self, x: Node) -> None:
        """Have a value be 0 there; what it was moved from too."""
        first, moves = origin(x), []
        while x is not first and x.inputs[0] not in self._wild:
            moves.append(x)
            x = x.inputs[0]
        self.new[x], self.facts[x] = self._chosen(x, 0), CHOSEN
        for move in reversed(moves):
            self.new[move], self.facts[move] = _again(move, [self.new[move.inputs[0]]]), CHOSEN

    def _chosen(self, x: Node, neutral: float) -> Node:
        """The value, and this number in rows that are not there."""
        value = self.new[x]
        if x.dtype.kind == "f" and not neutral and self.facts[x].tame:
            there = self._there(x, x.dtype)
            if value.primitive is ew.mul:  # it stays a product, which a sum adds up unrounded
                first, second = value.inputs
                return apply(ew.mul, apply(ew.mul, first, there), second)
            return apply(ew.mul, value, there)
        number = constant(np.full((1,) * len(x.shape), neutral, x.dtype))
        other = apply(movement.broadcast_to, number, shape=x.shape)
        there = apply(ew.cast, self._there(x, np.dtype(np.float32)), dtype=np.dtype(np.bool_))
        return apply(ew.where, there, value, other)

    def _there(self, x: Node, dtype: np.dtype[Any]) -> Node:
        """Of the shape of a value: 1 where the row of an element is there, 0 where it is not."""
        rows, whole = self.matched.rows[x], self.matched.sizes.whole
        assert rows is not None
        extent = x.shape[rows.axis]
        line = self._line(extent, rows.after or extent // whole, dtype)
        column = [1] * len(x.shape)
        column[rows.axis] = extent
        line = apply(movement.reshape, line, shape=tuple(column))
        return apply(movement.broadcast_to, line, shape=x.shape)

    def _line(self, extent: int, after: int, dtype: np.dtype[Any]) -> Node:
        """The same of the elements along an axis."""
        line = self._lines.get((extent, after, dtype))
        if line is not None:
            return line
        line = self.given(PRESENT)
        if dtype != line.dtype:
            line = apply(ew.cast, line, dtype=dtype)
        whole = self.matched.sizes.whole
        if extent > whole:
            line = apply(movement.reshape, line, shape=(1, whole, 1))
            shape = extent // (whole * after), whole, after
            line = apply(movement.broadcast_to, line, shape=shape)
            line = apply(movement.reshape, line, shape=(extent,))
        self._lines[extent, after, dtype] = line
        return line

    def _number(self, slot: int, type: Type) -> Node:
        """A constant of either size, as all elements of a value."""
        given = self.given(NUMBERS)
        part = apply(movement.slice_, given, starts=(slot,), stops=(slot + 1,), steps=(1,))
        part = apply(movement.reshape, part, shape=(1,) * len(type.shape))
        part = apply(ew.cast, part, dtype=type.dtype)
        return apply(movement.broadcast_to, part, shape=type.shape) if type.shape else part

    # -- last rows ---------------------------------------------------------------------------------

    def _last(self, x: Node) -> None:
        """The last row that is there; or a value in its place, amid zeros."""
        matched, value = self.matched, self.new[x.inputs[0]]
        rows = matched.rows[x] or matched.rows[x.inputs[0]]
        assert rows is not None
        axis, slot = rows.axis, matched.numbers.slots[x]
        if x.primitive is movement.slice_:
            bounds = [list(x.params[name]) for name in ("starts", "stops", "steps")]
            for bound, one in zip(bounds, (0, value.shape[axis], 1), strict=True):
                bound[axis] = one
            starts, stops, steps = map(tuple, bounds)
            part = apply(movement.slice_, value, starts=starts, stops=stops, steps=steps)
            row = self._number(slot, Type((1,), np.dtype(np.int64)))
            self.new[x], self.facts[x] = apply(gather.take, part, row, axis=axis), Facts()
            return
        widths = [(0, 0, 0) if n == axis else one for n, one in enumerate(x.params["widths"])]
        part = apply(movement.pad, value, widths=tuple(widths), value=x.params["value"])
        column = tuple([extent if n == axis else 1 for n, extent in enumerate(x.shape)])
        place = apply(movement.iota, shape=column, axis=axis, dtype=np.dtype(np.int64))
        here = apply(ew.equal, place, self._number(slot, place.type))
        wide = [apply(movement.broadcast_to, one, shape=x.shape) for one in (here, part)]
        zero = constant(np.zeros((1,) * len(x.shape), x.dtype))
        zeros = apply(movement.broadcast_to, zero, shape=x.shape)
        self.new[x], self.facts[x] = apply(ew.where, *wide, zeros), CHOSEN

    def _put_rows(self, x: Node) -> None:
        """Values that rows put in places: where a row is not there, it puts what the last one that
        is there puts once more.
        """
        matched, axis = self.matched, x.params["axis"]
        rows = agreed([matched.rows[one] for one in x.inputs[1:]])
        assert rows is not None
        extent, whole = x.inputs[1].shape[axis], matched.sizes.whole
        after = rows.after or extent // whole
        elements = np.arange(extent)
        row = elements // after % whole
        last = self._number(matched.numbers.slots[x], Type((extent,), row.dtype))
        there = apply(ew.minimum, constant(row), last)
        place = apply(ew.mul, there, constant(np.full(extent, after, row.dtype)))
        place = apply(ew.add, place, constant(elements - row * after))
        index, values = (
            apply(gather.take, self.new[one], place, axis=axis) for one in x.inputs[1:]
        )
        self.new[x] = _again(x, [self.new[x.inputs[0]], index, values])
        self.facts[x] = Facts()

    # -- loops -------------------------------------------------------------------------------------

    def _scan(self, x: Node) -> None:
        """A loop over steps: its body, with what holds of the carry before every step."""
        body, carry = self.matched.bodies[x], x.params["carry"]
        facts = [self.facts[one] for one in x.inputs]
        while True:
            own: dict[str, Node] = {}
            inner = _Rewritten(body, facts, functools.partial(self._inside, own))
            ends = [inner.facts[node] for node in body.graph.outputs]
            after = [_either(one, end) for one, end in zip(facts, ends[:carry], strict=False)]
            if after == facts[:carry]:
                break
            facts[:carry] = after
        self._parts[x] = [*after, *ends[carry:]]
        self.facts[x] = Facts()
        outputs = tuple([inner.new[node] for node in body.graph.outputs])
        inputs = [self.new[one] for one in x.inputs]
        if outputs == body.graph.outputs:
            self.new[x] = _again(x, inputs)
            return
        new = Graph((*body.graph.inputs, *own.values()), outputs)
        self.new[x] = _again(x, [*inputs, *map(self.given, own)], body=new)

    def _scan_along(self, x: Node) -> None:
        """A loop whose steps are the rows: where a step is not there, the carry stays, and what it
        gives is 0.
        """
        params, body = x.params, self.matched.bodies[x]
        own: dict[str, Node] = {}
        inner = _Rewritten(body, [Facts()] * len(x.inputs), functools.partial(self._inside, own))
        given, ends = body.graph.inputs, [inner.new[node] for node in body.graph.outputs]
        moving = params["carry"] + params["sequences"]
        operands = (*given, *own.values())
        kept = [constant(np.zeros(end.shape, end.dtype)) for end in ends]
        kept[: params["carry"]] = given[: params["carry"]]
        there = input_node(Type((), np.dtype(np.bool_)), PRESENT)
        taken, left = Graph(operands, tuple(ends)), Graph(operands, tuple(kept))
        branch = apply(branches.cond, there, *operands, true=taken, false=left)
        made = [apply(control.part, branch, number=number) for number in range(len(ends))]
        inputs = [self.new[one] for one in x.inputs]
        line = apply(ew.cast, self.given(PRESENT), dtype=there.dtype)
        self.new[x] = apply(
            control.scan,
            *(*inputs[:moving], line, *inputs[moving:], *map(self.given, own)),
            source=x.source,
            **{
                **params,
                "body": Graph(
                    (*given[:moving], there, *given[moving:], *own.values()), tuple(made)
                ),
                "sequences": params["sequences"] + 1,
            },
        )
        self._parts[x] = [Facts()] * params["carry"] + [CHOSEN] * (len(ends) - params["carry"])
        self.facts[x] = Facts()

    def _inside(self, own: dict[str, Node], name: str) -> Node:
        """A further argument as an input of a body."""
        if name not in own:
            own[name] = input_node(self.given(name).type, name)
        return own[name]


def _again(x: Node, inputs: Sequence[Node], **params: Any) -> Node:
    """A node on other inputs."""
    if tuple(inputs) == x.inputs and not params:
        return x
    changed = {**x.params, **params}
    return Node(x.primitive, tuple(inputs), changed, x.type, None, x.name, x.source)


def _either(first: Facts, second: Facts) -> Facts:
    """What holds of both."""
    return Facts(first.zero and second.zero, first.pure and second.pure, first.tame and second.tame)
