"""Walks over the loop IR."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import INDEX, Expr, For, Load, Op, Reduce, Statement, Var


def expr_type(expr: Expr) -> str:
    """The scalar type of an expression."""
    return INDEX if isinstance(expr, Affine) else expr.type


def sub_expressions(expr: Expr) -> Iterator[Expr]:
    """The expression and everything inside it."""
    yield expr
    if isinstance(expr, Op):
        for arg in expr.args:
            yield from sub_expressions(arg)


def variables(expr: Expr) -> set[str]:
    """The variables in an expression, those of its indices too."""
    found: set[str] = set()

    def walk(expr: Expr) -> None:
        if isinstance(expr, Op):
            for arg in expr.args:
                walk(arg)
        elif isinstance(expr, Var):
            found.add(expr.name)
        else:
            index = expr.index if isinstance(expr, Load | Reduce) else expr
            if isinstance(index, Affine):
                found.update([name for name, _ in index.terms])

    walk(expr)
    return found


def statements(body: Iterable[Statement]) -> list[Statement]:
    """Every statement, outer ones first."""
    found: list[Statement] = []

    def walk(body: Iterable[Statement]) -> None:
        for statement in body:
            found.append(statement)
            if isinstance(statement, For):
                walk(statement.body)

    walk(body)
    return found
