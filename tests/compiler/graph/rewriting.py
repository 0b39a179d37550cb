"""Statements of the loop IR with their indices changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import (
    Expr,
    For,
    Let,
    Load,
    Local,
    Op,
    Prefetch,
    Reduce,
    Statement,
    Store,
)

Change = Callable[[Affine], Affine]


def with_indices(statement: Statement, change: Change) -> Statement:
    """The statement, and all inside it, with `change` applied to every index."""
    if isinstance(statement, Local):
        return statement
    if isinstance(statement, For):
        where = tuple(replace(c, index=change(c.index)) for c in statement.where)
        body = tuple(with_indices(s, change) for s in statement.body)
        return replace(statement, body=body, where=where)
    if isinstance(statement, Let):
        return Let(statement.name, _expr(statement.value, change))
    if isinstance(statement, Prefetch):
        return Prefetch(statement.buffer, change(statement.index))
    return Store(statement.buffer, change(statement.index), _expr(statement.value, change))


def _expr(value: Expr, change: Change) -> Expr:
    if isinstance(value, Affine):
        return change(value)
    if isinstance(value, Load | Reduce):
        return replace(value, index=change(value.index))
    if isinstance(value, Op):
        return replace(value, args=tuple(_expr(arg, change) for arg in value.args))
    return value
