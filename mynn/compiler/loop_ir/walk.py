"""Walks over the loop IR."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import INDEX, Expr, For, Load, Op, Reduce, Statement, Var


def expr_type(expr: Expr) -> str:
    """The scalar type of an expression."""
    return INDEX if isinstance(expr, Affine) else expr.type


def sub_expressions(expr: Expr) -> list[Expr]:
    """The expression and everything inside it."""
    if type(expr) is not Op:
        return [expr]
    found: list[Expr] = []
    waiting: list[Any] = [expr]
    while waiting:
        one = waiting.pop()
        found.append(one)
        if type(one) is Op:
            waiting += one.args[::-1]
    return found


def variables(expr: Expr) -> set[str]:
    """The variables in an expression, those of its indices too."""
    found: set[str] = set()
    waiting: list[Any] = [expr]
    while waiting:
        one = waiting.pop()
        kind = type(one)
        if kind is Op:
            waiting += one.args
        elif kind is Load or kind is Reduce:
            waiting.append(one.index)
        elif kind is Affine:
            for name, _ in one.terms:
                found.add(name)
        elif kind is Var:
            found.add(one.name)
    return found


def statements(body: Iterable[Statement]) -> list[Statement]:
    """Every statement, outer ones first."""
    found: list[Statement] = []
    waiting: list[Any] = [*body][::-1]
    while waiting:
        statement = waiting.pop()
        found.append(statement)
        if type(statement) is For:
            waiting += statement.body[::-1]
    return found
