"""Walks over the loop IR."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import INDEX, Expr, For, Kernel, Op, Statement


def expr_type(expr: Expr) -> str:
    """The scalar type of an expression."""
    return INDEX if isinstance(expr, Affine) else expr.type


def sub_expressions(expr: Expr) -> Iterator[Expr]:
    """The expression and everything inside it."""
    yield expr
    if isinstance(expr, Op):
        for arg in expr.args:
            yield from sub_expressions(arg)


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


def is_split(kernel: Kernel) -> bool:
    """Whether the kernel takes the number of its worker, and of all workers."""
    return kernel.is_split
