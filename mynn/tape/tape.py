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
from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.base import recording
from mynn.errors import MynnError
from mynn.tape.calls.batch import LONG, apart, are_made
from mynn.tape.calls.call import External, whole
from mynn.tape.calls.following import (
    COUNTING,
    LARGE,
    NUMBERS,
    QUICK,
    holds,
    is_counted,
    is_exposed,
    is_put_off,
    kind_of,
    waits_for,
)
from mynn.tape.calls.fresh import stand_in
from mynn.tape.calls.masks import with_tensors
from mynn.tape.calls.several import Several
from mynn.tape.calls.step import AT_ONCE, INSIDE, Step
from mynn.tape.gradients.training import is_own
from mynn.tape.pieces.look import LOOKS
from mynn.tape.pieces.output import Elsewhere
from mynn.tape.writes.filled import Filled
from mynn.tensor import Parameter, Tensor
from mynn.tensor.gradients.grad_mode import enabled
from mynn.tensor.gradients.history import array_of
from mynn.tensor.methods.indexing import with_numbers
from mynn.tensor.methods.movement import looked_at
from mynn.trace import tracing

# Of a first call that is run as it comes, because it is always looked at, one in so many is
# recorded, to see whether that is still so.
EVERY = 251
# A call that is to be recorded once more, since something came between.
AGAIN = object()
_new: Any = object.__new__
# A tensor of no more bytes is copied where the user can change it behind our back.
COPIED = 2**23
# What is looked at in every call, under short names.
activity, arrays, toggles = tracing.activity, recording.arrays, recording.toggles
waiting = recording.waiting


