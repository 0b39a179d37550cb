"""The loop IR: what kernels are made of, and the host code around them, between graph and LLVM.

The grammar, in the manner of ASDL (`?` may be absent, `*` any number):

    kernel    = Kernel(name, statement* body)
    function  = Function(name, Var* parameters, action* body, type? result)

    statement = For(var, int extent, statement* body, kind, Within* where)
              | Local(Buffer)                    registers, or scratch memory of a worker
              | Let(name, expr) | Store(Buffer, Affine, expr) | Prefetch(Buffer, Affine)
    kind      = serial | unroll | vector | parallel
    action    = Let(name, expr) | Store(Buffer, Affine, expr)
              | View(Buffer, expr address)       a buffer at an address
              | Declare(name, expr)              a variable that may change
              | Assign(name, expr)               it does
              | If(expr, action* body, action* orelse) | While(expr, action* body)
              | Break() | Return(expr?)
              | Call(name | expr callee, expr* args, name? result, type? type)
              | Atomic(op, Buffer, Affine, expr* args, order, name? result)
    op        = load | store | add | exchange | compare_exchange
    order     = relaxed | acquire | release | acq_rel
    expr      = Const(value, type) | Var(name, type) | Affine
              | Load(Buffer, Affine) | Op(name, expr* args, type)
              | Reduce(op, Buffer, Affine, int count)        over neighbours in registers
              | FunctionAddress(name)
    Within    = (Affine, int extent)             0 <= index < extent
    Affine    = (int constant, (var, int coefficient)*)      an offset in elements
    type      = f32 | f64 | i32 | i64 | u32 | u64 | u8 | bool | ptr

The printed form (`mynn.compiler.loop_ir.format`):

    kernel ::= "kernel" name ":" {statement}
    statement ::=
        "for" var "in" extent ["unroll" | "vector" | "parallel"] {"where" condition} ":" {statement}
      | "let" var "=" expr
      | "local" buffer
      | buffer "[" index "]" "=" expr
      | "prefetch" buffer "[" index "]"
    function ::= "function" name "(" {var ":" type} ")" ["->" type] {attribute} ":" {action}
    attribute ::= "exported" | "inline" | "noinline"
    action ::=
        "let" var "=" expr | buffer "[" index "]" "=" expr
      | "view" buffer ":" type "[" [elements] "]" "at" expr
      | "var" var "=" expr | var "=" expr
      | "if" expr ":" {action} ["else:" {action}] | "while" expr ":" {action}
      | "break" | "return" [expr]
      | ["let" var [":" type] "="] "call" (name | "(" expr ")") "(" {expr} ")"
      | ["let" var "="] "atomic" op "(" buffer "[" index "]" {"," expr} ")" order
    expr ::=
        constant | var | index | buffer "[" index "]" | "@" name
      | op "(" {expr} ")" | "reduce_" op buffer "[" index "+:" n "]"
    condition ::= "0 <=" index "<" extent
    index ::= constant {"+" coefficient "*" var}

Invariants, held by `mynn.compiler.loop_ir.verify`: variables are bound once, before they are used;
a vector loop holds straight-line code only and has at most 128 rounds; around a parallel loop stand
only serial loops; conditions stand on serial loops, and their index grows with the loop's variable;
loads and stores agree with the buffer's dtype. Only what `Declare` bound may be assigned. Every
path through a function that has a result ends in `Return`.

Meaning: every statement runs in order; `mynn.compiler.loop_ir.evaluate` is that meaning in NumPy. A
vector loop may run its rounds in any order or at once, an unrolled loop is written out. Neither
changes the result. Unsigned arithmetic is modulo 2^32 and 2^64, as signed arithmetic is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from mynn.base.dataclass import dataclass
from mynn.base.lazy import lazy
from mynn.compiler.loop_ir.affine import Affine

# Scalar types are the short dtype names of `mynn.core.graph`, words, and addresses.
INDEX = "i64"
ADDRESS = "ptr"

# Bytes of an element in memory, where they are not 4.
_ITEM_BYTES = {"f64": 8, "i64": 8, "u64": 8, "ptr": 8, "bool": 1, "u8": 1}


@dataclass(frozen=True, slots=True, eq=False)
class Buffer:
    """Memory that a kernel can name.

    `storage` is "memory" (reached through the program's table of pointers), "register" (values that
    live in registers: every index is known when the kernel is written out), "scratch" (memory
    that each worker has to itself while a kernel runs) or "view" (what host code finds at an
    address; `elements` is 0 where their number is not known).

    `pitch` is the distance between rows in elements, 0 where there is one row: a store may spill
    into the padding of its row, but not into the next one.
    """

    name: str
    type: str
    elements: int
    storage: str = "memory"
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
    """`op` (add, mul, maximum...) over `count` elements of a register buffer, from `index` on."""

    op: str
    buffer: Buffer
    index: Affine
    count: int

    @property
    def type(self) -> str:
        """Type of the elements."""
        return self.buffer.type


@dataclass(frozen=True, slots=True)
class FunctionAddress:
    """Where a function begins."""

    name: str
    type: str = ADDRESS


Expr = Const | Var | Load | Op | Reduce | Affine | FunctionAddress

# Ops beside the elementwise primitives: a*b+c in one rounding, integer quotient and remainder
# (of what is not negative, divisor > 0), a conversion `cast` whose target is the op's type, `bits`:
# those of a float as an unsigned integer, and `offset`: an address so many bytes further.
EXTRA_OPS = (
    "fma",
    "quotient",
    "remainder",
    "cast",
    "bits",
    "threefry2x32",
    "threefry2x32_second",
    "offset",
)


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
    """A piece of the program: a function without arguments on the buffers that it names.

    It may be the `template` again, with other buffers in the place of those in `bindings`.
    """

    name: str
    body: tuple[Statement, ...]
    comment: str = ""
    operations: int = 0
    nbytes: int = field(default=0)
    template: Kernel | None = field(default=None, compare=False, repr=False)
    bindings: Mapping[Buffer, Buffer] = field(default_factory=dict, compare=False, repr=False)

    @lazy
    def _buffers(self) -> tuple[list[Buffer], list[Buffer]]:
        if self.template is None:
            return _find_buffers(self.body)
        reads, writes = (
            [self.bindings.get(buffer, buffer) for buffer in side]
            for side in self.template._buffers
        )
        return reads, writes

    @lazy
    def is_split(self) -> bool:
        """Whether it takes the number of its worker, and of all workers."""
        return _has_shares(self.body) if self.template is None else self.template.is_split


# -- host code -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class View:
    """Call what lies at an address by a name: `buffer`, whose place is "view"."""

    buffer: Buffer
    address: Expr


@dataclass(frozen=True, slots=True)
class Declare:
    """Bind a variable that `Assign` may change."""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Assign:
    """Change a variable."""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class If:
    """Run `body` where the condition holds, `orelse` where it does not."""

    condition: Expr
    body: tuple[Action, ...]
    orelse: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class While:
    """Run `body` as long as the condition holds, which is looked at before each round."""

    condition: Expr
    body: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Break:
    """Leave the innermost `While`."""


@dataclass(frozen=True, slots=True)
class Return:
    """Leave the function, with its result."""

    value: Expr | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """Run a function: one of `SYSTEM`, a kernel or function of the module, or what lies at an
    address. `result` names its result, of type `type`; both are empty where there is none.
    """

    callee: str | Expr
    args: tuple[Expr, ...] = ()
    result: str = ""
    type: str = ""


@dataclass(frozen=True, slots=True)
class Atomic:
    """A step on a word that other threads use too, ordered before or after others as `order` says.

    - `load`: the word. `store`, `exchange`, `add`: set it to the argument, or to the sum of both.
      `load`, `exchange` and `add` have the old word as their result.
    - `compare_exchange`: set it to the second argument if it is the first one; the result is
      whether it was. Its order is `acq_rel` if it was and `acquire` if not.
    """

    op: str
    buffer: Buffer
    index: Affine
    args: tuple[Expr, ...] = ()
    order: str = "relaxed"
    result: str = ""

    @property
    def type(self) -> str:
        """Type of the result."""
        return "bool" if self.op == "compare_exchange" else self.buffer.type


ATOMIC_OPS = {"load": 0, "store": 1, "add": 1, "exchange": 1, "compare_exchange": 2}
ORDERS = ("relaxed", "acquire", "release", "acq_rel")

Action = Let | Store | View | Declare | Assign | If | While | Break | Return | Call | Atomic


@dataclass(frozen=True)
class Function:
    """A piece of host code.

    - `result`: the type of what it returns, empty where that is nothing.
    - `exported`: others than this module may call it. `inline`: "" as LLVM likes, "inline" always,
      "noinline" never.
    """

    name: str
    parameters: tuple[Var, ...]
    body: tuple[Action, ...]
    result: str = ""
    exported: bool = False
    inline: str = ""
    comment: str = ""

    @property
    def signature(self) -> Signature:
        """Its types."""
        return Signature(tuple(parameter.type for parameter in self.parameters), self.result)


@dataclass(frozen=True, slots=True)
class Signature:
    """Types of the parameters and of the result."""

    parameters: tuple[str, ...] = ()
    result: str = ""


# What host code may call of the machine and its system.
SYSTEM = {
    "pause": Signature(),  # a round of spinning
    "yield_processor": Signature(),  # another thread may have it
    "sleep": Signature(("i64",)),  # so many microseconds
    "copy": Signature(("ptr", "ptr", "i64")),  # to, from, bytes; they do not overlap
    "time_stamp": Signature((), "u64"),  # ticks of the processor's counter
    "flush_denormals": Signature((), "u32"),  # from here on; returns the mode of before
    "set_float_mode": Signature(("u32",)),  # back to such a mode
}


def buffers_of(kernel: Kernel) -> tuple[list[Buffer], list[Buffer]]:
    """Memory buffers that the kernel reads, and that it writes, each once."""
    return kernel._buffers


def _has_shares(body: tuple[Statement, ...]) -> bool:
    return any(isinstance(s, For) and (s.kind == "parallel" or _has_shares(s.body)) for s in body)


def _find_buffers(body: tuple[Statement, ...]) -> tuple[list[Buffer], list[Buffer]]:
    reads: dict[Buffer, None] = {}
    writes: dict[Buffer, None] = {}
    waiting: list[Any] = [*body][::-1]
    while waiting:
        statement = waiting.pop()
        kind = type(statement)
        if kind is For:
            waiting += statement.body[::-1]
            continue
        if kind is Store and statement.buffer.storage == "memory":
            writes[statement.buffer] = None
        inside: list[Any] = [statement.value] if kind is Let or kind is Store else []
        while inside:
            expr = inside.pop()
            kind = type(expr)
            if kind is Op:
                inside += expr.args[::-1]
            elif kind is Load and expr.buffer.storage == "memory":
                reads[expr.buffer] = None
    return list(reads), list(writes)
