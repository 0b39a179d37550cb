"""Calls that are looked at, and run, by native code: for what is called again and again.

Between Python and the run there is one call. It is given the arguments as they are, sees whether
they are arrays that the program was made for, and runs it on them where they lie
(`mynn.compiler.host.enter`). So there is neither a look at dtypes and shapes in Python nor a copy,
which take longer than small programs run.
"""

from __future__ import annotations

import ctypes
import functools
from collections import deque
from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import Any, Protocol

import numpy as np

from mynn.base import sharing
from mynn.compiler.codegen.function import Module
from mynn.compiler.codegen.host import emit_functions
from mynn.compiler.host.enter import (
    ENTER,
    FLAGS,
    MOST_AXES,
    WANTED_WORDS,
    Field,
    Run,
    Wanted,
    enter,
)
from mynn.compiler.host.step import STEP
from mynn.core.types import Array
from mynn.jit.code import LEAST_LENT, Code
from mynn.jit.instance import Instance
from mynn.jit.lending import ALONE, Block, lent_result, place_of
from mynn.runtime.llvm_jit import build
from mynn.target.storage import address_of
from mynn.target.target import host

# Runs the program on arguments of any kind; None where they do not fit, or a check fails.
Entry = Callable[[tuple[Any, ...]], Array | None]


class Callee(Protocol):
    """What is called: a `Program`."""

    code: Code
    access: sharing.Access | None

    def new_instance(self) -> Instance:
        """Memory for a run."""
        ...

    def take(self) -> Instance:
        """Memory for a run that is free, or else a new one."""
        ...

    def give_back(self, instance: Instance) -> None:
        """It is free again."""
        ...


@functools.cache
def _function() -> Any:
    """The native function."""
    native = build(emit_functions(Module(host()), enter()).text(), host())
    return native.function(ENTER, ctypes.c_void_p, ctypes.c_void_p, result=ctypes.c_int64)


@functools.cache
def readable() -> bool:
    """Whether tuples and arrays lie in memory here as native code reads them."""
    block = np.zeros(256, np.uint8)
    floats = block[64:192].view(np.float32)
    views = block, floats, floats.reshape(4, 8), floats.reshape(4, 8).T, block[:128:2], block[65:69]
    given = (ctypes.c_int64 * (Field.PARTS + len(views))).from_address(id(views))
    head = given[Field.TYPE], given[Field.COUNT], given[Field.PARTS :]
    same = head == (id(tuple), len(views), [id(view) for view in views])
    return same and all(_is_readable(view) for view in views)


def _is_readable(array: Array) -> bool:
    fields = (ctypes.c_int64 * (Field.DTYPE + 1)).from_address(id(array))
    numbers = (ctypes.c_int32 * (Field.FLAGS_32 + 1)).from_address(id(array))
    flags = int(array.flags.c_contiguous) | array.flags.aligned << 8
    found = fields[Field.TYPE], fields[Field.DATA], fields[Field.DTYPE], numbers[Field.AXES_32]
    if found != (id(np.ndarray), address_of(array), id(array.dtype), array.ndim):
        return False
    extents = (ctypes.c_int64 * array.ndim).from_address(fields[Field.EXTENTS])
    return tuple(extents) == array.shape and numbers[Field.FLAGS_32] & FLAGS == flags


