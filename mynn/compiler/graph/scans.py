"""Scans: those that do the same steps become one, and lose what nobody wants. One step is no loop.

A gradient needs more of a forward scan than its results: the scan stands in the graph once more,
with a body that gives them too (`mynn.tensor.gradients.control`). The bodies have nodes in common,
so one scan with the outputs of both is enough.

Before:
    %0: (f32[8], f32[20,8]) = scan(%init, %x) body=.. return %c, %c
    %1: (f32[8], f32[20,8], f32[20,8]) = scan(%init, %x) body=.. return %c, %c, %gates
    %2: f32[20,8] = part(%0) number=1
    %3: f32[20,8] = part(%1) number=2
After:
    %0: (f32[8], f32[20,8], f32[20,8]) = scan(%init, %x) body=.. return %c, %c, %gates
    %1: f32[20,8] = part(%0) number=1
    %2: f32[20,8] = part(%0) number=2

A carry that no step changes is a constant; one that nothing depends on that somebody wants is left
out, with the inputs that only it needed. What stands twice among inputs or outputs stands there
once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping

from mynn.base.dataclass import dataclass
from mynn.core.graph import Graph, Node, apply, substituted, topological
from mynn.core.rewrite import rebuild
from mynn.ops import control, movement


def join_scans(graph: Graph) -> Graph:
    """One scan for those with the same steps, with the outputs that are wanted alone; none for one
    step.
    """
    wanted: dict[Hashable, dict[Node | _Last, None]] = {}
    scans: dict[Hashable, dict[Node, None]] = {}
    for node in graph.nodes():
        if _is_part(node):
            scan = node.inputs[0]
            key = _key(scan)
            scans.setdefault(key, {})[scan] = None
            wanted.setdefault(key, {})[_output(node)] = None
    if any(scan.params["length"] == 1 for some in scans.values() for scan in some):
        return join_scans(_without_loops_of_one(graph))
    plans = {key: _planned(next(iter(some)), wanted[key]) for key, some in scans.items()}
    if all(len(scans[key]) == 1 and not plan.changes for key, plan in plans.items()):
        return graph
    made: dict[Hashable, Node] = {}

    def rule(old: Node, new: Node) -> Node | None:
        if not _is_part(old):
            return None
        key = _key(old.inputs[0])
        plan, operands = plans[key], new.inputs[0].inputs
        if key not in made:
            made[key] = plan.scan(operands, old.inputs[0].source)
        return plan.part(made[key], operands, old)

    return rebuild(graph, rule)


def _without_loops_of_one(graph: Graph) -> Graph:
    """The only step of a scan stands in the graph, as when a network reads one more character."""
    made: dict[Node, list[Node]] = {}

    def rule(old: Node, new: Node) -> Node | None:
        if not _is_part(old) or old.inputs[0].params["length"] != 1:
            return None
        scan = new.inputs[0]
        if scan not in made:
            made[scan] = _only_step(scan)
        number: int = old.params["number"]
        return made[scan][number]

    return rebuild(graph, rule)


def _only_step(scan: Node) -> list[Node]:
    """What the parts of a scan of one step are."""
    body, carry, sequences = (scan.params[name] for name in ("body", "carry", "sequences"))
    given = list(scan.inputs)
    for i in range(carry, carry + sequences):
        given[i] = apply(movement.reshape, given[i], shape=given[i].shape[1:])
    results = substituted(body.outputs, dict(zip(body.inputs, given, strict=True)))
    stacked = [apply(movement.reshape, one, shape=(1, *one.shape)) for one in results[carry:]]
    return [*results[:carry], *stacked]


def _is_part(node: Node) -> bool:
    return node.primitive is control.part and node.inputs[0].primitive is control.scan


def _key(scan: Node) -> Hashable:
    """What scans have in common that can be one."""
    params = {name: value for name, value in scan.params.items() if name != "body"}
    body = scan.params["body"]
    carried = body.outputs[: params["carry"]]
    return scan.inputs, body.inputs, carried, tuple(params.items())


@dataclass(frozen=True)
class _Last:
    """The last value of a carry, by the carry's input."""

    node: Node


