"""Likeness: what a function is made of, told without saying which objects they are.

A walk from the function, through its closure, the globals that it mentions, networks and
optimisers, writes down kinds, options, shapes and memory orders, and numbers objects in the order
in which they are met. Two functions of equal descriptions are traced to the same graph: object by
object, number by number, one stands for the other. What is of another kind than those below has no
description.
"""

from __future__ import annotations

import enum
import functools
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from mynn import random
from mynn.core.types import Array
from mynn.jit.description import MOST, Description, Mark, Unknown
from mynn.jit.facts import (
    ATTRIBUTES,
    facts,
    is_importable,
    is_importable_class,
    of_class_of_others,
    overridable,
)
from mynn.optim.optimizer import Optimizer
from mynn.optim.options import Parameters, ParamGroup
from mynn.tensor import Parameter, Tensor
from mynn.tensor.gradients.grad_mode import grad_enabled
from mynn.trace import modes
from mynn.trace.free_variables import SMALL_BYTES, is_module, of_others

_NOTHING: Mapping[int, Array] = types.MappingProxyType({})
# Objects lie so deep at most: others are traced.
_DEPTH = 200
# Attributes of modules and optimisers that say nothing of what they compute, or are written down by
# themselves.
_MODULE_OWN = frozenset(
    {"_parameters", "_buffers", "_modules", "_transient", "_training", "_traced", "_edits"}
    | {"_kept", "_compiled_methods", "_recorded"}
)
_OPTIMIZER_OWN = frozenset({"defaults", "param_groups", "state", "_kept", "_recorded"})
_TABLES = ("_parameters", "_buffers", "_modules")
# Methods that run where objects are made or shown, not where they compute.
_ASIDE = frozenset(
    {"__init__", "__new__", "__init_subclass__", "__class_getitem__", "__repr__", "__str__"}
    | {"__del__", "__reduce__", "__getstate__", "__setstate__", "__copy__", "__deepcopy__"}
    | {"extra_repr"}
)


def describe(function: Any, put_off: Mapping[int, Array] = _NOTHING) -> Description | None:
    """The description of a function or a module, or of plain values among which are such; None
    where there is none. `put_off`: the memory of tensors whose values are still to be made.
    """
    try:
        return _Walk().describe(function, put_off)
    except (Unknown, RuntimeError, AttributeError, KeyError):
        return None  # another thread may be changing something


