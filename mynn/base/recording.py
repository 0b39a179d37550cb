"""Whether public calls on tensors are recorded instead of run, thread by thread.

A *tape* (`mynn.tape`) records; what stands below it knows here that there is one. `current.tape`
is None while calls are run at once: always in a trace, and while a tape itself runs them.
"""

from __future__ import annotations

import contextlib
import functools
import math
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

from mynn.errors import MynnError

P = ParamSpec("P")
R = TypeVar("R")

# What makes the tape of a thread, or None where none records.
_make: list[Callable[[], Any] | None] = [None]


class Nobody:
    """Who has the lock of a tape that was not made."""

    def _is_owned(self) -> bool:
        return False


class Later:
    """The tape of a thread that has recorded nothing: whatever is asked of it makes the tape."""

    lock = Nobody()
    busy = False

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __getattr__(self, name: str) -> Any:
        # A signal handler may come to the same, and may have made it.
        tape = self.__dict__.setdefault("_tape", self.__dict__.get("_tape") or self._make())
        if current.own is self:
            current.own = tape
        if current.tape is self:
            current.tape = tape
        return getattr(tape, name)


class _Current(threading.local):
    """The tape of this thread."""

    def __init__(self) -> None:
        make = _make[0]
        self.tape: Any = None if make is None else make()
        self.own: Any = self.tape
        # Where the call stands that is being run, if it was recorded: code and instruction.
        self.place: tuple[CodeType, int] | None = None
        # What other threads may wait for that this one has (`hold`).
        self.held: list[Any] = []
        # Whether it has the tapes of other threads run just now.
        self.settling = False


current = _Current()

# No arguments by name.
_NONE: dict[str, Any] = {}
# Tapes with calls that were not run yet. Whoever writes memory that others see, or runs a program,
# has them run first.
waiting: list[Any] = []
# Runs whose results may have to remember where they came from: they are told before memory is
# written that they have read.
runs: dict[int, Any] = {}
# How many there may be until those that are gone are looked for.
_FEW = 32
_many = [_FEW]
# Those of them that have read state which later ones may change.
readers: dict[int, Any] = {}
# How often somebody asked for a gradient of a tensor, or for none, since the program began.
toggles = [0]


def hold(lock: Any) -> None:
    """This thread has taken a lock that the tape of another thread may need as it runs.

    Until it is free again, this thread waits for no tape: what was put off it sees as it is without
    the calls that wait. So tapes come first, and locks after them.
    """
    held = current.held
    while held and not held[-1]._is_owned():
        held.pop()
    held.append(lock)


def is_holding() -> bool:
    """Whether this thread has a lock that a tape may need, runs a tape, or traces."""
    held = current.held
    while held and not held[-1]._is_owned():
        held.pop()
    return bool(held)


def _holds_state() -> bool:
    """Whether this thread has the lock of some state, so that it must not ask for others."""
    own = current.own
    return is_holding() and any(own is None or lock is not own.lock for lock in current.held)


def settle(tensors: Iterable[Any] | None = None) -> None:
    """Run what was recorded: in this thread all, in others what has to do with these tensors, or
    all.
    """
    if is_holding():
        return
    own = current.own
    if own in waiting:
        own.flush()
    if own is None or not (own.busy or own.lock._is_owned()):
        settle_others(own, tensors)


def settle_users(tensor: Any, own_too: bool = False) -> None:
    """Run what was recorded that has to do with a tensor which is no view; what this thread has
    recorded also where that has not, if `own_too` says so.
    """
    if is_holding():
        return
    own = current.own
    if own_too or (own in waiting and own.reads(tensor)):
        settle((tensor,))
    elif own is None or not (own.busy or own.lock._is_owned()):
        settle_others(own, (tensor,))


def settle_others(own: Any, tensors: Iterable[Any] | None) -> None:
    """Run what other threads have recorded on these tensors, and before they ended.

    What is wrong there is said there.
    """
    if current.settling:
        return
    try:
        current.settling = True
        for tape in list(waiting):
            if tape is not own and (tensors is None or tape.has_ended() or tape.touches(tensors)):
                with contextlib.suppress(MynnError):
                    tape.flush()
    finally:
        current.settling = False


def made(tensor: Any, name: str) -> Any:
    """A field of a tensor from before that a tape has put off."""
    tape = current.tape
    if name == "_grad" and tape in waiting and tape.take(tensor):
        return object.__getattribute__(tensor, name)
    settle([tensor])
    while True:
        try:
            return object.__getattribute__(tensor, name)
        except AttributeError:
            # By a thread that goes on recording, or in the hands of this one: as it is without.
            for tape in list(waiting):
                entry = tape.hidden.get((id(tensor), name))
                if entry is not None:
                    return entry[2]
            if name not in ("_value", "_grad"):
                raise


