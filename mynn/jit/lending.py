"""Runs on large arrays: native code reads arguments where they lie, and writes results to new
memory, which is what the caller gets. Small ones are copied, as everywhere.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from mynn.core.types import Array
from mynn.jit.code import Code
from mynn.jit.instance import Instance
from mynn.target.storage import ALIGNMENT, SLACK, address_of

# From so many bytes on.
LARGE = 1 << 17
# What lies behind an array in its last page may be read, whoever has it.
_PAGE = 4096


class Callee(Protocol):
    """What is run: a `Program` without state."""

    code: Code

    def new_instance(self) -> Instance:
        """Memory for a run."""
        ...


class _Argument(NamedTuple):
    """Of a large argument: its place in the table, its memory here and where that lies."""

    place: int
    own: Array
    address: int


class _Result(NamedTuple):
    """Of a large result: its number, its place in the table, its shape, dtype and bytes."""

    number: int
    place: int
    shape: tuple[int, ...]
    dtype: Any
    nbytes: int


class _Loan(NamedTuple):
    """A run whose table changes from call to call, so that no other call may have it."""

    instance: Instance
    arguments: list[_Argument | None]
    results: list[_Result]


def is_large(code: Code) -> bool:
    """Whether an argument or a result is."""
    sizes = [slot.elements for slot in code.artifact.slots if slot.role in ("input", "result")]
    return 4 * max(sizes, default=0) >= LARGE


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


def _loan(program: Callee | None) -> _Loan:
    assert program is not None  # whoever calls has it
    instance = program.new_instance()
    places: dict[tuple[str, int], list[int]] = {}
    for position, slot in enumerate(program.code.artifact.slots):
        places.setdefault((slot.role, slot.number), []).append(position)

    def sole(role: str, number: int, array: Array) -> int | None:
        found = places.get((role, number), [])
        large = array.nbytes >= LARGE and array.flags.c_contiguous
        return found[0] if large and len(found) == 1 else None

    arguments: list[_Argument | None] = []
    for number, own in enumerate(instance.arguments):
        at = sole("input", number, own)
        arguments.append(None if at is None else _Argument(at, own, address_of(own)))
    results = []
    for number, array in enumerate(instance.outputs):
        at = sole("result", number, array)
        if at is not None:
            results.append(_Result(number, at, array.shape, array.dtype, array.nbytes))
    return _Loan(instance, arguments, results)


def _run(loan: _Loan, arguments: Sequence[Any]) -> list[Array]:
    instance, table = loan.instance, loan.instance.memory.table
    own = instance.arguments
    if len(own) != len(arguments):
        raise ValueError(f"{len(own)} arguments are needed, there are {len(arguments)}")
    lent = []
    number = 0
    for value in arguments:  # `enumerate` and `zip` take longer
        one = loan.arguments[number]
        if one is None:
            own[number][...] = value
        else:
            address = _readable(value, one.own)
            if address:
                lent.append((one.own, value))
            else:
                one.own[...] = value
            table[one.place] = address or one.address
        number += 1  # noqa: SIM113
    made = {}
    for result in loan.results:
        block = np.empty(result.nbytes + SLACK + ALIGNMENT, np.uint8)
        address = address_of(block)
        start = -address % ALIGNMENT
        made[result.number] = np.ndarray(result.shape, result.dtype, block, start)
        table[result.place] = address + start
    instance.function(instance.address)
    if instance.status is not None and instance.status.item():
        for memory, value in lent:
            memory[...] = value
        instance.explain(instance.status.item())
    outputs = instance.outputs
    if len(outputs) == 1 and made:
        return [made[0]]
    return [made[n] if n in made else place.copy() for n, place in enumerate(outputs)]


def _readable(array: Any, own: Array) -> int:
    """Where an array lies, if native code can read it there, and a vector more behind its end."""
    if type(array) is not np.ndarray or array.strides != own.strides or array.dtype != own.dtype:
        return 0
    if array.shape != own.shape:
        return 0
    address = address_of(array)
    return address if (address + array.nbytes - 1) % _PAGE + SLACK < _PAGE else 0
