"""`backward` through the runs of a tape, without a node for each of their results."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from mynn.core.types import Array
from mynn.ops import movement
from mynn.tape.gradients.derivative import Derivative
from mynn.tape.gradients.run import Run
from mynn.tape.pieces.output import Later, Output
from mynn.tape.pieces.trial import Trial
from mynn.tensor import Parameter, Tensor, enable_grad, no_grad
from mynn.tensor.gradients.backward import backward as backward_of
from mynn.tensor.gradients.backward import collector
from mynn.tensor.gradients.history import accumulate
from mynn.tensor.value import Step
from mynn.tensor.view import write_to

# So many tensors may go on by nodes.
_FEW = 8
# Steps to a view that give each element of it another place.
_MOVES = frozenset((movement.reshape, movement.transpose, movement.slice_, movement.flip))


class Link(NamedTuple):
    """A run, those of its results that a gradient comes by, and its gradient program from them."""

    run: Run
    results: list[Tensor]
    derivative: Derivative


class Look(NamedTuple):
    """A result that looks at the memory of another tensor, and the steps that lead to it there.

    Its gradient goes to that tensor without a program: otherwise it would come by the run that it
    is of, as an entry that is picked just before the next look does.
    """

    result: Tensor
    base: Tensor
    steps: tuple[Step, ...]


# What was reached of a run, by slots, and in which level.
Found: TypeAlias = dict[int, tuple[Any, int]]


class Sums:
    """What has come to each tensor, by identity, and the leaves among these."""

    def __init__(self, loss: Tensor) -> None:
        self.cotangents: dict[int, Array] = {id(loss): np.ones(loss.shape, loss.dtype)}
        self.leaves: dict[int, Tensor] = {}

    def take(self, link: Link) -> list[Array]:
        """The cotangents of the results of a run, which are complete."""
        return [self.cotangents.pop(id(one)) for one in link.results]

    def add(self, target: Tensor, value: Array) -> None:
        """A cotangent of a tensor, which is the caller's to give away."""
        known = self.cotangents.get(id(target))
        if known is not None:
            known += value
            return
        self.cotangents[id(target)] = value
        if isinstance(target, Parameter) or is_end(target):
            self.leaves[id(target)] = target


def backward(loss: Tensor) -> bool | Trial:
    """Add the gradients of a result of one element, where they go to leaves, and to a few other
    tensors that go on by nodes, through nothing but results of programs whose gradients are
    programs; otherwise give False, or what was tried where a program is to be made after a while.

    Each run goes with the gradients from all its results in one program, after those that its
    results went to. Many runs of one gradient program that do not depend on each other are fewer
    runs of a program for `Derivative.together` of them, which adds up what goes to parameters.
    """
    if loss.pending is not None:
        loss.pending.settle(loss)
    ends: dict[int, Tensor] = {}
    links = _links(loss, ends)
    if not isinstance(links, dict):
        return links
    sums = Sums(loss)
    for level in sorted(links):
        groups: dict[int, list[Link]] = {}
        for link in links[level]:
            if isinstance(link, Look):
                _look_back(link, sums)
            else:
                groups.setdefault(id(link.derivative), []).append(link)
        for group in groups.values():
            for start in range(0, len(group), Derivative.together):
                _follow(group[start : start + Derivative.together], sums)
    if ends:
        _go_on([(one, sums.cotangents[identity]) for identity, one in ends.items()])
    with no_grad():
        for identity, leaf in sums.leaves.items():
            accumulate(collector(leaf), Tensor.from_value(sums.cotangents[identity]))
    return True


def is_end(tensor: Tensor) -> bool:
    """Whether a tensor from before is a leaf in memory of its own, or stands in for one."""
    return tensor.pending is None and tensor._view is None and tensor.is_leaf


def _follow(group: Sequence[Link], sums: Sums) -> None:
    """Hand on what has come to some runs of one gradient program."""
    derivative, runs = group[0].derivative, [link.run for link in group]
    several = None
    if len(group) == Derivative.together and not any(run.kept for run in runs):
        several = derivative.of_several(runs[0])
    if several is None:
        for link in group:
            found = derivative.run(link.run, sums.take(link))
            for one, value in zip(derivative.inputs, found, strict=True):
                sums.add(link.run.externals[one] if isinstance(one, int) else one, value)
        return
    found = several.run_several(runs, [sums.take(link) for link in group])
    for one, value in zip(several.inputs, found, strict=True):
        if not isinstance(one, int):
            sums.add(one, value)
            continue
        for row, run in enumerate(runs):
            sums.add(run.externals[one], value[row, ...])


def _look_back(look: Look, sums: Sums) -> None:
    """Hand on what has come to a result to the memory that it looks at."""
    whole = np.zeros(look.base.shape, look.base.dtype)
    write_to(whole, look.steps, sums.cotangents.pop(id(look.result)))
    sums.add(look.base, whole)