def _output(part: Node) -> Node | _Last:
    """What a part is: the last value of a carry, or the values of a node of the body."""
    params, number = part.inputs[0].params, part.params["number"]
    body: Graph = params["body"]
    return _Last(body.inputs[number]) if number < params["carry"] else body.outputs[number]


@dataclass(frozen=True)
class _Plan:
    """What becomes of scans with the same steps.

    - `carried`, `steps`, `fixed`: the numbers of the operands that are left, by what they are;
      `twins`: for inputs of the body that are given what another one is, that one.
    - `results`: the outputs of the steps that are wanted.
    - `unchanged`: carries that no step changes.
    """

    body: Graph
    params: Mapping[str, object]
    carried: tuple[int, ...]
    steps: tuple[int, ...]
    fixed: tuple[int, ...]
    results: tuple[Node, ...]
    unchanged: frozenset[int]
    twins: Mapping[Node, Node]
    changes: bool

    def scan(self, operands: tuple[Node, ...], source: str | None) -> Node:
        """The one scan, on these operands of the old ones."""
        numbers = (*self.carried, *self.steps, *self.fixed)
        outputs = (*(self.body.outputs[j] for j in self.carried), *self.results)
        inputs = tuple([self.body.inputs[i] for i in numbers])
        body = Graph(inputs, substituted(outputs, self.twins))
        params = {**self.params, "carry": len(self.carried), "sequences": len(self.steps)}
        given = [operands[i] for i in numbers]
        return apply(control.scan, *given, source=source, body=body, **params)

    def part(self, scan: Node, operands: tuple[Node, ...], old: Node) -> Node:
        """What stands in the place of a part of an old scan."""
        number, before = old.params["number"], old.inputs[0].params
        if number < before["carry"]:
            if number in self.unchanged or not before["length"]:
                operand: Node = operands[number]
                return operand
            return apply(control.part, scan, number=self.carried.index(number))
        place = self.results.index(before["body"].outputs[number])
        return apply(control.part, scan, number=len(self.carried) + place)


def _planned(scan: Node, wanted: Iterable[Node | _Last]) -> _Plan:
    params = dict(scan.params)
    body: Graph = params.pop("body")
    carry, sequences = params["carry"], params["sequences"]
    unchanged = frozenset(j for j in range(carry) if body.outputs[j] is body.inputs[j])
    lasts = {one.node for one in wanted if isinstance(one, _Last)}
    results = tuple([one for one in wanted if isinstance(one, Node)])
    needed = {j for j in range(carry) if body.inputs[j] in lasts}
    while True:  # a carry is needed where a needed value depends on it
        heads = (*results, *(body.outputs[j] for j in needed))
        reached = set(topological(heads))
        more = {j for j in range(carry) if body.inputs[j] in reached}
        if more <= needed:
            break
        needed |= more
    twins: dict[Node, Node] = {}
    firsts: dict[Hashable, Node] = {}
    kept: list[int] = []
    for number, node in enumerate(body.inputs):
        if number >= carry and node in reached:
            kind = number < carry + sequences
            first = firsts.setdefault((kind, scan.inputs[number]), node)
            if first is node:
                kept.append(number)
            else:
                twins[node] = first
    carried = tuple(sorted(needed - unchanged))
    steps = tuple([i for i in kept if i < carry + sequences])
    fixed = (*sorted(needed & unchanged), *(i for i in kept if i >= carry + sequences))
    old = carry, sequences, len(body.inputs), len(body.outputs)
    new = (
        len(carried),
        len(steps),
        len(carried) + len(steps) + len(fixed),
        len(carried) + len(results),
    )
    changes = old != new or not params["length"]
    return _Plan(body, params, carried, steps, fixed, results, unchanged, twins, changes)