class _Walk:
    def __init__(self) -> None:
        self.description = Description()
        self.out: list[Any] = []
        self.depth = 0
        self.modes = modes.present()
        # Classes and Python modules of the user's: what is read of them follows from the names of
        # attributes in all code that was met, so that they come last.
        self.attributes: frozenset[str] = frozenset()
        self.owners: dict[Any, set[str]] = {}

    def describe(self, function: Any, put_off: Mapping[int, Array]) -> Description:
        description = self.description
        self._number(random.default_generator().key)
        self.out.append(grad_enabled())
        self.value(function)
        self._owners()
        description.tell_tensors(self.out, put_off)
        description.told = tuple(self.out)
        return description

    def _number(self, thing: Any, table: Any = None) -> None:
        """Give an object the next number, and the same to the dict of its attributes."""
        description = self.description
        objects, numbers = description.objects, description.numbers
        number = len(objects)
        if number > MOST:
            raise Unknown
        objects.append(thing)
        numbers[id(thing)] = number
        if table is not None:
            numbers[id(table)] = number

    def _constant(self, thing: Any) -> None:
        """Write down an object that stays what it is."""
        self.out.append(thing)
        self.description.constants.add(id(thing))

    # -- values ------------------------------------------------------------------------------------

    def value(self, value: Any) -> None:
        """Write down one value."""
        cls = type(value)
        if cls in _PLAIN:
            self.out += (cls, value)
            return
        number = self.description.numbers.get(id(value))
        if number is not None:
            self.out += (Mark.AGAIN, number)
            return
        self.depth += 1
        if self.depth > _DEPTH:
            raise Unknown
        writer = _WRITERS.get(cls)
        if writer is not None:
            writer(self, value)
        else:
            self._of_class(value, cls)
        self.depth -= 1

    def _of_class(self, value: Any, cls: type) -> None:
        if isinstance(value, type):
            if (
                not of_class_of_others(value)
                or issubclass(value, Tensor)
                or not is_importable_class(value)
            ):
                raise Unknown
            self.out.append(type)
            self._constant(value)
        elif is_module(value):
            self.module(value)
            _remember(cls, _Walk.module)
        elif isinstance(value, Optimizer):
            self.optimizer(value)
            _remember(cls, _Walk.optimizer)
        elif isinstance(value, np.generic):
            self.out += (cls, value.dtype, value.tobytes())
        elif isinstance(value, np.dtype):
            self.out += (np.dtype, value)
        elif isinstance(value, enum.Enum) and is_importable_class(cls):
            self.out.append(enum.Enum)
            self._constant(value)
        elif cls.__module__ == "mynn.jit.compile":  # a function that is compiled for itself
            self._number(value)
            self.out.append(cls)
            self.value(value.function)
        else:
            self._object(value, cls)

    def text(self, value: Any) -> None:
        """A value that its `repr` tells, -0.0 from 0.0 too."""
        self.out += (type(value), repr(value))

    def real(self, value: float) -> None:
        """A number; of two zeros, and of NaN, its text tells which it is."""
        self.out += (float, value if value and value == value else repr(value))

    def sequence(self, value: list[Any] | tuple[Any, ...]) -> None:
        """A list or a tuple."""
        if type(value) is not tuple:
            self._number(value)
        self.out += (type(value), len(value))
        for item in tuple(value):
            self.value(item)

    def dictionary(self, value: dict[Any, Any]) -> None:
        """A dict, with its order."""
        self._number(value)
        self.out += (dict, len(value))
        for key, item in list(value.items()):
            self.value(key)
            self.value(item)

    def array(self, value: np.ndarray[Any, Any]) -> None:
        """A small array."""
        if value.nbytes > SMALL_BYTES or value.dtype.hasobject:
            raise Unknown
        self._number(value)
        self.out += (np.ndarray, value.shape, value.dtype, value.strides, value.tobytes())

    def tensor(self, value: Tensor) -> None:
        """A tensor that is state: here that it is one, the rest together with all others."""
        description = self.description
        objects = description.objects
        description.numbers[id(value)] = len(objects)
        objects.append(value)
        description.tensors.append(value)
        self.out.append(type(value))

    def generator(self, value: random.Generator) -> None:
        """A stream of random numbers."""
        self._number(value)
        self.out.append(random.Generator)
        self.value(value.key)

    def python_module(self, value: types.ModuleType) -> None:
        """A module of Python: itself, and of the user's what is read of it."""
        self.out.append(types.ModuleType)
        self._constant(value)
        file = getattr(value, "__file__", None)
        if file is None:
            if value.__name__ not in sys.builtin_module_names:
                raise Unknown
        elif not of_others(file):
            self._number(value, vars(value))
            self.owners[value] = set()

    def builtin(self, value: types.BuiltinFunctionType) -> None:
        """A function of Python's own, not of one object."""
        if value.__self__ is not None and not isinstance(value.__self__, types.ModuleType):
            raise Unknown
        self.out.append(types.BuiltinFunctionType)
        self._constant(value)

    def ufunc(self, value: np.ufunc) -> None:
        """A function of NumPy's own."""
        if getattr(np, value.__name__, None) is not value:
            raise Unknown
        self.out.append(np.ufunc)
        self._constant(value)

    def ellipsis(self, value: Any) -> None:
        """The only one."""
        self.out.append(type(value))
        self._constant(value)

    # -- functions ---------------------------------------------------------------------------------

    def method(self, value: types.MethodType) -> None:
        """A method of an object."""
        self._number(value)
        self.out.append(types.MethodType)
        self.value(value.__func__)
        self.value(value.__self__)

    def function(self, value: types.FunctionType) -> None:
        """A function: its code and all that it reads; of those of others that they are the same."""
        code = value.__code__
        foreign = of_others(code.co_filename)
        if foreign and is_importable(value):
            if value.__name__ in ATTRIBUTES:
                raise Unknown
            self.out.append(types.FunctionType)
            self._constant(value)
            return
        read = facts(code)
        extra = vars(value).keys() - {"_compiled_methods"}
        if (read.refused and not foreign) or not extra <= {"__wrapped__"}:
            raise Unknown
        self._number(value)
        self.out += (types.FunctionType, code, code.co_filename, len(extra))
        for name in extra:
            self.value(vars(value)[name])
        self.value(value.__defaults__)
        self.value(None if value.__kwdefaults__ is None else dict(value.__kwdefaults__))
        for name, cell in zip(code.co_freevars, value.__closure__ or (), strict=True):
            self._cell(name, cell)
        if not foreign:
            self.attributes |= read.attributes
            self._globals(value.__globals__, read.globals)

    def _cell(self, name: str, cell: types.CellType) -> None:
        number = self.description.numbers.get(id(cell))
        if number is not None:
            self.out += (Mark.AGAIN, number)
            return
        self._number(cell)
        try:
            content = cell.cell_contents
        except ValueError:
            self.out.append(Mark.EMPTY)
            return
        if name == "__class__":
            if not is_importable_class(content):
                raise Unknown
            self._constant(content)
        else:
            self.value(content)

    def _globals(self, table: dict[str, Any], names: Iterable[str]) -> None:
        number = self.description.numbers.get(id(table))
        self.out.append(Mark.NONE if number is None else number)
        if number is None:
            self._number(table)
        for name in names:
            if name in table:
                self.out.append(name)
                self.value(table[name])

    # -- networks and optimisers -------------------------------------------------------------------

    def module(self, module: Any) -> None:
        """A module with all below it."""
        own, cls, out = vars(module), type(module), self.out
        if not own["_traced"]:  # from here on replaced parts are counted
            object.__setattr__(module, "_traced", True)
        self.description.edits[len(self.description.objects)] = own["_edits"]
        self._number(module, own)
        out += (cls, self.modes.get(module, own["_training"]))
        for table in _TABLES:
            if own[table]:
                self._named(own[table])
            else:
                out.append(0)
        transient = own["_transient"]
        out.append(tuple(sorted(transient)) if transient else ())
        self._rest(own, _MODULE_OWN)
        if cls._own:
            out.append(cls.forward)
        else:
            self._class(cls, "forward")

    def _rest(self, own: dict[str, Any], known: frozenset[str]) -> None:
        """The other attributes."""
        self._named(own, _others(tuple(own), known))

    def _named(self, table: dict[str, Any], names: tuple[str, ...] | None = None) -> None:
        """Values by their names: all of them, or these."""
        out, numbers = self.out, self.description.numbers
        if names is None:
            names = tuple(table)
        out.append(names)
        for name in names:
            value = table[name]
            cls = type(value)
            if cls in _PLAIN:  # most of them are told here, which is what `value` does
                out += (cls, value)
            elif cls in _TENSORS and id(value) not in numbers:
                self.tensor(value)
            elif cls is float:
                self.real(value)
            else:
                self.value(value)

    def _object(self, value: Any, cls: type) -> None:
        """An object of a class of the user's, whose attributes lie in a dict."""
        if of_class_of_others(cls) or not hasattr(value, "__dict__"):
            raise Unknown
        own = vars(value)
        self._number(value, own)
        self.out.append(cls)
        self._rest(own, _OBJECT_OWN)
        self._class(cls, "")

    def _class(self, cls: type, method: str) -> None:
        """What stands behind an object: the method of a class of mynn, what is read of a class of
        the user's.
        """
        if cls.__module__.startswith("mynn."):
            self.out.append(getattr(cls, method))
        elif cls not in self.owners:
            if not is_importable_class(cls):
                raise Unknown  # it would be kept, with what its methods hold
            self.out.append(Mark.CLASS)
            self._constant(cls)
            for base in cls.__mro__:
                if base is object or base.__module__.startswith("mynn."):
                    continue
                if of_class_of_others(base) or not is_importable_class(base):
                    raise Unknown  # what it reads is not looked for
                self.owners.setdefault(base, set())

    def optimizer(self, optimizer: Optimizer) -> None:
        """An optimiser: options, groups, what is kept for parameters."""
        own, cls = vars(optimizer), type(optimizer)
        self._number(optimizer, own)
        ours = cls.__module__.startswith("mynn.")
        self.out.append(cls)
        self._options(optimizer.defaults, ours)
        self.out.append(len(optimizer.param_groups))
        for group in optimizer.param_groups:
            self._group(group, ours)
        self.out.append(len(optimizer.state))
        for parameter, slots in list(optimizer.state.items()):
            self.value(parameter)
            self._named(slots)
        self._rest(own, _OPTIMIZER_OWN)
        self._class(cls, "update")

    def _options(self, options: dict[str, Any], ours: bool) -> None:
        """Options by their names; the rate of mynn's optimisers is a tensor."""
        self._named(options, _others(tuple(options), _RATE) if ours else None)

    def _group(self, group: ParamGroup, ours: bool) -> None:
        if type(group) is not ParamGroup or vars(group).keys() != _GROUP:
            raise Unknown
        self._number(group, vars(group))
        self._options(group.options, ours)
        self.value(group.rate)
        self._named(group.varied)
        if not ours:  # mynn's read no notes
            self._named(group.notes)

    # -- classes and Python modules of the user's --------------------------------------------------

    def _owners(self) -> None:
        """What is read of them, until nothing more is found."""
        before = -1
        while before != len(self.out):
            before = len(self.out)
            for owner, done in list(self.owners.items()):
                self._content(owner, done)

    def _content(self, owner: Any, done: set[str]) -> None:
        """The entries whose names were met; of classes also plain values, what Python calls by
        itself, and what takes the place of a method of mynn's.
        """
        is_class = isinstance(owner, type)
        for name, value in list(vars(owner).items()):
            if name in done or name in _ASIDE:
                continue
            if isinstance(value, property):
                value = value.fget
            elif isinstance(value, staticmethod | classmethod):
                value = value.__func__
            wanted = name in self.attributes
            if is_class and name.startswith("__"):
                if name == "__slots__":
                    raise Unknown
                wanted = isinstance(value, types.FunctionType)
            elif is_class:
                wanted |= isinstance(value, _SIMPLE) or name in overridable(owner)
            if wanted:
                done.add(name)
                self.out += (owner, name)
                self.value(value)


