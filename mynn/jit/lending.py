"""Runs on large arrays: native code reads arguments where they lie, and writes results to memory
that the caller gets, and that is used again when nobody has it any more. Small ones are copied, as
everywhere.
"""

from __future__ import annotations

import sys
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from sys import getrefcount
from typing import Any, NamedTuple, Protocol

import numpy as np

from mynn.core.types import Array
from mynn.jit.code import LARGE, Code
from mynn.jit.instance import Instance
from mynn.target.storage import ALIGNMENT, PAGE, SLACK, address_of

# Blocks of a result that are kept, of up to so many bytes each: a caller mostly has the last result
# still when it asks for the next one. A block that was just used lies in the caches, and its pages
# need not be made.
_KEPT = 2
_KEPT_BYTES = 1 << 25


class Callee(Protocol):
    """What is run: a `Program` without state."""

    code: Code

    def new_instance(self) -> Instance:
        """Memory for a run."""
        ...


class _Argument(NamedTuple):
    """Of a large argument: its place in the table, its memory here, where that lies, and what an
    array is that is read where it lies.
    """

    place: int
    own: Array
    address: int
    strides: tuple[int, ...]
    nbytes: int
    shape: tuple[int, ...]
    dtype: Any


class Block(NamedTuple):
    """Memory for a result, an array in it, and where that lies in the process."""

    memory: Array
    array: Array
    address: int


