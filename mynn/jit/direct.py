"""Calls of a program with as little around the run as can be.

What `Program.__call__` and `mynn.base.sharing` do in general is written out here for what is called
millions of times: from one array to one array, and from several where there is no state.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mynn.base import sharing
from mynn.core.types import Array
from mynn.jit.code import Code
from mynn.jit.instance import Instance


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

    def values(self, arguments: Sequence[Any]) -> list[Array]:
        """The same, where nothing is put off that the program reads."""
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
    if code.is_large:
        from mynn.jit.lending import lending_one

        return lending_one(program)

    def call(array: Array) -> Array:
        code.touched = True
        try:
            instance = pop()
        except IndexError:
            instance = new()
        try:
            instance.arguments[0][...] = array
            instance.function(instance.address)
            status = instance.status
            if status is not None and status.item():
                instance.explain(status.item())
            return instance.outputs[0].copy()
        finally:
            push(instance)

    return call


def several_call(program: Callee) -> Callable[[Sequence[Any]], list[Array]]:
    """The function for a program of several arguments or results, as many as there are."""
    code = program.code
    if program.access is not None or code.is_large:
        return program.values
    if len(code.layouts("input")) == 2 and len(code.layouts("result")) == 1:
        return _of_two(program)
    pop, push, new = program.free.pop, program.free.append, program.new_instance

    def call(arrays: Sequence[Any]) -> list[Array]:
        code.touched = True
        try:
            instance = pop()
        except IndexError:
            instance = new()
        try:
            number = 0
            for place in instance.arguments:  # `zip` takes longer
                place[...] = arrays[number]
                number += 1  # noqa: SIM113
            instance.function(instance.address)
            status = instance.status
            if status is not None and status.item():
                instance.explain(status.item())
            return [place.copy() for place in instance.outputs]
        finally:
            push(instance)

    return call


def _of_two(program: Callee) -> Callable[[Sequence[Any]], list[Array]]:
    """The same from two arrays to one: loops take a quarter of the time around a run."""
    pop, push, new = program.free.pop, program.free.append, program.new_instance
    code = program.code

    def call(arrays: Sequence[Any]) -> list[Array]:
        code.touched = True
        try:
            instance = pop()
        except IndexError:
            instance = new()
        try:
            first, second = instance.arguments
            first[...], second[...] = arrays
            instance.function(instance.address)
            status = instance.status
            if status is not None and status.item():
                instance.explain(status.item())
            return [instance.outputs[0].copy()]
        finally:
            push(instance)

    return call


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


def quick_call(program: Callee) -> Callable[[Sequence[Any]], list[Array] | None] | None:
    """The function for a program that writes no state, from any number of arguments, which the
    caller has looked at. It gives None where the general way has to be gone.
    """
    access, code = program.access, program.code
    if access is not None and access.written:
        return None
    if code.is_large:
        return program.values
    uses = sharing.Access() if access is None else access
    pop, push, new = program.free.pop, program.free.append, program.new_instance

    def call(arrays: Sequence[Any]) -> list[Array] | None:
        domain = uses.sole
        mark = domain.mark
        if mark is None:
            return None
        code.touched = True
        try:
            instance = pop()
        except IndexError:
            instance = new()
        try:
            number = 0
            for place in instance.arguments:  # `zip` takes longer
                place[...] = arrays[number]
                number += 1  # noqa: SIM113
            instance.function(instance.address)
            status = instance.status
            if status is not None and status.item():
                return None
            outputs = instance.outputs
            found = [outputs[0].copy()] if len(outputs) == 1 else [one.copy() for one in outputs]
            return found if domain.mark is mark and uses.sole is domain else None
        finally:
            push(instance)

    return call
