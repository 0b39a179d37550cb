"""`Tape`: what a thread calls is recorded, and run when somebody looks.

A call appends a step: which function, which earlier results, which tensors and arrays from before.
The type of the result is known at once (`outcome`), its value when somebody asks for it: then all
that was recorded runs together (`flush`), as it was called the first time that this sequence of
calls comes, as a program (`piece`) once that has taken about as long as making one (`trial`).

What a call changes beside its result (statistics of a batch norm, a key of random numbers, the
gradients that `backward` adds) is put off too: those fields of the tensors are not set until then.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mynn.base import recording
from mynn.core.types import SHORT_NAMES, Type, default_float
from mynn.errors import MynnError
from mynn.ops import elementwise, movement
from mynn.tape.call import Call, External, Form, Leaf, Slot, Unknown, Update, static
from mynn.tape.outcome import Outcome, outcome_of
from mynn.tape.output import Elsewhere, Output
from mynn.tape.results import Progress
from mynn.tape.step import AT_ONCE, Step, table
from mynn.tape.waiting import LOOKS, Waiting
from mynn.tensor import Parameter, Tensor, grad_enabled
from mynn.tensor.grad_mode import enabled
from mynn.trace import tracing

# The longest tape, and how many ways may lead on from one step.
LONGEST = 400
WAYS = 64
# Of a first call that is run as it comes, because it is always looked at, one in so many is
# recorded, to see whether that is still so.
EVERY = 251
_SEEN = 4096
_new: Any = object.__new__
# What is looked at in every call, under short names.
activity, arrays, toggles = tracing.activity, recording.arrays, recording.toggles
# How many new steps may be made in a row; each call that comes again gives a part of one back, and
# each that is run at once for want of it a little: what never repeats is soon run at once.
CREDIT = 100.0
AGAIN, REGAINED = 0.25, 0.02


class Tape(Waiting):
    """The tape of one thread. Other threads may have it run what was recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[Any, Any] = {}
        self.credit = CREDIT
        # The module of the user's that is being called, and whether a call is given parameters.
        self.owner: Any = None
        self.bound = False

    # -- recording ---------------------------------------------------------------------------------

    def call(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        anchor: Any = None,
    ) -> Any:
        """Record a call, and give the tensor that will be its result; or run it at once.

        `anchor` is the module that is called. The user's code is two frames up.
        """
        while True:
            turn: object = None
            tensor: Any = None
            try:
                with self.lock:
                    turn = self.turn = object()
                    position = self.position
                    externals = self.externals
                    outputs = self.outputs
                    slot = position.slots
                    if (
                        len(externals) != position.externals
                        or len(outputs) != slot
                        or len(self.places) != slot
                    ):
                        self._tidy()
                    index = self.index
                    head: Any = function
                    if anchor is not None:
                        head = position.serial if anchor._mode else ~position.serial
                    parts = [head, enabled()]
                    self.bound = False
                    try:
                        for value in args:
                            # As `_add`, written out for what comes most often.
                            if type(value) is Tensor:
                                pending = value.pending
                                if pending is not None:
                                    if pending.tape is self:
                                        parts.append(pending.slot)
                                        continue
                                else:
                                    identity = id(value)
                                    number = index.get(identity)
                                    if number is not None:
                                        parts.append(-1 - number)
                                        continue
                                    if value._view is None:
                                        array = value._value
                                        if array is not None:
                                            index[identity] = len(externals)
                                            externals.append(value)
                                            parts += array.shape, array.dtype, value._requires_grad
                                            continue
                            self._add(parts, value)
                        if kwargs:
                            for name, value in kwargs.items():
                                parts.append(name)
                                self._add(parts, value)
                    except Unknown:
                        if self.turn is not turn:
                            continue
                        break
                    if self.turn is not turn:
                        continue
                    owner = anchor
                    if owner is None and self.bound:
                        # Parameters are part of the key: it is kept with the module that has them.
                        owner = self.owner
                        parts.append(position.serial)
                    key = tuple(parts)
                    ways: dict[Any, Any] = position.children if owner is None else table(owner)
                    child: Any = ways.get(key)
                    if child is not None and child is not AT_ONCE:
                        outcome = child.outcome
                        if not (
                            outcome.steady
                            and outcome.edits == activity.watch
                            and outcome.toggles == toggles[0]
                        ):
                            child = child if outcome.holds() else None
                    if child is None:
                        if self.credit <= 0 or (anchor is not None and not _is_own(anchor)):
                            if self.credit <= 0:
                                self.reasons.nothing_repeats(function, args)
                            self.credit += REGAINED
                            break
                        self.credit -= 1
                        child = self._child(function, args, kwargs, anchor, owner)
                        if self.turn is not turn:
                            continue
                        if child is None:
                            break
                        if len(ways) >= WAYS:
                            ways.clear()
                        ways[key] = child
                    elif self.credit < CREDIT:
                        self.credit += AGAIN
                    if child is AT_ONCE:
                        break
                    outcome = child.outcome
                    if outcome.same is not None:
                        same = self._held(child.calls[-1].form.leaves[outcome.same])
                        if self.turn is not turn:
                            continue
                        return same
                    if child.ready is not None and position is self.root:
                        result = self._looked_at(child)
                        if result is not None:
                            return result
                        if self.turn is not turn:
                            continue
                    tensor = _new(Tensor)
                    output = tensor.pending = Output(tensor)
                    output.tape = self
                    output.slot = slot
                    output.type = outcome.type
                    output.error = None
                    output.run = None
                    if outcome.view is None:
                        output.base = None
                        tensor._view = None
                    else:
                        output.base = self._view(child, outcome)
                        self.looks = True
                    tensor._requires_grad = outcome.requires_grad
                    tensor._grad = None
                    tensor.name = None
                    tensor.shared = None
                    tensor._version = 0
                    tensor.is_native = False
                    # Before the step is taken, so that nothing waits that nobody knows of.
                    if position is self.root and self not in recording.waiting:
                        recording.waiting.append(self)
                    position.looked = 0
                    if outcome.writes:
                        for state in outcome.writes:
                            self._hide(state, "_value")
                    outputs.append(output)
                    frame = sys._getframe(2)
                    self.places.append((frame.f_code, frame.f_lasti))
                    # No signal handler runs between these two.
                    if self.turn is not turn:
                        continue
                    self.position = child
                break
            except Elsewhere as elsewhere:
                if recording.is_holding():
                    break
                elsewhere.settle(self)
            except (LookupError, AssertionError, AttributeError):
                if self.turn is turn:
                    raise
        if tensor is None:
            return self._now(function, args, kwargs, anchor)
        if slot >= LONGEST or (arrays and self._reads(recording.exposed(), outcome)):
            self.flush()
        return tensor

    def _looked_at(self, child: Step) -> Tensor | None:
        """The result of a first call that is always looked at; None where it is to be recorded."""
        piece = child.ready
        child.looked += 1
        if child.looked % EVERY == 0:
            child.looked, child.ready = LOOKS - 1, None
            return None
        if not piece.holds():
            child.looked, child.ready = 0, None
            return None
        current, progress = recording.current, Progress()
        before, current.tape = current.tape, None
        try:
            piece.run(self.externals, progress)
        except MynnError:
            return None  # recorded, it says what is wrong where it is looked at
        finally:
            current.tape = before
        assert progress.results is not None
        return Tensor.from_value(progress.results[0])

    def _view(self, child: Step, outcome: Outcome) -> tuple[Any, ...]:
        """What the result of the step looks at, and how."""
        assert outcome.view is not None
        number, steps, attached = outcome.view
        return self._held(child.calls[-1].form.leaves[number]), steps, attached

    def _reads(self, shown: list[Any], outcome: Outcome) -> bool:
        """Whether memory that the user can change behind our back was read."""
        read = {id(one) for one in (*self.externals, *outcome.state)}
        read |= {
            id(one._view.base) for one in self.externals if isinstance(one, Tensor) and one._view
        }
        return any(id(one) in read for one in shown)

    def _held(self, leaf: Any) -> Any:
        """The tensor in a place of the call that is being recorded."""
        if type(leaf) is External:
            return self.externals[leaf.number]
        found = self.outputs[leaf.number]()
        assert found is not None  # it was given just now
        return found

    def _add(self, key: list[Any], value: Any) -> None:
        kind = type(value)
        if kind is Tensor or kind is Parameter:
            pending = value.pending
            if pending is not None and pending.tape is not None:
                if pending.tape is self:
                    key.append(pending.slot)
                    return
                raise Elsewhere(pending)
            number = self.index.get(id(value))
            if number is not None:
                key.append(-1 - number)
                return
            self.index[id(value)] = len(self.externals)
            self.externals.append(value)
            if kind is Parameter:
                key.append(("parameter", id(value)))
                self.bound = True
            else:
                spec = value.spec
                key.append((spec.shape, spec.dtype, value.requires_grad, _is_viewed(value)))
        elif kind is int or kind is bool or value is None:
            key.append((kind, value))  # as `static` does
        elif kind is np.ndarray and value.dtype in SHORT_NAMES:
            # The user may change it before it is read.
            self.externals.append(value.copy())
            key.append(("array", value.shape, value.dtype))
        elif kind is tuple or kind is list:
            key.append((kind, len(value)))
            for item in value:
                self._add(key, item)
        else:
            key.append(static(value))

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
        if anchor is not None and not _is_own(anchor):
            return self.inside(anchor, args, kwargs)
        current = recording.current
        before, current.tape = current.tape, None
        try:
            return function(*args, **kwargs)
        finally:
            current.tape = before

    # -- steps that are new ------------------------------------------------------------------------

    def inside(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a module of the user's, whose calls are recorded."""
        before, self.owner = self.owner, module
        try:
            return module._call(args, kwargs)
        finally:
            self.owner = before

    def _child(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        anchor: Any,
        owner: Any,
    ) -> Any:
        """The step after this call; None where it came for the first time and is run at once."""
        new = range(self.position.externals, len(self.externals))
        arrays = iter([i for i in new if type(self.externals[i]) is np.ndarray])
        form = Form(args, kwargs, lambda value: self._place(value, arrays))
        leaves = [self._leaf(leaf) for leaf in form.leaves]
        head = function if anchor is None else (id(anchor), anchor._mode)
        key = (head, grad_enabled(), default_float(), form.text(), *leaves)
        seen = self.seen if owner is None else table(owner).outcomes
        known: Any = seen.get(key)
        if known is None:
            if len(seen) >= _SEEN:
                seen.clear()
            seen[key] = 1
            return None
        if known == 1 or (isinstance(known, Outcome) and not known.holds()):
            known = seen[key] = outcome_of(function, form, leaves) or AT_ONCE
        if known is AT_ONCE:
            return AT_ONCE
        slot = None if known.same is not None else self.position.slots
        call = Call(function, form, slot, known.modes())
        return Step(self.position, call, known, len(self.externals))

    def _place(self, value: Any, arrays: Iterator[int]) -> Slot | External:
        """Where a tensor stands; arrays have been copied, in the order in which they come."""
        pending = getattr(value, "pending", None)
        if pending is not None and pending.tape is self:
            return Slot(pending.slot)
        if isinstance(value, Tensor):
            return External(self.index[id(value)])
        return External(next(arrays))

    def _leaf(self, leaf: Slot | External) -> Leaf:
        value = self._held(leaf)
        if type(value) is np.ndarray:
            return Leaf(Type.of(value), False, False, True, None)
        state = value if isinstance(value, Parameter) else None
        return Leaf(value.spec, value.requires_grad, _is_viewed(value), False, state)

    # -- gradients and updates ---------------------------------------------------------------------

    def backward(self, loss: Tensor, gradient: Any = None) -> None:
        """Record `loss.backward()`, where it goes to state alone that has no gradient yet."""
        if gradient is None:
            try:
                if self._backward(loss):
                    return
            except Elsewhere:
                pass  # another thread has put off gradients of the same parameters
            pending = loss.pending
            run = None if pending is None else pending.run
            given = loss, None if pending is None else pending.slot
            if run is not None and loss.numel() == 1 and self._now(run.backward, given, {}):
                return
        self._now(loss._backward, (gradient,), {})

    def _backward(self, loss: Tensor) -> bool:
        with self.lock:
            turn = self.turn = object()
            pending, position = loss.pending, self.position
            if pending is None or pending.tape is not self:
                return False
            if not loss.requires_grad or position.trained:
                return False
            key = ("backward", pending.slot)
            child: Any = position.children.get(key)
            if child is None:
                child = position.children[key] = self._backward_step(loss, pending.slot)
            if child is AT_ONCE or any(p._grad is not None for p in child.trained):
                return False
            for parameter in child.trained:
                self._hide(parameter, "_grad")
            if self.turn is not turn:
                return False
            self.position = child
            return True

    def _backward_step(self, loss: Tensor, slot: int) -> Any:
        leaves = self.position.leaves_of(slot, self.externals)
        if not leaves or loss.numel() != 1:
            return AT_ONCE
        form = Form((loss,), {}, lambda value: Slot(slot))
        child = Step(self.position, Call(Tensor.backward, form, None), None)
        child.trained = leaves
        return child

    def step(self, optimizer: Any) -> None:
        """Record `optimizer.step()`, and run all."""
        child, turn = self._updated(optimizer)
        if child is None or not self.flush(child, turn):
            self.flush()
            self._now(optimizer.step, (), {})

    def _updated(self, optimizer: Any) -> tuple[Step | None, object]:
        """The step after an update, None where that is run at once; and the turn."""
        with self.lock:
            turn = self.turn = object()
            self._tidy()
            gradients = {id(parameter) for parameter in self.position.trained}
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
            child: Any = ways.get(key)
            if child is None:
                form = Form(tuple(p._grad for p in trained), {}, self._external)
                call = Call(Update(optimizer, trained), form, None)
                child = Step(self.position, call, None, len(self.externals))
                child.stepped = True
                if self.turn is not turn:
                    return None, turn
                if len(ways) >= WAYS:
                    ways.clear()
                ways[key] = child
            return child, turn

    def _given(self, gradient: Tensor) -> Any:
        """A gradient from before as an external: its place, or None where that is not plain."""
        number = self.index.get(id(gradient))
        if number is None:
            if gradient.pending is not None or gradient.requires_grad:
                return None
            number = self.index[id(gradient)] = len(self.externals)
            self.externals.append(gradient)
        return number + 2  # not to be taken for True or False

    def _external(self, value: Any) -> External:
        return External(self.index[id(value)])


def _is_viewed(tensor: Tensor) -> bool:
    """Whether it looks at memory of another one in another order."""
    pending = tensor.pending
    if pending is not None and pending.tape is not None:
        base = pending.base
        steps = () if base is None else base[1]
    else:
        steps = () if tensor._view is None else tensor._view.steps
    plain = movement.reshape, elementwise.stop_gradient
    return any(primitive not in plain for primitive, _ in steps)


def _is_own(module: Any) -> bool:
    """Whether all that the module does is mynn's own code."""
    return all(
        type(one).__module__.startswith("mynn.") and "forward" not in vars(one)
        for one in module.modules()
    )
