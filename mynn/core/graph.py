"""The graph: typed nodes, each the application of a primitive to other nodes.

Grammar (as `format_graph` prints it):

    graph  ::= "graph(" {input} ") {" {node} ["check" {name}] "return" {name} "}"
    input  ::= name ":" type
    node   ::= name ":" type "=" primitive "(" {name} ")" {param "=" value}
    value  ::= number | text | graph
    type   ::= dtype "[" {extent ","} "]" | "(" {type ","} ")"

A parameter that is a graph is a *body*: what a loop (`mynn.ops.control`) runs in each step. It sees
nothing of the graph around it; what it needs comes in through its inputs.

Invariants, held by `verify`: nodes are in topological order and acyclic (they are immutable, so
this holds by construction); every node's type is what its primitive's shape rule says; every leaf
is an input or a constant; every check is a single truth value. Bodies keep to them too, and have no
checks.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from mynn.base.dataclass import dataclass
from mynn.base.lazy import lazy
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Array, Shape, Type
from mynn.errors import VerifyError

_serial = itertools.count()


class Node:
    """An immutable application of a primitive to nodes.

    - `value` is set for constants, and for the nodes of eager computations, where it is what the
      node evaluated to.
    - `source` is the place in the user's code that made the node, for error messages.
    - `function` is the name of the public function that made it, `hooks` what is called with its
      cotangent (`mynn.base.hooks`), `sharers` are leaves that have its value without its history;
      all three are mostly not set.
    - `kind` is what nodes of the same types share (`mynn.core.kinds`), where somebody looked it up.
    """

    # Not set where nothing is known of them.
    function: str
    hooks: Any
    sharers: weakref.WeakSet[Node]

    __slots__ = (
        "__weakref__",
        "function",
        "hooks",
        "inputs",
        "kind",
        "name",
        "params",
        "primitive",
        "serial",
        "sharers",
        "source",
        "type",
        "value",
    )

    def __init__(
        self,
        primitive: Primitive,
        inputs: tuple[Node, ...],
        params: Mapping[str, Any],
        type: Type,
        value: Array | None = None,
        name: str | None = None,
        source: str | None = None,
    ) -> None:
        self.primitive = primitive
        self.inputs = inputs
        self.params = params
        self.type = type
        self.value = value
        self.name = name
        self.source = source
        self.kind: Any = None
        self.serial = next(_serial)

    @property
    def shape(self) -> Shape:
        """Shape of the value."""
        return self.type.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the value."""
        return self.type.dtype

    def __repr__(self) -> str:
        return f"<{self.primitive.name} {self.type}>"


def next_serial() -> int:
    """A number between those of the nodes that were made and of those that will be."""
    return next(_serial)


def apply(primitive: Primitive, *inputs: Node, source: str | None = None, **params: Any) -> Node:
    """A new node: `primitive` applied to `inputs`, typed by the primitive's shape rule."""
    result = primitive.infer(*(node.type for node in inputs), **params)
    return Node(primitive, inputs, params, result, source=source)


def _leaf_samples(rng: np.random.Generator) -> list[Sample]:
    return []


def _leaf_infer(*types: Type, **params: Any) -> Type:
    raise VerifyError("a leaf has no shape rule: its type is given when it is made")


def _leaf_numpy(*arrays: Any, **params: Any) -> Any:
    raise VerifyError("an input has no value of its own: evaluate the graph with its inputs bound")


INPUT = Primitive("input", _leaf_infer, _leaf_numpy, None, _leaf_samples)
CONSTANT = Primitive("constant", _leaf_infer, _leaf_numpy, None, _leaf_samples)


def input_node(type: Type, name: str | None = None) -> Node:
    """A placeholder whose value is bound when the graph runs."""
    return Node(INPUT, (), {}, type, name=name)


def constant(value: Any, dtype: Any = None) -> Node:
    """A node whose value is fixed: a read-only copy of `value`."""
    array = np.array(value, dtype=dtype)
    array.flags.writeable = False
    return Node(CONSTANT, (), {}, Type.of(array), value=array)


@dataclass(frozen=True)
class Graph:
    """A function from `inputs` to `outputs`; the nodes in between are reached from the outputs,
    and no further than the inputs.

    It has no value where one of the `checks` is true (`mynn.ops.checks`).

    Example:
        >>> from mynn.ops.elementwise import tanh
        >>> x = input_node(Type((2, 3), np.dtype("float32")), "x")
        >>> print(Graph((x,), (apply(tanh, x),)))
        graph(%x: f32[2,3]) {
          %0: f32[2,3] = tanh(%x)
          return %0
        }
    """

    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    checks: tuple[Node, ...] = ()

    def nodes(self) -> list[Node]:
        """Every node in topological order, the declared inputs first."""
        return list(self._nodes)

    @lazy
    def _nodes(self) -> tuple[Node, ...]:
        return (*self.inputs, *topological((*self.checks, *self.outputs), known=self.inputs))

    def __str__(self) -> str:
        return format_graph(self)


