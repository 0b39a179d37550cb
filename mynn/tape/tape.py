"""`Tape`: what a thread calls is recorded, and run when somebody looks.

A call appends a step: which function, which earlier results, which tensors and arrays from before.
The type of the result is known at once (`outcome`), its value when somebody asks for it: then all
that was recorded runs together (`flush`), as it was called the first time that this sequence of
calls comes, from the second time on as a program (`piece`).

What a call changes beside its result (statistics of a batch norm, a key of random numbers, the
gradients that `backward` adds) is put off too: those fields of the tensors are not set until then.
"""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from types import CodeType
from typing import Any

import numpy as np

from mynn.base import forks, recording, sharing
from mynn.core.types import SHORT_NAMES, Type
from mynn.errors import MynnError
from mynn.ops import elementwise, movement
from mynn.tape.call import Call, External, Form, Leaf, Slot, Unknown, static
from mynn.tape.outcome import Outcome, outcome_of
from mynn.tape.piece import Piece
from mynn.tape.run import Run, remember
from mynn.tape.step import AT_ONCE, Step, table
from mynn.tape.trial import Trial
from mynn.tensor import Parameter, Tensor, grad_enabled, history
from mynn.tensor.grad_mode import enabled
from mynn.tensor.history import array_of
from mynn.tensor.view import look, value_of
from mynn.trace import tracing

# The longest tape, and how many ways may lead on from one step.
LONGEST = 400
WAYS = 64
# A first call whose result was looked at so many times, and not used before, is run as it comes;
# one time of so many is recorded, to see whether that is still so.
LOOKS = 8
EVERY = 251
_SEEN = 4096
_new: Any = object.__new__
# What is looked at in every call, under short names.
activity, arrays, toggles = tracing.activity, recording.arrays, recording.toggles
# How many new steps may be made in a row; each call that comes again gives a part of one back, and
# each that is run at once for want of it a little: what never repeats is soon run at once.
CREDIT = 100.0
AGAIN, REGAINED = 0.25, 0.02


class Output(weakref.ref[Tensor]):
    """What a tensor that a tape made knows of it, `Value.pending`; and a reference to the tensor.

    - `tape`, `slot`: where it was recorded, until it is run; `tape` is None then.
    - `type`: shape and dtype.
    - `base`: the tensor whose memory it looks at, with the steps and whether gradients flow.
    - `error`: why it could not be made.
    - `run`: what it was made by, for its history.
    """

    __slots__ = ("base", "error", "run", "slot", "tape", "type")

    tape: Tape | None
    slot: int
    type: Type
    base: Any
    error: BaseException | None
    run: Run | None

    def make(self, tensor: Tensor, name: str) -> None:
        """Set a field of the tensor that is asked for."""
        tape = self.tape
        if tape is not None:
            tape.flush()
        if self.error is not None:
            raise self.error
        if name == "node" and self.run is not None:
            remember(tensor)


