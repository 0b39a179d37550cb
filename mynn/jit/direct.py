"""Calls of a program from one array to one array, with as little around the run as can be.

What `Program.__call__` and `mynn.base.sharing` do in general is written out here for the one case
that is called millions of times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from mynn.base import sharing
from mynn.core.types import Array
from mynn.jit.code import Code
from mynn.jit.instance import Instance
from mynn.target.storage import ALIGNMENT, SLACK

# Arguments and results of fewer bytes are copied; larger ones are read and written where they lie.
_LARGE = 1 << 17
# What lies behind an array in its last page may be read, whoever has it.
_PAGE = 4096


class Callee(Protocol):
    """What is called: a `Program`."""

    code: Code
    access: sharing.Access | None
    free: deque[Instance]

    def new_instance(self) -> Instance:
        """Memory for a run, where none is free."""
        ...

    def __call__(self, arguments: Sequence[Any]) -> list[Array]:
        """Any number of arguments, in the general way."""
        ...


def direct_call(program: Callee) -> Callable[[Array], Array]:
    """The function for a program of one argument and one result."""
    access = program.access
    if access is None:
        return _stateless(program)
    return _writing(program, access) if access.written else _reading(program, access)


def _stateless(program: Callee) -> Callable[[Array], Array]:
    pop, push, new = program.free.pop, program.free.append, program.new_instance
    code = program.code
    if max(size for role in ("input", "result") for size in _sizes(code, role)) >= _LARGE:
        return _lending(program)

    def call(array: Array) -> Array:
        code.touched = True
        try:
            instance = pop()
        except IndexError:
            instance = new()
        try:
            instance.arguments[0][...] = array
            instance.function(instance.address)
            if instance.status is not None and instance.status.item():
                instance.explain(instance.status.item())
            return instance.outputs[0].copy()
        finally:
            push(instance)

    return call


def _sizes(code: Code, role: str) -> list[int]:
    """About how many bytes the arguments have, or the results."""
    found = [slot.elements for slot in code.artifact.slots if slot.role == role]
    return [4 * elements for elements in found] or [0]


def _lending(program: Callee) -> Callable[[Array], Array]:
    """For large arrays: the program reads the argument itself, where native code can, and writes to
    new memory, which is the result.

    The instances are not those of other calls: what their tables say is true for one call only.
    """
    free: deque[Instance] = deque()
    pop, push, new = free.pop, free.append, program.new_instance
    code = program.code
    slots = list(enumerate(code.artifact.slots))
    source = next((n for n, slot in slots if slot.role == "input"), None)
    target = next((n for n, slot in slots if slot.role == "result" and slot.number == 0), None)

    def call(array: Array) -> Array:
        code.touched = True
        try:
            instance = pop()
        except IndexError:
            instance = new()
        try:
            own, table = instance.arguments[0], instance.memory.table
            lent = source is not None and _is_readable(array, own)
            if source is not None:
                table[source] = _address(array if lent else own)
            if not lent:
                own[...] = array
            result = instance.outputs[0]
            whole = target is not None and result.flags.c_contiguous and result.nbytes >= _LARGE
            if whole:
                result = _new(result)
            if target is not None:
                table[target] = _address(result)
            instance.function(instance.address)
            if instance.status is not None and instance.status.item():
                own[...] = array
                instance.explain(instance.status.item())
            return result if whole else result.copy()
        finally:
            push(instance)

    return call


def _address(array: Array) -> int:
    """Where an array begins; quicker than `array.ctypes.data`."""
    address: int = array.__array_interface__["data"][0]
    return address


def _is_readable(array: Array, own: Array) -> bool:
    """Whether native code can read an array where it lies, and a vector more behind its end."""
    if array.nbytes < _LARGE or array.strides != own.strides:
        return False
    last = _address(array) + array.nbytes - 1
    return bool(last % _PAGE + SLACK < _PAGE)


def _new(like: Array) -> Array:
    """Memory for an array, aligned, with what native code may write behind its end."""
    block = np.empty(like.nbytes + SLACK + ALIGNMENT, np.uint8)
    start = -_address(block) % ALIGNMENT
    return block[start : start + like.nbytes].view(like.dtype).reshape(like.shape)


def _reading(program: Callee, access: sharing.Access) -> Callable[[Array], Array]:
    """`Access.run` for state that is only read, written out."""
    pop, push, new = program.free.pop, program.free.append, program.new_instance
    code = program.code

    def read(array: Array) -> Array:
        domain = access.sole
        mark = domain.mark
        code.touched = True
        try:
            instance = pop()
        except IndexError:
            instance = new()
        try:
            instance.arguments[0][...] = array
            instance.function(instance.address)
            if instance.status is not None and instance.status.item():
                instance.explain(instance.status.item())
            if mark is not None and domain.mark is mark and access.sole is domain:
                return instance.outputs[0].copy()
        except Exception:
            if mark is not None and domain.mark is mark and access.sole is domain:
                raise
        finally:
            push(instance)
        return program((array,))[0]

    return read


def _writing(program: Callee, access: sharing.Access) -> Callable[[Array], Array]:
    """`Access.alone`, written out."""
    pop, push, new = program.free.pop, program.free.append, program.new_instance
    code = program.code

    def write(array: Array) -> Array:
        domain = access.sole
        if domain.wanted or domain is sharing.SEVERAL:
            return program((array,))[0]
        code.touched = True
        try:
            instance = pop()
        except IndexError:
            instance = new()
        try:
            instance.arguments[0][...] = array
            with domain.lock:
                if access.sole is domain:
                    outer, domain.mark = domain.mark, None
                    try:
                        instance.function(instance.address)
                        if instance.status is not None and instance.status.item():
                            instance.explain(instance.status.item())
                    finally:
                        domain.mark = None if outer is None else object()
                    return instance.outputs[0].copy()
        finally:
            push(instance)
        return program((array,))[0]

    return write