@functools.lru_cache(maxsize=1024)
def _others(names: tuple[str, ...], known: frozenset[str]) -> tuple[str, ...]:
    """Those of the names that are not known, in their order."""
    return tuple(name for name in names if name not in known)


_RATE = frozenset({"lr"})
_TENSORS = frozenset({Parameter, Tensor})
_GROUP = {"options", "owner", "check", "rate", "varied", "notes"}
_SIMPLE = (bool, int, float, str, bytes, tuple, list, dict, types.NoneType, np.generic)
_OBJECT_OWN = frozenset({"_compiled_methods"})
_PLAIN = frozenset({bool, int, str, bytes, types.NoneType})
_WRITERS: dict[type, Callable[[_Walk, Any], None]] = {
    float: _Walk.real,
    complex: _Walk.text,
    range: _Walk.text,
    slice: _Walk.text,
    list: _Walk.sequence,
    tuple: _Walk.sequence,
    Parameters: _Walk.sequence,
    dict: _Walk.dictionary,
    np.ndarray: _Walk.array,
    np.ufunc: _Walk.ufunc,
    type(...): _Walk.ellipsis,
    Tensor: _Walk.tensor,
    Parameter: _Walk.tensor,
    random.Generator: _Walk.generator,
    types.ModuleType: _Walk.python_module,
    types.BuiltinFunctionType: _Walk.builtin,
    types.MethodType: _Walk.method,
    types.FunctionType: _Walk.function,
}


def _remember(cls: type, writer: Callable[[_Walk, Any], None]) -> None:
    """How objects of a class of mynn are written down."""
    if cls.__module__.startswith("mynn.") and is_importable_class(cls):
        _WRITERS[cls] = writer