class Update:
    """`optimizer.step()`, with gradients that were there before as its arguments."""

    def __init__(self, optimizer: Any, trained: list[Parameter]) -> None:
        self.optimizer = optimizer
        self.trained = trained
        self.__name__ = "step"

    def __call__(self, *gradients: Tensor) -> None:
        for parameter, gradient in zip(self.trained, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()


class Tape:
    """The tape of one thread. Other threads may have it run what was recorded."""

    def __init__(self) -> None:
        self.lock = forks.register(threading.RLock())
        self.root = Step(None, None, None)
        self.seen: dict[Any, Any] = {}
        # How often it was run: where that changes while a call is recorded, it is begun anew.
        self.runs = 0
        self.credit = CREDIT
        # The module of the user's that is being called, and whether a call is given parameters.
        self.owner: Any = None
        self.bound = False
        self._begin()

    def _begin(self) -> None:
        self.position = self.root
        self.externals: list[Any] = []
        self.index: dict[int, int] = {}
        self.outputs: list[Output] = []
        # Whether some of them look at memory of others.
        self.looks = False
        self.places: list[tuple[CodeType, int]] = []
        self.hidden: list[tuple[Tensor, str, Any]] = []
        self.gradients: dict[int, Tensor] = {}

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
        with self.lock:
            while True:
                runs = self.runs
                position = self.position
                externals = self.externals
                index = self.index
                before = position.externals
                slot = position.slots
                outputs = self.outputs
                if len(externals) != before or len(outputs) != slot:  # a call was interrupted
                    self._drop(before)
                    del outputs[slot:], self.places[slot:]
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
                    if self.runs != runs:
                        continue
                    return self._now(function, args, kwargs, anchor, before)
                if self.runs != runs:
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
                        self.credit += REGAINED
                        return self._now(function, args, kwargs, anchor, before)
                    self.credit -= 1
                    child = self._child(function, args, kwargs, anchor, owner, before)
                    if self.runs != runs:
                        continue
                    if child is None:
                        return self._now(function, args, kwargs, anchor, before)
                    if len(ways) >= WAYS:
                        ways.clear()
                    ways[key] = child
                elif self.credit < CREDIT:
                    self.credit += AGAIN
                if child is AT_ONCE:
                    return self._now(function, args, kwargs, anchor, before)
                outcome = child.outcome
                if outcome.same is not None:
                    same = self._held(child.calls[-1].form.leaves[outcome.same])
                    self._drop(before)
                    return same
                if child.ready is not None and position is self.root:
                    result = self._looked_at(child)
                    if result is not None:
                        return result
                break
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
            outputs.append(output)
            frame = sys._getframe(2)
            self.places.append((frame.f_code, frame.f_lasti))
            if position is self.root:
                recording.waiting.append(self)
            else:
                position.looked = 0
            self.position = child
            if outcome.writes:
                for state in outcome.writes:
                    self._hide(state, "_value")
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
        if not ((piece.steady and piece.staged.seen[0] == activity.watch) or piece.staged.valid()):
            child.looked, child.ready = 0, None
            return None
        current = recording.current
        before, current.tape = current.tape, None
        try:
            (value,) = piece.run(self.externals)
        except MynnError:
            return None  # recorded, it says what is wrong where it is looked at
        finally:
            current.tape = before
        self.externals.clear()
        self.index.clear()
        return Tensor.from_value(value)

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

    def _hide(self, tensor: Tensor, field: str) -> None:
        try:
            value = object.__getattribute__(tensor, field)
        except AttributeError:
            return  # hidden already
        self.hidden.append((tensor, field, value))
        delattr(tensor, field)

    def _add(self, key: list[Any], value: Any) -> None:
        kind = type(value)
        if kind is Tensor or kind is Parameter:
            pending = value.pending
            if pending is not None and pending.tape is not None:
                if pending.tape is self:
                    key.append(pending.slot)
                    return
                pending.tape.flush()
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

    def _drop(self, before: int) -> None:
        """Forget the externals of a call that is not recorded."""
        if len(self.externals) <= before:
            return
        for value in self.externals[before:]:
            self.index.pop(id(value), None)
        del self.externals[before:]

    def _now(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        anchor: Any,
        before: int,
    ) -> Any:
        """Run a call at once; what it looks at is made first. Of modules that are not all mynn's
        own, the calls inside are recorded.
        """
        self._drop(before)
        if anchor is not None and not _is_own(anchor):
            return self.inside(anchor, args, kwargs)
        current = recording.current
        current.tape = None
        try:
            return function(*args, **kwargs)
        finally:
            current.tape = current.own

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
        before: int,
    ) -> Any:
        """The step after this call; None where it came for the first time and is run at once."""
        new = range(before, len(self.externals))
        arrays = iter([i for i in new if type(self.externals[i]) is np.ndarray])
        form = Form(args, kwargs, lambda value: self._place(value, arrays))
        leaves = [self._leaf(leaf) for leaf in form.leaves]
        head = function if anchor is None else (id(anchor), anchor._mode)
        key = (head, grad_enabled(), _text(form), *leaves)
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
        slot = None if known.same is not None else len(self.outputs)
        child = Step(self.position, Call(function, form, slot, known.modes()), known)
        child.externals = len(self.externals)
        return child

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
        with self.lock:
            pending, position = loss.pending, self.position
            child: Any = AT_ONCE
            known = pending is not None and pending.tape is self and gradient is None
            if known and loss.requires_grad:
                key = ("backward", pending.slot)
                child = position.children.get(key)
                if child is None:
                    child = position.children[key] = self._backward_step(loss, pending.slot)
            run = None if pending is None or gradient is not None else pending.run
            if run is not None and loss.numel() == 1:
                given = (loss, pending.slot)
                if self._now(run.backward, given, {}, None, len(self.externals)):
                    return
            if child is AT_ONCE or any(
                id(p) in self.gradients or p._grad is not None for p in child.trained
            ):
                self._now(loss._backward, (gradient,), {}, None, len(self.externals))
                return
            self.position = child
            for parameter in child.trained:
                self.gradients[id(parameter)] = parameter
                self._hide(parameter, "_grad")

    def _backward_step(self, loss: Tensor, slot: int) -> Any:
        leaves = self.position.leaves_of(slot, self.externals)
        if not leaves or loss.numel() != 1 or self.position.trained:
            return AT_ONCE
        form = Form((loss,), {}, lambda value: Slot(slot))
        child = Step(self.position, Call(Tensor.backward, form, None), None)
        child.trained = leaves
        return child

    def step(self, optimizer: Any) -> None:
        """Record `optimizer.step()`, and run all."""
        with self.lock:
            before, trained, pattern = len(self.externals), [], []
            for parameter in optimizer.state:
                kind: Any = "here"
                if id(parameter) not in self.gradients:
                    gradient = parameter._grad
                    kind = gradient is not None
                    if kind:
                        trained.append(parameter)
                        kind = self._given(gradient)
                pattern.append(kind)
            known = type(optimizer).__module__.startswith("mynn.") and None not in pattern
            if not known or not any(pattern):
                self._drop(before)
                self.flush()
                self._now(optimizer.step, (), {}, None, len(self.externals))
                return
            key = (self.position.serial, before, tuple(pattern))
            ways = table(optimizer)
            child: Any = ways.get(key)
            if child is None:
                form = Form(tuple(p._grad for p in trained), {}, self._external)
                function = Update(optimizer, trained)
                child = Step(self.position, Call(function, form, None), None)
                child.stepped = True
                if len(ways) >= WAYS:
                    ways.clear()
                ways[key] = child
            if self.position is self.root:
                recording.waiting.append(self)
            self.position = child
            self.flush()

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

    def touches(self, tensors: Iterable[Any]) -> bool:
        """Whether what was recorded reads or changes one of these tensors."""
        wanted = {id(one) for one in tensors}
        found: list[Any] = [one for one in self.externals if isinstance(one, Tensor)]
        for outcome in self.position.outcomes:
            if outcome is not None:
                found += outcome.state
        found += [one._view.base for one in found if one.pending is None and one._view is not None]
        return any(id(one) in wanted for one in found) or any(
            id(one) in wanted for one, _, _ in self.hidden
        )

    # -- running -----------------------------------------------------------------------------------

    def flush(self) -> None:
        """Run what was recorded."""
        # `told` where some thread traces. A trace reads state that is still to be written.
        if activity.told and tracing.active() is not None:
            with tracing.outside():
                self.flush()
            return
        with self.lock:
            step = self.position
            if step is self.root:
                return
            externals, hidden = self.externals, self.hidden
            self.runs += 1
            tensors = self._alive() if self.looks else [output() for output in self.outputs]
            places = self.places
            self._begin()
            recording.waiting.remove(self)
            for tensor, field, value in hidden:
                setattr(tensor, field, value)
            current = recording.current
            before, current.tape = current.tape, None
            try:
                self._run(step, externals, tensors, places)
            except BaseException as error:
                for one in tensors:
                    if one is not None and one.pending is not None and one.pending.tape is not None:
                        one.pending.tape, one.pending.error = None, error
                raise
            finally:
                current.tape = before

    def _alive(self) -> list[Tensor | None]:
        """The tensors that somebody holds; not those that only results that are gone look at."""
        tensors: list[Tensor | None] = []
        for output in reversed(self.outputs):
            tensor = output()
            if tensor is None:
                output.base = None
            tensors.append(tensor)
        tensors.reverse()
        return tensors

    def _run(
        self,
        step: Step,
        externals: list[Any],
        tensors: list[Tensor | None],
        places: list[tuple[CodeType, int]],
    ) -> None:
        held = tuple([tensor is not None for tensor in tensors])
        piece = step.pieces.get(held)
        if piece is None or (
            type(piece) is Piece
            and not (
                (piece.steady and piece.staged.seen[0] == activity.watch) or piece.staged.valid()
            )
        ):
            piece = step.pieces[held] = Trial()
        elif type(piece) is Trial and piece.over(len(step.calls)):
            piece = step.pieces[held] = self._piece(step, externals, tensors)
        if type(piece) is Piece:
            saved: list[Any] = []
            if piece.grown and step.written:
                saved = [(one, array_of(one).copy()) for one in step.written]
            try:
                if step.stepped or not step.written:
                    results = piece.run(externals)
                else:
                    results = _run_noted(piece, step, externals)
            except MynnError:
                pass  # state is as before: what is wrong shows at the call itself
            else:
                # What results came from is remembered for `backward`.
                run = Run(step, externals, saved) if piece.grown else None
                _finish(piece, run, results, tensors)
                if step.slots == 1 and len(step.calls) == 1 and piece.wanted:
                    step.looked += 1
                    plain = not piece.grown and not step.written
                    if step.looked >= LOOKS and plain:
                        step.ready = piece
                return
        start = time.perf_counter()
        _replay(step, externals, tensors, places)
        if type(piece) is Trial:
            piece.seconds += time.perf_counter() - start

    def _piece(self, step: Step, externals: list[Any], tensors: list[Tensor | None]) -> Any:
        """The program."""
        held = [(i, one) for i, one in enumerate(tensors) if one is not None]
        wanted = [i for i, one in held if one.pending.base is None]
        grown = any(one._requires_grad for _, one in held)
        return Piece(step, externals, wanted, step.trained, grown)


