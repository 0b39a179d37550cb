"""Traces that are known: a new network of a structure that was traced before is not traced again.

What decides a trace is what the function is made of (`likeness`), the types of its arguments, and
nothing else. So for a function of an equal description the graph is the same, its state inputs
stand for the objects of the same numbers, and the guards are those of the earlier trace with these
objects in their places. What is kept here holds no object of the functions that were traced.
"""

from __future__ import annotations

import threading
import types
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mynn import debug
from mynn.base import forks
from mynn.base.dataclass import dataclass
from mynn.base.lazy import lazy
from mynn.core.graph import Node
from mynn.jit import likeness, looks
from mynn.jit.description import Description
from mynn.jit.stage import Staged
from mynn.tensor import Tensor, graph_node
from mynn.trace import tracing
from mynn.trace.free_variables import GONE, Bound
from mynn.trace.guards import Guards, Look
from mynn.trace.snapshot import ArrayContent, is_plain
from mynn.trace.trace import Trace

# So many traces are kept; those used longest ago go first.
_MOST = 128


class Particular(Exception):
    """A trace depends on what no description tells."""


class _Number(NamedTuple):
    """An object of a description, in the place of the object."""

    number: int


def _general(value: Any, told: Description) -> Any:
    """A snapshot with numbers in the place of objects."""
    number = told.numbers.get(id(value))
    if number is not None:
        return _Number(number)
    if isinstance(value, ArrayContent) or value is GONE or id(value) in told.constants:
        return value
    if type(value) in (list, tuple, set):
        return type(value)([_general(item, told) for item in value])
    if type(value) is dict:
        return {key: _general(item, told) for key, item in value.items() if _plain_key(key)}
    if not is_plain(value):
        raise Particular
    return value


def _plain_key(key: Any) -> bool:
    if not is_plain(key):
        raise Particular
    return True


class _Pattern(NamedTuple):
    """A snapshot in which there are numbers."""

    value: Any


def _kept(value: Any, told: Description) -> Any:
    """A snapshot, as a pattern where it is another one for other objects."""
    general = _general(value, told)
    return _Pattern(general) if _has_numbers(general) else general


def _has_numbers(value: Any) -> bool:
    if type(value) is dict:
        return any(map(_has_numbers, value.values()))
    return type(value) is _Number or (
        type(value) in (list, tuple, set) and any(map(_has_numbers, value))
    )


def _special(value: Any, objects: list[Any]) -> Any:
    """What was kept, of other objects."""
    return _filled(value.value, objects) if type(value) is _Pattern else value


def _filled(value: Any, objects: list[Any]) -> Any:
    """The snapshot again, with other objects."""
    if type(value) is _Number:
        return objects[value.number]
    if type(value) in (list, tuple, set):
        return type(value)([_filled(item, objects) for item in value])
    if type(value) is dict:
        return {key: _filled(item, objects) for key, item in value.items()}
    return value


def described(thing: Any, told: Description) -> int:
    """The number of an object that a trace has met."""
    number = told.numbers.get(id(thing))
    if number is None:
        raise Particular
    return number


def _table(where: Mapping[str, Any], told: Description) -> Any:
    """A dict by its number; that of a class is the same for all."""
    return where if isinstance(where, types.MappingProxyType) else described(where, told)


def _place(where: Any, objects: list[Any]) -> Any:
    """The dict, or the cell, that a number stands for."""
    if type(where) is not int:
        return where
    found = objects[where]
    return found if type(found) in (dict, types.CellType) else vars(found)


_Named = tuple[tuple[Any, str, Any], ...]


