"""`Written`: what is written in place on a tape, and gradients of parameters that are read there.

A result that is changed in place is the result of another call from then on: the same tensor waits
for that one, and what it was before is a result that nobody holds. Parameters are assigned to,
under `no_grad`, as an optimizer does.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from itertools import starmap
from sys import getrefcount
from typing import Any

from mynn.base import hooks
from mynn.errors import MynnError
from mynn.tape.calls.call import Backward, Call, External, Form, Slot
from mynn.tape.calls.following import is_exposed
from mynn.tape.calls.step import AT_ONCE, Step
from mynn.tape.gradients.asked import Asked, Way
from mynn.tape.pieces.output import Elsewhere
from mynn.tape.pieces.results import target_of
from mynn.tape.pieces.trial import times_before
from mynn.tape.pieces.waiting import ALONE
from mynn.tensor import Parameter, Tensor, graph_node
from mynn.tensor.gradients.backward import collector
from mynn.tensor.gradients.history import array_of
from mynn.trace import tracing


class Assign:
    """A parameter gets other values."""

    def __init__(self, target: Parameter) -> None:
        self.target = target
        self.__name__ = "assign"

    def parts(self) -> tuple[Any, ...]:
        """What it is made of (`mynn.tape.calls.alike`)."""
        return (self.target,)

    def __call__(self, new: Tensor) -> None:
        self.target.assign(new)


class Taken:
    """The gradients of a loss by some leaves, which keep those that they have.

    - `leaves`: parameters, and places of others, which are the last arguments.
    - `sums`: the numbers of those whose gradients are added to others, which come before these.
    """

    differentiates = True

    def __init__(self, leaves: Sequence[Parameter | External], sums: Sequence[int]) -> None:
        self.leaves = leaves
        self.sums = sums
        self.__name__ = "backward"

    def parts(self) -> tuple[Any, ...]:
        """What it is made of (`mynn.tape.calls.alike`)."""
        return list(self.leaves), list(self.sums)

    def __call__(self, loss: Tensor, *given: Tensor) -> list[Tensor | None]:
        trace, others = tracing.active(), given[len(self.sums) :]
        found = map(collector, others)
        leaves = [one if isinstance(one, Parameter) else next(found) for one in self.leaves]
        before = [one.grad for one in leaves]
        try:
            for one in leaves:
                one.grad = None
            if trace is not None:
                trace.leaves.update((graph_node(one), one) for one in others)
            for number, gradient in zip(self.sums, given, strict=False):
                leaves[number].grad = _copy(gradient)
            loss.backward()
            return [one.grad for one in leaves]
        finally:
            for one, earlier in zip(leaves, before, strict=True):
                one.grad = earlier


def _copy(gradient: Tensor) -> Tensor:
    """A gradient with memory of its own, to which others may be added."""
    if tracing.active() is not None:
        return Tensor.from_node(graph_node(gradient))
    return Tensor.from_value(array_of(gradient).copy())


class Written(Asked):
    """A tape on which results, parameters and gradients are written."""

    def __init__(self) -> None:
        super().__init__()
        # How many ways of gradients were made, by the step that they began with.
        self.ways: weakref.WeakKeyDictionary[Step, int] = weakref.WeakKeyDictionary()

    def can_renew(self, tensor: Tensor) -> bool:
        """Whether another value of a result is another result, which takes its place: where
        nobody looks at its memory.
        """
        pending = tensor.pending
        if pending is None or pending.tape is not self or pending.view is not None or hooks.exist():
            return False
        slot = pending.slot
        if self.outputs[slot] is not tensor:
            return False
        within = self.position.within
        return all(base != slot for _, base in within) or not self._is_looked_at(slot)

    def _is_looked_at(self, slot: int) -> bool:
        """Whether somebody holds a result that looks at the memory of this one."""
        looked = set[int]()
        for number, base in self.position.within:
            one = self.outputs[number : number + 1]
            if number in looked or getrefcount(one[0]) > ALONE:
                looked.add(base)
        return slot in looked

    def renew(self, tensor: Tensor, new: Tensor, own: bool) -> bool:
        """Let a result have the value of another one, which nobody else has: the one that came
        last, or one of our `own`. Whether it could be done.
        """
        before, self.busy = self.busy, True
        try:
            turn, pending, fresh = self.turn, tensor.pending, new.pending
            if self.claimed or not self.can_renew(tensor) or new is tensor:
                return False
            if fresh is None or fresh.tape is not self or fresh.view is not None:
                return False
            grown = tensor._requires_grad
            position = self.position
            last = fresh.slot == position.slots - 1 and position.calls[-1].slot == fresh.slot
            if not (own or last) or self.outputs[fresh.slot] is not new:
                return False
            over = position.over(pending.slot)
            if not last and over is not position:
                return False
            # No signal handler runs from here on.
            if self.turn is not turn or (grown and not new._requires_grad):
                return False
            if self.tidied is position:
                self.tidied = over
            self.position = over
            self.outputs[pending.slot], self.outputs[fresh.slot] = new, tensor
            new.pending, tensor.pending = pending, fresh
            tensor._requires_grad, new._requires_grad = new._requires_grad, grown
            return True
        finally:
            self.busy = before

    def assign(self, target: Tensor, new: Tensor) -> bool:
        """Record that a parameter gets the values of a result; whether it could be done."""
        if type(target) is not Parameter or hooks.exist() or is_exposed(target):
            return False
        with self.lock:
            turn = self.turn = object()
            self.tidied = None
            self._tidy()
            pending, position = new.pending, self.position
            if pending is None or pending.tape is not self:
                return False
            if self.outputs[pending.slot] is not new:
                return False
            key = ("assign", id(target), pending.slot)
            child: Any = position.children.get(key)
            if child is None:
                form = Form((Slot(pending.slot),), {})
                form.leaves = (Slot(pending.slot),)
                child = Step(position, Call(Assign(target), form, None), None)
                child.written = tuple({id(x): x for x in (*position.written, target)}.values())
                child.assigned = True
                position.children[key] = child
            try:
                self._hide(target, "_value")
            except Elsewhere:
                return False
            if self.turn is not turn:
                return False
            self.position = self.tidied = child
            return True

    def take(self, tensor: Tensor) -> bool:
        """Somebody reads a gradient that `backward`, the last call, has put off: let the gradients
        be results, which may go on to other calls. Whether it could be done.
        """
        if hooks.exist() or (id(tensor), "_grad") not in self.hidden:
            return False
        with self.lock:
            turn = self.turn = object()
            self.tidied = None
            self._tidy()
            position = self.position
            way = self._way_of_gradients(position)
            if way is None:  # other calls have come since
                _expect_early(position)
                return False
            if way is AT_ONCE or self.turn is not turn:
                return False
            trained, externals = position.trained, list(self.externals)
            targets = [target_of(one, externals) for one in trained]
            steps = [step for step in (way.whole, *way.parts) if step is not None]
            made = {step.slots: self._promised(step) for step in steps}
            found = [None if step is None else made[step.slots] for step in way.parts]
            ours = {(id(one), "_grad") for one in targets}
            # Gradients that there were are the sums from now on, which others may hold.
            moves: list[tuple[Tensor, Tensor]] = []
            earlier: list[tuple[Tensor, Any] | None] = [None] * len(trained)
            for number, leaf in enumerate(trained):
                place = position.sums.get(leaf)
                if place is None:
                    continue
                gradient, new = externals[place.number], found[number]
                entry = self.hidden.get((id(gradient), "_value"))
                if entry is None or new is None:
                    return False
                externals[place.number] = Tensor.from_value(entry[2])
                ours.add((id(gradient), "_value"))
                moves.append((gradient, new))
                earlier[number] = gradient, entry[2]
                found[number] = gradient
            hidden = {key: entry for key, entry in self.hidden.items() if key not in ours}
            index = {id(one): i for i, one in enumerate(externals)} if moves else self.index
            outputs = list(self.outputs)
            for gradient, new in moves:
                outputs[new.pending.slot] = gradient
            # Views of a gradient are to look again.
            later: list[tuple[Any, str, Any]] = [
                (one, "_version", one._version + 1) for one, _ in moves
            ]
            later += [(one, "pending", new.pending) for one, new in moves]
            later += [(one, "_grad", new) for one, new in zip(targets, found, strict=True)]
            set_all = starmap(setattr, later)
            # No signal handler runs from here on, but in the end.
            if self.turn is not turn:
                return False
            self.hidden, self.externals, self.index = hidden, externals, index
            self.outputs = outputs
            self.position = self.tidied = steps[-1]
            self.taken = [*self.taken, (targets, earlier)]
            deque(set_all, maxlen=0)
            return True

    def _way_of_gradients(self, position: Step) -> Any:
        """The steps in place of `backward`; None where that is not what came last."""
        parent = position.parent
        if parent is None or type(position.calls[-1].function) is not Backward:
            return None
        if parent.trained:
            return AT_ONCE
        if not all(isinstance(one, Parameter | External) for one in position.trained):
            return AT_ONCE
        way: Way | Any = position.children.get("taken", 0)
        if type(way) is int:
            first = position.first()
            made = self.ways.get(first, 0)
            if way < times_before(made):
                position.children["taken"] = way + 1
                return AT_ONCE
            self.ways[first] = made + 1
            trained: tuple[Any, ...] = position.trained
            sums = [number for number, one in enumerate(trained) if one in position.sums]
            loss = position.calls[-1].form.leaves[0]
            given = [position.sums[trained[number]] for number in sums]
            leaves = (loss, *given, *[one for one in trained if type(one) is External])
            form = Form(leaves, {})
            form.leaves = tuple(dict.fromkeys(leaves))
            call = Call(Taken(trained, sums), form, parent.slots)
            try:
                way = tracing.tidy(lambda: self._made(parent, call))
            except MynnError:
                way = AT_ONCE
            position.children["taken"] = way
        return way


def _expect_early(position: Step | None) -> None:
    """Gradients are read when other calls have come after `backward`: the next time they are
    results at once.
    """
    while position is not None and position.parent is not None:
        if type(position.calls[-1].function) is Backward:
            position.children["early"] = True
            return
        position = position.parent