def _run_noted(piece: Piece, step: Step, externals: list[Any]) -> list[Any]:
    """Run a program. Statistics and keys that it changes are noted tensor by tensor, so that what
    was recorded of other state stays valid.
    """
    state = [one for outcome in step.outcomes if outcome is not None for one in outcome.state]
    with sharing.whole((*state, *step.written), write=True, noted=True):
        results = piece.run(externals)
        for one in step.written:
            history.changed(one)
    return results


def _finish(
    piece: Piece, run: Run | None, results: list[Any], tensors: list[Tensor | None]
) -> None:
    """Give the tensors their values, and the parameters their gradients."""
    for number, slot in enumerate(piece.wanted):
        tensor = tensors[slot]
        assert tensor is not None
        tensor._value = results[number]
        if run is None:
            tensor.pending.tape = None
            tensor.node = tensor.pending = None
        else:
            _finished(tensor, run)
    if len(piece.wanted) < len(tensors):
        _finish_views(run, tensors)
    for number, tensor in enumerate(piece.reached, len(piece.wanted)):
        tensor._grad = Tensor.from_value(results[number])


def _finish_views(run: Run | None, tensors: list[Tensor | None]) -> None:
    for tensor in tensors:
        if tensor is not None and tensor.pending is not None and tensor.pending.tape is not None:
            base, steps, attached = tensor.pending.base
            value = value_of(base)
            for primitive, params in steps:
                value = primitive.numpy(value, **params)
            tensor._value = value
            look(tensor, base, steps, attached)
            _finished(tensor, run)


