"""The loop IR as text, in the grammar of `mynn.compiler.loop_ir.ir`."""

from __future__ import annotations

from collections.abc import Iterator

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import (
    Const,
    Expr,
    For,
    Kernel,
    Let,
    Load,
    Local,
    Prefetch,
    Reduce,
    Statement,
    Var,
)


def format_expr(expr: Expr) -> str:
    """An expression as text."""
    if isinstance(expr, Const):
        return str(expr.value)
    if isinstance(expr, Var):
        return expr.name
    if isinstance(expr, Load):
        return f"{expr.buffer}[{expr.index}]"
    if isinstance(expr, Reduce):
        return f"reduce_{expr.op} {expr.buffer}[{expr.index} +: {expr.count}]"
    if isinstance(expr, Affine):
        return str(expr)
    suffix = f".{expr.type}" if expr.name == "cast" else ""
    return f"{expr.name}{suffix}({', '.join(map(format_expr, expr.args))})"


def _format_body(body: tuple[Statement, ...], indent: str) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, For):
            kind = "" if statement.kind == "serial" else f" {statement.kind}"
            kind += "".join(f" where {condition}" for condition in statement.where)
            yield f"{indent}for {statement.var} in {statement.extent}{kind}:"
            yield from _format_body(statement.body, indent + "  ")
        elif isinstance(statement, Let):
            yield f"{indent}let {statement.name} = {format_expr(statement.value)}"
        elif isinstance(statement, Local):
            buffer = statement.buffer
            yield f"{indent}local {buffer}: {buffer.type}[{buffer.elements}] {buffer.place}"
        elif isinstance(statement, Prefetch):
            yield f"{indent}prefetch {statement.buffer}[{statement.index}]"
        else:
            yield f"{indent}{statement.buffer}[{statement.index}] = {format_expr(statement.value)}"


def format_kernel(kernel: Kernel) -> str:
    """A kernel as text, in the grammar of `mynn.compiler.loop_ir.ir`."""
    head = f"kernel {kernel.name}:" + (f"  # {kernel.comment}" if kernel.comment else "")
    return "\n".join([head, *_format_body(kernel.body, "  ")])
