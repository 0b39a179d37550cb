"""Walks over the loop IR."""

from __future__ import annotations

from collections.abc import Iterable

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import INDEX, Expr, For, Load, Op, Reduce, Statement, Var


def expr_type(expr: Expr) -> str:
    """The scalar type of an expression."""
    return INDEX if isinstance(expr, Affine) else expr.type


def sub_expressions(expr: Expr) -> list[Expr]:
    """The expression and everything inside it."""
    if not isinstance(expr, Op):
        return [expr]
    found: list[Expr] = []
    waiting: list[Expr] = [expr]
    while waiting:
        one = waiting.pop()
        found.append(one)
        if isinstance(one, Op):
            waiting += one.args[::-1]
    return found


def variables(expr: Expr) -> set[str]:
    """The variables in an expression, those of its indices too."""
    found: set[str] = set()
    for one in sub_expressions(expr):
        if isinstance(one, Var):
            found.add(one.name)
            continue
        index = one.index if isinstance(one, (Load, Reduce)) else one
        if isinstance(index, Affine):
            for name, _ in index.terms:
                found.add(name)
    return found


def statements(body: Iterable[Statement]) -> list[Statement]:
    """Every statement, outer ones first."""
    found: list[Statement] = []
    waiting = [*body][::-1]
    while waiting:
        statement = waiting.pop()
        found.append(statement)
        if isinstance(statement, For):
            waiting += statement.body[::-1]
    return found