@dataclass(frozen=True)
class GeneralGuards:
    """Guards with numbers in the place of objects."""

    properties: _Named
    versions: tuple[int, ...]
    attributes: _Named
    tables: _Named
    cells: _Named
    held: _Named
    large: _Named

    @staticmethod
    def of(guards: Guards, told: Description) -> GeneralGuards:
        """Those of a trace of what was described."""
        hooked = any(guards.hooks.values())
        if guards.sources or hooked or not guards.complete or not guards.general:
            raise Particular

        def bounds(found: Sequence[Bound | Look]) -> _Named:
            named = [b for b in found if isinstance(b, Bound)]
            if len(named) < len(found):
                raise Particular  # values of tensors are in no description
            return tuple((_table(b.where, told), b.name, _kept(b.kept, told)) for b in named)

        return GeneralGuards(
            tuple(
                (described(owner, told), name, _kept(value, told))
                for (owner, name), value in guards.properties.items()
            ),
            tuple(described(module, told) for module in guards.versions),
            tuple(
                (described(owner, told), name, _kept(kept, told))
                for (owner, name), kept in guards.attributes.items()
            ),
            tuple((_table(t, told), name, _kept(kept, told)) for t, name, kept in guards.tables),
            tuple(
                (described(cell, told), name, _kept(kept, told))
                for cell, name, kept in guards.cells
            ),
            bounds(guards.held),
            bounds(guards.large),
        )

    def bind(self, told: Description) -> Guards:
        """Those of a function of an equal description."""
        guards, objects = Guards(), told.objects
        for number, name, value in self.properties:
            guards.properties[objects[number], name] = _special(value, objects)
        for number in self.versions:
            guards.versions[objects[number]] = told.edits[number]
        for number, name, kept in self.attributes:
            owner = objects[number]
            owner._kept.add(name)
            guards.again(owner, name, _special(kept, objects))
        for where, name, kept in self.tables:
            guards.tables.append((_place(where, objects), name, _special(kept, objects)))
        for where, name, kept in self.cells:
            guards.cells.append((objects[where], name, _special(kept, objects)))
        for bounds, found in ((guards.held, self.held), (guards.large, self.large)):
            for where, name, kept in found:
                bounds.append(Bound(_place(where, objects), name, _special(kept, objects)))
        return guards


class Known:
    """A trace without the objects of the function that was traced.

    `key`: what the function is made of; names of its tensors and types of the arguments. `code`:
    that of the program that was made of it, while the store keeps it; `joined`: that of the latest
    program of it and of a trace for fewer rows.
    """

    def __init__(
        self, key: tuple[Any, Any], before: Description, after: Description, staged: Staged
    ) -> None:
        self.key = key
        trace = staged.trace
        effects = trace.effects
        if before.told != after.told or list(map(id, before.objects)) != list(
            map(id, after.objects)
        ):
            raise Particular
        if effects.assigned or effects.looks or effects.refused or trace.promoted:
            raise Particular
        guards = GeneralGuards.of(trace.guards, before)
        alike = (known.guards for known in KNOWN.family(key[0]).values())
        self.guards: GeneralGuards = next((one for one in alike if one == guards), guards)
        self.state = tuple(described(tensor, before) for tensor in staged.state)
        self.names = after.names
        self.modules = [
            (described(module, before), path) for module, path in trace.observer.modules.items()
        ]
        self.gradients = [
            (described(tensor, before), _node(gradient))
            for tensor, gradient in trace.gradients.items()
        ]
        self.activations = trace.observer.activations
        self.cotangents = {node: _node(one) for node, one in trace.observer.cotangents.items()}
        self.graph, self.arguments, self.writes = staged.graph, staged.arguments, staged.writes
        self.structure, self.results = staged.structure, staged.results
        # What is found out of a trace when it is asked for, and is the same for all of them.
        self.found: dict[str, Any] = {
            "state_bytes": staged.state_bytes,
            "result_names": staged.result_names,
            "complete": staged.complete,
            "steady": staged.steady,
        }
        if not any(node.type.dtype.kind == "u" for node in staged.state_nodes):
            self.found["generators"] = ()
        self.written = tuple(described(tensor, before) for tensor in staged.written)
        self.code: Any = None
        self.joined: Any = None

    def bind(self, beside: Beside) -> Staged:
        """The trace of a function of an equal description.

        What was described may have been changed since, before its changes were noted: so nothing
        has been seen of it yet (`Staged.seen`), and whoever runs it once more compares.
        """
        told = beside.told
        assert told is not None
        objects = told.objects
        if beside.guards is None or beside.guards.general is not self.guards:
            beside.guards = _Guarded(self.guards, told)
            for tensor, name in zip(told.tensors, self.names, strict=True):
                tensor.name = name
        state = tuple([objects[number] for number in self.state])
        trace = _Bound(self, beside.guards, state)
        fixed = self.graph, self.arguments, state, self.writes, self.structure, self.results
        staged = Staged(*fixed, trace, 0.0, [-1])
        written = tuple([objects[number] for number in self.written])
        vars(staged).update(self.found, written=written)
        beside.names = tuple(self.names)
        return staged

    def forget(self, code: Any) -> None:
        """The store of programs drops the code: so is this, where no other one is kept."""
        if self.code is code:
            self.code = None
        if self.joined is code:
            self.joined = None
        if self.code is None and self.joined is None:
            KNOWN.drop(self)

    def keep(self, code: Any, joined: bool = False) -> None:
        """A program of it runs this code, or one for batches of several sizes (`joined`): others
        like it may be known from here on.
        """
        if joined:
            self.joined = code
        else:
            self.code = code
        KNOWN.put(self)
        code.holders.add(self)
        if code.dropped:
            self.forget(code)


