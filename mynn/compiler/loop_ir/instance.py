"""A kernel again, on other buffers: layers that are alike have kernels that are.

What is found out about a kernel, and does not depend on where its buffers lie, holds for every
instance of it (`original`): it is lowered, split and compiled once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mynn.compiler.loop_ir.ir import (
    Buffer,
    Expr,
    For,
    Kernel,
    Let,
    Load,
    Op,
    Prefetch,
    Statement,
    Store,
)


def instance(kernel: Kernel, name: str, buffers: Mapping[Buffer, Buffer]) -> Kernel:
    """A kernel with another name on other buffers; those that are not given stay.

    Before:   kernel k0:  y.2[0] = tanh(x.1[0])
    After:    kernel k7:  y.9[0] = tanh(x.8[0])        with {x.1: x.8, y.2: y.9}
    """
    return Kernel(
        name,
        tuple([_statement(statement, buffers) for statement in kernel.body]),
        kernel.comment,
        kernel.operations,
        kernel.nbytes,
        original(kernel),
        {old: buffers.get(new, new) for old, new in kernel.bindings.items()}
        if kernel.template is not None
        else buffers,
    )


def original(kernel: Kernel) -> Kernel:
    """The kernel that this one is an instance of; itself where it is none."""
    return kernel if kernel.template is None else kernel.template


def bound(kernel: Kernel, buffers: Sequence[Buffer]) -> list[Buffer]:
    """For buffers of the original kernel those of this one."""
    return [kernel.bindings.get(buffer, buffer) for buffer in buffers]


def _statement(statement: Statement, buffers: Mapping[Buffer, Buffer]) -> Statement:
    if isinstance(statement, Let):
        value = _expr(statement.value, buffers)
        return statement if value is statement.value else Let(statement.name, value)
    if isinstance(statement, Store):
        buffer = buffers.get(statement.buffer, statement.buffer)
        value = _expr(statement.value, buffers)
        if buffer is statement.buffer and value is statement.value:
            return statement
        return Store(buffer, statement.index, value)
    if isinstance(statement, For):
        body = tuple([_statement(inner, buffers) for inner in statement.body])
        if all(new is old for new, old in zip(body, statement.body, strict=True)):
            return statement
        return For(statement.var, statement.extent, body, statement.kind, statement.where)
    if isinstance(statement, Prefetch):
        return Prefetch(buffers.get(statement.buffer, statement.buffer), statement.index)
    return statement


def _expr(expr: Expr, buffers: Mapping[Buffer, Buffer]) -> Expr:
    if isinstance(expr, Load):
        buffer = buffers.get(expr.buffer)
        return expr if buffer is None else Load(buffer, expr.index)
    if isinstance(expr, Op):
        args = tuple([_expr(arg, buffers) for arg in expr.args])
        if all(new is old for new, old in zip(args, expr.args, strict=True)):
            return expr
        return Op(expr.name, args, expr.type)
    return expr
