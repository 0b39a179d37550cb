"""Calls that are known, recorded by native code (`mynn.compiler.host.record`).

`Tape.call` is a function of Python that compares a call with the one that came last where the tape
stands. That takes longer than what PyTorch does in all for a small operation, so that once many
calls have come again it is another function, of machine code that reads the same fields: what it
does not know, or what is not to be recorded, goes to the one of Python.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mynn.base import recording
from mynn.compiler.host.enter import MOST_AXES
from mynn.compiler.host.known_call import (
    TABLE_WORDS,
    WANT_WORDS,
    Kind,
    Known,
    Layout,
    Table,
    Want,
)
from mynn.compiler.host.record import RECORD, record
from mynn.core.types import Type
from mynn.jit import native_available
from mynn.jit.entry import readable
from mynn.runtime.llvm_jit import NativeModule, build, key_of, load
from mynn.tape.calls.outcome import Outcome
from mynn.tape.calls.step import Step
from mynn.tape.pieces.output import Output, Promise
from mynn.target.target import host
from mynn.tensor import Tensor
from mynn.tensor.gradients.grad_mode import enabled
from mynn.trace import tracing

_STEP = ("known_call", "last", "looked", "next", "next_of_module", "other", "ready")
_TENSOR = (
    "_grad",
    "_requires_grad",
    "_value",
    "_version",
    "_view",
    "is_native",
    "name",
    "pending",
    "shared",
    "touched",
)
# By position and by name without keywords of Python's C interface (METH_FASTCALL).
_FAST_CALL = 0x80
_FUNCTIONS = {
    Table.ALLOCATE: "PyType_GenericAlloc",
    Table.UNTRACK: "PyObject_GC_UnTrack",
    Table.TRACK: "PyObject_GC_Track",
    Table.KEEP: "Py_IncRef",
    Table.DROP: "Py_DecRef",
    Table.CALL: "PyObject_CallNoArgs",
    Table.CALL_WITH: "PyObject_Vectorcall",
    Table.COMPARE: "PyObject_RichCompareBool",
    Table.ATTRIBUTE: "PyObject_GetAttr",
    Table.CLEAR: "PyErr_Clear",
    Table.FAILED: "PyErr_Occurred",
    Table.APPEND: "PyList_Append",
    Table.ENTER: "PyDict_SetItem",
    Table.HAS_KEY: "PyDict_Contains",
    Table.HAS_ITEM: "PySequence_Contains",
    Table.COUNT_KEYS: "PyDict_Size",
    Table.NEXT_KEY: "PyDict_Next",
    Table.ADDRESS: "PyLong_FromVoidPtr",
    Table.NUMBER: "PyLong_FromSsize_t",
}


class KnownCall:
    """A call as native code compares it: words, and what holds the objects that these name."""

    __slots__ = ("kept", "words")

    def __init__(self, words: Any, kept: Sequence[Any]) -> None:
        self.words = words
        self.kept = kept


# What the machine code knows by its address.
_OBJECTS: dict[Table, Any] = {
    Table.NONE: None,
    Table.FALSE: False,
    Table.TRUE: True,
    Table.ZERO: 0,
    Table.TENSOR: Tensor,
    Table.ARRAY: np.ndarray,
    Table.OUTPUT: Output,
    Table.KNOWN: KnownCall,
    Table.TUPLE: tuple,
    Table.INTEGER: int,
    Table.WAITING: recording.waiting,
    Table.EXPOSED: recording.arrays,
    Table.TOGGLES: recording.toggles,
    Table.ACTIVITY: tracing.activity,
    Table.GRADIENTS: enabled,
    Table.MODE: "_mode",
    Table.AS_ARRAY: np.asarray,
}


class _Method(ctypes.Structure):
    """A function as Python's C interface describes it (`PyMethodDef`)."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("text", ctypes.c_char_p),
    )