def topological(
    outputs: Iterable[Node],
    stop: Callable[[Node], bool] | None = None,
    inside: Callable[[Node], Node | None] | None = None,
    known: Iterable[Node] = (),
) -> list[Node]:
    """Nodes reachable from `outputs`, each after its inputs; past `stop(node)` none is entered.

    A node that stands for others (`inside`) comes after the one that it stands for. Those that are
    `known` are left out, with what is reached through them alone.
    """
    order: list[Node] = []
    done = set(known)
    stack = [*outputs][::-1]
    if stop is None and inside is None:  # most walks, and the longest
        while stack:
            node = stack[-1]
            if node not in done:
                missing = [x for x in node.inputs if x not in done]
                if missing:
                    stack += missing[::-1]
                    continue
                done.add(node)
                order.append(node)
            stack.pop()
        return order
    while stack:
        node = stack[-1]
        if node not in done:
            inputs = () if stop is not None and stop(node) else node.inputs
            if inside is not None and (inner := inside(node)) is not None:
                inputs = (inner,)
            missing = [x for x in inputs if x not in done]
            if missing:
                stack += missing[::-1]
                continue
            done.add(node)
            order.append(node)
        stack.pop()
    return order


def bodies_of(node: Node) -> list[Graph]:
    """The graphs among the parameters of a node."""
    return [value for value in node.params.values() if isinstance(value, Graph)]


def substituted(outputs: Iterable[Node], known: Mapping[Node, Node]) -> tuple[Node, ...]:
    """`outputs` made anew of other nodes in the place of those that are `known`."""
    outputs = tuple(outputs)
    new = dict(known)
    for node in topological(outputs, stop=new.__contains__):
        inputs = tuple([new[x] for x in node.inputs]) if node not in new else ()
        if inputs != node.inputs and node not in new:
            new[node] = Node(
                node.primitive, inputs, node.params, node.type, None, node.name, node.source
            )
        new.setdefault(node, node)
    return tuple([new[node] for node in outputs])


def verify(graph: Graph) -> None:
    """Raise `VerifyError` where the graph breaks an invariant of this module."""
    declared = set(graph.inputs)
    if len(declared) != len(graph.inputs):
        raise VerifyError("an input is declared twice")
    for node in graph.checks:
        if node.type != Type((), np.dtype(bool)):
            raise VerifyError(f"a check is a single truth value, {node!r} is none")
    for node in graph.nodes():
        if node.primitive is INPUT:
            if node not in declared:
                raise VerifyError(f"input {node.name or node!r} is used but not declared")
        elif node.primitive is CONSTANT:
            if node.value is None or Type.of(node.value) != node.type:
                raise VerifyError(f"constant {node!r} does not hold a value of its type")
        elif node not in declared:
            expected = node.primitive.infer(*(x.type for x in node.inputs), **node.params)
            if expected != node.type:
                raise VerifyError(f"{node!r} has type {node.type}, its shape rule says {expected}")
            for body in bodies_of(node):
                if body.checks:
                    raise VerifyError(f"the body of {node!r} has checks")
                verify(body)


def node_names(graph: Graph) -> dict[Node, str]:
    """A short unique printed name for each node: its own if it has one, otherwise `%0`, `%1`..."""
    names: dict[Node, str] = {}
    taken: set[str] = set()
    count = itertools.count()
    for node in graph.nodes():
        name = f"%{node.name}" if node.name else f"%{next(count)}"
        while name in taken:
            name = f"{name}.{next(count)}"
        taken.add(name)
        names[node] = name
    return names


def _format_value(value: Array) -> str:
    if value.size <= 4:
        return str(value.tolist())
    flat = value.reshape(-1)
    return f"[{flat[0]}, {flat[1]}, ... {value.size} values]"


def _indented(value: Any) -> str:
    """A parameter as text; of a body, lines as deep as those of the node."""
    return str(value).replace("\n", "\n  ") if isinstance(value, Graph) else str(value)


def format_graph(graph: Graph) -> str:
    """The graph as text, one node a line, in the grammar of this module."""
    names = node_names(graph)
    head = ", ".join(f"{names[node]}: {node.type}" for node in graph.inputs)
    lines = [f"graph({head}) {{"]
    for node in graph.nodes():
        if node in graph.inputs:
            continue
        if node.primitive is CONSTANT and node.value is not None:
            lines.append(f"  {names[node]}: {node.type} = constant {_format_value(node.value)}")
            continue
        arguments = ", ".join(names[x] for x in node.inputs)
        params = "".join(f" {key}={_indented(value)}" for key, value in node.params.items())
        lines.append(f"  {names[node]}: {node.type} = {node.primitive.name}({arguments}){params}")
    if graph.checks:
        lines.append(f"  check {', '.join(names[node] for node in graph.checks)}")
    lines.append(f"  return {', '.join(names[node] for node in graph.outputs)}")
    lines.append("}")
    return "\n".join(lines)
