"""The meaning of the loop IR's kernels, in plain Python and NumPy.

Slow, and what native code is tested against. Native code may add up the lanes of a `Reduce` in
another order, and NumPy's transcendental functions are not the ones of
`mynn.compiler.codegen.math`; all else is the same, bit for bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mynn.compiler.loop_ir import ir
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.op_types import DTYPES, PRIMITIVES
from mynn.core.types import Array
from mynn.ops import elementwise, fused
from mynn.ops.threefry import threefry2x32

Environment = dict[str, Any]
Functions = Mapping[str, Callable[..., Any]]

# Operations that are no primitives, or have other arguments.
FUNCTIONS: Functions = {
    "fma": lambda x, y, z: fused.fma.numpy(x, y, z, "xy+z")[()],
    "quotient": lambda x, y: x // y,
    "remainder": lambda x, y: x % y,
    "shift_right": lambda x, bits: x >> bits,
    "bits": lambda x: np.asarray(x).view(f"u{np.asarray(x).itemsize}")[()],
    "offset": lambda address, count: address + np.uint64(count),
    "threefry2x32": lambda *words: threefry2x32(*words)[0],
    **{name: primitive.numpy for name, primitive in PRIMITIVES.items()},
}


def index_of(index: Affine, env: Environment) -> int:
    """The number that an index is."""
    total = index.constant
    for name, coefficient in index.terms:
        total += int(env[name]) * coefficient
    return total


def value_of(
    expr: ir.Expr,
    env: Environment,
    load: Callable[[ir.Buffer, int, int], Array],
    functions: Functions = FUNCTIONS,
) -> Any:
    """The value of an expression; `load` gives so many elements of a buffer from an index on."""
    if isinstance(expr, ir.Const):
        return DTYPES[expr.type].type(expr.value)
    if isinstance(expr, ir.Var):
        return env[expr.name]
    if isinstance(expr, Affine):
        return np.int64(index_of(expr, env))
    if isinstance(expr, ir.Load):
        return load(expr.buffer, index_of(expr.index, env), 1)[0]
    if isinstance(expr, ir.Reduce):
        values = load(expr.buffer, index_of(expr.index, env), expr.count)
        return functools.reduce(functions[expr.op], values)
    if isinstance(expr, ir.FunctionAddress):
        return expr.name
    args = [value_of(arg, env, load, functions) for arg in expr.args]
    if expr.name == "cast":
        return elementwise.convert(np.asarray(args[0]), DTYPES[expr.type])[()]
    return functions[expr.name](*args)


class _Run:
    """A run of a kernel on some memory."""

    def __init__(self, memory: Mapping[ir.Buffer, Array], functions: Functions) -> None:
        self.memory = dict(memory)
        self.functions = functions
        self.env: Environment = {}

    def elements(self, buffer: ir.Buffer, index: int, count: int) -> Array:
        """So many elements of a buffer; an `IndexError` where it has not got them."""
        flat = self.memory[buffer]
        if not 0 <= index <= len(flat) - count:
            raise IndexError(f"{buffer}[{index} +: {count}] of {len(flat)} elements")
        return flat[index : index + count]

    def value(self, expr: ir.Expr) -> Any:
        """The value of an expression."""
        return value_of(expr, self.env, self.elements, self.functions)

    def body(self, body: tuple[ir.Statement, ...]) -> None:
        """Run statements."""
        env = self.env
        for statement in body:
            if isinstance(statement, ir.For):
                for i in range(statement.extent):
                    env[statement.var] = i
                    if all(0 <= index_of(c.index, env) < c.extent for c in statement.where):
                        self.body(statement.body)
            elif isinstance(statement, ir.Let):
                env[statement.name] = self.value(statement.value)
            elif isinstance(statement, ir.Local):
                buffer = statement.buffer
                self.memory[buffer] = np.zeros(buffer.elements, DTYPES[buffer.type])
            elif isinstance(statement, ir.Store):
                place = index_of(statement.index, env)
                self.elements(statement.buffer, place, 1)[0] = self.value(statement.value)


def evaluate_kernel(
    kernel: ir.Kernel, memory: Mapping[ir.Buffer, Array], functions: Functions | None = None
) -> None:
    """Run a kernel on flat arrays, one for each memory buffer; changes them in place.

    `functions` are operations that are to be computed otherwise than with NumPy.
    """
    with np.errstate(all="ignore"):
        _Run(memory, {**FUNCTIONS, **(functions or {})}).body(kernel.body)