class _Member(ctypes.Structure):
    """A slot as Python's C interface describes it (`PyMemberDef`)."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("offset", ctypes.c_ssize_t),
        ("flags", ctypes.c_int),
        ("text", ctypes.c_char_p),
    )


class _Slot(ctypes.Structure):
    """What stands in a class for a slot (`PyMemberDescrObject`)."""

    _fields_ = (
        ("references", ctypes.c_ssize_t),
        ("type", ctypes.c_void_p),
        ("owner", ctypes.c_void_p),
        ("name", ctypes.c_void_p),
        ("qualified", ctypes.c_void_p),
        ("member", ctypes.POINTER(_Member)),
    )


# Makes a function of Python of a description, what it is bound to, and what it calls its module. A
# prototype of our own: what is set on `ctypes.pythonapi` itself others see.
_new_function: Any = ctypes.PYFUNCTYPE(
    ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.py_object
)(("PyCFunction_NewEx", ctypes.pythonapi))
# By kind of tape the function for Python, and the machine code that it is.
_methods: dict[type, tuple[_Method, NativeModule]] = {}


def _offsets(kind: type, names: Sequence[str]) -> dict[str, int]:
    """How far from the beginning of an object its slots are."""
    found = {}
    for name in names:
        member = _Slot.from_address(id(getattr(kind, name))).member.contents
        if member.name != name.encode():
            raise LookupError(f"{kind.__name__}.{name} is no slot")
        found[name] = member.offset
    return found


def _layout(tape: type) -> Layout | None:
    """Where the slots are; None where objects lie in memory in another way than native code reads
    them.
    """
    if not readable():
        return None
    slots = [name for kind in tape.__mro__ for name in vars(kind).get("__slots__", ())]
    try:
        found = Layout(
            _offsets(tape, [name for name in slots if not name.startswith("__")]),
            _offsets(Step, _STEP),
            _offsets(KnownCall, ("words",)),
            _offsets(Outcome, ("edits", "toggles")),
            _offsets(tracing.Activity, ("watch",)),
            _offsets(Tensor, _TENSOR),
            _offsets(Output, ("type",)),
            _offsets(Type, ("dtype", "shape")),
        )
    except (LookupError, ValueError, AttributeError):
        return None
    samples: tuple[tuple[Any, dict[str, int]], ...] = (
        (KnownCall(np.zeros(2), ()), found.known),
        (Type((1, 2), np.dtype("float32")), found.type),
        (Step(None, None, None), {name: found.step[name] for name in ("next", "ready", "looked")}),
        (Tensor([1.0]), {name: found.tensor[name] for name in ("_value", "_version", "name")}),
    )
    same = all(_lies(one, name, at) for one, names in samples for name, at in names.items())
    return found if same and _are_lists_readable() else None


def _lies(owner: Any, name: str, offset: int) -> bool:
    word = ctypes.c_void_p.from_address(id(owner) + offset).value
    return word == id(getattr(owner, name))


def _are_lists_readable() -> bool:
    """Whether lists, and the bits of floats, are where native code reads them."""
    given, number = [object(), object()], 1.5
    words = (ctypes.c_ssize_t * 4).from_address(id(given))
    items = (ctypes.c_void_p * 2).from_address(words[3])
    bits = ctypes.c_double.from_address(id(number) + 16).value
    return words[2] == 2 and list(items) == [id(one) for one in given] and bits == number


def _text(layout: Layout) -> str:
    """The LLVM IR of the function."""
    from mynn.compiler.codegen.function import Module
    from mynn.compiler.codegen.host import emit_functions

    return emit_functions(Module(host()), record(layout)).text()


def _code(tape: type, make: bool) -> NativeModule | None:
    """The machine code, from the cache on disk or else made now, if it is to be made."""
    layout = _layout(tape) if native_available() else None
    if layout is None:
        return None
    key = key_of(f"record {layout}", host())
    found = load(key, host(), lambda: _text(layout))
    return build(_text(layout), host(), key=key) if found is None and make else found


def recorder(tape: Any, plain: Any, checked: Any, make: bool) -> Any:
    """What records the calls of a tape from now on, a function of Python; None where there can be
    none, or where it would have to be compiled and is not to be made.

    `plain` records any call of a tape, `checked` is told of those that may have to be run at once;
    both are functions of its class. The tape holds the function, which does not hold the tape.
    """
    method = _methods.get(type(tape))
    if method is None:
        code = _code(type(tape), make)
        if code is None:
            return None
        made = _Method(b"call", code.address(RECORD), _FAST_CALL, None)
        method = _methods.setdefault(type(tape), (made, code))
    words = np.zeros(TABLE_WORDS, np.int64)
    for place, name in _FUNCTIONS.items():
        words[place] = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0
    named = {**_OBJECTS, Table.RECORD: plain, Table.CHECKED: checked}
    for place, one in named.items():
        words[place] = id(one)
    words[Table.TAPE] = id(tape)
    # The function holds what it is made of: a program that ends clears modules before its objects.
    return _new_function(ctypes.addressof(method[0]), words, (method, named))


def describe(step: Step, varies: bool) -> KnownCall | None:
    """A call that leads to a step, for native code; None where it is not recorded by it. A number
    that is an argument of the program may be any other where it `varies`.
    """
    outcome, promise, parent = step.outcome, step.promise, step.parent
    if outcome is None or promise is None or parent is None or outcome.fails or not step.quick:
        return None
    try:
        wants = list(_wants(step, varies))
    except LookupError:
        return None
    words = np.zeros(Known.WANTS + len(wants) * WANT_WORDS, np.int64)
    grows = bool(outcome.requires_grad)
    words[Known.FUNCTION], words[Known.GRADIENTS] = id(step.function), id(step.gradients)
    words[Known.COUNT], words[Known.NAMES] = step.count, len(step.names)
    words[Known.MODE] = id(getattr(step, "mode", None))
    words[Known.OUTCOME], words[Known.PROMISE] = id(outcome), id(promise)
    words[Known.GROWS] = id(grows)
    words[Known.VIEWED] = outcome.view is not None
    words[Known.STATEFUL], words[Known.STATE] = step.stateful, bool(outcome.state)
    names = [None] * step.count + list(step.names)
    for number, ((own, _), name) in enumerate(zip(wants, names, strict=True)):
        first = Known.WANTS + number * WANT_WORDS
        words[first : first + len(own)] = own
        words[first + Want.NAME] = 0 if name is None else id(name)
    kept = step.function, outcome, promise, step.names, [held for _, held in wants]
    return KnownCall(words, kept)


def _wants(step: Step, varies: bool) -> Iterator[tuple[list[int], Any]]:
    """Of each argument the words, and what they name. LookupError where one is of another kind."""
    for want in step.wants:
        if isinstance(want, Promise):
            yield [Kind.RESULT, id(want)], want
        elif type(want) is int:
            yield [Kind.BEFORE, -1 - want], None
        elif type(want) is not tuple or len(want) < 2:
            raise LookupError
        elif want[0] == "ints" and want[1] is tuple:
            values = tuple(want[2:])
            yield [Kind.INTEGERS, id(values), id(tuple)], values
        elif want[0] == "array" and varies:
            yield [Kind.ANY_FLOAT, id(want[2]), id(float)], want
        elif want[0] is float:
            held = float.fromhex(want[1])
            yield [Kind.FLOAT, int(np.float64(held).view(np.int64)), id(float)], None
        elif isinstance(want[0], type) and len(want) == 2:
            if type(want[1]) is not want[0]:
                raise LookupError
            yield [Kind.PLAIN, id(want[1]), id(want[0])], want
        elif type(want[0]) is tuple and len(want) == 3 and type(want[2]) is bool:
            shape, dtype, grows = want
            if len(shape) > MOST_AXES:
                raise LookupError
            words = [Kind.NEW, id(shape), id(dtype), 0, id(grows), len(shape), *shape]
            yield words, want
        else:
            raise LookupError
