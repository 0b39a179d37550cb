"""Calls of a program with as little around the run as can be.

What `Program.values` and `mynn.base.sharing` do in general is written out here for what is called
millions of times. A loop over one argument, or a question that always has the same answer, takes
as long as all the rest: so the calls are text, put together for a number of arguments and results
and what a program does with state, which Python compiles once for each.
"""

from __future__ import annotations

import functools
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


# What makes the call of a program; it is given a sequence of arrays, or the only one by itself.
_ENTRY = """
def make(program, access, otherwise):
    pop, push, new = program.free.pop, program.free.append, program.new_instance
    code = program.code

    def call(given):
        {before}
        code.touched = True
        try:
            instance = pop()
        except IndexError:
            instance = new()
        try:
            {put}
            {run}
        finally:
            push(instance)
        return otherwise(given)

    return call
"""
# The run itself, and what is said where a check fails in it.
_RUN = """
instance.function(instance.address)
status = instance.status
if status is not None and status.item():
    {failed}
"""
# By what a program does with state: what comes before all else, and around the run.
_STATE = {
    "none": ("pass", _RUN + "return {results}"),
    # `Access.run`: where another thread has written meanwhile, it is run in the general way.
    "read": (
        """
domain = access.sole
mark = domain.mark
if mark is None:
    return otherwise(given)
""",
        _RUN + "if domain.mark is mark and access.sole is domain:\n    return {results}",
    ),
    # `Access.alone`
    "written": (
        """
domain = access.sole
if domain.wanted or domain is SEVERAL:
    return otherwise(given)
""",
        """
with domain.lock:
    if access.sole is domain:
        outer, domain.mark = domain.mark, None
        try:
            {run}
        finally:
            domain.mark = None if outer is None else object()
        return {results}
""",
    ),
}
# So many arguments and results are written out, more are a loop.
_FEW = 6
_EACH = """
number = 0
for place in instance.arguments:  # `zip` takes longer
    place[...] = given[number]
    number += 1
"""


@functools.lru_cache(256)
def _maker(arguments: int | None, results: int, state: str, fails: bool) -> Callable[..., Any]:
    """What makes the call of a program: see `_entry`."""
    before, run = _STATE[state]
    put = _EACH
    if arguments is None:
        put = "instance.arguments[0][...] = given"
    elif arguments <= _FEW:
        places = [f"place{i}" for i in range(arguments)]
        put = f"[{', '.join(places)}] = instance.arguments\n"
        put += f"[{', '.join(f'{place}[...]' for place in places)}] = given"
    found = "[place.copy() for place in instance.outputs]"
    if results <= _FEW:
        found = f"[{', '.join(f'instance.outputs[{i}].copy()' for i in range(results))}]"
    if arguments is None:
        found = "instance.outputs[0].copy()"
    failed = "return otherwise(given)" if fails else "instance.explain(status.item())"
    if state == "read" and not fails:  # of values that are whole
        failed = f"if domain.mark is mark and access.sole is domain:\n        {failed}"
    plain = _filled(_RUN, failed=failed)
    run = _filled(run, run=plain, failed=failed, results=found)
    text = _filled(_ENTRY, before=before, put=put, run=run)
    known: dict[str, Any] = {"SEVERAL": sharing.SEVERAL}
    exec(compile(text, "<call of a program>", "exec"), known)
    made: Callable[..., Any] = known["make"]
    return made


def _filled(template: str, **parts: str) -> str:
    """A text with parts in place of their names, as far to the right as these stand."""
    lines = []
    for line in template.strip().split("\n"):
        for name, part in parts.items():
            if line.strip() == f"{{{name}}}":
                indent = line[: len(line) - len(line.lstrip())]
                lines += [indent + one for one in part.strip().split("\n")]
                break
        else:
            for name, part in parts.items():
                line = line.replace(f"{{{name}}}", part)
            lines.append(line)
    return "\n".join(lines)


def _entry(
    program: Callee,
    arguments: int | None,
    results: int,
    otherwise: Callable[[Any], Any],
    fails: bool = False,
) -> Any:
    """The call of a program: from one array to one (`arguments` is None), or from a sequence of
    arrays to a list. Where the general way has to be gone, it gives what `otherwise` gives for the
    same; with `fails` also where a check fails, which otherwise says what is wrong.
    """
    access = program.access
    state = "none" if access is None else "written" if access.written else "read"
    return _maker(arguments, results, state, fails)(program, access, otherwise)


def direct_call(program: Callee) -> Callable[[Array], Array]:
    """The function for a program of one argument and one result."""
    if program.access is None and program.code.is_large:
        from mynn.jit.lending import lending_one

        return lending_one(program)
    call: Callable[[Array], Array] = _entry(program, None, 1, lambda array: program((array,))[0])
    return call


def several_call(program: Callee) -> Callable[[Sequence[Any]], list[Array]]:
    """The function for a program of several arguments or results, as many as there are."""
    if program.access is not None or program.code.is_large:
        return program.values
    call: Callable[[Sequence[Any]], list[Array]] = _entry(
        program, *program.code.counts, program.values
    )
    return call


def quick_call(program: Callee) -> Callable[[Sequence[Any]], list[Array] | None] | None:
    """The function for a program that writes no state, from any number of arguments, which the
    caller has looked at. It gives None where the general way has to be gone.
    """
    access = program.access
    if access is not None and access.written:
        return None
    if program.code.is_large:
        return program.values
    call: Callable[[Sequence[Any]], list[Array] | None] = _entry(
        program, *program.code.counts, lambda _: None, True
    )
    return call
