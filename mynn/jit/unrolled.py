"""Python loops that stand written out in a trace, though all their rounds are alike.

    for t in range(64):
        h = torch.tanh(x[:, t] @ w + h @ u)

gives 64 copies of the same nodes, which all passes and LLVM go through, and those of the gradient.
A round is found by a node that reads a piece of state (u) and what came of the round before; layers
one behind the other have state of their own each.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from mynn.base import notices
from mynn.core.graph import INPUT, Node
from mynn.jit.stage import Staged
from mynn.ops import movement

# From so many alike rounds on something is said.
ROUNDS = 16

_SEEN_THROUGH = (movement.transpose, movement.reshape, movement.broadcast_to)


def warn_of_unrolled(staged: Staged) -> None:
    """Say at which line a long loop stands, and how it is written as one."""
    found = longest(staged.graph.nodes(), frozenset(staged.state_nodes))
    if found is None:
        return
    rounds, source = found
    file, _, line = source.rpartition(":")
    notices.warn(
        "unrolled",
        f"a loop goes through this line {rounds} times while the function is traced: the program "
        "has as many copies of it, and takes long to compile. Write the loop with mynn.scan, "
        "h, ys = mynn.scan(lambda h, x: (cell(x, h), h), h, xs) with the steps along the first "
        "axis of xs, or with mynn.fori_loop: its body is compiled once",
        notices.Place(file, int(line)),
    )


def longest(nodes: Iterable[Node], state: frozenset[Node]) -> tuple[int, str] | None:
    """How many rounds the longest of such loops has, and its line; None below `ROUNDS`."""
    order = list(nodes)
    alike: dict[Hashable, list[Node]] = {}
    for node in order:
        if node.source is not None and len(node.inputs) > 1:
            shared = tuple([root if (root := _root(x)) in state else None for x in node.inputs])
            if any(shared):
                key = node.source, node.primitive, node.type, shared
                alike.setdefault(key, []).append(node)
    best: tuple[int, str] | None = None
    for some in alike.values():
        if len(some) >= max(ROUNDS, best[0] + 1 if best else 0):
            rounds = _chain(order, frozenset(some))
            source = some[0].source
            if rounds >= ROUNDS and source is not None and (best is None or rounds > best[0]):
                best = rounds, source
    return best


def _root(node: Node) -> Node | None:
    """The leaf whose values a node moves or repeats."""
    while node.primitive in _SEEN_THROUGH:
        node = node.inputs[0]
    return node if node.primitive is INPUT else None


def _chain(order: Iterable[Node], some: frozenset[Node]) -> int:
    """The most of some nodes that depend on one another, each on the one before."""
    depth: dict[Node, int] = {}
    most = 0
    for node in order:
        own = max([depth[x] for x in node.inputs], default=0) + (node in some)
        depth[node] = own
        most = max(most, own)
    return most
