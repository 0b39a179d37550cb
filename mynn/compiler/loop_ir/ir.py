"""The loop IR: what kernels are made of, between the graph and LLVM.

Grammar (as `format_kernel` prints it):

    kernel ::= "kernel" name ":" {statement}
    statement ::=
        "for" var "in" extent ["unroll" | "vector" | "parallel"] {"where" condition} ":" {statement}
      | "let" var "=" expr
      | "local" buffer                     registers, or scratch memory of a worker
      | buffer "[" index "]" "=" expr
      | "prefetch" buffer "[" index "]"    it will be read and written soon
    expr ::=
        constant | var | index
      | buffer "[" index "]"               a load
      | op "(" {expr} ")"                  scalar arithmetic: see OPS
      | "reduce_" op buffer "[" index "+:" n "]"     over n neighbouring elements
    condition ::= "0 <=" index "<" extent
    index ::= constant {"+" coefficient "*" var}     a flat offset in elements

Invariants, held by `verify_kernel`: variables are bound once, before they are used; a vector loop
holds straight-line code only and has at most 64 rounds; around a parallel loop stand only serial
loops; conditions stand on serial loops, and their
index grows with the loop's variable; loads and stores agree with the buffer's dtype.

Meaning: every statement runs in order; `evaluate_kernel` (`mynn.compiler.loop_ir.evaluate`) is that
meaning in NumPy. A vector loop may run its rounds in any order or at once, an unrolled loop is
written out. Neither changes the result.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mynn.errors import VerifyError

# Scalar types are the short dtype names of `mynn.core.graph`: f32 f64 i32 i64 u32 u8 bool.
INDEX = "i64"

# Bytes of an element in memory, where they are not 4.
_ITEM_BYTES = {"f64": 8, "i64": 8, "bool": 1, "u8": 1}


@dataclass(frozen=True, slots=True)
class Affine:
    """An integer: constant + sum of coefficient * variable. The terms are sorted by variable."""

    constant: int = 0
    terms: tuple[tuple[str, int], ...] = ()

    @staticmethod
    def var(name: str, coefficient: int = 1) -> Affine:
        """coefficient * name."""
        return Affine(0, ((name, coefficient),)) if coefficient else Affine()

    def __add__(self, other: Affine | int) -> Affine:
        if isinstance(other, int):
            return Affine(self.constant + other, self.terms)
        if not other.terms:
            return Affine(self.constant + other.constant, self.terms)
        if not self.terms:
            return Affine(self.constant + other.constant, other.terms)
        sums = dict(self.terms)
        for name, coefficient in other.terms:
            sums[name] = sums.get(name, 0) + coefficient
        terms = tuple(sorted((name, c) for name, c in sums.items() if c))
        return Affine(self.constant + other.constant, terms)

    def __mul__(self, factor: int) -> Affine:
        if factor == 1:
            return self
        if factor == 0:
            return Affine()
        return Affine(self.constant * factor, tuple((name, c * factor) for name, c in self.terms))

    def __neg__(self) -> Affine:
        return self * -1

    def coefficient(self, name: str) -> int:
        """What `name` is multiplied by."""
        for var, c in self.terms:
            if var == name:
                return c
        return 0

    def without(self, name: str) -> Affine:
        """The rest, where `name` is 0."""
        return Affine(self.constant, tuple(term for term in self.terms if term[0] != name))

    def __str__(self) -> str:
        parts = [name if c == 1 else f"{c}*{name}" for name, c in self.terms]
        if self.constant or not parts:
            parts.append(str(self.constant))
        return " + ".join(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """Memory that a kernel can name.

    `place` is "memory" (reached through the program's table of pointers), "register" (values that
    live in registers: every index is known when the kernel is written out) or "scratch" (memory
    that each worker has to itself while a kernel runs).

    `pitch` is the distance between rows in elements, 0 where there is one row: a store may spill
    into the padding of its row, but not into the next one.
    """

    name: str
    type: str
    elements: int
    place: str = "memory"
    pitch: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return self.elements * _ITEM_BYTES.get(self.type, 4)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Const:
    """A number."""

    value: Any
    type: str


@dataclass(frozen=True, slots=True)
class Var:
    """A variable bound by `Let`."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Load:
    """An element of a buffer."""

    buffer: Buffer
    index: Affine

    @property
    def type(self) -> str:
        """Type of the element."""
        return self.buffer.type


@dataclass(frozen=True, slots=True)
class Op:
    """Scalar arithmetic.

    The names are those of the elementwise primitives, and the few in `EXTRA_OPS`.
    """

    name: str
    args: tuple[Expr, ...]
    type: str


