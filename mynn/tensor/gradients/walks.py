"""Whole walks back as one program.

A loop walks back over the same graph in each step: nodes of the same kinds, joined in the same way.
Where that has come often enough, the rules of all nodes are traced together, with the sums of what
meets, and run as one straight program from the cotangent of the output to those of the leaves. The
primitives are those of `autodiff.reverse`, in its order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from mynn.core import autodiff
from mynn.core.graph import Graph, Node, input_node
from mynn.core.kinds import quietly
from mynn.core.types import Array
from mynn.errors import MynnError
from mynn.tensor.at_once.straight import Straight
from mynn.tensor.gradients import history
from mynn.tensor.gradients.grad_mode import no_grad
from mynn.tensor.value import Value
from mynn.trace import tracing

# A walk comes so often before it is traced, and has at most so many nodes.
OFTEN, LONG = 8, 2000
# So many walks are remembered; then all are forgotten.
MOST = 256
# After so many in a row that were new, only one in `RARELY` is looked at.
IN_VAIN, RARELY = 64, 16


class Walk(NamedTuple):
    """A program from cotangents of outputs to those of leaves.

    - `needed`: whose values it uses: the place of a node in the order, and the number of one of its
      inputs, or -1 for the node itself.
    - `leaves`: the places of leaves in the order.
    """

    run: Callable[[Sequence[Any]], list[Array]]
    needed: tuple[tuple[int, int], ...]
    leaves: tuple[int, ...]

    def follow(self, order: Sequence[Node], seeds: Mapping[Node, Array]) -> dict[Node, Any] | None:
        """The cotangents of leaves; None where a value that it needs was changed since."""
        values: list[Any] = list(seeds.values())
        for place, number in self.needed:
            node = order[place] if number < 0 else order[place].inputs[number]
            value = node.value
            if node.primitive.view or not node.inputs:
                value = history.present(node)
            if value is None:
                return None
            values.append(value)
        found = quietly(self.run, values)
        return {order[place]: g for place, g in zip(self.leaves, found, strict=True)}


_walks: dict[Hashable, Walk | int | None] = {}
# How many walks in a row were new.
_vain = [0]


def is_worth() -> bool:
    """Whether it is worth while to tell a walk from others."""
    if _vain[0] < IN_VAIN:
        return True
    _vain[0] += 1
    return _vain[0] % RARELY == 0


def walk_of(
    key: Hashable, order: Sequence[Node], places: Mapping[Node, int], seeds: Mapping[Node, Array]
) -> Walk | None:
    """The program of a walk that is told by its key, where it has come often."""
    known = _walks.get(key, 0)
    if not isinstance(known, int):
        _vain[0] = 0
        return known
    _vain[0] = 0 if known else _vain[0] + 1
    if len(_walks) >= MOST:
        _walks.clear()
    if known + 1 < OFTEN or len(order) > LONG:
        _walks[key] = known + 1
        return None
    try:
        made = tracing.tidy(lambda: _traced(order, places, seeds))
    except MynnError:  # what is wrong shows where rules are applied
        made = None
    _walks[key] = made
    return made


def _traced(
    order: Sequence[Node], places: Mapping[Node, int], seeds: Mapping[Node, Array]
) -> Walk | None:
    met: dict[Node, tuple[int, int]] = {node: (place, -1) for node, place in places.items()}
    for place, node in enumerate(order):
        for number, x in enumerate(node.inputs):
            met.setdefault(x, (place, number))
    leaves = [node for node in order if places.keys().isdisjoint(node.inputs)]
    wrapped: dict[Node, Any] = {}

    def wrap(node: Node) -> Any:
        if node not in wrapped:
            wrapped[node] = Value.from_node(input_node(node.type))
        return wrapped[node]

    with no_grad(), tracing.tracing() as trace:
        trace.named = False
        given: dict[Node, Any] = {node: Value.from_node(input_node(node.type)) for node in seeds}
        reached = autodiff.reverse(given, frozenset(leaves).__contains__, wrap, keep_rows=True)
        leaves = [node for node in leaves if node in reached]
        found = [reached[node] for node in leaves]
        if trace.checks or trace.reads or not all(isinstance(g, Value) for g in found):
            return None
        outputs = [history.graph_node(g) for g in found]
    values = [one.node for one in wrapped.values()]
    if not set(outputs).isdisjoint(values):
        return None  # a value would be a gradient, and might be changed
    program = Straight(Graph((*(one.node for one in given.values()), *values), tuple(outputs)))
    used = program.used[len(given) :]
    if not all(used):
        kept = [node for node, one in zip(wrapped, used, strict=True) if one]
        inputs = (*(one.node for one in given.values()), *(wrapped[node].node for node in kept))
        program = Straight(Graph(inputs, tuple(outputs)))
    else:
        kept = list(wrapped)
    return Walk(
        program.run, tuple([met[node] for node in kept]), tuple([places[n] for n in leaves])
    )


__all__ = ["Walk", "is_worth", "walk_of"]
