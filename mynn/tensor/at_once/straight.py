"""Straight-line programs: a graph as a list of calls of NumPy, for arrays of known types.

What a rule does to tensors, with all its checks and wrappers, is traced once; from then on the
primitives that it came to are run one after the other, in the same order:

    graph(%g: f32[4,3], %y: f32[4,3]) {            mul     0 1 -> 2
      %0: f32[4,3] = mul(%g, %y)             ->    sum     2   -> 2
      %1: f32[3] = sum(%0) axes=(0,)
      return %1
    }

Values lie in numbered places; those of values that are not needed any more are used again. The bits
are those of the interpreter. Repetitions are left out where the primitive behind them, a universal
function of NumPy, repeats by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mynn.core.graph import CONSTANT, Graph, Node, topological
from mynn.core.kinds import computing
from mynn.core.types import Array
from mynn.ops import elementwise, movement


class Step(NamedTuple):
    """One call: what computes, the places of its arguments, and of its value.

    Most have one argument or two; `second` is -1 where there is one, `first` where the places of
    all are `others`.
    """

    compute: Callable[..., Any]
    first: int
    second: int
    others: tuple[int, ...]
    place: int

    @staticmethod
    def of(compute: Callable[..., Any], inputs: tuple[int, ...], place: int) -> Step:
        """The call with these arguments."""
        if len(inputs) in (1, 2):
            return Step(compute, inputs[0], (*inputs, -1)[1], (), place)
        return Step(compute, -1, -1, inputs, place)


class Straight:
    """A graph without checks as a list of steps.

    - `used`: which of its inputs have any use.
    """

    __slots__ = ("_constants", "_outputs", "_steps", "used")

    def __init__(self, graph: Graph) -> None:
        assert not graph.checks
        outputs = [_same(node) for node in graph.outputs]
        order = topological(outputs, stop=set(graph.inputs).__contains__)
        sources = {node: _sources(node) for node in order}
        order = _needed(order, outputs, sources)
        places = _Places(graph.inputs, order, outputs, sources)
        self._steps = places.steps
        self._constants = places.constants
        self._outputs = [places.of[node] for node in outputs]
        reached = {x for node in order for x in sources[node]} | set(outputs)
        self.used = tuple([node in reached for node in graph.inputs])

    def run(self, arguments: Sequence[Array | None]) -> list[Array]:
        """The outputs; arguments that are not used may be None."""
        values: list[Any] = [*arguments, *self._constants]
        for compute, first, second, others, place in self._steps:
            if second >= 0:
                values[place] = compute(values[first], values[second])
            elif first >= 0:
                values[place] = compute(values[first])
            else:
                values[place] = compute(*[values[i] for i in others])
        return [values[i] for i in self._outputs]

    def __str__(self) -> str:
        lines = [f"{step[0]!r} {step[1:-1]} -> {step.place}" for step in self._steps]
        return "\n".join([*lines, f"return {self._outputs}"])


class _Places:
    """Gives each value a place: inputs, constants, then what is computed."""

    def __init__(
        self,
        inputs: Sequence[Node],
        order: Sequence[Node],
        outputs: Sequence[Node],
        sources: dict[Node, tuple[Node, ...]],
    ) -> None:
        self.of = {node: number for number, node in enumerate(inputs)}
        fixed = [node for node in order if node.primitive is CONSTANT and node not in self.of]
        self.of.update((node, len(inputs) + number) for number, node in enumerate(fixed))
        self.steps: list[Step] = []
        last = {x: node for node in order for x in sources[node]}
        count, free = len(self.of), list[int]()
        kept = {*outputs, *inputs, *fixed}
        for node in order:
            if node in self.of:
                continue
            given = tuple([self.of[x] for x in sources[node]])
            # Not before the value is there: an argument may be seen through it.
            place = free.pop() if free else count
            count += place == count
            compute = computing(node.primitive, node.params, node.type)
            self.steps.append(Step.of(compute, given, place))
            self.of[node] = place
            free += [self.of[x] for x in set(sources[node]) - kept if last[x] is node]
        self.constants: list[Any] = [node.value for node in fixed]
        self.constants += [None] * (count - len(inputs) - len(fixed))


def _needed(
    order: list[Node], outputs: Sequence[Node], sources: dict[Node, tuple[Node, ...]]
) -> list[Node]:
    """Without what nobody reads any more."""
    wanted = set(outputs)
    for node in reversed(order):
        if node in wanted:
            wanted.update(sources[node])
    return [node for node in order if node in wanted]


def _same(node: Node) -> Node:
    """The node whose value it has as it is."""
    while node.primitive is elementwise.stop_gradient:
        node = node.inputs[0]
    return node


def _sources(node: Node) -> tuple[Node, ...]:
    """What a node is computed from, without repetitions that NumPy does by itself."""
    inputs = tuple([_same(x) for x in node.inputs])
    if not (node.primitive.elementwise and isinstance(node.primitive.numpy, np.ufunc)):
        return inputs
    given = [_unrepeated(x) for x in inputs]
    # The value has the shape that what is given to it has together.
    if given and np.broadcast_shapes(*[x.shape for x in given]) == node.shape:
        return tuple(given)
    return inputs


def _unrepeated(node: Node) -> Node:
    """What a node repeats, along axes that it has, or in front of them."""
    if node.primitive is movement.broadcast_to:
        inner = _same(node.inputs[0])
        if inner.primitive is movement.reshape:
            source, axes = _same(inner.inputs[0]), len(inner.shape) - len(inner.inputs[0].shape)
            if axes > 0 and inner.shape == (1,) * axes + source.shape:
                return source
        return inner
    return node


__all__ = ["Straight"]
