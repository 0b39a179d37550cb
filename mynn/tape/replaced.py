"""`Replaced`: tensors from before whose values are results of a tape from then on.

    w -= rate * w.grad        v.mul_(0.9).add_(w.grad)        x = (x - g).detach().requires_grad_()

Such a tensor waits for its new value as all results do, and gets it once the tape has run, in
memory of its own. What was recorded before has a stand-in, which has the memory that it had. So no
program writes it, and one program does for all tensors of a kind.

What asks for a gradient is a leaf: who reads it for another gradient has the tape run first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import starmap
from sys import getrefcount
from typing import Any

from mynn.base import hooks, recording
from mynn.tape.call import External, Slot
from mynn.tape.following import is_exposed
from mynn.tape.output import Promise, memory_of
from mynn.tape.results import Replacement
from mynn.tape.step import Step
from mynn.tape.waiting import ALONE
from mynn.tape.written import Written
from mynn.tensor import Parameter, Tensor
from mynn.tensor.grad_mode import enabled
from mynn.tensor.history import STOP, array_of
from mynn.tensor.view import look


class Replaced(Written):
    """A tape on which tensors from before become results."""

    def assign(self, target: Tensor, new: Tensor) -> bool:
        """Record that a tensor from before gets the values of a result: a parameter, as state, or
        another one, which is that result from then on; nobody else has it. Whether it could be
        done.
        """
        if type(target) is not Tensor:
            return super().assign(target, new)
        if new.requires_grad or not self._can_become(target):
            return False
        return self.become(target, new)

    def _can_become(self, target: Tensor) -> bool:
        """Whether a tensor from before is a leaf, whose memory nobody else has."""
        if hooks.exist() or is_exposed(target) or target.shared is not None or target.is_native:
            return False
        if (id(target), "_value") in self.hidden or target.pending is not None:
            return False
        if target._view is not None or not target.is_leaf:
            return False
        step, node = self.position, target.node
        if node is not None and (node.inputs or getrefcount(node) > ALONE):
            return False  # at once something was computed from it
        return all(one is not target for one in (*step.buffers, *step.written))

    def become(self, target: Tensor, new: Tensor) -> bool:
        """Let a tensor from before be the result that came last, which nobody else has."""
        with self.lock:
            turn = self.turn = object()
            self.tidied = None
            self._tidy()
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
            runs = None if read is None else _apart(target, before)
            if read is None or runs is None:
                return False
            asks = target._requires_grad or new._requires_grad
            needed = bool(read) and self._are_needed(External, read)
            if target._requires_grad:
                position, fresh = self._with_leaf(position, fresh.slot, fresh.type)
            slot, put_off = fresh.slot, entry is None
            hidden, rows, index = self.hidden, self.rows, self.index
            if entry is not None:
                hidden = {one: entry for one, entry in hidden.items() if one != key}
                rows = [row for row in rows if row[0] is not target]
            looking = {id(self.externals[i]) for i, one in read.items() if one is not before}
            if looking:  # from now on these are other externals, and may be gone
                index = {one: i for one, i in index.items() if one not in looking}
            externals = [*self.externals]
            for number, one in read.items():
                externals[number] = one
            replaced = [*self.replaced, Replacement(target, before, tuple(read), needed)]
            set_all = starmap(setattr, runs)
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
            deque(set_all, maxlen=0)
        return True

    def _stand_ins(self, target: Tensor, before: Tensor) -> dict[int, Tensor] | None:
        """What stands in for a tensor, and for those that look at its memory, by the numbers of
        externals; None where that cannot be.
        """
        found: dict[int, Tensor] = {}
        for number, one in enumerate(self.externals):
            if one is target:
                found[number] = before
            elif isinstance(one, Tensor) and not _is_plain(one) and memory_of(one) is target:
                if one.pending is not None or one._view is None or one._requires_grad:
                    return None
                seen: Tensor = Tensor.from_value(_look_from(one, before))
                look(seen, before, one._view.steps, False)
                found[number] = seen
        step = self.position
        if step.trained and any(External(number) in step.trained for number in found):
            return None  # its gradient is to come
        looking = [slot for slot, leaf, *_ in step.views if found and _is_among(leaf, found)]
        if looking:
            held = self._alive(step)
            if any(held[slot] for slot in looking):
                return None  # somebody has a view of it, which has to look at the new value
        return found

    def _are_needed(self, kind: Any, numbers: Iterable[int]) -> bool:
        """Whether a gradient may need the values in some places, or go to them."""
        step = self.position
        key = ("needed", kind, *numbers)
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
        step, outputs = self.position, self.outputs
        views = {number: (leaf, steps) for number, leaf, steps, _ in step.views}
        leaf, steps = views[slot]
        if type(leaf) is not Slot or leaf.number in views or leaf.number in step.replacing:
            return None
        if any(primitive is not STOP for primitive, _ in steps):
            return None
        looking = [number for number, base in step.within if base == leaf.number]
        for number in (leaf.number, *looking):
            one = outputs[number : number + 1]
            if number != slot and getrefcount(one[0]) > ALONE:
                return None
        return leaf.number


def _is_among(leaf: Any, numbers: Mapping[int, Any]) -> bool:
    """Whether a place is one of these externals."""
    return type(leaf) is External and leaf.number in numbers


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor has memory of its own."""
    return tensor.pending is None and tensor._view is None


def _look_from(view: Tensor, before: Tensor) -> Any:
    value = array_of(before)
    for primitive, params in view._view.steps:  # type: ignore[union-attr]
        value = primitive.numpy(value, **params)
    return value


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
