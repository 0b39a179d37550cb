"""Kernels whose comparisons are faster as vectors than as masks.

With AVX-512 a comparison gives a mask, in registers of their own, and what is done with masks is
done one after the other by few units. Where vectors have 32 bytes at most, a comparison can be a
vector as well, as it is with AVX2, and logic of vectors is the fastest that there is. LLVM takes
masks wherever AVX-512 is allowed, so such kernels are not allowed it.
"""

from __future__ import annotations

from mynn.compiler.codegen import math
from mynn.compiler.loop_ir.ir import Expr, For, Kernel, Let, Load, Op, Statement, Store
from mynn.compiler.loop_ir.op_types import COMPARISONS
from mynn.compiler.loop_ir.walk import sub_expressions
from mynn.target.target import Target

_NARROW = 32
_WITHOUT = ",".join(f"-avx512{part}" for part in ("f", "vl", "dq", "bw"))


def attributes(kernel: Kernel, target: Target) -> str:
    """What is said of the function of a kernel to LLVM: nothing, or what it must do without."""
    if not target.is_x86 or target.vector_bytes <= _NARROW:
        return ""
    seen: set[str] = set()
    if not all(_is_narrow(statement, "", seen) for statement in kernel.body):
        return ""
    return f' "target-features"="{target.features},{_WITHOUT}"' if _compares(seen) else ""


def _compares(names: set[str]) -> bool:
    return "where" in names and not names.isdisjoint(COMPARISONS)


def _is_narrow(statement: Statement, lane: str, seen: set[str]) -> bool:
    """Whether all vectors are short, of neighbours, of float32, and no function of `math` is
    called; `seen` takes the names of the operations."""
    if isinstance(statement, For):
        vector = statement.kind == "vector"
        if vector and 4 * statement.extent > _NARROW:
            return False
        lane = statement.var if vector else lane
        return all(_is_narrow(inner, lane, seen) for inner in statement.body)
    if isinstance(statement, Store):
        near = statement.index.coefficient(lane) == 1
        return bool(lane) and near and _is_simple(statement.value, lane, seen)
    return isinstance(statement, Let) and bool(lane) and _is_simple(statement.value, lane, seen)


def _is_simple(value: Expr, lane: str, seen: set[str]) -> bool:
    for part in sub_expressions(value):
        if isinstance(part, Load):
            if part.type != "f32" or part.index.coefficient(lane) not in (0, 1):
                return False
        elif isinstance(part, Op):
            if part.type not in ("f32", "bool") or part.name in math.OPS:
                return False
            seen.add(part.name)
    return True
