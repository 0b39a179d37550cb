"""`Replaced`: tensors from before whose values are results of a tape from then on.

    w -= rate * w.grad        v.mul_(0.9).add_(w.grad)        x = (x - g).detach().requires_grad_()

Such a tensor waits for its new value as all results do, and gets it once the tape has run, in
memory of its own. What was recorded before has a stand-in, which has the memory that it had. So no
program writes it, and one program does for all tensors of a kind.

What asks for a gradient is a leaf: who reads it for another gradient has the tape run first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import starmap
from sys import getrefcount
from typing import Any

from mynn.base import hooks, recording
from mynn.tape.calls.call import External, Slot
from mynn.tape.calls.following import is_exposed
from mynn.tape.calls.step import Step
from mynn.tape.pieces.output import Promise, memory_of
from mynn.tape.pieces.results import Replacement
from mynn.tape.pieces.waiting import ALONE
from mynn.tape.writes.written import Written
from mynn.tensor import Parameter, Tensor
from mynn.tensor.gradients.grad_mode import enabled
from mynn.tensor.gradients.history import STOP, array_of
from mynn.tensor.view import look


class Replaced(Written):
    """A tape on which tensors from before become results."""

    # Records a call: that of `Tape`.
    call: Callable[..., Any]

    def assign(self, target: Tensor, new: Tensor) -> bool:
        """Record that a tensor from before gets the values of a result: a parameter, as state, or
        another one, which is that result from then on; nobody else has it. Whether it could be
        done.
        """
        if type(target) is not Tensor:
            return super().assign(target, new)
        if new._requires_grad or not self._can_become(target):
            return False
        return self.become(target, new)

    def _can_become(self, target: Tensor) -> bool:
        """Whether a tensor from before is a leaf, whose memory nobody else has."""
        if target.pending is not None or target._view is not None or target.shared is not None:
            return False
        if target.is_native or (id(target), "_value") in self.hidden:
            return False
        if hooks.exist() or (recording.arrays and is_exposed(target)):
            return False
        step, node = self.position, target.node
        if node is not None and (node.inputs or getrefcount(node) > ALONE):
            return False  # it is a result, or at once something was computed from it
        state = (*step.buffers, *step.written)
        return not state or all(one is not target for one in state)

    def become(self, target: Tensor, new: Tensor) -> bool:
        """Let a tensor from before be the result that came last, which nobody else has."""
        with self.lock:
            turn = self.turn = object()
            if self.tidied is not self.position:
                self._tidy()
            self.tidied = None
            fresh, position, key = new.pending, self.position, (id(target), "_value")
            if fresh is None or fresh.tape is not self or fresh.view is not None:
                return False
            if self.outputs[fresh.slot] is not new or position.calls[-1].slot != fresh.slot:
                return False
            entry = self.hidden.get(key)
            try:
                memory = object.__getattribute__(target, "_value") if entry is None else entry[2]
            except AttributeError:
                return False  # by another tape
            before: Tensor = Tensor.from_value(memory)
            before._requires_grad, before.name = target._requires_grad, target.name
            read = self._stand_ins(target, before)
            runs = _apart(target, before) if recording.runs else ()
            if read is None or runs is None:
                return False
            asks = target._requires_grad or new._requires_grad
            numbers = tuple(read)
            needed = bool(numbers) and self._are_needed(External, numbers)
            if target._requires_grad:
                position, fresh = self._with_leaf(position, fresh.slot, fresh.type)
            slot, put_off = fresh.slot, entry is None
            hidden, rows, externals, index = self.hidden, self.rows, self.externals, self.index
            if entry is not None:
                hidden = {one: entry for one, entry in hidden.items() if one != key}
                rows = [row for row in rows if row[0] is not target]
            if read:
                externals = [*externals]
                for number in numbers:
                    externals[number] = read[number]
                if len(numbers) > 1 or externals[numbers[0]] is not before:
                    # What looked at it is another external from now on, and may be gone.
                    index = {one: i for one, i in index.items() if i not in read}
            replaced = [*self.replaced, Replacement(target, before, numbers, needed)]
            set_all = starmap(setattr, runs) if runs else None
            # No signal handler runs from here on, but in the end.
            if self.turn is not turn:
                return False
            self.hidden, self.rows, self.replaced = hidden, rows, replaced
            self.externals, self.index, self.position = externals, index, position
            self.outputs[slot] = target
            target.pending, target._requires_grad = fresh, asks
            target._version += 1  # so that views look again
            if put_off:
                del target._value
            del target.node
            self.tidied = position
            if set_all is not None:
                deque(set_all, maxlen=0)
        return True

    def _stand_ins(self, target: Tensor, before: Tensor) -> dict[int, Tensor] | None:
        """What stands in for a tensor, and for those that look at its memory, by the numbers of
        externals; None where that cannot be.
        """
        found: dict[int, Tensor] = {}
        index = self.index.get(id(target))
        if index is not None and self.externals[index] is target:
            found[index] = before
        number = -1
        for one in self.externals:
            number += 1
            if type(one) is Tensor and (one.pending is not None or one._view is not None):
                if memory_of(one) is not target:
                    continue
                if one.pending is not None or one._requires_grad:
                    return None
                found[number] = _look_from(one, before)
        step = self.position
        trained = {*step.trained}  # `in` compares tensors of a tuple by value
        if trained and any(External(number) in trained for number in found):
            return None  # its gradient is to come
        looking = step.views and [slot for slot, leaf, *_ in step.views if _is_among(leaf, found)]
        if looking:
            held = self.alive(step)
            if any(held[slot] for slot in looking):
                return None  # somebody has a view of it, which has to look at the new value
        return found

    def _are_needed(self, kind: Any, numbers: Iterable[int]) -> bool:
        """Whether a gradient may need the values in some places, or go to them."""
        step = self.position
        key = ("needed", kind, numbers)
        found: Any = step.children.get(key)
        if found is None:
            places = {kind(number) for number in numbers}
            found = step.children[key] = any(
                outcome is not None
                and outcome.requires_grad
                and not places.isdisjoint(call.form.leaves)
                for call, outcome in zip(step.calls, step.outcomes, strict=True)
            )
        are_needed: bool = found
        return are_needed

    def _with_leaf(self, position: Step, slot: int, type: Any) -> tuple[Step, Promise]:
        """The same place, where a result is a leaf from then on, and what is known of that."""
        key = ("leaf", slot)
        found: Any = position.children.get(key)
        if found is None:
            step = position.again(position.calls[-1])
            step.replacing = (*step.replacing, slot)
            promise = Promise(self, slot, type)
            promise.leaf = True
            self.size += step.size
            found = position.children[key] = step, promise
        step, promise = found
        return step, promise

    def renew(self, tensor: Tensor, new: Tensor, own: bool) -> bool:
        """Let a result have the value of another one, which nobody else has; see `Written.renew`.
        Leaves stay such.
        """
        pending = tensor.pending
        if pending is not None and pending.view is not None:
            return self._renew_seen(tensor, new)
        if pending is None or not pending.leaf or pending.slot not in self.position.replacing:
            return super().renew(tensor, new, own)
        if enabled():
            return False
        with self.lock:
            turn = self.turn = object()
            self.tidied = None
            self._tidy()
            fresh, position = new.pending, self.position
            if self.claimed or new._requires_grad or not self.can_renew(tensor):
                return False
            if fresh is None or fresh.tape is not self or fresh.view is not None:
                return False
            if self.outputs[fresh.slot] is not new or position.calls[-1].slot != fresh.slot:
                return False
            child, promise = self._with_leaf(position, fresh.slot, fresh.type)
            outputs = list(self.outputs)
            outputs[pending.slot], outputs[fresh.slot] = new, tensor
            # No signal handler runs from here on.
            if self.turn is not turn:
                return False
            self.position, self.outputs = child, outputs
            new.pending, tensor.pending = pending, promise
            tensor._version += 1
            self.tidied = child
        return True

    def _renew_seen(self, tensor: Tensor, new: Tensor) -> bool:
        """The same of a result that looks at another one, detached, as `w.grad.data` does: the one
        whose memory it is has the new value, at which it looks.
        """
        slot, fresh = tensor.pending.slot, new.pending
        if self.claimed or fresh is None or fresh.tape is not self or fresh.view is not None:
            return False
        if new._requires_grad or self.outputs[slot] is not tensor:
            return False
        base = self._seen_alone(slot)
        if base is None or self._are_needed(Slot, (base,)):
            return False
        seen: Tensor = self.call(Tensor.detach, (new,), {})
        with self.lock:
            turn = self.turn = object()
            self.tidied = None
            self._tidy()
            position, outputs, looks = self.position, list(self.outputs), seen.pending
            if looks is None or looks.tape is not self or position.slots != looks.slot + 1:
                return False
            memory = outputs[base]
            if memory._requires_grad or new.pending is not fresh or looks.slot != fresh.slot + 1:
                return False
            before = memory.pending, tensor.pending
            outputs[base], outputs[fresh.slot] = new, memory
            outputs[slot], outputs[looks.slot] = seen, tensor
            # No signal handler runs from here on.
            if self.turn is not turn:
                return False
            self.outputs = outputs
            (new.pending, seen.pending), memory.pending, tensor.pending = before, fresh, looks
            self.tidied = position
        return True

    def let_ask(self, tensor: Tensor) -> bool:
        """Let a result ask for a gradient once it has been made, where it is the next state of a
        loop, and not a part of what gradients flow through. Whether it could be done.
        """
        with self.lock:
            turn = self.turn = object()
            self.tidied = None
            self._tidy()
            pending, position = tensor.pending, self.position
            if hooks.exist() or pending is None or pending.tape is not self:
                return False
            if self.outputs[pending.slot] is not tensor or not self._is_update(position):
                return False
            slot, outputs = pending.slot, self.outputs
            if pending.view is not None:
                found = self._detached_from(slot)
                if found is None:
                    return False
                slot, outputs = found, list(outputs)
                outputs[slot], outputs[pending.slot] = tensor, outputs[slot]
            elif not self.can_renew(tensor):
                return False
            if self._are_needed(Slot, (slot,)):
                return False
            child, promise = self._with_leaf(position, slot, pending.type)
            seen = outputs[pending.slot]
            # No signal handler runs from here on.
            if self.turn is not turn:
                return False
            self.position, self.outputs = child, outputs
            if seen is not tensor:
                seen.pending, seen._requires_grad, tensor._view = pending, False, None
                del seen._view
            tensor.pending, tensor._requires_grad = promise, True
            self.tidied = child
        return True

    def _is_update(self, position: Step) -> bool:
        """Whether what was recorded reads leaves, or has asked for gradients."""
        found: Any = position.children.get("update")
        if found is None:
            found = any(call.differentiates for call in position.calls) or any(
                isinstance(one, Tensor)
                and not isinstance(one, Parameter)
                and one.requires_grad
                and one.is_leaf
                for one in self.externals
            )
            position.children["update"] = found
        is_update: bool = found
        return is_update

    def _detached_from(self, slot: int) -> int | None:
        """The result that another one looks at, detached, if nobody else has it."""
        base = self._seen_alone(slot)
        one = [] if base is None else self.outputs[base : base + 1]
        return None if not one or getrefcount(one[0]) > ALONE else base

    def _seen_alone(self, slot: int) -> int | None:
        """The result that another one looks at, detached, if nobody has others that do."""
        step, outputs = self.position, self.outputs
        views = {number: (leaf, steps) for number, leaf, steps, _ in step.views}
        leaf, steps = views[slot]
        if type(leaf) is not Slot or leaf.number in views or leaf.number in step.replacing:
            return None
        if any(primitive is not STOP for primitive, _ in steps):
            return None
        for number, base in step.within:
            one = outputs[number : number + 1]
            if base == leaf.number and number != slot and getrefcount(one[0]) > ALONE:
                return None
        return leaf.number


def _is_among(leaf: Any, numbers: Mapping[int, Any]) -> bool:
    """Whether a place is one of these externals."""
    return type(leaf) is External and leaf.number in numbers


def _look_from(view: Tensor, before: Tensor) -> Tensor:
    """The same view of what stands in for its base."""
    assert view._view is not None
    value, steps = array_of(before), view._view.steps
    for primitive, params in steps:
        value = primitive.numpy(value, **params)
    seen: Tensor = Tensor.from_value(value)
    look(seen, before, steps, False)
    return seen


def _apart(target: Tensor, before: Tensor) -> list[tuple[Any, str, Any]] | None:
    """What is to be set in runs that have read a tensor which is about to have other memory; None
    where that cannot be.
    """
    found: list[tuple[Any, str, Any]] = []
    for run in recording.living() if recording.runs else ():
        if not run.has_read(target):
            continue
        parts = run.apart(target, before)
        if parts is None:
            return None
        found += [(run, name, value) for name, value in parts.items()]
    return found
