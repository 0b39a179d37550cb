"""Batching: a graph of one example becomes a graph of many, which lie along a new first axis.

The rules live with the primitives (`Primitive.batch`). Elementwise ones need none. Most others say
how their parameters change where every input has an axis more in front:

    sum(x) axes=(1,)   ->   sum(xs) axes=(2,)

and those for which that is not all, or not the best, build the batch themselves. What depends on no
example stays as it is, and is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mynn.core.graph import Node, apply, topological
from mynn.core.primitive import Change
from mynn.errors import UsageError


def further(axes: Any, size: int) -> Any:
    """An axis, or several, of an array that has one more in front."""
    return axes + 1 if isinstance(axes, int) else tuple(axis + 1 for axis in axes)


def with_first(value: Any) -> Change:
    """An entry for each axis, and `value` for the first; None stands for the size of the batch."""
    return lambda entries, size: (size if value is None else value, *entries)


def batch(
    outputs: Iterable[Node],
    examples: Mapping[Node, Node],
    size: int,
    spread: Callable[[Node, int], Node],
    draws: bool = False,
) -> dict[Node, Node]:
    """The nodes that depend on an example, each with the node of all `size` examples.

    - `examples`: nodes that stand for one example, with those of all. They are older than whatever
      depends on them, so that no older node is looked at.
    - `spread(node, size)`: the value of a node, repeated along a new first axis.
    - `draws`: whether what is drawn at random depends on the example too.

    Raises:
        UsageError: a primitive has no rule.
    """
    batched = dict(examples)
    first = min(node.serial for node in examples)
    repeated: dict[Node, Node] = {}

    def in_front(node: Node) -> Node:
        if node not in batched and node not in repeated:
            repeated[node] = spread(node, size)
        return batched[node] if node in batched else repeated[node]

    for node in topological(outputs, stop=lambda node: node.serial < first):
        mapped = tuple(x in batched for x in node.inputs)
        drawn = draws and node.primitive.draws and node.serial > first
        if node in batched or not (any(mapped) or drawn):
            continue
        primitive, rule = node.primitive, node.primitive.batch
        if rule is None and primitive.elementwise:
            rule = {}
        if rule is None:
            raise UsageError(
                f"{primitive.name} cannot be computed for many examples at once"
                + (f" (made at {node.source})" if node.source else "")
                + ": it has no batching rule; call the function for each example"
            )
        if isinstance(rule, Mapping):
            changed = {name: change(node.params[name], size) for name, change in rule.items()}
            params = {**node.params, **changed}
            new = apply(primitive, *map(in_front, node.inputs), **params)
        else:
            new = rule(size, mapped, *(batched.get(x, x) for x in node.inputs), **node.params)
        new.source = node.source
        batched[node] = new
    return batched