def value_before(tensor: Any) -> Any:
    """The value of a tensor from before as it is without what waits; None where it has none."""
    try:
        return object.__getattribute__(tensor, "_value")
    except AttributeError:
        for tape in list(waiting):
            entry = tape.hidden.get((id(tensor), "_value"))
            if entry is not None:
                return entry[2]
        return tensor._value


def note_run(run: Any) -> None:
    """From now on it is told before memory is written that it has read, as long as it is there."""
    runs[id(run)] = weakref.ref(run)
    if len(runs) > _many[0]:
        for number, reference in list(runs.items()):
            if reference() is None:
                _forget(number, reference)
        _many[0] = 2 * len(runs) + _FEW


def before_write(tensor: Any, values: bool = True) -> None:
    """The memory of a tensor is about to be written, outside of programs; without `values` no more
    than its history, or whether it asks for a gradient.

    Tapes of other threads that have nothing to do with it are left alone: they may be waiting for
    what this thread holds.
    """
    if waiting:
        settle_users(tensor, not values)
    noted = bool(runs) and _holds_state()
    for run in living():
        if noted:  # by another thread, since this one has made sure
            run.note_write(tensor)
        else:
            run.before_write(tensor, values)


def living() -> Iterator[Any]:
    """The runs that somebody may go back through; those that are gone are forgotten."""
    for number, reference in list(runs.items()):
        run = reference()
        if run is None:
            _forget(number, reference)
        else:
            yield run


def _forget(number: int, reference: Any) -> None:
    """The run is gone; another one may be there by now, in its place."""
    if runs.get(number) is reference:
        runs.pop(number, None)


def is_remembered(tensor: Any) -> bool:
    """Whether a run has read the tensor, whose results may remember where they came from."""
    return bool(runs) and any(run.has_read(tensor) for run in living())


def before_change(tensors: Iterable[Any]) -> None:
    """Programs of tapes are about to change state: runs that have read it keep what it was."""
    for number, reference in list(readers.items()):
        run = reference()
        if run is None:
            readers.pop(number, None)
        else:
            for one in tensors:
                run.keep(one)


def before_assignment(tensors: Iterable[Any]) -> None:
    """A program of a tape is about to assign to parameters, without a mark on all that it shares
    memory with: runs that have read them make their nodes, and keep what these need.
    """
    assigned = list(tensors)
    for run in living():
        for one in assigned:
            run.before_write(one)


def before_edit() -> None:
    """Something in Python that recorded calls read is about to change: a part of a module, or an
    attribute. What this thread recorded is run first, and remembers where it came from.
    """
    settle(())
    for reference in list(runs.values()):
        run = reference()
        if run is not None:
            run.before_edit()


