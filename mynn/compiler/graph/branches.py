"""Branches: those whose predicate is known are written out, others lose what nobody wants.

Before:
    %0: (f32[8], f32[8]) = cond(%p, %x, %w) true=.. return %a, %b  false=.. return %c, %d
    %1: f32[8] = part(%0) number=1
After, where %b and %d need no %w:
    %0: (f32[8]) = cond(%p, %x) true=.. return %b  false=.. return %d
    %1: f32[8] = part(%0) number=0
"""

from __future__ import annotations

from mynn.core.graph import CONSTANT, Graph, Node, apply, substituted, topological
from mynn.core.rewrite import rebuild
from mynn.ops import branches, control


def prune_branches(graph: Graph) -> Graph:
    """No branches on what is known, and of the others the results and operands that are wanted."""
    wanted: dict[Node, set[int]] = {}
    for node in graph.nodes():
        if _is_part(node):
            wanted.setdefault(node.inputs[0], set()).add(node.params["number"])
    if not any(_changes(node, numbers) for node, numbers in wanted.items()):
        return graph
    made: dict[Node, dict[int, Node]] = {}

    def rule(old: Node, new: Node) -> Node | None:
        if not _is_part(old):
            return None
        branch = old.inputs[0]
        if branch not in made:
            made[branch] = _made(branch, new.inputs[0].inputs, sorted(wanted[branch]))
        return made[branch][old.params["number"]]

    return rebuild(graph, rule)


def _is_part(node: Node) -> bool:
    return node.primitive is control.part and node.inputs[0].primitive is branches.cond


def _is_known(branch: Node) -> bool:
    return branch.inputs[0].primitive is CONSTANT


def _sides(branch: Node) -> tuple[Graph, Graph]:
    return branch.params["true"], branch.params["false"]


def _needed(branch: Node, numbers: list[int]) -> list[int]:
    """Which operands the results of these numbers depend on, in either branch."""
    found: set[int] = set()
    for body in _sides(branch):
        reached = set(topological([body.outputs[number] for number in numbers]))
        found |= {number for number, node in enumerate(body.inputs) if node in reached}
    return sorted(found)


def _changes(branch: Node, numbers: set[int]) -> bool:
    body = branch.params["true"]
    fewer = len(numbers) < len(body.outputs)
    return _is_known(branch) or fewer or len(_needed(branch, [*numbers])) < len(body.inputs)


def _made(branch: Node, inputs: tuple[Node, ...], numbers: list[int]) -> dict[int, Node]:
    """What stands in the place of the results of these numbers."""
    predicate, *operands = inputs
    if _is_known(branch):
        body = branch.params["true" if predicate.value else "false"]
        results = [body.outputs[number] for number in numbers]
        known = dict(zip(body.inputs, operands, strict=True))
        return dict(zip(numbers, substituted(results, known), strict=True))
    needed = _needed(branch, numbers)
    bodies = [
        Graph(
            tuple([body.inputs[number] for number in needed]),
            tuple([body.outputs[number] for number in numbers]),
        )
        for body in _sides(branch)
    ]
    given = [operands[number] for number in needed]
    new = apply(
        branches.cond, predicate, *given, source=branch.source, true=bodies[0], false=bodies[1]
    )
    return {number: apply(control.part, new, number=at) for at, number in enumerate(numbers)}