def _go_on(ends: list[tuple[Tensor, Array]]) -> None:
    """Add the gradients of what goes on by nodes."""
    total: Any = None
    with enable_grad():
        for end, cotangent in ends:
            part = (end * Tensor.from_value(cotangent)).sum()
            total = part if total is None else total + part.astype(total.dtype)
    backward_of(total, Tensor.from_value(np.ones((), total.dtype)))


def _links(loss: Tensor, ends: dict[int, Tensor]) -> dict[int, list[Link | Look]] | bool | Trial:
    """What the gradient comes by, in levels: what is in one is handed on to later ones alone. False
    where much else is among it. What goes on by nodes comes into `ends`.
    """
    links: dict[int, list[Link | Look]] = {}
    # By run, the latest first, and by slot of a result that looks at memory of others, which comes
    # before its run, as that may have made the memory: what was reached, by slots, and in which
    # level.
    reached: dict[tuple[int, int], Found] = {}
    later: list[tuple[int, int]] = []
    known: set[Derivative] = set()
    new: list[tuple[int, list[Any]]] = [(0, [loss])]
    while new or later:
        for level, tensors in new:
            for tensor in tensors:
                output = _source(tensor)
                if output is None or output.run is None:
                    if tensor is loss or len(ends) >= _FEW:
                        return False
                    ends[id(tensor)] = tensor
                    continue
                look, slot = _look_of(tensor, output), output.slot
                key = -output.run.number, 1 if look is None else -slot
                found = reached.get(key)
                if found is None:
                    found = reached[key] = {}
                    heappush(later, key)
                if slot not in found or found[slot][1] < level:
                    found[slot] = look or tensor, level
        if not later:
            break
        new = []
        for level, results in _parts(reached.pop(heappop(later))).items():
            (first, *_) = results.values()
            link = first if isinstance(first, Look) else _link(results, known)
            if isinstance(link, Look):
                ahead: list[Any] = [] if isinstance(link.base, Parameter) else [link.base]
            elif isinstance(link, Link):
                ahead = [link.run.externals[number] for number in link.derivative.numbers]
            else:
                return link
            for one in ahead:
                if not one.requires_grad:
                    return False
            links.setdefault(level, []).append(link)
            new.append((level + 1, [one for one in ahead if not is_end(one)]))
    return links


def _parts(found: Found) -> dict[int, dict[int, Any]]:
    """The results of a run by levels. Those that no call leads to together may be in several, so
    that a run that goes on with what others made, and begins something new, joins no chain of runs.
    """
    levels = {level for _, level in found.values()}
    if len(levels) == 1:
        return {level: {slot: one for slot, (one, _) in found.items()} for level in levels}
    ((first, _), *_) = found.values()
    parts = first.pending.run.step.find_parts()
    highest: dict[int, int] = {}
    for slot, (_, level) in found.items():
        highest[parts[slot]] = max(level, highest.get(parts[slot], level))
    split: dict[int, dict[int, Any]] = {}
    for slot, (one, _) in found.items():
        split.setdefault(highest[parts[slot]], {})[slot] = one
    return split


def _link(found: dict[int, Tensor], known: set[Derivative]) -> Link | bool | Trial:
    """What leads on from some results of a run, by their slots; `known`: the programs before."""
    slots = list(found) if len(found) == 1 else sorted(found)
    results = [found[slot] for slot in slots]
    run: Run = results[0].pending.run
    derivative = run.derivative(slots, results, further=bool(known))
    if type(derivative) is not Derivative:
        assert type(derivative) is Trial
        return derivative
    if derivative not in known:
        known.add(derivative)
        if not all(one.requires_grad for one in derivative.inputs if not isinstance(one, int)):
            return False
    if run.changed(derivative) is not None:
        return False
    return Link(run, results, derivative)


def _look_of(tensor: Tensor, output: Output) -> Look | None:
    """The memory that a result looks at, if a gradient goes to that alone."""
    view = tensor._view
    base: Any
    if type(output) is Later:
        base, steps, attached = output.base, output.view, output.attached
    elif view is not None:
        base, steps, attached = view.base, view.steps, view.attached and view.source is view.base
    else:
        return None
    if not attached:
        return None
    for primitive, _ in steps:
        if primitive not in _MOVES:
            return None
    return Look(tensor, base, steps)


def _source(tensor: Tensor) -> Output | None:
    """What is known of a result that is as a run made it; None of all other tensors."""
    output = tensor.pending
    if output is None or output.run is None or not tensor.requires_grad or tensor._version:
        return None
    base: Any = None
    if type(output) is Later:
        base = output.base
        base = base if base._view is None else base._view.base
    elif tensor._view is not None:
        base = tensor._view.base
    found: Output = output
    return None if output.run.fine or (base is not None and base._version) else found
