"""`Training`: `backward()` and `optimizer.step()` on a tape, and calls that are run at once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from mynn.base import hooks, recording
from mynn.errors import MynnError
from mynn.tape.calls.alike import found_alike, told_alike
from mynn.tape.calls.call import Backward, Beyond, Call, External, Form, Slot, Update
from mynn.tape.calls.step import AT_ONCE, Step, Target, table
from mynn.tape.gradients import back
from mynn.tape.gradients.some import FEW, UpdateOfSome, Zeros, present_in, varies
from mynn.tape.pieces.output import Elsewhere
from mynn.tape.pieces.piece import stage
from mynn.tape.pieces.results import target_of
from mynn.tape.pieces.trial import SPENT
from mynn.tape.pieces.waiting import Waiting
from mynn.tape.pieces.work import work_of_update
from mynn.tensor import Tensor
from mynn.tensor.gradients import history
from mynn.tensor.gradients.touched import indices_of

# How many ways may lead on from one step.
WAYS = 1024


class Training(Waiting):
    """A tape that gradients are asked of, and updates."""

    # Lets gradients that were put off be results: that of `Written`.
    take: Callable[[Tensor], bool]

    def __init__(self) -> None:
        super().__init__()
        # The module of the user's that is being called.
        self.owner: Any = None
        # What stands for gradients that are not there.
        self.zeros = Zeros()

    # -- at once -----------------------------------------------------------------------------------

    def _now(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        anchor: Any = None,
    ) -> Any:
        """Run a call at once; what it looks at is made first. Of modules that are not all mynn's
        own, the calls inside are recorded.

        Nobody waits for this tape meanwhile: it may be code of the user's.
        """
        if anchor is not None and not is_own(anchor):
            return self.inside(anchor, args, kwargs)
        if self.position.assigned:
            self.flush()  # so that gradients know what was there before
        current = recording.current
        before, current.tape = current.tape, None
        try:
            return function(*args, **kwargs)
        finally:
            current.tape = before

    def inside(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a module of the user's, whose calls are recorded."""
        before, self.owner = self.owner, module
        try:
            return module._call(args, kwargs)
        finally:
            self.owner = before

    # -- gradients and updates ---------------------------------------------------------------------

    def backward(self, loss: Tensor, gradient: Any = None) -> None:
        """Record `loss.backward()`, where it goes to state alone that has no gradient yet."""
        if gradient is None and not hooks.exist():
            try:
                if self._backward(loss):
                    return
            except Elsewhere:
                pass  # another thread has put off gradients of the same parameters
            done = loss.numel() == 1 and self._now(back.backward, (loss,), {})
            if done is True:
                return
            if done:
                before = SPENT[0]
                self._now(loss._backward, (gradient,), {})
                done.add(SPENT[0] - before)
                return
        self._now(loss._backward, (gradient,), {})

    def _backward(self, loss: Tensor) -> bool:
        with self.lock:
            turn = self.turn = object()
            self.tidied = None
            self._tidy()
            pending, position = loss.pending, self.position
            if pending is None or pending.tape is not self:
                return False
            if self.outputs[pending.slot] is not loss:
                return False  # it is being computed
            if not loss.requires_grad or loss.numel() != 1 or self.has_changed():
                return False
            leaves = self._leaves(position, pending.slot)
            targets = [target_of(leaf, self.externals) for leaf in leaves]
            before = self._gradients_before(leaves, targets)
            if not leaves or before is None or self.turn is not turn:
                return False
            key = ("backward", pending.slot, *before)
            child: Any = position.children.get(key)
            if child is None:
                child = self._backward_step(loss, pending.slot, leaves, targets, before)
                if position.overwritten and not self._finds_all(child):
                    child = AT_ONCE
                position.children[key] = child
            # To find that out may have made what was put off, which runs all.
            if child is AT_ONCE or self.turn is not turn:
                return False
            for leaf, target, place in zip(leaves, targets, before, strict=True):
                if type(leaf) is Beyond:
                    for one in history.behind(target) or ():
                        self._hide(one, "_grad")
                    continue
                self._hide(target, "_grad")
                if type(place) is External:
                    self._hide(self.externals[place.number], "_value")
            asking = [self.outputs[slot] for slot in position.asking]
            if self.turn is not turn:
                return False
            self.position = child
            for one in asking:
                _put_off_gradient(one)
            self._tidy()
            if self.turn is turn:
                self.tidied = child
                if "early" in child.children and targets:
                    self.take(targets[0])
            return True

    def _leaves(self, position: Step, slot: int) -> tuple[Target, ...]:
        """What may get a gradient from a result; nothing where that is more than leaves."""
        key = ("leaves", slot)
        found: Any = position.children.get(key)
        if found is None:
            found = position.children[key] = position.leaves_of(slot, self.externals) or ()
        leaves: tuple[Target, ...] = found
        return leaves

    def _gradients_before(
        self, leaves: Sequence[Target], targets: Sequence[Tensor]
    ) -> list[Any] | None:
        """The places of gradients that there are, None where there is none, True where the tape has
        put one off; no list where one is not plain.
        """
        found: list[Any] = []
        # To read a gradient may have all run that waits: these are not the tape's any more then.
        externals, index = self.externals, self.index
        trained = {*self.position.trained}  # `in` compares tensors of a tuple by value
        for leaf, target in zip(leaves, targets, strict=True):
            if leaf in trained:
                found.append(True)
                continue
            if type(leaf) is Beyond:
                behind = history.behind(target)
                if behind is None or any(one in trained for one in behind):
                    return None
                found.append(None)
                continue
            gradient = target._grad
            if gradient is None:
                found.append(None)
                continue
            if not history.is_plain(gradient) or indices_of(gradient) is not None:
                return None
            if gradient.pending is not None or gradient.dtype != target.dtype:
                return None
            number = index.get(id(gradient))
            if number is None:
                number = index[id(gradient)] = len(externals)
                externals.append(gradient)
            found.append(External(number))
        return found

    def _backward_step(
        self,
        loss: Tensor,
        slot: int,
        leaves: Sequence[Target],
        targets: Sequence[Tensor],
        before: Sequence[Any],
    ) -> Step:
        sums = {
            leaf: place
            for leaf, place in zip(leaves, before, strict=True)
            if type(place) is External
        }
        others = [leaf for leaf in sums if type(leaf) is External]
        parameters: list[Any] = [leaf for leaf in sums if type(leaf) is not External]
        places = (Slot(slot), *others, *[sums[leaf] for leaf in (*parameters, *others)])
        form = Form(places, {})
        form.leaves = tuple(dict.fromkeys(places))
        call = Call(Backward(parameters, others), form, None)
        child = Step(self.position, call, None, len(self.externals))
        child.trained = tuple(dict.fromkeys((*child.trained, *leaves)))
        child.sums = {**child.sums, **sums}
        child.work *= 3  # a gradient takes about twice the time of what it is of
        return child

    def _finds_all(self, child: Step) -> bool:
        """Whether gradients need no value that was changed in place."""
        externals = self.externals

        def are_found() -> bool:
            try:
                stage(child.calls, externals, (), child.trained)
            except MynnError:
                return False
            return True

        told = told_alike(child.calls, externals, child.trained, self._put_off())
        return found_alike("finds all", told, are_found)

    def _put_off(self) -> dict[int, Any]:
        """The memory of tensors whose values are not set, by `id`."""
        entries = list(self.hidden.items())
        return {number: entry[2] for (number, field), entry in entries if field == "_value"}

    def step(self, optimizer: Any) -> None:
        """Record `optimizer.step()`, and run all."""
        child, turn = self._updated(optimizer)
        if child is None and type(optimizer).__module__.startswith("mynn."):
            self.flush()
            child, turn = self._updated_some(optimizer)
        if child is None or not self.flush(child, turn):
            self.flush()
            self._now(optimizer.step, (), {})

    def _updated(self, optimizer: Any) -> tuple[Step | None, object]:
        """The step after an update, None where that is run at once; and the turn."""
        with self.lock:
            turn = self.turn = object()
            self.tidied = None
            self._tidy()
            gradients = {id(parameter) for parameter in self.position.parameters}
            trained, pattern = [], []
            for parameter in optimizer.state:
                kind: Any = "here"
                if id(parameter) not in gradients:
                    gradient = parameter._grad
                    kind = gradient is not None
                    if kind:
                        trained.append(parameter)
                        kind = self._given(gradient)
                pattern.append(kind)
            known = type(optimizer).__module__.startswith("mynn.") and None not in pattern
            if self.turn is not turn or not known or not any(pattern):
                return None, turn
            key = (self.position.serial, self.position.externals, tuple(pattern))
            ways = table(optimizer)
            if not ways.count:
                self.credit.begin()
            ways.count += 1
            child: Any = ways.get(key)
            known = (child is not None and child.made) or not optimizer.by_parameter
            if not known and varies(ways, optimizer.state, pattern):
                return None, turn
            if child is None:
                form = Form(tuple(p._grad for p in trained), {}, self._place_of)
                call = Call(Update(optimizer, trained), form, None)
                child = Step(self.position, call, None, len(self.externals))
                child.stepped = True
                child.work += work_of_update(p.spec.nbytes for p in optimizer.state)
                if self.turn is not turn:
                    return None, turn
                if len(ways) >= WAYS:
                    ways.clear()
                ways[key] = child
            return child, turn

    def _updated_some(self, optimizer: Any) -> tuple[Step | None, object]:
        """The step after an update of now these, now those parameters, where nothing waits."""
        with self.lock:
            turn = self.turn = object()
            self.tidied = None
            self._tidy()
            ways = table(optimizer)
            present = None
            if optimizer.by_parameter and self.position is self.root and ways.turns > FEW:
                present = present_in(optimizer)
            if present is None or self.turn is not turn:
                return None, turn
            given = [
                self.zeros.of(one) if one._grad is None else one._grad for one in optimizer.state
            ]
            self.externals += [present, *given]
            self.index.update((id(one), i) for i, one in enumerate(given, 1))
            # Parameters are added to its state, and never taken out of that.
            key = ("some", self.root.serial, len(given))
            child: Any = ways.get(key)
            if child is None:
                numbers = count()
                form = Form((*self.externals,), {}, lambda _: External(next(numbers)))
                call = Call(UpdateOfSome(optimizer), form, None)
                child = Step(self.position, call, None, len(self.externals))
                child.stepped = True
                child.work += work_of_update(p.spec.nbytes for p in optimizer.state)
                if self.turn is not turn:
                    return None, turn
                ways[key] = child
            return child, turn

    def _given(self, gradient: Tensor) -> Any:
        """What a key says of a gradient that a parameter has: which external or which result of the
        tape it is, as a clipped one; None where it is not plain.
        """
        if gradient.requires_grad or indices_of(gradient) is not None:
            return None  # sparse ones an optimiser may refuse, and a program does not see
        pending = gradient.pending
        if pending is not None:
            waits = pending.tape is self and self.outputs[pending.slot] is gradient
            return ("slot", pending.slot) if waits else None
        number = self.index.get(id(gradient))
        if number is None:
            number = self.index[id(gradient)] = len(self.externals)
            self.externals.append(gradient)
        return ("external", number)

    def _place_of(self, gradient: Tensor) -> Slot | External:
        if gradient.pending is not None:
            return Slot(gradient.pending.slot)
        return External(self.index[id(gradient)])


def _put_off_gradient(asking: Tensor) -> None:
    """The gradient of a result that asks for it is made by whoever looks at it."""
    with contextlib.suppress(AttributeError):
        object.__getattribute__(asking, "_grad")
        del asking._grad


def is_own(module: Any) -> bool:
    """Whether all that the module does is mynn's own code."""
    return all(
        type(one).__module__.startswith("mynn.") and "forward" not in vars(one)
        for one in module.modules()
    )
