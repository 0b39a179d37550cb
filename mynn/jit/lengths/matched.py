"""Two traces of a step, matched node by node: where rows lie, which nodes combine rows, and which
constants depend on their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

import numpy as np

from mynn.base.dataclass import dataclass
from mynn.core.graph import CONSTANT, INPUT, Graph, Node
from mynn.jit.lengths.axis import NotAlike, Rows, Sizes, agreed
from mynn.jit.lengths.rules import EXTENTS, RULES, Pair, elementwise, summed_axes
from mynn.jit.lengths.zeros import Sum
from mynn.ops import along, contraction, control, gather, movement, reduce

_PRODUCTS = (contraction.matmul, contraction.contract)
_REDUCTIONS = (reduce.sum, reduce.prod, reduce.max, reduce.min)


@dataclass(frozen=True, eq=False)
class Numbers:
    """Constants that depend on the number of rows, and the places of last rows: where each stands,
    and their values for either number.
    """

    whole: list[float]
    fewer: list[float]
    slots: dict[Node, int] = field(default_factory=dict)

    def add(self, x: Node, whole: float, fewer: float) -> None:
        """One more."""
        if x not in self.slots:
            self.slots[x] = len(self.whole)
            self.whole.append(whole)
            self.fewer.append(fewer)

    @property
    def are_places(self) -> bool:
        """Whether all of them are places of last rows, so that they follow from how many there
        are.
        """
        return all(node.primitive is not CONSTANT for node in self.slots)


class Matched:
    """A graph for whole batches, matched with that for smaller ones.

    - `rows`: where the rows of each value lie, None where it has none.
    - `sums`: the nodes that combine rows.
    - `parts`: where the rows of the parts of tuples lie; `bodies`: of each scan its body, matched.
    - `along`: scans whose steps are the rows.
    - `lasts`: slices of the last row, and paddings that put a value into the last row.
    - `puts`: what rows put in places that they say.

    Raises:
        NotAlike: they differ in more than extents and numbers.
    """

    def __init__(
        self,
        sizes: Sizes,
        whole: Graph,
        fewer: Graph,
        given: Sequence[Rows | None],
        numbers: Numbers,
    ) -> None:
        self.sizes = sizes
        self.graph = whole
        self.numbers = numbers
        self.rows: dict[Node, Rows | None] = {}
        self.sums: list[Sum] = []
        self.parts: dict[Node, list[Rows | None]] = {}
        self.bodies: dict[Node, Matched] = {}
        self.along: set[Node] = set()
        self.lasts: set[Node] = set()
        self.puts: set[Node] = set()
        first, second = whole.nodes(), fewer.nodes()
        if len(first) != len(second) or len(whole.inputs) != len(fewer.inputs):
            raise NotAlike("the step is another one for the smaller batch")
        partners: dict[Node, Node] = {}
        for number, (x, y) in enumerate(zip(first, second, strict=True)):
            partners[x] = y
            if number < len(given):
                self._set(x, y, given[number])
            elif x.primitive is not y.primitive or y.inputs != tuple(
                [partners[one] for one in x.inputs]
            ):
                raise NotAlike(f"{x.primitive} is {y.primitive} for the smaller batch")
            else:
                self._visit(x, y)
        self._same_ends(fewer, partners)

    def _same_ends(self, fewer: Graph, partners: dict[Node, Node]) -> None:
        ends = [*self.graph.outputs, *self.graph.checks]
        if [partners[node] for node in ends] != [*fewer.outputs, *fewer.checks]:
            raise NotAlike("the smaller batch gives something else")

    def _visit(self, x: Node, y: Node) -> None:
        if x.primitive is INPUT:
            raise NotAlike("an input is not declared")
        if x.primitive is CONSTANT:
            self._constant(x, y)
        elif x.primitive is control.scan:
            self._scan(x, y)
        elif x.primitive is control.part:
            self._set(x, y, self.parts[x.inputs[0]][x.params["number"]])
        elif not self._is_last(x, y) and not self._is_put(x, y):
            found = self._combined(x)
            if found is not None:
                self.sums.append(found)
                self._set(x, y, None)
            else:
                self._plain(x, y)

    def _set(self, x: Node, y: Node, rows: Rows | None) -> None:
        if x.dtype != y.dtype or self.sizes.smaller(x.shape, rows) != y.shape:
            raise NotAlike(f"{x.primitive} gives {x.type}, and {y.type} for the smaller batch")
        self.rows[x] = rows

    def _plain(self, x: Node, y: Node) -> None:
        """Row by row."""
        given = [self.rows[one] for one in x.inputs]
        rule = RULES.get(x.primitive, elementwise if x.primitive.elementwise else None)
        if rule is None and any(given):
            raise NotAlike(f"{x.primitive} has no rule for batches of several sizes")
        extent = EXTENTS.get(x.primitive)
        for name, value in x.params.items():
            if name != extent and value != y.params[name]:
                raise NotAlike(f"{name} of {x.primitive} depends on the size of the batch")
        self._set(x, y, None if rule is None else rule(Pair(self.sizes, x, y, given)))

    def _constant(self, x: Node, y: Node) -> None:
        assert x.value is not None
        assert y.value is not None
        rows, value = self.sizes.first_axis(x.shape, y.shape), x.value
        if rows is not None:
            value = value.take(range(y.shape[rows.axis]), rows.axis)
        if not np.array_equal(value, y.value, equal_nan=x.dtype.kind == "f"):
            if rows is not None:
                raise NotAlike("a constant array depends on the size of the batch")
            self.numbers.add(x, _number(x), _number(y))
        self._set(x, y, rows)

    def _is_last(self, x: Node, y: Node) -> bool:
        """Whether it takes the last row, y[:, -1], or puts a value there amid zeros; noted then."""
        if x.primitive is movement.slice_:
            rows, widths = self.rows[x.inputs[0]], [_left_out(node) for node in (x, y)]
        elif x.primitive is movement.pad and not x.params["value"] and not self.rows[x.inputs[0]]:
            rows = self.sizes.first_axis(x.shape, y.shape)
            widths = [list(node.params["widths"]) for node in (x, y)]
        else:
            return False
        sizes = self.sizes.whole, self.sizes.fewer
        if rows is None or rows.after != 1:
            return False
        along = [one.pop(rows.axis)[:2] for one in widths]
        if along != [(size - 1, 0) for size in sizes] or widths[0] != widths[1]:
            return False
        self.numbers.add(x, sizes[0] - 1, sizes[1] - 1)
        self.lasts.add(x)
        self._set(x, y, rows if x.primitive is movement.pad else None)
        return True

    def _is_put(self, x: Node, y: Node) -> bool:
        """Whether it puts the values of rows in places of something that has none; noted then."""
        if x.primitive is not along.scatter_along or x.params["mode"] != "set":
            return False
        onto, index, updates = (self.rows[one] for one in x.inputs)
        if onto is not None or index is None or index.axis != x.params["axis"]:
            return False
        agreed((index, updates))
        if x.params != y.params:
            raise NotAlike("where values are put depends on the size of the batch")
        self.numbers.add(x, self.sizes.whole - 1, self.sizes.fewer - 1)
        self.puts.add(x)
        self._set(x, y, None)
        return True

    def _combined(self, x: Node) -> Sum | None:
        """How it combines rows, if it does."""
        rows = [self.rows[one] for one in x.inputs]
        if x.primitive is along.scatter_along and rows[0] is None and x.params["mode"] == "add":
            found = rows[1] is not None and rows[1].axis == x.params["axis"]
            return Sum(x, (2,)) if found and agreed(rows[1:]) else None
        if x.primitive in _REDUCTIONS:
            found = rows[0] is not None and rows[0].axis in x.params["axes"]
            return Sum(x, (0,), _neutral(x)) if found else None
        if len(rows) < 2 or rows[0] is None or rows[1] is None:
            return None
        first, second = rows[0], rows[1]
        if x.primitive in _PRODUCTS:
            left, right, _ = summed_axes(x)
            if first.axis not in left or second.axis not in right:
                return None
            agreed((first, second.along(second.axis - right.start + left.start)))
            return Sum(x, (0, 1))
        if x.primitive is gather.scatter_add:
            agreed((first, second.along(second.axis + x.params["axis"])))
            return Sum(x, (0,))
        return None

    def _scan(self, x: Node, y: Node) -> None:
        """A loop over steps: its body, where rows lie in its carry as before so after each."""
        carry, sequences = x.params["carry"], x.params["sequences"]
        if (x.params["length"], y.params["length"]) == (self.sizes.whole, self.sizes.fewer):
            self._scan_along(x, y)
            return
        for name in ("carry", "sequences", "length", "reverse"):
            if x.params[name] != y.params[name]:
                raise NotAlike(f"{name} of a scan depends on the size of the batch")
        rows = [self.rows[one] for one in x.inputs]
        for number in range(carry, carry + sequences):
            found = rows[number]
            if found is not None and found.axis == 0:
                raise NotAlike("a scan runs along the rows")
            rows[number] = None if found is None else found.along(found.axis - 1)
        body = x.params["body"]
        while True:
            matched = Matched(self.sizes, body, y.params["body"], rows, self.numbers)
            ends = [matched.rows[node] for node in body.outputs]
            after = [agreed((rows[n], ends[n])) for n in range(carry)]
            if after == rows[:carry]:
                break
            rows[:carry] = after
        stacks = [None if one is None else one.along(one.axis + 1) for one in ends[carry:]]
        self.bodies[x], self.parts[x], self.rows[x] = matched, [*after, *stacks], None

    def _scan_along(self, x: Node, y: Node) -> None:
        """A loop whose steps are the rows: those that are not there are not run."""
        carry, sequences = x.params["carry"], x.params["sequences"]
        for name in ("carry", "sequences", "reverse"):
            if x.params[name] != y.params[name]:
                raise NotAlike(f"{name} of a scan depends on the number of steps")
        rows = [self.rows[one] for one in x.inputs]
        own = rows[carry : carry + sequences]
        if any(one is None or one.axis or one.after not in (1, None) for one in own):
            raise NotAlike("a scan runs along the rows and along something else")
        if any(rows[:carry]) or any(rows[carry + sequences :]):
            raise NotAlike("a scan along the rows reads all of them in each step")
        inside = [None] * len(rows)
        matched = Matched(self.sizes, x.params["body"], y.params["body"], inside, self.numbers)
        stacks = [Rows(0, 1)] * (len(matched.graph.outputs) - carry)
        self.bodies[x], self.parts[x], self.rows[x] = matched, [None] * carry + stacks, None
        self.along.add(x)


def _left_out(node: Node) -> list[tuple[int, int, int]]:
    """How many elements a slice leaves out before and behind it, and its step, for each axis."""
    (x,), params = node.inputs, node.params
    every = zip(params["starts"], x.shape, params["stops"], params["steps"], strict=True)
    return [(start, extent - stop, step) for start, extent, stop, step in every]


def _number(node: Node) -> float:
    """What all elements of a constant are."""
    assert node.value is not None
    flat = node.value.reshape(-1)
    number = float(flat[0])
    exact = node.dtype.kind == "f" or int(number) == int(flat[0])
    if not exact or not (flat == flat[0]).all():
        raise NotAlike("a constant array depends on the size of the batch")
    return number


def _neutral(x: Node) -> float:
    """What changes nothing in a reduction."""
    if x.primitive in (reduce.sum, reduce.prod):
        return float(x.primitive is reduce.prod)
    least = x.primitive is reduce.max
    if x.dtype.kind == "f":
        return float("-inf") if least else float("inf")
    limits = np.iinfo(x.dtype)
    return int(limits.min if least else limits.max)
