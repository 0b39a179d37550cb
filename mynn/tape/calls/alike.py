"""Calls that are alike: a new network of a known structure is not traced again.

What decides the trace of a piece is what its calls are made of and the types of what was there
before. That is written down here as plain values, among which are the modules, optimizers and
parameters themselves: `mynn.jit.likeness` tells what these are made of, and of calls that are told
alike `mynn.jit.known` gives the trace of the earlier ones, with the new objects in their places.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from mynn import debug
from mynn.base import recording
from mynn.base.dataclass import dataclass
from mynn.core.types import Array, Type, default_float
from mynn.jit.description import Description
from mynn.jit.known import Beside, GeneralGuards, Known, Particular, described, stage_alike
from mynn.jit.likeness import describe
from mynn.jit.stage import Staged
from mynn.tape.calls.call import Beyond, Call, External, Form, Leaf, Slot
from mynn.tape.calls.outcome import Outcome, outcome_of
from mynn.tape.calls.several import Several, several
from mynn.tensor import Parameter, Tensor
from mynn.trace.guards import Guards

if TYPE_CHECKING:
    from mynn.tape.calls.step import Target


Found = TypeVar("Found")
# By descriptions of calls: what was found of them, and what they give; so many at most.
_found: dict[Any, Any] = {}
_outcomes: dict[Any, _Known] = {}
_MANY = 1024


class Told(enum.Enum):
    """What no value of the user's equals."""

    SLOT = enum.auto()
    EXTERNAL = enum.auto()
    BEYOND = enum.auto()
    LIST = enum.auto()

    __hash__ = object.__hash__  # that of `Enum` takes ten times as long


_PLACES = {Slot: Told.SLOT, External: Told.EXTERNAL, Beyond: Told.BEYOND}


def stage_calls(
    calls: Sequence[Call],
    externals: Sequence[Any],
    wanted: Sequence[int],
    trained: Sequence[Target],
    trace: Callable[[], Staged],
) -> tuple[Staged, Known | None]:
    """The calls staged, by `trace()` where none like them were; and what is known of them, if
    anything can be.
    """
    things, kinds = _told(calls, externals, trained, {})
    return stage_alike(things, (*kinds, tuple(wanted)), trace, Beside())


def told_alike(
    calls: Sequence[Call],
    externals: Sequence[Any],
    trained: Sequence[Target],
    put_off: Mapping[int, Array],
) -> Any:
    """What calls have in common that are alike; None where that cannot be said. `put_off`: the
    memory of state whose values are still to be made.
    """
    things, kinds = _told(calls, externals, trained, put_off)
    told = describe(things, put_off)
    return None if told is None else (told.told, kinds)


def found_alike(name: str, told: Any, find: Callable[[], Found]) -> Found:
    """What `find` tells of calls, as it told of those that are told alike; `name` says what that
    is, in which there are none of their objects.
    """
    if told is None or not debug.silent():
        return find()
    key = name, told
    found: Found = _found.get(key, _found)  # which no finding is
    if found is _found:
        found = find()
        if len(_found) >= _MANY:
            _found.clear()
        _found[key] = found
    return found


@dataclass(frozen=True)
class _Known:
    """An outcome without the objects of the call that was traced, which are numbers here; nothing
    but None of a call that has to be run at once.
    """

    outcome: Outcome | None
    guards: GeneralGuards | None
    tensors: tuple[tuple[int, ...], ...]
    # That of the results, where there are several.
    structure: Any

    @staticmethod
    def of(found: Outcome | Several | None, told: Description) -> _Known:
        """What was found of the call that was described."""
        if found is None:
            return _Known(None, None, (), None)
        outcome = found.outcome if isinstance(found, Several) else found
        structure = found.structure if isinstance(found, Several) else None
        tensors = outcome.writes, outcome.leaves, outcome.state
        numbers = tuple(tuple([described(one, told) for one in some]) for some in tensors)
        guards = GeneralGuards.of(outcome.guards, told)
        plain = replace(outcome, writes=(), leaves=(), state=(), guards=Guards())
        return _Known(plain, guards, numbers, structure)

    def bind(self, function: Any, told: Description) -> Outcome | Several | None:
        """That of a call of an equal description. Nothing has been seen of it yet, so that whoever
        comes to it again compares what the trace has read.
        """
        if self.outcome is None or self.guards is None:
            return None
        writes, leaves, state = (
            tuple([told.objects[number] for number in some]) for some in self.tensors
        )
        outcome = replace(
            self.outcome,
            writes=writes,
            leaves=leaves,
            state=state,
            guards=self.guards.bind(told),
            edits=-1,
            toggles=recording.toggles[0],
        )
        return outcome if self.structure is None else several(function, self.structure, outcome)


def outcome_alike(
    function: Any, form: Form, leaves: Sequence[Leaf], put_off: Mapping[int, Array]
) -> Outcome | Several | None:
    """`outcome_of` a call, which is traced where none like it was."""
    if not debug.silent():
        return outcome_of(function, form, leaves)
    things = _function(function), *[leaf.state for leaf in leaves]
    told = describe(things, put_off)
    if told is None:
        return outcome_of(function, form, leaves)
    kinds = tuple([leaf[:-1] for leaf in leaves])
    key = told.told, tuple(told.names), form.text(), kinds, default_float()
    known = _outcomes.get(key)
    if known is not None:
        return known.bind(function, told)
    found = outcome_of(function, form, leaves)
    after = describe(things, put_off)
    if after is None or after.told != told.told:
        return found  # the trace has changed what it ran through
    with contextlib.suppress(Particular):
        known = _Known.of(found, told)
        if len(_outcomes) >= _MANY:
            _outcomes.clear()
        _outcomes[key] = known
    return found


def _told(
    calls: Sequence[Call],
    externals: Sequence[Any],
    trained: Sequence[Target],
    put_off: Mapping[int, Array],
) -> tuple[Any, Any]:
    """What has a description, and the types of all else."""
    parameters = tuple([one if isinstance(one, Parameter) else None for one in externals])
    things = tuple(map(_call, calls)), parameters, tuple(map(_argument, trained))
    kinds = tuple([_kind(one, put_off) for one in externals])
    return things, (kinds, default_float())


def _kind(external: Any, put_off: Mapping[int, Array]) -> Any:
    """What a trace is told of a tensor or an array from before, if it is no parameter."""
    if isinstance(external, Parameter):
        return None
    if not isinstance(external, Tensor):
        return Type.of(external)
    memory = put_off.get(id(external))
    spec = external.spec if memory is None else Type.of(memory)
    return spec, external.requires_grad, memory is not None or external.is_leaf


def _call(call: Call) -> Any:
    form = call.form
    modes = () if call.modes is None else tuple(call.modes.items())
    args = tuple([_argument(one) for one in form.args])
    kwargs = tuple([(name, _argument(one)) for name, one in form.kwargs.items()])
    return _function(call.function), args, kwargs, call.gradients, modes, call.slot, call.overwrites


def _function(function: Any) -> Any:
    """A function, or what a call of the tape's own is made of."""
    parts = getattr(type(function), "parts", None)
    if parts is None or not type(function).__module__.startswith("mynn.tape."):
        return function
    return type(function).__name__, *[_argument(one) for one in parts(function)]


def _argument(value: Any) -> Any:
    kind = type(value)
    place = _PLACES.get(kind)
    if place is not None:
        return place, value.number
    if kind is tuple:
        return tuple([_argument(one) for one in value])
    if kind is list:
        return (Told.LIST, *[_argument(one) for one in value])
    return value


__all__ = ["found_alike", "outcome_alike", "stage_calls", "told_alike"]