def _finished(tensor: Tensor, run: Run | None) -> None:
    output = tensor.pending
    output.tape = None
    if run is not None and tensor._requires_grad:
        output.run = run
        run.results.append(weakref.ref(tensor))
    else:
        tensor.node = tensor.pending = None


def _replay(
    step: Step,
    externals: list[Any],
    tensors: list[Tensor | None],
    places: list[tuple[CodeType, int]],
) -> None:
    """Run the calls one by one, as they were called."""
    slots: list[Any] = []
    current = recording.current
    try:
        for call in step.calls:
            current.place = None if call.slot is None else places[call.slot]
            result = call.run(slots, externals)
            if call.slot is None:
                continue
            tensor = tensors[call.slot]
            if tensor is None:
                slots.append(result)
                continue
            adopt(tensor, result)
            slots.append(tensor)
    finally:
        current.place = None


def adopt(tensor: Tensor, result: Tensor) -> None:
    """Make a tensor what a call gave."""
    output = tensor.pending
    tensor._value = result._value
    tensor._view = result._view
    tensor._version = result._version
    tensor._requires_grad = result._requires_grad
    tensor.node = result.node
    output.tape = None
    tensor.pending = None


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


def _text(form: Form) -> str:
    """The arguments that are no tensors, and where the tensors stand."""
    names = {leaf: number for number, leaf in enumerate(form.leaves)}
    args, kwargs = form.fill(lambda leaf: ("leaf", names[leaf]))
    return repr((args, [(name, value) for name, value in kwargs.items()]))