class Tape(Filled):
    """The tape of one thread. Other threads may have it run what was recorded."""

    def call(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        anchor: Any = None,
    ) -> Any:
        """Record a call, and give the tensor that will be its result; or run it at once.

        `anchor` is the module that is called. The user's code is two frames up.

        Mostly the same call comes as the last time: that is what is written out here, `_record`
        does the same for all others.
        """
        before, self.busy = self.busy, True
        try:
            turn, position = self.turn, self.position
            child: Any = position.next if anchor is None else position.next_of_module()
            if (
                child is not None
                and child.function is function
                and child.quick
                and self.tidied is position
                and child.gradients is enabled()
                and (outcome := child.outcome).edits == activity.watch
                and outcome.toggles == toggles[0]
                and len(args) == child.count
                and (tuple(kwargs) == child.names if kwargs else not child.names)
                and (anchor is None or child.mode is anchor._mode)
                and not self.claimed
                and not (child.stateful and (self.rows or self.replaced))
                and not (arrays and outcome.view is not None)
                and self._fits(child, (*args, *kwargs.values()) if kwargs else args)
            ):
                if child.ready is not None:
                    found = self._looked_at(child, turn)
                    if found is not None:
                        return found
                tensor: Tensor = _new(Tensor)
                promise = tensor.pending = child.promise
                tensor._requires_grad = outcome.requires_grad
                tensor._grad = tensor.name = tensor.shared = tensor.touched = None
                if promise.view is None:
                    tensor._view = None
                tensor._version = 0
                tensor.is_native = False
                # Before the step is taken, so that nothing waits that nobody knows of.
                if position is self.root and self not in waiting:
                    waiting.append(self)
                position.looked = 0
                if outcome.fails:
                    frame = sys._getframe(2)
                    self.places[position.slots] = frame.f_code, frame.f_lasti
                self.outputs.append(tensor)
                # No signal handler runs between this line and those that take the step.
                if self.turn is turn:
                    self.position = self.tidied = child
                    if self.knows and child.known_call is None:
                        self.describe(child, function in NUMBERS)
                    if not arrays and not child.last:
                        return tensor
                    return self.checked(child, tensor)
        except (LookupError, AssertionError, AttributeError):
            if self.turn is turn:
                raise
        finally:
            self.busy = before
        return self._record(function, args, kwargs, anchor)

    def _record(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        anchor: Any,
    ) -> Any:
        """`call`, for any call. The user's code is three frames up."""
        if function is anchor and "_recorded" not in vars(anchor) and is_own(anchor):
            function = anchor = stand_in(anchor)
        if self.credit.rest and self.position is self.root:
            self.credit.rest -= 1
            return self._now(function, args, kwargs, anchor)
        found = self._arguments(function, args)
        if found is None:
            return self._now(function, args, kwargs, anchor)
        args = found
        same = self.position.same
        if same is not None and same.function is function and anchor is None:
            result = self._given_back(same, args, kwargs)
            if result is not None:
                return result
        if function is Tensor.__getitem__:
            args = (args[0], with_tensors(args[0], with_numbers(args[1])))
            if self._wanders(*args):
                return looked_at(*args)
            places = self.masks.as_places(self, *args)
            args = args if places is None else (args[0], places)
        child: Any = AGAIN
        while child is AGAIN:
            turn = object()
            try:
                child, tensor = self._attempt(function, args, kwargs, anchor, turn)
            except Elsewhere as elsewhere:
                if recording.is_holding():
                    return self._now(function, args, kwargs, anchor)
                elsewhere.settle(self)
            except (LookupError, AssertionError, AttributeError):
                if self.turn is turn:
                    raise
        if tensor is not None:
            return tensor if child is None else self.checked(child, tensor)
        if child is INSIDE:
            return self.inside(anchor, args, kwargs)
        if type(child) is Several:
            return child.bundle([self.call(pick, args, kwargs, anchor) for pick in child.picks])
        return self._now(function, args, kwargs, anchor)

    def _arguments(
        self, function: Callable[..., Any], args: tuple[Any, ...]
    ) -> tuple[Any, ...] | None:
        """The arguments by position that a call is recorded with; None where it is run at once."""
        if args and type(args[0]) in (list, tuple) and len(args[0]) >= LONG:
            if are_made(self, args[0]):
                return None
            args = (apart(self, args[0]), *args[1:])
        if function in COUNTING and is_counted(args):
            return None
        return args

    def _attempt(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        anchor: Any,
        turn: object,
    ) -> tuple[Any, Tensor | None]:
        """Record a call in this turn: its step, and the tensor that waits for it. `AGAIN` for the
        step where something came between, None where the tensor is there already; no tensor where
        the call is run at once, or is `Several`. The user's code is four frames up.
        """
        before, self.busy = self.busy, True
        try:
            if self.claimed:
                self._wait(before)
                return AGAIN, None
            self.tidied = None  # a handler's calls tidy up first
            self.turn = turn
            position = self.position
            child = self._other(function, args, kwargs, anchor)
            if child is None:
                child = self._found(position, function, args, kwargs, anchor, turn)
            if self.turn is not turn:
                return AGAIN, None
            if type(child) is not Step:
                self._unmoved(turn)
                return child, None
            outcome = child.outcome
            assert outcome is not None
            # What is remembered of results is what was there before an assignment.
            assigned = position.assigned and outcome.requires_grad
            if assigned or (child.stateful and self.puts_off(outcome.state)):
                self._unmoved(turn)
                self.flush()
                return AGAIN, None
            if arrays and self._looks_at_exposed(child):
                self._unmoved(turn)
                return AT_ONCE, None
            result: Tensor | None = None
            if outcome.same is not None:
                result = self._held(child.calls[-1].form.leaves[outcome.same])
                self._unmoved(turn)
            elif child.ready is not None:
                result = self._looked_at(child, turn)
            if self.turn is not turn:
                return AGAIN, None
            if result is not None:
                return None, result
            return self._advance(child, turn)
        finally:
            self.busy = before

    def _advance(self, child: Step, turn: object) -> tuple[Any, Tensor | None]:
        """Let the tape stand at this step: the end of `_attempt`, whose results it gives. The
        user's code is five frames up.
        """
        outcome, slot = child.outcome, self.position.slots
        assert outcome is not None
        moved: Any = None
        if outcome.moved is not None:
            leaf = child.calls[-1].form.leaves[outcome.moved]
            moved = self._held(leaf)
            if type(leaf) is External or not self.can_renew(moved):
                self._unmoved(turn)
                return AT_ONCE, None
        tensor: Any = self._promised(child)
        if outcome.fails:
            frame = sys._getframe(5)
            self.places[slot] = frame.f_code, frame.f_lasti
        # No signal handler runs from here on.
        if self.turn is not turn:
            return AGAIN, None
        if moved is not None:
            fresh, before_it = tensor.pending, moved.pending
            self.outputs[before_it.slot], self.outputs[slot] = tensor, moved
            tensor.pending, moved.pending = before_it, fresh
            grown = moved._requires_grad
            moved._requires_grad, tensor._requires_grad = tensor._requires_grad, grown
            tensor = moved
        self.position = self.tidied = child
        return child, tensor

    def _given_back(self, child: Step, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The argument that a call gives back, where it is the one that did so here last; otherwise
        None.
        """
        before, self.busy = self.busy, True
        try:
            turn, position, outcome = self.turn, self.position, child.outcome
            assert outcome is not None
            if (
                self.tidied is not position
                or position.assigned
                or (arrays and outcome.view is not None)
                or outcome.state
                or child.gradients is not enabled()
                or outcome.edits != activity.watch
                or outcome.toggles != toggles[0]
                or len(args) != child.count
                or tuple(kwargs) != child.names
                or self.claimed
                or not self._fits(child, (*args, *kwargs.values()))
            ):
                return None
            assert outcome.same is not None
            result = self._held(child.calls[-1].form.leaves[outcome.same])
            self._unmoved(turn)
            if self.turn is turn:
                return result
        except (LookupError, AssertionError, AttributeError):
            if self.turn is turn:
                raise
        finally:
            self.busy = before
        return None

    def _unmoved(self, turn: object) -> None:
        """The call was no step."""
        self._tidy()
        if self.turn is turn:
            self.tidied = self.position

    def checked(self, step: Step, tensor: Tensor) -> Tensor:
        """The result of a call that was recorded just now; run where it cannot wait."""
        if step.last or (arrays and not self._copies_exposed(step)):
            self.flush()
        return tensor

    def _wait(self, before: bool) -> None:
        """Another thread runs what was recorded: it goes first."""
        self.busy = before
        with self.lock:
            pass

    def _fits(self, child: Step, args: tuple[Any, ...]) -> bool:
        """Whether a call has the arguments of the one that led to this step: `_add`, compared."""
        self.tidied = None
        wants, externals = child.wants, self.externals
        place = 0
        for value in args:
            want = wants[place]  # `zip` takes longer than the rest
            place += 1
            kind = type(value)
            if kind is Tensor:
                pending = value.pending
                if pending is want:
                    continue
                if type(want) is int:
                    if externals[-1 - want] is not value:
                        return False
                    continue
                if pending is not None and pending.tape is not None:
                    return False
                number = id(value)
                if number in self.index:
                    return False
                if self.rows and pending is None and is_put_off(value):
                    return False
                if pending is None and value._value is None:
                    return False  # of a trace
                if externals is not self.externals:
                    return False  # its value was put off: all was run
                if pending is not None or value._view is not None or value._requires_grad:
                    if want != kind_of(value) or waits_for(value):
                        return False
                else:
                    array = value._value
                    if want != (array.shape, array.dtype, False):
                        return False
                self.index[number] = len(externals)
                externals.append(value)
            elif kind is tuple:
                if want != whole(value):
                    return False
            elif kind in QUICK:
                if want != (kind, value):
                    return False
            elif kind is np.ndarray:
                if child.function is not Tensor.__getitem__ or not self._chooses(
                    args[0], value, want
                ):
                    return False
            elif kind is not float or type(want) is not tuple:
                if not (kind is type or isinstance(value, np.dtype)) or want != (kind, value):
                    return False
            elif want[0] == "array":  # that of many others, as in `_varies`
                if child.function not in NUMBERS or not abs(value) < LARGE:
                    return False
                dtype = args[0].dtype
                if dtype.kind != "f" or want != ("array", (), dtype):
                    return False
                externals.append(np.asarray(value, dtype))
            elif want != (float, value.hex()):
                return False
        return True

    def _chooses(self, x: Any, index: Any, want: Any) -> bool:
        """Whether an array as an index is what was wanted there, as a tensor."""
        entry = with_tensors(x, index)
        if entry is index or want != kind_of(entry):
            return False
        self.index[id(entry)] = len(self.externals)
        self.externals.append(entry)
        return True

    def _other(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        anchor: Any,
    ) -> Any:
        """The step after a call that came here before the last one, as where a loop goes one of two
        ways: a key takes longer than to compare. None where it is another call.
        """
        position = self.position
        child: Any = position.other
        if (
            child is None
            or anchor is not None
            or child.function is not function
            or not child.quick
            or child.gradients is not enabled()
            or len(args) != child.count
            or tuple(kwargs) != child.names
            or not holds(child.outcome)
        ):
            return None
        self._tidy()
        if not self._fits(child, (*args, *kwargs.values())):
            return None
        position.turn_to(child)
        if self.knows and child.known_call is None:
            self.describe(child, function in NUMBERS)
        return child

    def _looked_at(self, child: Step, turn: object) -> Tensor | None:
        """The result of a first call that is always looked at; None where it is to be recorded."""
        piece = child.ready
        child.looked += 1
        if child.looked % EVERY == 0:
            child.looked, child.ready = LOOKS - 1, None
            return None
        if piece.program is None or not piece.holds():
            child.looked, child.ready = 0, None
            return None
        try:
            (value,) = piece.values(self.externals)
        except MynnError:
            return None  # recorded, it says what is wrong where it is looked at
        tensor: Tensor = Tensor.from_value(value)
        fresh: tuple[list[Any], dict[int, int]] = [], {}
        if self.turn is not turn:
            return None
        self.externals, self.index = fresh
        self.tidied = self.root
        return tensor

    def _looks_at_exposed(self, step: Step) -> bool:
        """Whether the result is a view of memory that the user can change behind our back: it is
        made at once, since whoever reads it later reads what is there then.
        """
        outcome = step.outcome
        assert outcome is not None
        if outcome.view is None:
            return False
        leaf = step.calls[-1].form.leaves[outcome.view[0]]
        return type(leaf) is External and is_exposed(self.externals[leaf.number])

    def _copies_exposed(self, step: Step) -> bool:
        """Copy what the call that was recorded just now reads of memory that the user can change
        behind our back: in externals that are new, since those before were copied. False where that
        cannot be: of state, of what asks for a gradient, and of what is large.
        """
        assert step.parent is not None
        assert step.outcome is not None
        externals, index = self.externals, self.index
        if self.position is not step:
            return True  # a signal handler had it run
        for number in range(step.parent.externals, len(externals)):
            one = externals[number]
            if not is_exposed(one):
                continue
            plain = isinstance(one, Tensor) and not isinstance(one, Parameter)
            if not plain or one.requires_grad or one.spec.nbytes > COPIED:
                return False
            externals[number] = Tensor.from_value(array_of(one).copy())
            index.pop(id(one), None)  # it is read anew by the next call
        return not any(map(is_exposed, step.outcome.state))
