"""The invariants of the loop IR."""

from __future__ import annotations

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import (
    Buffer,
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
from mynn.compiler.loop_ir.walk import expr_type, sub_expressions
from mynn.errors import VerifyError

MAX_VECTOR = 64
_KINDS = ("serial", "unroll", "vector", "parallel")


def verify_kernel(kernel: Kernel) -> None:
    """Raise `VerifyError` where the kernel breaks an invariant of `mynn.compiler.loop_ir.ir`."""
    _verify_body(kernel.body, frozenset(), frozenset(), kernel.name, "serial")


def _verify_body(
    body: tuple[Statement, ...],
    bound: frozenset[str],
    locals_: frozenset[Buffer],
    where: str,
    around: str,
) -> None:
    """`around` is the kind of the loops around: "serial" where there are only serial ones."""
    for statement in body:
        if isinstance(statement, For):
            if around == "vector":
                raise VerifyError(f"{where}: loop {statement.var} stands inside a vector loop")
            if statement.kind not in _KINDS or statement.extent < 0:
                raise VerifyError(f"{where}: loop {statement.var} has a bad kind or extent")
            if statement.kind == "parallel" and around != "serial":
                raise VerifyError(f"{where}: parallel loop {statement.var} stands in another loop")
            if statement.kind == "vector" and not 1 <= statement.extent <= MAX_VECTOR:
                raise VerifyError(f"{where}: vector loop {statement.var} of {statement.extent}")
            if statement.var in bound:
                raise VerifyError(f"{where}: {statement.var} is bound twice")
            inner = bound | {statement.var}
            _verify_conditions(statement, inner, where)
            kind = statement.kind if around == "serial" or statement.kind == "vector" else around
            _verify_body(statement.body, inner, locals_, where, kind)
        elif isinstance(statement, Local):
            locals_ = locals_ | {statement.buffer}
        elif isinstance(statement, Let):
            _verify_expr(statement.value, bound, locals_, where)
            if statement.name in bound:
                raise VerifyError(f"{where}: {statement.name} is bound twice")
            bound = bound | {statement.name}
        elif isinstance(statement, Prefetch):
            if statement.buffer.place != "memory":
                raise VerifyError(f"{where}: prefetch of {statement.buffer}, not in memory")
            _verify_access(statement.buffer, statement.index, bound, locals_, where)
        else:
            _verify_expr(statement.value, bound, locals_, where)
            _verify_access(statement.buffer, statement.index, bound, locals_, where)
            if expr_type(statement.value) != statement.buffer.type:
                raise VerifyError(
                    f"{where}: {expr_type(statement.value)} stored to {statement.buffer}"
                    f" of {statement.buffer.type}"
                )


def _verify_conditions(loop: For, bound: frozenset[str], where: str) -> None:
    if loop.where and loop.kind != "serial":
        raise VerifyError(f"{where}: {loop.kind} loop {loop.var} has a condition")
    for condition in loop.where:
        if condition.index.coefficient(loop.var) < 1:
            raise VerifyError(f"{where}: {condition} does not grow with {loop.var}")
        for name, _ in condition.index.terms:
            if name not in bound:
                raise VerifyError(f"{where}: {name} is used in {condition} before it is bound")


def _verify_access(
    buffer: Buffer, index: Affine, bound: frozenset[str], locals_: frozenset[Buffer], where: str
) -> None:
    if buffer.place != "memory" and buffer not in locals_:
        raise VerifyError(f"{where}: {buffer} is used before it is made")
    for name, _ in index.terms:
        if name not in bound:
            raise VerifyError(f"{where}: {name} is used in {buffer}[{index}] before it is bound")


def _verify_expr(expr: Expr, bound: frozenset[str], locals_: frozenset[Buffer], where: str) -> None:
    for part in sub_expressions(expr):
        if isinstance(part, Var) and part.name not in bound:
            raise VerifyError(f"{where}: {part.name} is used before it is bound")
        if isinstance(part, Load | Reduce):
            _verify_access(part.buffer, part.index, bound, locals_, where)
        if isinstance(part, Affine):
            for name, _ in part.terms:
                if name not in bound:
                    raise VerifyError(f"{where}: {name} is used before it is bound")
