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
        cls = part.__class__
        if cls is str or cls is int:
            key: Hashable = part
            return key
        if cls is tuple:
            return tuple([of(inner) for inner in part])
        if cls is Affine:
            return part.constant, part.terms
        if cls is Buffer:
            number = buffers.setdefault(part, len(buffers))
            return number, part.name, part.type, part.elements, part.storage
        if cls is Var and part.type == INDEX:
            return of(Affine.var(part.name))
        if cls is Const:
            if part.type == INDEX:
                return of(Affine(int(part.value)))
            return "number", literal(part.value, part.type), part.type
        if is_dataclass(part):
            return cls.__name__, *[of(getattr(part, name)) for name in _fields(cls)]
        key = part
        return key

    if isinstance(program, Kernel):
        return program.name, program.comment, of(program.body)
    return of(program)


@cache
def _fields(cls: type) -> tuple[str, ...]:
    return tuple([field.name for field in fields(cls)])
