"""How recipes are made: a call is traced, and what comes of it compared with what it gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mynn.base.recording import Tried
from mynn.core.graph import CONSTANT, Graph, Node, input_node, topological
from mynn.core.kinds import kind_of
from mynn.core.types import Array, Shape, Tuple
from mynn.errors import MynnError
from mynn.ops import movement
from mynn.tensor.at_once.likeness import alike
from mynn.tensor.at_once.recipe import Made, Recipe, Result
from mynn.tensor.at_once.straight import Straight
from mynn.tensor.gradients.grad_mode import enabled
from mynn.tensor.gradients.history import STOP, graph_node
from mynn.tensor.tensor import Tensor
from mynn.tensor.view import memory_of
from mynn.trace import tracing
from mynn.trace.trace import Trace


def recipe_of(
    tried: Tried,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    given: tuple[list[Any], list[Any]],
    result: Any,
) -> Recipe | None:
    """The recipe of a call, which gave this result; None where there is none."""
    tensors, values = given
    try:
        recipe = tracing.tidy(lambda: _traced(tried, args, kwargs, tensors))
    except (MynnError, TypeError, ValueError, AttributeError, IndexError, KeyError, OverflowError):
        return None
    if recipe is None:
        return None
    again = recipe.cook(tensors, values)
    ends = [one if recipe.kind is not None else [one] for one in (result, again)]
    if type(result) is not type(again) or len(ends[0]) != len(ends[1]):
        return None
    if any(_is_shared(one, tensors, values) for one in ends[1]):
        return None
    return recipe if all(map(alike, *ends)) else None


def _is_shared(result: Any, tensors: Sequence[Any], values: Sequence[Array]) -> bool:
    """Whether a result that looks at no argument lies in the memory of one all the same, as what
    casts to its own dtype does, or in that of a constant, which cannot be written.
    """
    memory: Any = memory_of(result)
    if any(memory is one or (one._view and memory is one._view.base) for one in tensors):
        return False
    value = memory._value
    return not value.flags.writeable or any(np.may_share_memory(value, one) for one in values)


def _traced(
    tried: Tried, args: tuple[Any, ...], kwargs: Mapping[str, Any], tensors: Sequence[Any]
) -> Recipe | None:
    inputs = [input_node(tensor.spec) for tensor in tensors]
    grown = [tensor.requires_grad for tensor in tensors]
    places = {
        id(tensor): Tensor.from_node(node, asks)
        for tensor, node, asks in zip(tensors, inputs, grown, strict=True)
    }

    given = set()

    def put(value: Any) -> Any:
        if type(value) in (tuple, list):
            return type(value)(map(put, value))
        given.add(id(value))
        return places.get(id(value), value)

    with tracing.tracing() as trace:
        trace.named = False
        result = tried.plain(tuple(map(put, args)), {k: put(v) for k, v in kwargs.items()})
        results = result if type(result) in (tuple, list) else (result,)
        if not all(type(one) is Tensor for one in results) or not given.issuperset(places):
            return None
        if _has_effects(trace) or any(places[id(t)].node not in inputs for t in tensors):
            return None
        kind = None if type(result) is Tensor else type(result)
        return _Maker(inputs, grown, trace, results, kind, list(places.values())).recipe()


def _has_effects(trace: Trace) -> bool:
    """Whether a trace has more to it than its arguments and its results."""
    effects, guards = trace.effects, trace.guards
    read = guards.properties or guards.versions or guards.attributes or guards.contents
    return bool(trace.reads or trace.promoted or effects.looks or effects.refused or read)


class _Maker:
    """Makes a recipe of what a trace has recorded."""

    def __init__(
        self,
        inputs: Sequence[Node],
        grown: Sequence[bool],
        trace: Trace,
        results: Sequence[Any],
        kind: type | None,
        given: Sequence[Any],
    ) -> None:
        self.tensors = given
        self.inputs = list(inputs)
        self.results = results
        self.kind = kind
        self.checks = [(node.inputs[0], node.params) for node in trace.checks]
        self.ends = [graph_node(one) for one in results]
        ends = [*self.ends, *[node for node, _ in self.checks]]
        self.order = topological(ends, stop=set(inputs).__contains__)
        # Nodes whose results remember where they came from.
        self.history = {node for node, asks in zip(inputs, grown, strict=True) if asks}
        for node in self.order:
            asks = enabled() and not self.history.isdisjoint(node.inputs)
            if asks and node.dtype.kind == "f" and node.primitive is not STOP:
                self.history.add(node)
        self.wanted: dict[Node, int] = {}
        self.numbers: dict[Node, int] = {}

    def recipe(self) -> Recipe | None:
        """The recipe; None where something is odd."""
        pairs = zip(self.results, self.ends, strict=True)
        own = [end for one, end in pairs if all(one is not given for given in self.tensors)]
        if len(set(own)) < len(own):
            return None
        if any(isinstance(node.type, Tuple) for node in self.order):
            return None
        nodes = self._with_nodes() if enabled() else []
        arguments = [node for node in nodes if node in self.inputs]
        constants = [node for node in nodes if node.primitive is CONSTANT]
        others = [n for n in nodes if n not in self.inputs and n.primitive is not CONSTANT]
        self.numbers = {
            node: number for number, node in enumerate((*arguments, *constants, *others))
        }
        made: list[Made] = []
        for node in others:
            found = self._made(node)
            if found is None:
                return None
            made.append(found)
        results = [self._result(one, end) for one, end in zip(self.results, self.ends, strict=True)]
        checks = [(self._place(node), params) for node, params in self.checks]
        if any(one is None for one in results):
            return None
        return Recipe(
            Straight(Graph(tuple(self.inputs), tuple(self.wanted))),
            tuple(checks),
            tuple([self.inputs.index(node) for node in arguments]),
            tuple(constants),
            tuple(made),
            tuple([one for one in results if one is not None]),
            self.kind,
            tuple([found for one in results if one is not None for found in _reshaped(one)]),
        )

    def _place(self, node: Node) -> int:
        """The place of a value among those that the program gives."""
        return self.wanted.setdefault(node, len(self.wanted))

    def _is_own(self, end: Node) -> bool:
        """Whether a result does not lie in the memory of an argument, or of a constant."""
        while end.primitive.view:
            end = end.inputs[0]
        return bool(end.inputs)

    def _is_chain(self, node: Node) -> bool:
        """Whether a node is made of those before it, and is no leaf."""
        return node in self.history or node.primitive.view

    def _with_nodes(self) -> list[Node]:
        """What has a node: results with a history, and what they were computed from."""
        wanted = {
            end
            for one, end in zip(self.results, self.ends, strict=True)
            if end in self.history and all(one is not tensor for tensor in self.tensors)
        }
        wanted |= {base for one in self.results if (base := _base(one)) in self.history}
        for node in reversed(self.order):
            if node in wanted and node not in self.inputs and self._is_chain(node):
                wanted.update(node.inputs)
        return [node for node in self.order if node in wanted]

    def _made(self, node: Node) -> Made | None:
        function = getattr(node, "function", None)
        if not self._is_chain(node):
            return Made(None, (), self._place(node), node.type, function)
        kind = kind_of(node.primitive, node.params, [x.type for x in node.inputs])
        if kind is None:
            return None
        inputs = tuple([self.numbers[x] for x in node.inputs])
        return Made(kind, inputs, self._place(node), node.type, function)

    def _result(self, result: Any, end: Node) -> Result | None:
        view, base = result._view, _base(result)
        if any(result is one for one in self.tensors):
            return Result(-1, None, self.inputs.index(end))
        number = self.numbers[end] if end in self.history else None
        if view is None:
            return Result(self._place(end), number) if self._is_own(end) else None
        if base is None or view.source is not view.base:
            return None
        steps, attached = view.steps, view.attached
        if base in self.inputs:
            if any(primitive is STOP for primitive, _ in steps):
                return None  # in a trace a copy
            argument = self.inputs.index(base)
            return Result(self._place(end), number, argument, None, steps, attached)
        if not self._is_own(end):
            return None
        if not steps:  # all of a value that nobody else has
            return Result(self._place(end), number)
        own = self.numbers[base] if base in self.history else None
        return Result(self._place(end), number, None, (self._place(base), own), steps, attached)


def _reshaped(result: Result) -> list[tuple[int, Shape | None]]:
    """The argument that a result looks at by a reshape, and the shape, where that is all."""
    if result.argument is None or all(one is not movement.reshape for one, _ in result.steps):
        return []
    alone = len(result.steps) == 1
    return [(result.argument, result.steps[0][1]["shape"] if alone else None)]


def _base(result: Any) -> Node | None:
    """The node of what a traced result looks at."""
    view = result._view
    node: Node | None = None if view is None or view.base._value is not None else view.base.node
    return node


__all__ = ["recipe_of"]
