"""What tells a kernel or a function from others, whichever buffers it works on."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import INDEX, Buffer, Const, Function, Kernel, Var
from mynn.compiler.loop_ir.op_types import literal


def canonical(program: Kernel | Function) -> Hashable:
    """A key that is equal for equal programs on buffers of equal types and names.

    A variable or a number of type i64 is the same as the index that it makes.
    """
    buffers: dict[Buffer, int] = {}

    def of(part: Any) -> Hashable:
        if isinstance(part, tuple):
            return tuple([of(inner) for inner in part])
        if isinstance(part, Buffer):
            number = buffers.setdefault(part, len(buffers))
            return number, part.name, part.type, part.elements, part.storage
        if isinstance(part, Var) and part.type == INDEX:
            return Affine.var(part.name)
        if isinstance(part, Const):
            if part.type == INDEX:
                return Affine(int(part.value))
            return "number", literal(part.value, part.type), part.type
        names = _fields(part.__class__)
        if names:
            return type(part).__name__, *[of(getattr(part, name)) for name in names]
        key: Hashable = part
        return key

    if isinstance(program, Kernel):
        return program.name, program.comment, of(program.body)
    return of(program)


@cache
def _fields(kind: type) -> tuple[str, ...]:
    """The fields of a node; none of what is its own key."""
    is_node = is_dataclass(kind) and kind is not Affine
    return tuple([field.name for field in fields(kind)]) if is_node else ()
