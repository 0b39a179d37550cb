"""`Following`: which step of its tree a tape comes to with a call, by the key of that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mynn.base import recording
from mynn.core.types import SHORT_NAMES, Type, default_float
from mynn.ops import elementwise, movement, windows
from mynn.tape.calls.alike import outcome_alike
from mynn.tape.calls.call import Call, External, Form, Leaf, Slot, Unknown, static, whole
from mynn.tape.calls.fresh import stands_in
from mynn.tape.calls.loops import Loops
from mynn.tape.calls.outcome import Outcome, outcome_of
from mynn.tape.calls.several import Picked, Several
from mynn.tape.calls.step import AT_ONCE, INSIDE, Step, table
from mynn.tape.gradients.training import WAYS, Training, is_own
from mynn.tape.pieces.credit import FIRST, STEP
from mynn.tape.pieces.output import Elsewhere, Later, Promise, memory_of
from mynn.tensor import Parameter, Tensor, grad_enabled
from mynn.tensor.gradients.grad_mode import enabled
from mynn.tensor.methods.inplace import asks
from mynn.tensor.view import layout_of
from mynn.trace import tracing

# So many kinds of calls, and of places where data was looked at, are remembered.
_SEEN = 4096
# Operators whose second operand may be a number, which decides nothing but values. After a few
# numbers each new one is an argument of the program; larger ones are infinite in float32.
NUMBERS = frozenset(
    {
        Tensor.__add__,
        Tensor.__sub__,
        Tensor.__rsub__,
        Tensor.__mul__,
        Tensor.__truediv__,
        Tensor.__rtruediv__,
    }
)
FEW, LARGE = 16, 1e38
# Operators of integers that say where something lies, or how often: `data[i : i + length]`.
COUNTING: frozenset[Any] = frozenset(
    {
        Tensor.__add__,
        Tensor.__sub__,
        Tensor.__rsub__,
        Tensor.__mul__,
        Tensor.__floordiv__,  # type: ignore[misc]
        Tensor.__mod__,
    }
)
# What an index holds that looks at memory, and after how many places of the same data each new one
# is looked at where it stands: batches of a data set.
_LOOKS = frozenset({int, slice, type(None), type(Ellipsis)})
PLACES = 4
_DTYPES = frozenset(map(np.dtype, SHORT_NAMES))
# Kinds of plain arguments that are compared by themselves.
QUICK = frozenset({bool, int, str, type(None), type, *map(type, _DTYPES)})
activity, toggles = tracing.activity, recording.toggles
# Steps to a view that keep the order of its elements.
_PLAIN = frozenset((movement.reshape, elementwise.stop_gradient))


class Following(Training):
    """A tape that goes from step to step."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[Any, Any] = {}
        self.loops = Loops()
        # The numbers that were combined with tensors, a few for each function and type.
        self.numbers: dict[Any, set[float]] = {}
        # Where data was looked at, a few indices for each step and type.
        self.looks: dict[Any, set[Any]] = {}
        # Whether a call is given parameters.
        self.bound = False

    def _found(
        self,
        position: Step,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        anchor: Any,
        turn: object,
    ) -> Any:
        """The step after a call, by its key; None where it is run at once, or the turn is over."""
        self._tidy()
        try:
            owner, parts, wants = self._key(position, function, args, kwargs, anchor)
        except Unknown:
            # Arguments of other kinds hold tensors, as a packed sequence: the calls inside know
            # them. An array makes the first of these one that is run at once, so all are.
            given = (*args, *kwargs.values())
            apart = anchor is None or any(isinstance(one, np.ndarray) for one in given)
            return None if apart else INSIDE
        if self.turn is not turn:
            return None
        key = tuple(parts)
        ways: dict[Any, Any] = position.children if owner is None else table(owner)
        child: Any = ways.get(key)
        if child is not None and child is not AT_ONCE and not holds(child.outcome):
            child = None
        if child is None and self._varies(function, args):
            given = args[0], np.asarray(args[1], args[0].dtype)
            return self._found(position, function, given, kwargs, anchor, turn)
        if child is None:
            if self.credit.spent:
                if self.credit.refuse():
                    self.reasons.nothing_repeats(function, args)
                return None
            if anchor is not None and not is_own(anchor):
                return None
            child = self._child(function, args, kwargs, anchor, owner)
            if child is None or self.turn is not turn:
                return None
            if len(ways) >= WAYS:
                ways.clear()
            ways[key] = child
        if type(child) is Step and wants is not None:
            outputs = self.outputs
            wants = [
                outputs[want].pending if type(want) is int and want >= 0 else want for want in wants
            ]
            child.expect(wants, tuple(kwargs), anchor)
        return child

    def _key(
        self,
        position: Step,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        anchor: Any,
    ) -> tuple[Any, list[Any], list[Any] | None]:
        """The module with which the step after a call lies, if it does, the parts of its key there,
        and those of the arguments, where each is one part and they may be compared by themselves.
        """
        head: Any = function
        if anchor is not None:
            head = position.serial if anchor._mode else ~position.serial
            if isinstance(function, Picked):
                head = head, function.number
        owner = anchor
        if anchor is not None and stands_in(anchor):  # its steps lie where they begin
            owner, head = None, (anchor, head)
        parts = [head, enabled()]
        self.bound = False
        for value in args:
            self._add(parts, value)
        wants = parts[2:]
        for name, value in kwargs.items():
            parts.append(name)
            self._add(parts, value)
            wants += parts[len(parts) - 1 :]
        plain = len(wants) == len(args) + len(kwargs) == len(parts) - 2 - len(kwargs)
        if owner is None and self.bound:
            # Parameters are part of the key: it is kept with the module that has them.
            owner = self.owner
            parts.append(position.serial)
        return owner, parts, wants if plain and not self.bound else None

    def _varies(self, function: Callable[..., Any], args: tuple[Any, ...]) -> bool:
        """Whether a number that a tensor is combined with is no part of the key, since there were
        many others; it is as good as an array.
        """
        if len(args) != 2 or type(args[1]) is not float or function not in NUMBERS:
            return False
        if type(args[0]) is not Tensor or args[0].dtype.kind != "f" or not abs(args[1]) < LARGE:
            return False
        key = function, args[0].spec
        numbers = self.numbers.get(key)
        if numbers is None:
            if len(self.numbers) >= _SEEN:
                self.numbers.clear()
            numbers = self.numbers[key] = set()
        if len(numbers) <= FEW:
            numbers.add(args[1])
        return len(numbers) > FEW

    def _wanders(self, data: Any, index: Any) -> bool:
        """Whether data is looked at where it was looked at in other places before: each of these
        would be another key, and a look costs next to nothing. Rows are counted wherever on the
        tape they are looked at, as in a loop.
        """
        if type(data) is not Tensor or data.requires_grad:
            return False
        pending, row = data.pending, type(index) is int
        if (pending is not None and pending.tape is not None) or (self.hidden and not row):
            return False
        parts = index if type(index) is tuple else (index,)
        for one in parts:
            if type(one) not in _LOOKS:
                return False
        where = None if row else self.position.serial
        key = where, data.shape, data.dtype
        places = self.looks.get(key)
        if places is None:
            if len(self.looks) >= _SEEN:
                self.looks.clear()
            places = self.looks[key] = set()
        if len(places) <= PLACES:
            places.add(repr(index))
        return len(places) > PLACES

    def _held(self, leaf: Any) -> Any:
        """The tensor in a place of the call that is being recorded."""
        if type(leaf) is External:
            return self.externals[leaf.number]
        return self.outputs[leaf.number]

    def _add(self, key: list[Any], value: Any) -> None:
        kind = type(value)
        if kind is Tensor or kind is Parameter:
            pending = value.pending
            if pending is not None and pending.tape is not None:
                if pending.tape is not self:
                    raise Elsewhere(value)
                outputs, slot = self.outputs, pending.slot
                if slot >= len(outputs) or outputs[slot] is not value:
                    raise Unknown  # it is being computed
                if pending.leaf and enabled() and pending.slot in self.position.replacing:
                    raise Elsewhere(value)  # gradients go to it
                key.append(pending.slot)
                return
            number = self.index.get(id(value))
            if number is not None:
                key.append(-1 - number)
                return
            if self.rows and pending is None and is_put_off(value):
                raise Elsewhere(value)
            if pending is None and value._value is None:
                raise Unknown  # of a trace that has ended: run at once it says so
            if waits_for(value):
                raise Elsewhere(memory_of(value))
            externals, index = self.externals, self.index
            index[id(value)] = len(externals)
            externals.append(value)
            if kind is Parameter:
                key.append(("parameter", id(value)))
                self.bound = True
            else:
                key.append(kind_of(value))
        elif kind in QUICK:
            key.append((kind, value))  # as `static` does
        elif kind is np.ndarray and not value.shape and value.dtype in _DTYPES:
            # The user may change it before it is read.
            self.externals.append(value.copy())
            key.append(("array", value.shape, value.dtype))
        elif kind is tuple or kind is list:
            together = whole(value)
            if together is not None:
                key.append(together)
                return
            key.append((kind, len(value)))
            for item in value:
                self._add(key, item)
        else:
            key.append(static(value))

    # -- steps that are new ------------------------------------------------------------------------

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
        head: Any = function if anchor is None else (id(anchor), anchor._mode)
        picked = isinstance(function, Picked)
        if anchor is not None and isinstance(function, Picked):
            head = id(anchor), anchor._mode, function.number
        if anchor is not None and owner is None:
            head = anchor, head
        key = (head, grad_enabled(), default_float(), form.text(), *leaves)
        seen = self.seen if owner is None else table(owner).outcomes
        known: Any = seen.get(key)
        # Run at once, it would have all run that waits for its arguments.
        waits = any(type(leaf) is Slot for leaf in form.leaves)
        if known is None and not picked and not waits and not _is_known(owner):
            if len(seen) >= _SEEN:
                seen.clear()
            seen[key] = 1
            self.credit.spend(FIRST)
            return None
        if known in (None, 1) or (isinstance(known, Outcome | Several) and not known.holds()):
            if owner is None:
                known = outcome_of(function, form, leaves)
            else:
                known = outcome_alike(function, form, leaves, self._put_off())
            known = seen[key] = known or AT_ONCE
            self.credit.spend(1.0)
        if known is AT_ONCE or type(known) is Several:
            return known
        slot = None if known.same is not None else self.position.slots
        call = Call(function, form, slot, known.modes())
        child = Step(self.position, call, known, len(self.externals))
        if slot is not None:
            view = None if known.view is None else known.view[1]
            child.promise = Promise(self, slot, known.type, view)
            child.promise.leaf = function is asks
            child.quick = known.steady and not known.writes
            child.stateful = any(not isinstance(one, Parameter) for one in known.state)
            if known.moved is not None or (self.position.assigned and known.requires_grad):
                child.quick = False
        child.hold([self.externals[i].spec.nbytes for i in new if self._is_held(i)])
        child.last = child.last or self.loops.ends_with_body(child)
        self.size += child.size
        self.credit.spend(STEP)
        self._branch()
        return child

    def _branch(self) -> None:
        """Another call has come where the tape stands. Where little repeats, what is recorded is
        run up to each such place from now on: the calls between two of them are the same however
        they are reached, and are few programs where the ways through all are many.
        """
        position = self.position
        position.born += 1
        if position.born > 1 and position.slots and self.credit.strays:
            position.last = True

    def _promised(self, child: Step) -> Tensor:
        """A tensor that waits for this step."""
        outcome, position = child.outcome, self.position
        assert outcome is not None
        tensor: Tensor = object.__new__(Tensor)
        tensor.pending = child.promise
        tensor._requires_grad = outcome.requires_grad
        tensor._grad = tensor.name = tensor.shared = tensor.touched = None
        if outcome.view is None:
            tensor._view = None
        tensor._version = 0
        tensor.is_native = False
        # Before the step is taken, so that nothing waits that nobody knows of.
        if position is self.root and self not in recording.waiting:
            recording.waiting.append(self)
        position.looked = 0
        if outcome.writes:
            for state in outcome.writes:
                self._hide(state, "_value")
        self.outputs.append(tensor)
        return tensor

    def _is_held(self, number: int) -> bool:
        """Whether the memory of an external is the tape's to hold, perhaps alone."""
        external = self.externals[number]
        return isinstance(external, Tensor) and not isinstance(external, Parameter)

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
            return Leaf(Type.of(value), False, None, True, None)
        state = value if isinstance(value, Parameter) else None
        layout = layout_of(value) if _is_reordered(value, value.numel() == 1) else None
        return Leaf(value.spec, value.requires_grad, layout, False, state)