def run_at_once(function: Callable[P, R]) -> Callable[P, R]:
    """A function in which calls are run as they come."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        # Not a block: the end of that can be interrupted, that of a `try` is always run.
        before, current.tape = current.tape, None
        try:
            return function(*args, **kwargs)
        finally:
            current.tape = before

    return call


def record_with(make: Callable[[], Any] | None) -> None:
    """From now on threads record with what `make` gives, or not at all."""
    settle()
    _make[0] = make
    current.tape = current.own = None if make is None else make()


# Operators that take more than one primitive.
_LONG = frozenset({"__matmul__", "__rmatmul__", "__getitem__", "__pow__"})


def recorded(function: Callable[P, R]) -> Callable[P, R]:
    """A public function of tensors, which a tape records as a whole.

    Example:
        >>> @recorded
        ... def double(x):
        ...     return x + x
        >>> double(3)
        6
    """

    code = getattr(function, "__code__", None)
    name = getattr(function, "__name__", "")
    if code is not None and code.co_name.startswith("__") and code.co_flags & 12 == 0:
        if code.co_argcount == 1:
            return cast("Callable[P, R]", _unary(function))
        if code.co_argcount == 2 and name not in _LONG:
            return cast("Callable[P, R]", _binary(function))

    tried = Tried(function, name)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        tape = current.tape
        result: R
        if tape is not None:
            result = tape.call(call, args, kwargs)
        elif tried.worth:
            result = at_once[0](tried, args, kwargs)
        else:
            result = tried.plain(args, kwargs)
        return result

    return call


class Tried:
    """A public function as it is called at once, and whether recipes of its calls are looked for
    (`mynn.tensor.at_once.recipes`).

    - `parts`: what the nodes of several results say of who made them; None where they say nothing.
    """

    def __init__(self, function: Callable[..., Any], name: str, parts: bool = True) -> None:
        self.function = function
        self.name = name
        self.parts = f"{name}[]" if parts else None
        self.worth = True
        self._in_vain = 0

    def plain(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """What it gives; the node of that knows who made it."""
        result = self.function(*args, **kwargs)
        if not args or result is not args[0]:
            node = getattr(result, "node", None)
            if node is not None and (not args or node is not getattr(args[0], "node", None)):
                node.function = self.name
            elif node is None and self.parts is not None and isinstance(result, tuple | list):
                _name_parts(result, self.parts, args[0] if args else None)
        return result

    def note(self, found: bool, most: int) -> None:
        """A kind of call has a recipe, or none; where `most` have none the others are not tried."""
        self._in_vain = 0 if found else self._in_vain + 1
        self.worth = self._in_vain < most


# How a function is called at once.
at_once: list[Callable[[Tried, tuple[Any, ...], Mapping[str, Any]], Any]] = [
    lambda tried, args, kwargs: tried.plain(args, kwargs)
]


def _name_parts(results: Iterable[Any], name: str, first: Any) -> None:
    """Note which function several results come from: `max[]` of those of `x.max(1)`."""
    given = getattr(first, "node", None)
    for part in results:
        node = getattr(part, "node", None)
        if node is not None and node is not given:
            node.function = name


# Operators have their arguments by position: less is made for each call.


def _unary(function: Any) -> Any:
    name = function.__name__

    @functools.wraps(function)
    def call(x: Any) -> Any:
        tape = current.tape
        if tape is not None:
            return tape.call(call, (x,), _NONE)
        result = function(x)
        if result is not x:
            node = getattr(result, "node", None)
            if node is not None and node is not x.node:
                node.function = name
        return result

    return call


def _binary(function: Any) -> Any:
    name = function.__name__

    @functools.wraps(function)
    def call(x: Any, y: Any) -> Any:
        tape = current.tape
        if tape is not None:
            return tape.call(call, (x, y), _NONE)
        result = function(x, y)
        if result is not x:
            node = getattr(result, "node", None)
            if node is not None and node is not x.node:
                node.function = name
        return result

    return call


# -- memory of tensors in the hands of the user ----------------------------------------------------

_Entry = tuple[weakref.ref[Any], weakref.ref[Any] | None, Any]
# By the identity of a tensor: itself, the array through which its memory can be changed, and the
# array that the user gave, in whose memory it lies.
arrays: dict[int, _Entry] = {}


def expose(tensor: Any, value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The memory of a tensor as an array; as long as it, or a part of it, is held, tapes do not
    put off what reads the tensor.
    """
    if current.own is None:
        return value.view()
    if waiting:
        settle([tensor])
    # NumPy's views of this one hold it, and not what lies beneath: it lives as long as they do.
    array = np.asarray(memoryview(value))  # type: ignore[arg-type]
    known = arrays.get(id(tensor))
    _note(tensor, weakref.ref(array), None if known is None else known[2])
    return array


def share(tensor: Any) -> None:
    """The memory of a new tensor is that of an array of the user's: as long as somebody else has
    that, tapes do not put off what reads the tensor.
    """
    if current.own is not None:
        given = tensor._value
        tensor._value = _apart(given)
        _note(tensor, None, given)


def _apart(given: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array in the same memory that is another object to NumPy: what looks at it, as results of
    the tensor do, does not hold the one that was given.
    """
    return np.asarray(memoryview(given))  # type: ignore[arg-type]


def _note(tensor: Any, array: weakref.ref[Any] | None, given: Any) -> None:
    number = id(tensor)
    known = weakref.ref(tensor, lambda _: arrays.pop(number, None))
    arrays[number] = known, array, given


def is_exposed(tensor: Any) -> bool:
    """Whether the user has the memory of a tensor in his hands."""
    known = arrays.get(id(tensor))
    if known is None or known[0]() is not tensor:
        return False
    array = known[1]
    if array is not None and array() is not None:
        return True
    if known[2] is not None and _references(known) > _ALONE:
        return True
    arrays.pop(id(tensor), None)
    return False


def _references(entry: _Entry) -> float:
    """How many there are to the array that the user gave, or to the one that has its memory."""
    given = entry[2]
    count, owner = sys.getrefcount(given), given.base
    if owner is None:
        return count
    # That which was given holds it, as the entry and the tensor hold that.
    return max(count, sys.getrefcount(owner) + 1) if type(owner) is np.ndarray else math.inf


def _given_alone() -> tuple[_Entry, Any]:
    """An entry of an array that nobody else has, and what a tensor has of it."""
    given = np.zeros(1)
    return (weakref.ref(threading.current_thread()), None, given), _apart(given)


_sample = _given_alone()
_ALONE = _references(_sample[0])