def _new_block(shape: tuple[int, ...], dtype: Any, nbytes: int, beside: int) -> Block:
    """Half a page off what lies at `beside`, which is read at the same time; where the block is
    large, so that the room for that does not matter.

    Where the addresses of a store and of a load after it differ by about a multiple of 4 KB,
    processors take the one for the other, and the load waits: `x + 1` took 1.2 times as long.
    """
    room = PAGE if nbytes >= LARGE else 0
    memory = np.empty(nbytes + SLACK + ALIGNMENT + room, np.uint8)
    first = address_of(memory)
    start = -first % ALIGNMENT
    if room:
        start += (beside + PAGE // 2 - first - start) % PAGE // ALIGNMENT * ALIGNMENT
    return Block(memory, np.ndarray(shape, dtype, memory, start), first + start)


def _references(block: Block) -> int:
    """To the memory of a block. Each array in it has one, the views that callers get too."""
    return getrefcount(block.memory)


# Of a block that nobody else has. Without the interpreter's lock they cannot be counted.
_COUNTED: bool = getattr(sys, "_is_gil_enabled", lambda: True)()
ALONE = _references(_new_block((), np.float32, 4, 0)) if _COUNTED else 0


class Result(NamedTuple):
    """Of a large result: its number, its place in the table, its shape, dtype and bytes; the number
    of the argument that is likely to be read as it is written: one of as many bytes, or the last.
    """

    number: int
    place: int
    shape: tuple[int, ...]
    dtype: Any
    nbytes: int
    beside: int
    blocks: list[Block]

    def block(self, beside: int) -> Block:
        """Memory that nobody has."""
        for block in self.blocks:
            if getrefcount(block.memory) == ALONE:
                return block
        block = _new_block(self.shape, self.dtype, self.nbytes, beside)
        if self.nbytes <= _KEPT_BYTES:
            del self.blocks[_KEPT - 1 :]
            self.blocks.insert(0, block)
        return block


class _Loan(NamedTuple):
    """A run whose table changes from call to call, so that no other call may have it.

    `unread`: the numbers of the arguments that the program does not look at.
    """

    instance: Instance
    table: memoryview
    arguments: list[_Argument | None]
    results: list[Result]
    unread: frozenset[int]


def lending(program: Callee) -> Callable[[Sequence[Any]], list[Array]]:
    """The function that runs the program on arguments and gives its results.

    The program has it, so it does not keep that alive.
    """
    free: deque[_Loan] = deque()
    code, again = program.code, weakref.ref(program)

    def run(arguments: Sequence[Any]) -> list[Array]:
        code.touched = True
        try:
            loan = free.pop()
        except IndexError:
            loan = _loan(again())
        try:
            return _run(loan, arguments)
        finally:
            free.append(loan)

    return run


def lending_one(program: Callee) -> Callable[[Array], Array]:
    """`lending` for a program of one argument and one result, with little around the run.

    The caller has looked at the type, the dtype and the shape of the argument.
    """
    free: deque[_Loan] = deque()
    code = program.code

    def run(array: Array) -> Array:
        code.touched = True
        try:
            loan = free.pop()
        except IndexError:
            loan = _loan(program)
        try:
            instance, table, (argument,), results, _ = loan
            if argument is None:
                return _run(loan, (array,))[0]
            place, own, _, strides, nbytes, _, _ = argument  # the fields by name take longer
            if array.strides != strides:
                return _run(loan, (array,))[0]
            address = address_of(array)
            if (address + nbytes - 1) % PAGE >= PAGE - SLACK:
                return _run(loan, (array,))[0]
            table[place] = address
            block = None
            if results:
                for block in results[0].blocks:
                    if getrefcount(block.memory) == ALONE:
                        break
                else:
                    block = results[0].block(address)
                table[results[0].place] = block.address
            instance.function(instance.address)
            status = instance.status
            if status is not None and status.item():
                own[...] = array
                instance.explain(status.item())
            return instance.outputs[0].copy() if block is None else block.array.view()
        finally:
            free.append(loan)

    return run


def place_of(code: Code, role: str, number: int) -> int | None:
    """The only place of an argument or a result in the table; None where it has none, or several.

    An argument that is not read has none.
    """
    found = [
        position
        for position, slot in enumerate(code.artifact.slots)
        if slot.role == role and slot.number == number
    ]
    return found[0] if len(found) == 1 else None


def lent_result(
    code: Code, instance: Instance, number: int, least: int, sizes: Sequence[int]
) -> Result | None:
    """What is known of a result that is written to memory of the caller's, if it is one: where it
    has at least so many bytes. `sizes`: the bytes of the arguments that are read where they lie.
    """
    array, at = instance.outputs[number], place_of(code, "result", number)
    if at is None or array.nbytes < least or not array.flags.c_contiguous:
        return None
    same = sizes.index(array.nbytes) if array.nbytes in sizes else len(sizes) - 1
    return Result(number, at, array.shape, array.dtype, array.nbytes, same, [])


def _loan(program: Callee | None) -> _Loan:
    assert program is not None  # whoever calls has it
    instance, code = program.new_instance(), program.code
    read = {slot.number for slot in code.artifact.slots if slot.role == "input"}
    arguments: list[_Argument | None] = []
    for number, own in enumerate(instance.arguments):
        at = place_of(code, "input", number)
        kept = None
        if at is not None and own.nbytes >= LARGE and own.flags.c_contiguous:
            address = address_of(own)
            fixed = own.strides, own.nbytes, own.shape, own.dtype
            kept = _Argument(at, own, address, *fixed)
        arguments.append(kept)
    sizes = [0 if one is None else one.nbytes for one in arguments]
    numbers = range(len(instance.outputs))
    found = [lent_result(code, instance, number, LARGE, sizes) for number in numbers]
    results = [result for result in found if result is not None]
    unread = frozenset(range(len(arguments))) - read
    return _Loan(instance, instance.memory.table.data, arguments, results, unread)


def _run(loan: _Loan, arguments: Sequence[Any]) -> list[Array]:
    instance, table, given, results, unread = loan
    own = instance.arguments
    if len(own) != len(arguments):
        raise ValueError(f"{len(own)} arguments are needed, there are {len(arguments)}")
    number, addresses = 0, []
    for value in arguments:  # `enumerate` and `zip` take longer
        one, address = given[number], 0
        if one is None:
            if number not in unread:
                own[number][...] = value
        else:
            place, memory, kept, _, _, _, _ = one
            address = _readable(value, one)
            if not address:
                memory[...] = value
            address = table[place] = address or kept
        addresses.append(address)
        number += 1  # noqa: SIM113
    blocks = []
    for result in results:
        block = result.block(addresses[result.beside] if addresses else 0)
        table[result.place] = block.address
        blocks.append(block)
    instance.function(instance.address)
    status = instance.status
    if status is not None and status.item():
        for memory, value in zip(own, arguments, strict=True):
            memory[...] = value
        instance.explain(status.item())
    outputs = instance.outputs
    if len(outputs) == 1 and blocks:
        return [block.array.view()]
    made = {result.number: one for result, one in zip(results, blocks, strict=True)}
    return [made[n].array.view() if n in made else place.copy() for n, place in enumerate(outputs)]


def _readable(array: Any, argument: _Argument) -> int:
    """Where an array lies, if native code can read it there, and a vector more behind its end."""
    _, _, _, strides, nbytes, shape, dtype = argument
    if type(array) is not np.ndarray or array.strides != strides or array.shape != shape:
        return 0
    if array.dtype != dtype:
        return 0
    address = address_of(array)
    return address if (address + nbytes - 1) % PAGE + SLACK < PAGE else 0
