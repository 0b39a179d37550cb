"""The order of the kernels, and which state is updated in place; on groups, before any is lowered.

The new value of a piece of state may be written over the old one where

- the kernel that computes it reads, of the old value, only the element that it writes, and
- every other kernel that needs the old value can run before.

Otherwise the new value has storage of its own and is copied at the end.

Before:   group 0 stores %new_w, and loads %w; group 1 loads %w
After:    group 1
          group 0     %new_w over %w

Expects a fusion. Guarantees: a step comes after those whose values it loads, one that overwrites
state after all that read the old value, and after those that make the status word.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field

from mynn.base.dataclass import dataclass
from mynn.compiler.fusion.groups import Fusion, Group, is_loop
from mynn.compiler.loop_ir.affine import Affine, Index
from mynn.compiler.lowering.base import canonical
from mynn.compiler.rules import rule_of
from mynn.compiler.rules.record import Concatenation, Elementwise, Movement, ScatterAlong
from mynn.core.graph import Graph, Node, node_names
from mynn.errors import VerifyError


@dataclass(frozen=True, eq=False)
class Step:
    """A kernel to be: the group of a number, or a copy of `node`, which is put into the result of a
    number, or keeps the old value of state.
    """

    reads: frozenset[Node]
    group: int | None = None
    node: Node | None = None
    result: int | None = None


@dataclass(frozen=True)
class Order:
    """Steps in order.

    - `in_place`: for each new value that is written over the old one, the state.
    - `direct`: for nodes that their kernels put into a result at once, its number.
    - `late`: state that is copied at the end, with its new value.
    """

    steps: tuple[Step, ...] = ()
    in_place: Mapping[Node, Node] = field(default_factory=dict)
    direct: Mapping[Node, int] = field(default_factory=dict)
    late: tuple[tuple[Node, Node], ...] = ()


def order_steps(
    fusion: Fusion, targets: Mapping[Node, Node], results: Sequence[Node], status: bool
) -> Order:
    """The steps of a program in order.

    `targets` gives for each piece of state the node that is its new value; `results` are the
    outputs that are handed to the caller, of which the last one may be the `status` word.
    """
    groups = [Step(frozenset(fusion.loads(g)), i) for i, g in enumerate(fusion.groups)]
    makers = {n: step for step in groups for n in fusion.groups[_number(step)].outputs}
    in_place: dict[Node, Node] = {}
    for state, node in targets.items():
        if node in makers and node not in in_place:
            step = makers[node]
            group = fusion.groups[_number(step)]
            if is_loop(group):
                continue
            if state not in step.reads or reads_own_element(fusion, group, node, state):
                in_place[node] = state
    while True:
        direct, copies = _results(results, fusion, in_place)
        old = dict.fromkeys(node for node in targets.values() if node in targets)
        copies += [Step(frozenset([node]), node=node) for node in old]
        steps = [*groups, *copies]
        last = len(results) - 1
        checks = {makers[n] for n, number in direct.items() if status and number == last}
        checks |= {step for step in copies if status and step.result == last}
        done, refused = _in_order(steps, makers, in_place, checks)
        if not refused:
            late = [(state, n) for state, n in targets.items() if in_place.get(n) is not state]
            return Order(tuple(done), in_place, direct, tuple(late))
        in_place = {node: state for node, state in in_place.items() if node not in refused}


def _number(step: Step) -> int:
    assert step.group is not None
    return step.group


def _results(
    results: Sequence[Node], fusion: Fusion, in_place: Mapping[Node, Node]
) -> tuple[dict[Node, int], list[Step]]:
    """Which results kernels write at once, and copies for the others."""
    direct: dict[Node, int] = {}
    copies: list[Step] = []
    for number, node in enumerate(results):
        if node in fusion.stored and node not in direct and node not in in_place:
            direct[node] = number
        else:
            copies.append(Step(frozenset([node]), node=node, result=number))
    return direct, copies


def _in_order(
    steps: Sequence[Step],
    makers: Mapping[Node, Step],
    in_place: Mapping[Node, Node],
    checks: set[Step],
) -> tuple[list[Step], set[Node]]:
    """Again and again the first step that may run; and the new values for which that cannot be, as
    what needs the old value needs the new one too.

    Where no step may run, one waits for nothing but readers of old values: it need not overwrite
    them.
    """
    readers: dict[Node, list[Step]] = {}
    for step in steps:
        for node in step.reads:
            readers.setdefault(node, []).append(step)
    needs: dict[Step, set[Step]] = {
        step: {makers[n] for n in step.reads if n in makers} - {step} for step in steps
    }
    waits: dict[Step, set[Step]] = {}
    refused: set[Node] = set()
    for node, state in in_place.items():
        writer = makers[node]
        if writer in checks:
            refused.add(node)
            continue
        found = waits.setdefault(writer, set())
        found |= {*readers.get(state, ()), *checks} - {writer}
    place = {step: number for number, step in enumerate(steps)}
    missing = {step: len(needs[step] | waits.get(step, set())) for step in steps}
    behind: dict[Step, list[Step]] = {step: [] for step in steps}
    for step in steps:
        for other in needs[step] | waits.get(step, set()):
            behind[other].append(step)
    ready = [place[step] for step in steps if not missing[step]]
    done: dict[Step, None] = {}
    while len(done) < len(steps):
        if not ready:
            free = _stuck(steps, needs, waits, done)
            missing[free] = 0
            for node, state in in_place.items():
                before = {*readers.get(state, ()), *checks} - {free}
                if makers[node] is free and any(other not in done for other in before):
                    refused.add(node)
            ready.append(place[free])
        step = steps[heapq.heappop(ready)]
        done[step] = None
        for other in behind[step]:
            missing[other] -= 1
            if not missing[other]:
                heapq.heappush(ready, place[other])
    return list(done), refused


def _stuck(
    steps: Sequence[Step],
    needs: Mapping[Step, set[Step]],
    waits: Mapping[Step, set[Step]],
    done: Mapping[Step, None],
) -> Step:
    """Of the steps that wait only to overwrite state: one that a step which it waits for needs."""
    found = [s for s in steps if s not in done and all(other in done for other in needs[s])]
    if not found:
        raise VerifyError("the groups of a fusion depend on each other in a circle")

    def is_needed(step: Step) -> bool:
        seen = {other for other in waits[step] if other not in done}
        stack = list(seen)
        while stack:
            more = {other for other in needs[stack.pop()] if other not in done} - seen
            if step in more:
                return True
            seen |= more
            stack += more
        return False

    return next((step for step in found if is_needed(step)), found[0])


# -- in place or not -------------------------------------------------------------------------------


def reads_own_element(fusion: Fusion, group: Group, node: Node, state: Node) -> bool:
    """Whether a group loads, of `state`, only the element at the place of the one of `node` that it
    stores: then one may lie on the other.
    """
    loops = tuple(
        Affine.var(f"i{axis}") if extent > 1 else Affine()
        for axis, extent in enumerate(group.space)
    )

    def index_of(x: Node) -> Index:
        return tuple(Affine() if m is None else loops[m] for m in group.maps[x])

    own = canonical(index_of(node), node.shape)
    stack: list[tuple[Node, Index | None]] = [(x, index_of(x)) for x in group.outputs]
    if group.anchor is not None and group.anchor not in group.outputs:
        stack.append((group.anchor, index_of(group.anchor)))
    seen = set(stack)
    while stack:
        x, index = stack.pop()
        if x is state:
            if index is None or canonical(index, x.shape) != own:
                return False
        elif x in group.maps or not (x in fusion.stored or not x.inputs):
            entries = [entry for entry in _sources(x, index, group) if entry not in seen]
            seen.update(entries)
            stack += entries
    return True


def _sources(x: Node, index: Index | None, group: Group) -> Iterator[tuple[Node, Index | None]]:
    """Which elements of the inputs of `x` its element at an index is made of; None: several, or not
    known.
    """
    rule = rule_of(x)
    if index is not None and isinstance(rule, Elementwise):
        yield from ((y, index) for y in x.inputs)
    elif index is not None and isinstance(rule, Movement) and rule.affine(x):
        yield x.inputs[0], rule.index(x, index)
    elif index is not None and isinstance(rule, Concatenation) and x is group.anchor:
        axis, start = x.params["axis"], 0
        for y in x.inputs:
            yield y, (*index[:axis], index[axis] + -start, *index[axis + 1 :])
            start += y.shape[axis]
    elif index is not None and isinstance(rule, ScatterAlong) and x is group.anchor:
        yield x.inputs[0], index
        yield from ((y, None) for y in x.inputs[1:])
    else:
        yield from ((y, None) for y in x.inputs)


# -- checking --------------------------------------------------------------------------------------


def verify_order(order: Order, fusion: Fusion) -> None:
    """Raise `VerifyError` where a step comes before one whose value it loads, or loads what another
    one has overwritten; or where a group is missing, or there twice.
    """
    numbers = sorted(step.group for step in order.steps if step.group is not None)
    if numbers != list(range(len(fusion.groups))):
        raise VerifyError(f"groups {numbers} are in order, of {len(fusion.groups)}")
    made: set[Node] = set()
    overwritten: set[Node] = set()
    for step in order.steps:
        for node in step.reads:
            if node in fusion.stored and node not in made:
                raise VerifyError(f"{node!r} is loaded before it is stored")
            if node in overwritten:
                raise VerifyError(f"the old value of {node!r} is loaded after the new one is there")
        outputs = [] if step.group is None else fusion.groups[step.group].outputs
        made.update(outputs)
        overwritten.update(order.in_place[node] for node in outputs if node in order.in_place)


# -- printing --------------------------------------------------------------------------------------


def format_order(order: Order, graph: Graph) -> str:
    """A line for each kernel to be, with the state that it overwrites or sets."""
    names = node_names(graph)
    lines = []
    for step in order.steps:
        if step.group is not None:
            lines.append(f"group {step.group}")
        elif step.node is not None:
            where = "an old value" if step.result is None else f"result {step.result}"
            lines.append(f"copy {names[step.node]} to {where}")
    lines += [f"copy {names[node]} to {names[state]}" for state, node in order.late]
    lines += [f"in place: {names[node]} over {names[s]}" for node, s in order.in_place.items()]
    return "\n".join(lines)
