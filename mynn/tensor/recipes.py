"""Public functions at once, without the tensors on the way to the result.

A function of tensors makes a tensor for each of its primitives, whose arguments are looked at,
promoted and repeated first. What all that comes to follows from the types of the arguments, and
from what else the function is given. So a kind of call that is met again is traced, and later calls
run the primitives alone (`mynn.core.straight`):

    linear(x, W, b)     transpose W -> matmul -> reshape b -> broadcast_to -> add

The recipe makes the nodes that the function itself would have made, so that the walk back,
`grad_fn` and gradients of gradients see no difference. Value and nodes are compared with what the
function gave when the recipe is made; where they differ, the function goes on being called.

Functions that read or write state, or draw, or give what looks at the memory of an argument, have
no recipe. Where a check fails the function itself is called, and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mynn.base.recording import Tried
from mynn.core.graph import CONSTANT, INPUT, Graph, Node, input_node, topological
from mynn.core.kinds import Kind, kind_of, quietly
from mynn.core.straight import Straight
from mynn.core.types import Array, Tuple, Type, default_float
from mynn.errors import MynnError
from mynn.tensor.checks import is_wrong
from mynn.tensor.grad_mode import enabled
from mynn.tensor.history import STOP, graph_node
from mynn.tensor.parameter import Parameter
from mynn.tensor.tensor import Tensor
from mynn.tensor.value import Step
from mynn.tensor.view import current, look
from mynn.trace import tracing
from mynn.trace.trace import Trace

# A kind of call is met so often before it is traced.
OFTEN = 2
# A function without a recipe for so many kinds of calls is not looked at any more.
IN_VAIN = 4
# So many kinds of calls, of all functions, are remembered; then all are forgotten.
MOST = 4096


class Made(NamedTuple):
    """A node that a recipe makes: its kind, the numbers of its inputs, the place of its value.

    `kind` is None for a value on the way that has no history; `function`: the public function that
    made it.
    """

    kind: Kind | None
    inputs: tuple[int, ...]
    value: int
    type: Type
    function: str | None


class Result(NamedTuple):
    """A result: the places of its value and its node, and how it looks at another value.

    - `value`: -1 where it is an argument itself; `node`: None where it has no history.
    - `argument`: the number of the one that it is, or looks at; or `base`: the places of the value
      on the way that it looks at, and of its node.
    - `steps`, `attached`: as in `mynn.tensor.value.View`.
    """

    value: int
    node: int | None
    argument: int | None = None
    base: tuple[int, int | None] | None = None
    steps: tuple[Step, ...] = ()
    attached: bool = False


class Recipe(NamedTuple):
    """The primitives of a call, and the nodes that remember them.

    - `program`: gives the values of results, of nodes and of what is checked.
    - `checks`: places of values, with the parameters of the check.
    - `arguments`: the numbers of the arguments that have nodes; these are numbered first, then the
      `constants`, then what is `made`.
    - `kind`: tuple or list, where there are several results.
    """

    program: Straight
    checks: tuple[tuple[int, Mapping[str, Any]], ...]
    arguments: tuple[int, ...]
    constants: tuple[Node, ...]
    made: tuple[Made, ...]
    results: tuple[Result, ...]
    kind: type | None

    def cook(self, tensors: Sequence[Any], values: list[Any]) -> Any:
        """The results for tensors with these values; None where a check fails, or where a result
        would look at what looks at something else.
        """
        for one in self.results:
            if one.argument is not None and tensors[one.argument]._view is not None:
                return None
        found = quietly(self.program.run, values)
        for place, params in self.checks:
            if is_wrong(found[place], **params):
                return None
        nodes: list[Node] = []
        if self.arguments:
            nodes += [graph_node(tensors[i]) for i in self.arguments]
            nodes += self.constants
            for kind, inputs, place, type, function in self.made:
                if kind is None:
                    node = Node(INPUT, (), {}, type, found[place])
                else:
                    given = tuple([nodes[i] for i in inputs])
                    node = Node(kind.primitive, given, kind.params, type, found[place])
                    node.kind = kind
                if function is not None:
                    node.function = function
                nodes.append(node)
        if self.kind is None:
            return _tensor(self.results[0], tensors, found, nodes)
        return self.kind([_tensor(one, tensors, found, nodes) for one in self.results])


def _tensor(
    result: Result, tensors: Sequence[Any], found: Sequence[Array], nodes: Sequence[Node]
) -> Any:
    value, node, argument, base, steps, attached = result
    if value < 0:
        assert argument is not None
        return tensors[argument]
    tensor = Tensor.from_value(found[value], None if node is None else nodes[node])
    if argument is not None:
        memory = tensors[argument]
    elif base is not None:
        value, node = base
        memory = Tensor.from_value(found[value], None if node is None else nodes[node])
    else:
        return tensor
    view = look(tensor, memory, steps, attached)
    if tensor.node is not None:
        view.origin = graph_node(view.source)
    return tensor


# -- which recipe ----------------------------------------------------------------------------------

_recipes: dict[Any, Recipe | int | None] = {}


class _Odd(Exception):
    """An argument by which a call cannot be known again."""


def call(tried: Tried, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What a public function gives, by its recipe where there is one."""
    if tracing.active() is not None:
        return tried.plain(args, kwargs)
    key: list[Any] = [tried, enabled(), default_float()]
    tensors: list[Any] = []
    values: list[Any] = []
    try:
        for one in args:
            _note(one, key, tensors, values)
        for name, one in kwargs.items():
            key.append(name)
            _note(one, key, tensors, values)
    except _Odd:
        return tried.plain(args, kwargs)
    if len(tensors) > 1 and len(set(map(id, tensors))) < len(tensors):
        places = [next(i for i, other in enumerate(tensors) if other is one) for one in tensors]
        key += places
        tensors = [one for i, one in enumerate(tensors) if places[i] == i]
        values = [one for i, one in enumerate(values) if places[i] == i]
    whole = tuple(key)
    found = _recipes.get(whole, 0)
    if type(found) is Recipe:
        result = found.cook(tensors, values)
        return tried.plain(args, kwargs) if result is None else result
    if type(found) is not int:
        return tried.plain(args, kwargs)
    before = [_state(one) for one in tensors]
    result = tried.plain(args, kwargs)
    if len(_recipes) >= MOST:
        _recipes.clear()
    if found + 1 < OFTEN:
        _recipes[whole] = found + 1
        return result
    recipe = None
    if before == [_state(one) for one in tensors]:
        recipe = _recipe(tried, args, kwargs, (tensors, values), result)
    _recipes[whole] = recipe
    tried.note(recipe is not None, IN_VAIN)
    return result


