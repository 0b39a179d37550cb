"""A recipe: the primitives of a call of a public function, and the nodes that remember them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mynn.core.graph import INPUT, Node
from mynn.core.kinds import Kind, quietly
from mynn.core.types import Array, Shape, Type
from mynn.tensor.at_once.straight import Straight
from mynn.tensor.checks import is_wrong
from mynn.tensor.gradients.history import graph_node
from mynn.tensor.tensor import Tensor
from mynn.tensor.value import Step
from mynn.tensor.view import can_view, look


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
    - `looked`: the numbers of the arguments at which results look by reshapes, with the shape
      where it is one: whether a reshape looks at a view depends on what that looks at.
    """

    program: Straight
    checks: tuple[tuple[int, Mapping[str, Any]], ...]
    arguments: tuple[int, ...]
    constants: tuple[Node, ...]
    made: tuple[Made, ...]
    results: tuple[Result, ...]
    kind: type | None
    looked: tuple[tuple[int, Shape | None], ...]

    def cook(self, tensors: Sequence[Any], values: list[Any]) -> Any:
        """The results for tensors with these values; None where a check fails, or where a result
        would look at what looks at something else.
        """
        for number, shape in self.looked:
            tensor = tensors[number]
            if tensor._view is not None and (shape is None or not can_view(tensor, shape)):
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


__all__ = ["Made", "Recipe", "Result"]