class _Guarded:
    """The guards of a function of a description, which traces of it for different arguments share;
    made when they are needed: most networks of a sweep are trained once.
    """

    def __init__(self, general: GeneralGuards, told: Description) -> None:
        self.general = general
        self.told = told

    @lazy
    def guards(self) -> Guards:
        """From here on changes are noted of what was read."""
        guards = self.general.bind(self.told)
        guards.hooks = {one: () for one in self.told.tensors if one._requires_grad}
        return guards


class _Bound(Trace):
    """A trace that was not recorded: what it holds is made of an earlier one when it is asked for.

    `state`: the tensors that stand for those of that trace.
    """

    def __init__(self, known: Known, guarded: _Guarded, state: tuple[Tensor, ...]) -> None:
        self._from = known, guarded, state

    def __getattr__(self, name: str) -> Any:
        if name not in _Bound._FIELDS:
            raise AttributeError(name)
        known, guarded, state = self._from
        objects = guarded.told.objects
        super().__init__()
        self.guards = guarded.guards
        self.reads = dict(zip(state, known.graph.inputs[len(known.arguments) :], strict=True))
        self.observer.modules = {objects[number]: path for number, path in known.modules}
        self.observer.activations = known.activations
        self.observer.cotangents = known.cotangents
        self.gradients = {objects[number]: node for number, node in known.gradients}
        return vars(self)[name]

    _FIELDS = frozenset(vars(Trace()))


def _node(value: Any) -> Node:
    return value if isinstance(value, Node) else graph_node(value)


class _Table:
    """A bounded table of traces: for each description those for other names and arguments."""

    def __init__(self) -> None:
        self._families: OrderedDict[Any, dict[Any, Known]] = OrderedDict()
        self._lock = forks.register(threading.RLock())

    def family(self, told: Any) -> dict[Any, Known]:
        """The traces of functions that are made of this."""
        with self._lock:
            family = self._families.get(told)
            if family is None:
                return {}
            self._families.move_to_end(told)
            return family

    def put(self, known: Known) -> None:
        """Keep a trace; those used longest ago may go."""
        told, signature = known.key
        with self._lock:
            self._families.setdefault(told, {})[signature] = known
            while sum(map(len, self._families.values())) > _MOST:
                self._families.popitem(last=False)

    def drop(self, known: Known) -> None:
        """Forget a trace."""
        told, signature = known.key
        with self._lock:
            family = self._families.get(told, {})
            if family.get(signature) is known:
                del family[signature]
                if not family:
                    del self._families[told]


KNOWN = _Table()


class Beside:
    """What traces of one function have in common that are made one after the other, for batches of
    different sizes: its description, and once one was known its guards and its program.
    """

    def __init__(self) -> None:
        self.edits = -1
        self.told: Description | None = None
        self.names: tuple[str | None, ...] = ()
        self.family: dict[Any, Known] = {}
        self.guards: _Guarded | None = None
        self.program: Any = None

    def describe(self, function: Any) -> None:
        """See what the function is made of, unless that was seen and nothing has happened since."""
        edits = tracing.activity.edits()
        if self.guards is None or self.edits != edits:
            self.edits, self.guards = edits, None
            self.told = likeness.describe(function)
            if self.told is not None:
                self.names = tuple(self.told.names)
                self.family = KNOWN.family(self.told.told)


def stage(
    function: Any,
    arguments: tuple[Any, ...],
    trace: Callable[[], Staged],
    beside: Beside | None = None,
) -> tuple[Staged, Known | None]:
    """The staged function, by `trace()` where no function of an equal description was traced for
    such arguments; and what is known of it, if anything can be.
    """
    if not all(type(x) is np.ndarray for x in arguments):
        return trace(), None
    kinds = tuple([(x.shape, x.dtype) for x in arguments])
    return stage_alike(function, kinds, trace, beside or Beside())


def stage_alike(
    thing: Any, kinds: Any, trace: Callable[[], Staged], beside: Beside
) -> tuple[Staged, Known | None]:
    """The same of whatever has a description and is all that decides the trace, with `kinds`."""
    if not debug.silent():  # a trace is to be seen, or its warnings heard
        return trace(), None
    beside.describe(thing)
    told = beside.told
    if told is None:
        return trace(), None
    signature = beside.names, kinds
    known = beside.family.get(signature)
    if known is not None:
        return known.bind(beside), known
    beside.guards = None  # a trace runs the function, which may change what it is made of
    staged = trace()
    after = likeness.describe(thing)
    try:
        known = None if after is None else Known((told.told, signature), told, after, staged)
    except Particular:
        known = None
    return staged, known


tracing.observe(looks.watch)