def _state(tensor: Any) -> tuple[int, Any, bool]:
    """What differs where a call has changed a tensor."""
    view = tensor._view
    base = tensor if view is None else view.base
    return base._version, tensor.shape, tensor.requires_grad


def _note(value: Any, key: list[Any], tensors: list[Any], values: list[Any]) -> None:
    """Add to the key what is to be known of an argument; tensors and their values are collected."""
    kind = type(value)
    if kind is Tensor or kind is Parameter:
        array = value._value if value._view is None else current(value, value._view)
        if array is None:
            raise _Odd
        tensors.append(value)
        values.append(array)
        key += (array.shape, array.dtype, value._requires_grad or value.requires_grad)
    elif kind is float:
        key.append(value.hex())  # 0.0 and -0.0 are equal
    elif value is None or kind is int or kind is bool or kind is str:
        key += (kind, value)
    elif kind is tuple or kind is list:
        key += (kind, len(value))
        for one in value:
            _note(one, key, tensors, values)
    elif kind is slice:
        key.append(slice)
        for one in (value.start, value.stop, value.step):
            _note(one, key, tensors, values)
    elif value is Ellipsis or isinstance(value, np.dtype):
        key.append(value)
    else:
        raise _Odd


# -- how one is made -------------------------------------------------------------------------------


def _recipe(
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
    return recipe if all(map(_alike, *ends)) else None


def _traced(
    tried: Tried, args: tuple[Any, ...], kwargs: Mapping[str, Any], tensors: Sequence[Any]
) -> Recipe | None:
    inputs = [input_node(tensor.spec) for tensor in tensors]
    grown = [tensor.requires_grad for tensor in tensors]
    places = {
        id(tensor): Tensor.from_node(node, asks)
        for tensor, node, asks in zip(tensors, inputs, grown, strict=True)
    }

    def put(value: Any) -> Any:
        if type(value) in (tuple, list):
            return type(value)(map(put, value))
        return places.get(id(value), value)

    with tracing.tracing() as trace:
        trace.named = False
        result = tried.plain(tuple(map(put, args)), {k: put(v) for k, v in kwargs.items()})
        results = result if type(result) in (tuple, list) else (result,)
        if not all(type(one) is Tensor for one in results):
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
        own = self.numbers[base] if base in self.history else None
        return Result(self._place(end), number, None, (self._place(base), own), steps, attached)


def _base(result: Any) -> Node | None:
    """The node of what a traced result looks at."""
    view = result._view
    node: Node | None = None if view is None or view.base._value is not None else view.base.node
    return node


# -- whether it gives the same ---------------------------------------------------------------------


def _alike(one: Any, other: Any) -> bool:
    """Whether two results have the same bits, in the same order in memory, and nodes alike."""
    a, b = one._value, other._value
    same = a.dtype == b.dtype and a.shape == b.shape and a.strides == b.strides
    if not same or a.tobytes() != b.tobytes() or one.requires_grad != other.requires_grad:
        return False
    if (one._view is None) != (other._view is None):
        return False
    return not one.requires_grad or _same_history(graph_node(one), graph_node(other))


def _same_history(one: Node, other: Node) -> bool:
    """Whether two nodes were made by the same primitives, down to the same leaves; what has no
    gradient may have come about in another way.
    """
    pairs = [(one, other)]
    seen: dict[Node, Node] = {}
    while pairs:
        a, b = pairs.pop()
        if a is b:
            continue
        if a in seen:
            if seen[a] is not b and (_asked(a) or _asked(b)):
                return False
            continue
        seen[a] = b
        if a.type != b.type or not _same_bits(a.value, b.value):
            return False
        if not a.inputs or not b.inputs:
            if _asked(a) or _asked(b):
                return False
            continue
        alike = a.primitive is b.primitive and dict(a.params) == dict(b.params)
        called = getattr(a, "function", None) == getattr(b, "function", None)
        if not alike or not called or len(a.inputs) != len(b.inputs):
            if not (_asked(a) or _asked(b)):
                continue
            return False
        pairs += zip(a.inputs, b.inputs, strict=True)
    return True


def _asked(node: Node) -> bool:
    """Whether a leaf that a node was made of asked for a gradient."""
    return any(one.params.get("asked") for one in topological((node,)) if not one.inputs)


def _same_bits(a: Array | None, b: Array | None) -> bool:
    return a is None or b is None or a.tobytes() == b.tobytes()


__all__ = ["Recipe", "call"]