@dataclass(frozen=True, slots=True)
class Reduce:
    """`op` (sum, max, min) over the `count` elements of a register buffer that start at `index`."""

    op: str
    buffer: Buffer
    index: Affine
    count: int

    @property
    def type(self) -> str:
        """Type of the elements."""
        return self.buffer.type


Expr = Const | Var | Load | Op | Reduce | Affine

# Ops beside the elementwise primitives: a*b+c in one rounding, integer quotient and remainder of
# indices (divisor > 0), and a conversion `cast` whose target is the op's type.
EXTRA_OPS = ("fma", "quotient", "remainder", "cast", "threefry2x32")


@dataclass(frozen=True, slots=True)
class Let:
    """Bind a variable to a value."""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Local:
    """Make a register or scratch buffer; its elements are undefined until they are stored."""

    buffer: Buffer


@dataclass(frozen=True, slots=True)
class Store:
    """Set an element of a buffer."""

    buffer: Buffer
    index: Affine
    value: Expr


@dataclass(frozen=True, slots=True)
class Prefetch:
    """Fetch the cache line of an element of memory, which will be read and written soon.

    It has no meaning but time.
    """

    buffer: Buffer
    index: Affine


@dataclass(frozen=True, slots=True)
class Within:
    """A condition: 0 <= index < extent."""

    index: Affine
    extent: int

    def __str__(self) -> str:
        return f"0 <= {self.index} < {self.extent}"


@dataclass(frozen=True, slots=True)
class For:
    """Run `body` for var = 0 .. extent - 1. `kind` is "serial", "unroll" or "vector".

    Rounds in which a condition of `where` does not hold are left out; as the conditions are on
    indices that grow with `var`, what is left is a range.
    """

    var: str
    extent: int
    body: tuple[Statement, ...]
    kind: str = "serial"
    where: tuple[Within, ...] = ()


Statement = Let | Local | Store | Prefetch | For


@dataclass(frozen=True)
class Kernel:
    """A piece of the program: a function without arguments on the buffers that it names."""

    name: str
    body: tuple[Statement, ...]
    comment: str = ""
    operations: int = 0
    nbytes: int = field(default=0)

    @functools.cached_property
    def _buffers(self) -> tuple[list[Buffer], list[Buffer]]:
        return _find_buffers(self.body)

    def __str__(self) -> str:
        return format_kernel(self)


def expr_type(expr: Expr) -> str:
    """The scalar type of an expression."""
    return INDEX if isinstance(expr, Affine) else expr.type


def sub_expressions(expr: Expr) -> Iterator[Expr]:
    """The expression and everything inside it."""
    yield expr
    if isinstance(expr, Op):
        for arg in expr.args:
            yield from sub_expressions(arg)


def statements(body: tuple[Statement, ...]) -> Iterator[Statement]:
    """Every statement, outer ones first."""
    for statement in body:
        yield statement
        if isinstance(statement, For):
            yield from statements(statement.body)


def buffers_of(kernel: Kernel) -> tuple[list[Buffer], list[Buffer]]:
    """Memory buffers that the kernel reads, and that it writes, each once."""
    return kernel._buffers


def _find_buffers(body: tuple[Statement, ...]) -> tuple[list[Buffer], list[Buffer]]:
    reads: dict[Buffer, None] = {}
    writes: dict[Buffer, None] = {}

    def note(expr: Expr) -> None:
        if isinstance(expr, Load):
            if expr.buffer.place == "memory":
                reads[expr.buffer] = None
        elif isinstance(expr, Op):
            for arg in expr.args:
                note(arg)

    def walk(body: tuple[Statement, ...]) -> None:
        for statement in body:
            if isinstance(statement, For):
                walk(statement.body)
            elif isinstance(statement, Let):
                note(statement.value)
            elif isinstance(statement, Store):
                if statement.buffer.place == "memory":
                    writes[statement.buffer] = None
                note(statement.value)

    walk(body)
    return list(reads), list(writes)


# -- printing --------------------------------------------------------------------------------------


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
    """A kernel as text, in the grammar of this module."""
    head = f"kernel {kernel.name}:" + (f"  # {kernel.comment}" if kernel.comment else "")
    return "\n".join([head, *_format_body(kernel.body, "  ")])


# -- checking --------------------------------------------------------------------------------------

MAX_VECTOR = 64
_KINDS = ("serial", "unroll", "vector", "parallel")


def verify_kernel(kernel: Kernel) -> None:
    """Raise `VerifyError` where the kernel breaks an invariant of this module."""
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
