"""Which integers an expression of the loop IR may be: intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import Const, Expr, Op, Var
from mynn.compiler.loop_ir.walk import expr_type

# The least and the largest integer.
Range = tuple[int, int]

TYPE_RANGES: Mapping[str, Range] = {
    "bool": (0, 1),
    "u8": (0, 2**8 - 1),
    "i32": (-(2**31), 2**31 - 1),
    "u32": (0, 2**32 - 1),
    "i64": (-(2**63), 2**63 - 1),
    "u64": (0, 2**64 - 1),
    "ptr": (0, 2**64 - 1),
}


def _products(a: Range, b: Range) -> Range:
    ends = [x * y for x in a for y in b]
    return min(ends), max(ends)


def _quotient(a: Range, b: Range) -> Range | None:
    return (a[0] // b[1], a[1] // b[0]) if a[0] >= 0 and b[0] > 0 else None


def _remainder(a: Range, b: Range) -> Range | None:
    return (0, min(a[1], b[1] - 1)) if a[0] >= 0 and b[0] > 0 else None


def _mod(a: Range, b: Range) -> Range | None:
    return (0, b[1] - 1) if b[0] > 0 else None


_RULES: Mapping[str, Callable[[Range, Range], Range | None]] = {
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "mul": _products,
    "maximum": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    "minimum": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    "quotient": _quotient,
    "remainder": _remainder,
    "mod": _mod,
}


def range_of(
    expr: Expr, variables: Mapping[str, Range], affine: Callable[[Affine], Range]
) -> Range | None:
    """What an integer expression may be, None for floats; `variables` and `affine` say it for
    variables and indices. Where the arithmetic may wrap around, it is any number of its type.
    """
    kind = expr_type(expr)
    if kind not in TYPE_RANGES:
        return None
    least, most = TYPE_RANGES[kind]
    found = _range_of(expr, variables, affine)
    if found is None or found[0] < least or found[1] > most:
        return least, most
    return found


def _range_of(
    expr: Expr, variables: Mapping[str, Range], affine: Callable[[Affine], Range]
) -> Range | None:
    if isinstance(expr, Const):
        return int(expr.value), int(expr.value)
    if isinstance(expr, Affine):
        return affine(expr)
    if isinstance(expr, Var):
        return variables.get(expr.name)
    if not isinstance(expr, Op):
        return None
    args = [range_of(arg, variables, affine) for arg in expr.args]
    if expr.name == "where" and args[1] is not None and args[2] is not None:
        return min(args[1][0], args[2][0]), max(args[1][1], args[2][1])
    if expr.name == "cast":
        return args[0] if expr.type != "bool" else None
    if expr.name in _RULES and args[0] is not None and args[1] is not None:
        return _RULES[expr.name](args[0], args[1])
    return None