def _rows(own: Array) -> tuple[int, int] | None:
    """The bytes of a row of an argument, and how far apart rows lie in the memory of our own; 0
    where nothing lies between them, so that an array can be read where it is. None where it lies
    in another order.
    """
    if own.flags.c_contiguous:
        return own.nbytes, 0
    step = own.strides[-2] if own.ndim > 1 else 0
    inner, strides = own.itemsize, [own.itemsize]
    for extent in (step // own.itemsize, *own.shape[-2:0:-1]):
        inner *= extent
        strides.append(inner)
    return (own.shape[-1] * own.itemsize, step) if own.strides == (*strides[::-1],) else None


class _Record:
    """A run: its memory, and what native code reads of it.

    Where the result is lent, the table has the address of `block`, which is where it lies.
    """

    __slots__ = ("_kept", "_table", "address", "block", "lent", "output")

    def __init__(self, program: Callee, dtypes: Sequence[Any]) -> None:
        instance, code = program.new_instance(), program.code
        words = np.zeros(Run.ARGUMENTS + len(dtypes) * WANTED_WORDS, np.int64)
        self.address = start = address_of(words)

        def entry_of(place: int | None) -> int:
            return start + 8 * Run.SPARE if place is None else instance.address + 8 * place

        status = instance.status
        words[Run.STEP] = code.native.address(STEP)
        words[Run.TABLE], words[Run.COUNT] = instance.address, len(dtypes)
        words[Run.STATUS] = start + 8 * Run.ZERO if status is None else address_of(status)
        for number, (own, dtype) in enumerate(zip(instance.arguments, dtypes, strict=True)):
            first = Run.ARGUMENTS + number * WANTED_WORDS
            wanted = words[first : first + WANTED_WORDS]
            wanted[Wanted.PLACE] = entry_of(place_of(code, "input", number))
            wanted[Wanted.OWN], wanted[Wanted.BYTES] = address_of(own), own.nbytes
            wanted[Wanted.TYPE], wanted[Wanted.DTYPE] = id(np.ndarray), id(dtype)
            wanted[Wanted.AXES] = own.ndim
            wanted[Wanted.ROW], wanted[Wanted.STEP] = _rows(own) or (0, 0)
            wanted[Wanted.EXTENTS : Wanted.EXTENTS + own.ndim] = own.shape
        sizes = [own.nbytes for own in instance.arguments]
        self.lent = lent_result(code, instance, 0, LEAST_LENT, sizes)
        self.block: Block | None = None
        self.output = instance.outputs[0]
        self._table = instance.memory.table.data
        self._kept = words, instance, dtypes

    def next_block(self, arguments: Sequence[Any]) -> Block:
        """Memory for the result that nobody has, from now on."""
        lent = self.lent
        assert lent is not None
        likely = arguments[lent.beside] if lent.beside < len(arguments) else None
        beside = address_of(likely) if type(likely) is np.ndarray else 0
        self.block = block = lent.block(beside)
        self._table[lent.place] = block.address
        return block


def entry(program: Callee, arrays: Sequence[Array]) -> Entry | None:
    """The way into a program for arrays like these, if there is one: where it has one result,
    writes no state, and runs on one thread.
    """
    code, access = program.code, program.access
    inputs = [slot.number for slot in code.artifact.slots if slot.role == "input"]
    once = len(set(inputs)) == len(inputs)
    results = len(code.artifact.types) - code.artifact.status
    if results != 1 or not once or not readable():
        return None
    instance = program.take()
    try:
        if (access is not None and access.written) or instance.function is not code.step:
            return None
        for own in instance.arguments:
            if not own.nbytes or own.ndim > MOST_AXES or _rows(own) is None:
                return None
    finally:
        program.give_back(instance)
    make = functools.partial(_Record, program, [array.dtype for array in arrays])
    first = make()
    run = _copied(code, first, make) if first.lent is None else _lent(code, first, make)
    return run if access is None else _reading(run, access)


def _reading(run: Entry, access: sharing.Access) -> Entry:
    """Where there is state that others may write: None where somebody did meanwhile."""

    def read(arguments: tuple[Any, ...]) -> Array | None:
        domain = access.sole
        mark = domain.mark
        if mark is None:
            return None
        result = run(arguments)
        return result if domain.mark is mark and access.sole is domain else None

    return read


def _lent(code: Code, first: _Record, make: Callable[[], _Record]) -> Entry:
    """Where the result is memory of the caller's."""
    free = deque([first])
    pop, push, native = free.pop, free.append, _function()

    def run(arguments: tuple[Any, ...]) -> Array | None:
        code.touched = True
        try:
            record = pop()
        except IndexError:
            record = make()
        try:
            block = record.block
            if block is None or getrefcount(block.memory) != ALONE:
                block = record.next_block(arguments)
            return block.array.view() if native(record.address, id(arguments)) else None
        finally:
            push(record)

    return run


def _copied(code: Code, first: _Record, make: Callable[[], _Record]) -> Entry:
    """Where it is copied."""
    free = deque([first])
    pop, push, native = free.pop, free.append, _function()

    def run(arguments: tuple[Any, ...]) -> Array | None:
        code.touched = True
        try:
            record = pop()
        except IndexError:
            record = make()
        try:
            return record.output.copy() if native(record.address, id(arguments)) else None
        finally:
            push(record)

    return run