def waits_for(view: Tensor) -> bool:
    """Whether it looks at the memory of a tensor that waits for a tape, or whose values do."""
    base = memory_of(view)
    if base is view:
        return False
    pending = base.pending
    return (pending is not None and pending.tape is not None) or is_put_off(base)


def is_counted(args: tuple[Any, ...]) -> bool:
    """Whether operands are integers without axes that are made: whoever counts with them looks at
    the result, as a rule.
    """
    for one in args:
        kind = type(one)
        if kind is Tensor:
            if one.pending is not None or is_put_off(one):
                return False
            value = one._value
            if value is None or value.ndim or value.dtype.kind not in "iu":
                return False
        elif kind is not int:
            return False
    return True


def is_put_off(tensor: Tensor) -> bool:
    """Whether a tape has put off the value of a tensor from before."""
    try:
        object.__getattribute__(tensor, "_value")
    except AttributeError:
        return tensor.pending is None
    return False


def _is_known(owner: Any) -> bool:
    """Whether what the first call of a module does is known."""
    return owner is not None and table(owner).known


def kind_of(tensor: Tensor) -> tuple[Any, ...]:
    """What a key says of a tensor from before."""
    spec = tensor.spec
    kind = spec.shape, spec.dtype, tensor.requires_grad and (2 if tensor.is_leaf else True)
    if tensor.pending is None and tensor._view is None:
        return kind
    layout = layout_of(tensor) if _is_reordered(tensor, spec.size == 1) else None
    return kind if layout is None else (*kind, layout)


def holds(outcome: Outcome) -> bool:
    """Whether a call does what it did: `Outcome.holds`, for what is mostly so."""
    return (
        outcome.steady and outcome.edits == activity.watch and outcome.toggles == toggles[0]
    ) or outcome.holds()


def _is_reordered(tensor: Tensor, single: bool) -> bool:
    """Whether it may look at memory of another one in another order; a `single` element has no
    order, but windows show it in several places.
    """
    pending = tensor.pending
    if pending is not None and (pending.view is not None or pending.tape is not None):
        if type(pending) is Later and _is_reordered(pending.base, single):
            return True
        steps = pending.view or ()
    else:
        steps = () if tensor._view is None else tensor._view.steps
    for primitive, _ in steps:
        if primitive not in _PLAIN and (not single or primitive is windows.windows):
            return True
    return False


def is_exposed(value: Any) -> bool:
    """Whether the user has the memory of a tensor from before in his hands."""
    if isinstance(value, Tensor) and value._view is not None:
        value = value._view.base
    return recording.is_exposed(value)
