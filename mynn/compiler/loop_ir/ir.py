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
from dataclasses import dataclass, field
from typing import Any

from mynn.compiler.loop_ir.affine import Affine

# Scalar types are the short dtype names of `mynn.core.graph`: f32 f64 i32 i64 u32 u8 bool.
INDEX = "i64"

# Bytes of an element in memory, where they are not 4.
_ITEM_BYTES = {"f64": 8, "i64": 8, "bool": 1, "u8": 1}


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
