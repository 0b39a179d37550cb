"""The meaning of the loop IR, in plain Python and NumPy.

Slow, and what native code is tested against.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.ir import (
    Buffer,
    Const,
    Expr,
    For,
    FunctionAddress,
    Kernel,
    Let,
    Load,
    Local,
    Op,
    Reduce,
    Statement,
    Store,
    Var,
)
from mynn.core.types import SHORT_NAMES, Array
from mynn.ops import elementwise
from mynn.ops.threefry import threefry2x32

DTYPES = {short: np.dtype(name) for name, short in SHORT_NAMES.items()}
_PRIMITIVES = {primitive.name: primitive for primitive in elementwise.PRIMITIVES}

Environment = dict[str, Any]


def _index(index: Affine, env: Environment) -> int:
    return index.constant + sum(int(env[name]) * c for name, c in index.terms)


def _op(op: Op, args: list[Any]) -> Any:
    dtype = DTYPES[op.type]
    if op.name == "fma":
        return dtype.type(args[0] * args[1] + args[2])
    if op.name == "quotient":
        return args[0] // args[1]
    if op.name == "remainder":
        return args[0] % args[1]
    if op.name == "cast":
        return elementwise.convert(np.asarray(args[0]), dtype)[()]
    if op.name == "threefry2x32":
        return threefry2x32(*args)[0]
    if op.name == "shift_right":
        return args[0] >> args[1]
    return _PRIMITIVES[op.name].numpy(*args)


def _value(expr: Expr, env: Environment, memory: Mapping[Buffer, Array]) -> Any:
    if isinstance(expr, Const):
        return DTYPES[expr.type].type(expr.value)
    if isinstance(expr, Var):
        return env[expr.name]
    if isinstance(expr, Affine):
        return np.int64(_index(expr, env))
    if isinstance(expr, Load):
        return memory[expr.buffer][_index(expr.index, env)]
    if isinstance(expr, Reduce):
        start = _index(expr.index, env)
        values = memory[expr.buffer][start : start + expr.count]
        return functools.reduce(_PRIMITIVES[expr.op].numpy, values)
    if isinstance(expr, FunctionAddress):
        return expr.name
    return _op(expr, [_value(arg, env, memory) for arg in expr.args])


def _run(body: tuple[Statement, ...], env: Environment, memory: dict[Buffer, Array]) -> None:
    for statement in body:
        if isinstance(statement, For):
            for i in range(statement.extent):
                inner = {**env, statement.var: i}
                if all(0 <= _index(c.index, inner) < c.extent for c in statement.where):
                    _run(statement.body, inner, memory)
        elif isinstance(statement, Let):
            env[statement.name] = _value(statement.value, env, memory)
        elif isinstance(statement, Local):
            buffer = statement.buffer
            memory[buffer] = np.zeros(buffer.elements, DTYPES[buffer.type])
        elif isinstance(statement, Store):
            place = _index(statement.index, env)
            memory[statement.buffer][place] = _value(statement.value, env, memory)


def evaluate_kernel(kernel: Kernel, memory: Mapping[Buffer, Array]) -> None:
    """Run a kernel on flat arrays, one for each memory buffer; changes them in place."""
    with np.errstate(all="ignore"):
        _run(kernel.body, {}, dict(memory))
