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
from mynn.compiler.loop_ir.repeat import Branch, Repeat
from mynn.core.types import Array
from mynn.ops import elementwise, fused
from mynn.ops.threefry import threefry2x32

Functions = Mapping[str, Callable[..., Any]]


def _fma(x: Any, y: Any, z: Any) -> Any:
    """x * y + z, rounded once; float32 through float64, where the product is exact."""
    if x.dtype == np.float32:
        return np.float32(float(x) * float(y) + float(z))
    return fused.fma.numpy(x, y, z, "xy+z")[()]


# Operations that are no primitives, or have other arguments.
FUNCTIONS: Functions = {
    "fma": _fma,
    "quotient": lambda x, y: x // y,
    "remainder": lambda x, y: x % y,
    "shift_right": lambda x, bits: x >> bits,
    "bits": lambda x: np.asarray(x).view(f"u{np.asarray(x).itemsize}")[()],
    "offset": lambda address, count: address + np.uint64(count),
    "threefry2x32": lambda *words: threefry2x32(*words)[0],
    "threefry2x32_second": lambda *words: threefry2x32(*words)[1],
    **{name: primitive.numpy for name, primitive in PRIMITIVES.items()},
}


class _Evaluator:
    """Statements and expressions as Python functions without arguments, on memory and variables."""

    def __init__(self, memory: Mapping[ir.Buffer, Array], functions: Functions) -> None:
        self.memory = dict(memory)
        self.functions = functions
        self.variables: dict[str, Any] = {}

    def index(self, index: Affine) -> Callable[[], int]:
        """The number that an index is."""
        variables, constant, terms = self.variables, index.constant, index.terms
        if len(terms) == 1:
            ((name, coefficient),) = terms
            return lambda: constant + coefficient * int(variables[name])
        return lambda: constant + sum([c * int(variables[name]) for name, c in terms])

    def elements(self, buffer: ir.Buffer, index: Affine, count: int) -> Callable[[], Array]:
        """So many elements of a buffer; an `IndexError` where it has not got them."""
        memory, start = self.memory, self.index(index)

        def look() -> Array:
            flat, at = memory[buffer], start()
            if not 0 <= at <= len(flat) - count:
                raise IndexError(f"{buffer}[{at} +: {count}] of {len(flat)} elements")
            return flat[at : at + count]

        return look

    def element(self, buffer: ir.Buffer, index: Affine) -> Callable[[], Any]:
        """One of them."""
        memory, place = self.memory, self.index(index)

        def look() -> Any:
            flat, at = memory[buffer], place()
            if not 0 <= at < len(flat):
                raise IndexError(f"{buffer}[{at}] of {len(flat)} elements")
            return flat[at]

        return look

    def value(self, expr: ir.Expr) -> Callable[[], Any]:
        """The value of an expression."""
        variables, functions = self.variables, self.functions
        match expr:
            case ir.Const(value, type):
                constant = DTYPES[type].type(value)
                return lambda: constant
            case ir.Var(name):
                return lambda: variables[name]
            case Affine():
                index = self.index(expr)
                return lambda: np.int64(index())
            case ir.Load(buffer, at):
                return self.element(buffer, at)
            case ir.Reduce(op, buffer, at, count):
                several = self.elements(buffer, at, count)
                return lambda: functools.reduce(functions[op], several())
            case ir.Op("cast", (operand,), type):
                source, dtype = self.value(operand), DTYPES[type]
                return lambda: elementwise.convert(np.asarray(source()), dtype)[()]
            case ir.Op(name, operands):
                return _applied(functions[name], *map(self.value, operands))
        raise AssertionError(expr)

    def body(self, body: tuple[ir.Statement, ...]) -> list[Callable[[], None]]:
        """Statements, each a function that runs it."""
        return [self.statement(one) for one in body if not isinstance(one, ir.Prefetch)]

    def statement(self, statement: ir.Statement) -> Callable[[], None]:
        """A function that runs a statement."""
        variables, memory = self.variables, self.memory
        match statement:
            case ir.For():
                return self.loop(statement)
            case ir.Let(name, value):
                compute = self.value(value)
                return lambda: variables.__setitem__(name, compute())
            case ir.Local(buffer):
                size, dtype = buffer.elements, DTYPES[buffer.type]
                return lambda: memory.__setitem__(buffer, np.zeros(size, dtype))
            case ir.Store(buffer, index, value):
                element, compute = self.elements(buffer, index, 1), self.value(value)
                return lambda: element().__setitem__(0, compute())
        raise AssertionError(statement)

    def loop(self, loop: ir.For) -> Callable[[], None]:
        """A function that runs a loop."""
        variables, name, body = self.variables, loop.var, self.body(loop.body)
        where = [(self.index(condition.index), condition.extent) for condition in loop.where]

        def run() -> None:
            for i in range(loop.extent):
                variables[name] = i
                if all(0 <= index() < extent for index, extent in where):
                    for statement in body:
                        statement()

        return run


def _applied(function: Callable[..., Any], *args: Callable[[], Any]) -> Callable[[], Any]:
    """A function of values that are computed first; written out for two and three of them."""
    if len(args) == 2:
        x, y = args
        return lambda: function(x(), y())
    if len(args) == 3:
        x, y, z = args
        return lambda: function(x(), y(), z())
    return lambda: function(*[arg() for arg in args])


def evaluate_kernel(
    kernel: ir.Kernel, memory: Mapping[ir.Buffer, Array], functions: Functions | None = None
) -> None:
    """Run a kernel on flat arrays, one for each memory buffer; changes them in place.

    `functions` are operations that are to be computed otherwise than with NumPy.
    """
    if isinstance(kernel, Repeat):
        _evaluate_repeat(kernel, memory, functions)
        return
    if isinstance(kernel, Branch):
        assert kernel.condition is not None
        for one in kernel.kernels if memory[kernel.condition][0] else kernel.otherwise:
            evaluate_kernel(one, memory, functions)
        return
    with np.errstate(all="ignore"):
        for statement in _Evaluator(memory, {**FUNCTIONS, **(functions or {})}).body(kernel.body):
            statement()


def _evaluate_repeat(
    loop: Repeat, memory: Mapping[ir.Buffer, Array], functions: Functions | None
) -> None:
    for kernel in loop.before:
        evaluate_kernel(kernel, memory, functions)
    while loop.condition is not None and memory[loop.condition][0]:
        for kernel in loop.kernels:
            evaluate_kernel(kernel, memory, functions)
    for step in range(loop.rounds if loop.condition is None else 0):
        now = dict(memory)
        for one in loop.moving:
            start = one.start + one.step * step
            now[one.view] = now[one.whole][start : start + one.view.elements]
        for kernel in loop.kernels:
            evaluate_kernel(kernel, now, functions)
