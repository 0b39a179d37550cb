"""Free variables: what a Python function reads from outside: globals, closures, attributes, items.

The names that its code mentions are looked up, not its instructions: so a name may be kept that is
not read in the end, and one that is made up while the function runs (`getattr(x, text)`) is not
found. Attributes of modules are not looked for here: the trace sees them being read.
"""

from __future__ import annotations

import dis
import functools
import os
import random
import sysconfig
import time
import types
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from mynn.base.dataclass import dataclass
from mynn.base.notices import Place
from mynn.trace.snapshot import is_plain, snapshot

_PACKAGE = str(Path(__file__).parents[1]) + os.sep
_FOREIGN = (_PACKAGE, *(sysconfig.get_paths()[key] for key in ("stdlib", "purelib", "platlib")))
_DEPTH = 8
_MOST = 200
# Longer lists and larger arrays are compared where a run begins, not in every call.
SMALL_ITEMS = 32
SMALL_BYTES = 2**16
CLOCKS = frozenset(
    name for name in dir(time) if name.removesuffix("_ns") in ("time", "perf_counter", "monotonic")
)
# Through these an attribute is read whose name stands in a text, or is made up.
_BY_TEXT = frozenset({"getattr", "vars", "__dict__", "attrgetter"})
# What these read is not looked for.
_UNSEEN = _BY_TEXT | {"eval", "exec", "globals", "locals", "open", "environ", "getenv", "urandom"}
SOURCES = (np.random.Generator, np.random.RandomState, random.Random)


@dataclass
class Bound:
    """A name with the value that it had: in a dict (of globals, of an object), or a closure."""

    where: Any
    name: str
    kept: Any

    def now(self) -> Any:
        """The present value."""
        if isinstance(self.where, types.CellType):
            try:
                return self.where.cell_contents
            except ValueError:  # empty
                return GONE
        return self.where.get(self.name, GONE)


GONE = object()


@dataclass
class FreeVariables:
    """What the code of a function and of those that it calls mentions.

    - `bound`: numbers, texts, functions, networks: what can only change by another assignment.
    - `contents`: lists, dicts and arrays of plain things, which can change in place.
    - `sources`: generators of random numbers, by name, with their states.
    - `clocks`: names through which the time can be read.
    - `complete`: False where the code may read what is not listed here: by names that it makes up,
      from files, in slots, too many or too deep.
    """

    bound: list[Bound] = field(default_factory=list)
    contents: list[Bound] = field(default_factory=list)
    sources: list[tuple[str, Any, Any]] = field(default_factory=list)
    clocks: list[str] = field(default_factory=list)
    codes: list[types.CodeType] = field(default_factory=list)
    complete: bool = True

    def place(self, name: str, store: bool = False) -> Place | None:
        """The line at which the code mentions a name, or changes it."""
        place = None
        for code in self.codes:
            for line, instruction in _lines(code):
                if instruction.argval == name:
                    if not store or instruction.opname.startswith("STORE"):
                        return Place(code.co_filename, line)
                    place = place or Place(code.co_filename, line)
        if place is None and self.codes:
            place = Place(self.codes[0].co_filename, self.codes[0].co_firstlineno)
        return place


def _lines(code: types.CodeType) -> Iterator[tuple[int, dis.Instruction]]:
    line = code.co_firstlineno
    for instruction in dis.get_instructions(code):
        if instruction.starts_line is not None:
            positions = instruction.positions
            line = positions.lineno if positions and positions.lineno else line
        yield line, instruction


def state_of(source: Any) -> Any:
    """The state of a generator of random numbers, to compare."""
    if isinstance(source, random.Random):
        return source.getstate()
    if isinstance(source, np.random.Generator):
        return snapshot(source.bit_generator.state)
    return snapshot(source.get_state(legacy=False))


def scan(function: Any) -> FreeVariables:
    """What the function reads from outside, now."""
    scanner = _Scanner()
    scanner.value({"function": function}, "function", function, frozenset(), frozenset(), 0)
    del scanner.free.bound[:1]
    return scanner.free


