"""The walk back over eager nodes, on arrays.

`autodiff.reverse` applies rules to tensors, so that gradients can be differentiated again. Where
nobody asks for that, what a rule comes to is traced once for each kind of node, and run on arrays
from then on (`mynn.tensor.at_once.straight`): the same primitives in the same order, and the same
bits.

A rule that cannot be traced alone (a function of the user's, a loop, a program of a tape) is
applied to tensors, here too, and so is one that needs a value that was changed since.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mynn.core.autodiff import apply_rule, cotangents_of_parts, differentiable
from mynn.core.graph import Graph, Node, input_node
from mynn.core.kinds import Kind, quietly
from mynn.core.placed import Placed, total
from mynn.core.rows import Rows
from mynn.core.types import Array, Tuple
from mynn.errors import MynnError
from mynn.tensor.at_once.straight import Straight
from mynn.tensor.gradients import history, walks
from mynn.tensor.gradients.grad_mode import no_grad
from mynn.tensor.value import Value
from mynn.tensor.view import value_of
from mynn.trace import tracing

# A kind of node is met so often before its rule is traced.
OFTEN = 2


class Part(NamedTuple):
    """What becomes of an output of a program: the cotangent of an input, or a slice of it."""

    input: int
    placed: tuple[Any, ...] | None


class Back:
    """The rule of a kind of node as a program from g, y and the inputs to their cotangents."""

    __slots__ = ("parts", "run", "used")

    def __init__(self, program: Straight, parts: Sequence[Part]) -> None:
        self.run = program.run
        self.parts = tuple(parts)
        # The inputs of the node by their number, and y as -1, whose values are needed.
        self.used = tuple([i - 2 for i, used in enumerate(program.used) if used and i])


def reverse(
    seeds: Mapping[Node, Array], wanted: Callable[[Node], bool], keep_rows: bool = False
) -> dict[Node, Any]:
    """Cotangents of the wanted leaves, as `autodiff.reverse` finds them.

    They are arrays; `Rows` of tensors where these are kept; a tensor without a value where one
    would be needed that was changed since.
    """
    order, active, key = _order(tuple(seeds), wanted)
    if key is not None:
        walk = walks.walk_of(key, order, active, seeds)
        whole = None if walk is None else walk.follow(order, seeds)
        if whole is not None:
            return whole
    parts: dict[Node, list[Any]] = {node: [g] for node, g in seeds.items() if node in active}
    found: dict[Node, Any] = {}
    for node in reversed(order):
        arrived = parts.pop(node, None)
        if arrived is None:
            continue
        g = arrived[0]
        if len(arrived) > 1 or type(g) is not np.ndarray:
            g = _total(node, arrived, keep_rows and not node.inputs)
        which, bit = 0, 1
        for x in node.inputs:
            if x in active:
                which |= bit
            bit <<= 1
        if which:
            _hand_on(node, g, which, parts)
        else:
            found[node] = g
    return found


def _order(
    ends: tuple[Node, ...], wanted: Callable[[Node], bool]
) -> tuple[list[Node], dict[Node, int], tuple[Any, ...] | None]:
    """Those nodes, in the order of `topological`, that a cotangent of a wanted leaf comes by, with
    their places; what tells this walk from others, or None.
    """
    order: list[Node] = []
    done: set[Node] = set()
    active: dict[Node, int] = {}
    key: list[Any] | None = [] if walks.is_worth() else None
    for end in ends:
        if not end.inputs and end not in done:
            done.add(end)
            if wanted(end):
                active[end] = len(order)
                order.append(end)
        way = [] if end in done else [end]
        while way:
            node = way[-1]
            for x in node.inputs:
                if x in done:
                    continue
                if x.inputs:
                    way.append(x)
                    break
                done.add(x)
                if wanted(x):
                    active[x] = len(order)
                    order.append(x)
            else:
                way.pop()
                done.add(node)
                places = [active.get(x) for x in node.inputs]
                if places.count(None) < len(places):
                    if key is not None:
                        key += (node.kind, len(order), *places)
                        key = None if node.kind is None else key
                    active[node] = len(order)
                    order.append(node)
    return order, active, None if key is None else (*key, *[active.get(one) for one in ends])


def _hand_on(node: Node, g: Any, which: int, parts: dict[Node, list[Any]]) -> None:
    """Apply the rule of a node: what arrives at its inputs is added to `parts`."""
    kind, inputs = node.kind, node.inputs
    back = None
    if kind is not None and type(g) is np.ndarray:
        back = kind.backs.get(which)
        if type(back) is not Back:
            back = _back(kind, which)
    arguments = None if back is None else _arguments(node, g, back)
    if back is None or arguments is None:
        for number, (x, part) in enumerate(zip(inputs, _by_rule(node, g, which), strict=True)):
            if part is not None and which >> number & 1 and differentiable(x):
                parts.setdefault(x, []).append(part)
        return
    for (number, placed), value in zip(back.parts, quietly(back.run, arguments), strict=True):
        x = inputs[number]
        part = value if placed is None else Placed(value, *placed)
        known = parts.get(x)
        if known is None:
            parts[x] = [part]
        else:
            known.append(part)


def _arguments(node: Node, g: Array, back: Back) -> list[Any] | None:
    """What the program is given; None where a value that it needs was changed since."""
    inputs = node.inputs
    arguments: list[Any] = [None] * (len(inputs) + 2)
    arguments[0] = g
    for number in back.used:
        x = node if number < 0 else inputs[number]
        value = x.value
        if x.primitive.view or not x.inputs:
            value = history.present(x)
        if value is None:
            return None
        arguments[number + 2] = value
    return arguments


def _by_rule(node: Node, g: Any, which: int) -> list[Any]:
    """The parts that the rule gives, applied to tensors."""
    if type(g) is np.ndarray:
        g = Value.from_value(g)
    return [_as_array(part) for part in apply_rule(node, node, g, history.wrap, which)]


def _as_array(part: Any) -> Any:
    """A tensor that has a value as an array."""
    value = value_of(part) if isinstance(part, Value) else None
    return part if value is None else value


def _total(node: Node, parts: list[Any], keep_rows: bool) -> Any:
    """The sum of what arrived at a node."""
    if isinstance(node.type, Tuple):
        return cotangents_of_parts(node.type, [_of_tensor(part) for part in parts])
    if all(type(part) is np.ndarray for part in parts):
        return quietly(_sum, parts)
    g = total([_of_tensor(part) for part in parts])
    if isinstance(g, Rows) and not keep_rows:
        g = g.dense()
    return _as_array(g)


def _sum(parts: list[Array]) -> Array:
    """Arrays of one type, added one after the other."""
    result = np.asarray(parts[0] + parts[1])
    for part in parts[2:]:
        result += part
    return result


def _of_tensor(part: Any) -> Any:
    """A part with a tensor where it has an array."""
    if type(part) is np.ndarray:
        return Value.from_value(part)
    if isinstance(part, Placed) and type(part.value) is np.ndarray:
        value: Any = Value.from_value(part.value)
        return Placed(value, part.shape, part.starts, part.steps)
    return part


# -- rules as programs -----------------------------------------------------------------------------


def _back(kind: Kind, which: int) -> Back | None:
    """The rule of a kind for these inputs; None where it is to be applied to tensors."""
    known: Back | int | None = kind.backs.get(which, 0)
    if isinstance(known, int):
        if known + 1 < OFTEN:
            kind.backs[which] = known + 1
            return None
        known = kind.backs[which] = _traced(kind, which)
    return known


def _traced(kind: Kind, which: int) -> Back | None:
    """The rule as a program; None where it is none of g, y and the inputs alone."""
    if kind.primitive.vjp is None or isinstance(kind.type, Tuple):
        return None
    try:
        return tracing.tidy(lambda: _program(kind, which))
    except MynnError:  # what is wrong shows where it is applied
        return None


def _program(kind: Kind, which: int) -> Back | None:
    inputs = [input_node(type) for type in (kind.type, kind.type, *kind.types)]
    with no_grad(), tracing.tracing() as trace:
        trace.named = False
        given: list[Any] = [Value.from_node(node) for node in inputs]
        assert kind.primitive.vjp is not None
        found = kind.primitive.vjp(*given, **kind.params)
        parts: list[Part] = []
        outputs: list[Node] = []
        for number, (type, part) in enumerate(zip(kind.types, found, strict=True)):
            if part is None or not which >> number & 1 or type.dtype.kind != "f":
                continue
            placed = None
            if isinstance(part, Placed):
                placed = (part.shape, part.starts, part.steps)
                part = part.value
            if not isinstance(part, Value):
                return None
            node = history.graph_node(part)
            if node in inputs[1:]:
                return None
            parts.append(Part(number, placed))
            outputs.append(node)
        if trace.checks or trace.reads:
            return None
    return Back(Straight(Graph(tuple(inputs), tuple(outputs))), parts)


__all__ = ["reverse"]