def _mentioned(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code and that of the functions within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _mentioned(constant)


def of_others(file: str) -> bool:
    """Whether a file is mynn's, Python's or of a package that is installed."""
    return file.startswith("<frozen") or file.startswith(_FOREIGN)


class _Scanner:
    def __init__(self) -> None:
        self.free = FreeVariables()
        self.seen: set[Any] = set()

    def function(self, function: types.FunctionType, owner: Any, depth: int) -> None:
        """The names in the code of a function of the user's, and in those that it calls."""
        code = function.__code__
        if code.co_filename.startswith(_PACKAGE):
            self.transformed(function, depth)
            return
        if (code, id(owner)) in self.seen or of_others(code.co_filename) or depth > _DEPTH:
            return
        self.seen.add((code, id(owner)))
        inner = list(_mentioned(code))
        self.free.codes += inner
        names = frozenset(name for one in inner for name in one.co_names)
        texts = frozenset(c for one in inner for c in one.co_consts if isinstance(c, str))
        if names & _UNSEEN:
            self.free.complete = False
        if names & _BY_TEXT:
            names |= texts
        for name in names & function.__globals__.keys():
            self.value(function.__globals__, name, function.__globals__[name], names, texts, depth)
        for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not bound yet
                continue
            self.value(cell, name, value, names, texts, depth)
        if owner is not None:
            self.methods(owner, names, depth + 1)
            self.held(owner, names, texts, depth)

    def transformed(self, function: types.FunctionType, depth: int) -> None:
        """The functions of the user's that one of mynn's holds: `grad` of them.

        However deep they lie: `vmap(hessian(f))` is eight functions around f.
        """
        if id(function) in self.seen:
            return
        self.seen.add(id(function))
        for cell in function.__closure__ or ():
            try:
                inner = cell.cell_contents
            except ValueError:
                continue
            if isinstance(inner, types.FunctionType | types.MethodType):
                self.called(inner, frozenset(), frozenset(), depth)

    def value(
        self,
        where: Any,
        name: str,
        value: Any,
        names: frozenset[str],
        texts: frozenset[str],
        depth: int,
    ) -> None:
        """One value that a name stands for."""
        free = self.free
        if len(free.bound) + len(free.contents) > _MOST or depth > _DEPTH:
            free.complete = False
            return
        if isinstance(value, types.ModuleType):
            self.module(name, value, names, texts, depth)
        elif isinstance(value, SOURCES):
            self.source(name, value)
        elif isinstance(value, list | dict | set | np.ndarray):
            self.container(where, name, value, names, texts, depth)
        elif isinstance(value, types.BuiltinFunctionType):
            if value.__name__ in CLOCKS and value.__module__ == "time":
                free.clocks.append(name)
        else:
            free.bound.append(Bound(where, name, snapshot(value)))
            self.entry(name, value, names, texts, depth + 1)

    def called(self, value: Any, names: frozenset[str], texts: frozenset[str], depth: int) -> None:
        """What stands behind a value that is no plain one."""
        if isinstance(value, types.FunctionType):
            self.function(value, None, depth)
        elif isinstance(value, type):
            self.user_function(value, depth)
        elif isinstance(value, types.MethodType):
            if isinstance(value.__self__, type):  # `apply` under another name
                self.user_function(value.__self__, depth)
            if isinstance(value.__func__, types.FunctionType):
                self.function(value.__func__, value.__self__, depth)
        elif isinstance(value, functools.partial):
            self.partial(value, names, texts, depth)
        elif type(value).__module__ == "mynn.jit.compile":
            self.called(value.function, names, texts, depth)
        elif not is_plain(value):
            self.attributes(value, names | {"forward"}, texts, depth)

    def partial(
        self,
        value: functools.partial[Any],
        names: frozenset[str],
        texts: frozenset[str],
        depth: int,
    ) -> None:
        """The function of a partial one, which is always the same, and what it is given."""
        self.called(value.func, names, texts, depth)
        given = {"args": value.args, "keywords": value.keywords}
        for name, held in given.items():
            if held:
                self.value(given, name, held, names, texts, depth + 1)

    def user_function(self, cls: type, depth: int) -> None:
        """A subclass of `autograd.Function`: its methods, which are called by `apply`."""
        if not any(base.__module__ == "mynn.autograd.function" for base in cls.__mro__):
            return
        for base in cls.__mro__:
            for method in vars(base).values():
                inner = getattr(method, "__func__", method)
                if isinstance(inner, types.FunctionType):
                    self.function(inner, None, depth)

    def source(self, name: str, source: Any) -> None:
        """A generator of random numbers, by the first name that leads to it."""
        if id(source) not in self.seen:
            self.seen.add(id(source))
            self.free.sources.append((name, source, state_of(source)))

    def module(
        self,
        name: str,
        module: types.ModuleType,
        names: frozenset[str],
        texts: frozenset[str],
        depth: int,
    ) -> None:
        """A Python module: its own values, where the user wrote it; clocks."""
        if module is time:
            self.free.clocks += [name for clock in names & CLOCKS if clock]
        file = getattr(module, "__file__", None)
        if file is not None and not of_others(file) and depth < _DEPTH:
            for inner in names & vars(module).keys():
                self.value(vars(module), inner, vars(module)[inner], names, texts, depth + 1)

    def container(
        self,
        where: Any,
        name: str,
        value: Any,
        names: frozenset[str],
        texts: frozenset[str],
        depth: int,
    ) -> None:
        """A list, a dict, a set or an array."""
        self.free.bound.append(Bound(where, name, value))
        small = isinstance(value, np.ndarray) or len(value) <= SMALL_ITEMS
        if small:
            self.free.contents.append(Bound(where, name, snapshot(value)))
        if isinstance(value, dict) and depth < _DEPTH and not (small and is_plain(value)):
            for key in texts & value.keys():
                self.value(value, key, value[key], names, texts, depth + 1)
        self.entry(name, value, names, texts, depth)

    def entry(
        self, name: str, value: Any, names: frozenset[str], texts: frozenset[str], depth: int
    ) -> None:
        """What lies behind a value that is kept itself: the objects in a container, an object."""
        if isinstance(value, SOURCES):
            self.source(name, value)
        elif isinstance(value, list | tuple | dict | set):
            if len(value) > SMALL_ITEMS or depth > _DEPTH:
                self.free.complete = False
                return
            for one in value.values() if isinstance(value, dict) else value:
                self.entry(name, one, names, texts, depth + 1)
        elif not is_plain(value):
            self.called(value, names, texts, depth)

    def attributes(
        self, owner: Any, names: frozenset[str], texts: frozenset[str], depth: int
    ) -> None:
        """The attributes of an object that the code mentions, and its methods."""
        if id(owner) in self.seen:
            return
        if depth > _DEPTH:
            self.free.complete = False
            return
        self.seen.add(id(owner))
        self.methods(owner, names, depth)
        if is_module(owner):
            for child in owner._modules.values():
                if child is not None:
                    self.attributes(child, names, texts, depth)
        self.held(owner, names, texts, depth)

    def methods(self, owner: Any, names: frozenset[str], depth: int) -> None:
        """The methods and properties of an object's class that the code mentions."""
        for base in type(owner).__mro__:
            for name in names & vars(base).keys():
                method = vars(base)[name]
                method = method.fget if isinstance(method, property) else method
                if isinstance(method, types.FunctionType):
                    self.function(method, owner, depth)

    def held(self, owner: Any, names: frozenset[str], texts: frozenset[str], depth: int) -> None:
        """What lies in attributes; those of modules the trace sees, but not what these hold."""
        if type(owner).__module__.startswith("mynn."):
            return
        if any("__slots__" in vars(base) for base in type(owner).__mro__):
            self.free.complete = False
        table = getattr(owner, "__dict__", None)
        if not isinstance(table, Mapping):
            return
        tracked = is_module(owner)
        for name in names & table.keys():
            value = table[name]
            if (id(owner), name) in self.seen:
                continue
            self.seen.add((id(owner), name))
            if not tracked:
                self.value(table, name, value, names, texts, depth + 1)
            elif not isinstance(value, SOURCES):  # those the trace sees
                self.entry(name, value, names, texts, depth + 1)


def is_module(owner: Any) -> bool:
    """Whether an object is a `Module`."""
    return any(base.__module__ == "mynn.nn.module" for base in type(owner).__mro__)
