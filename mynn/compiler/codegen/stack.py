"""How much of the stack a program takes.

Kernels make nothing on the stack (`mynn.compiler.memory.scratch`); what lies there are values
that the registers have no room for, and what functions keep of their callers. How many values a
kernel has at once can be read off its loop IR. LLVM may compute some of them earlier, or twice; so
a bound is a multiple of that, and tests compare it with the frames of the machine code.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mynn.compiler.loop_ir import ir
from mynn.compiler.loop_ir.walk import expr_type, variables
from mynn.errors import CompileError

# What a program may take. Python and its libraries leave more than this of the smallest stacks that
# threads have, 128 KB.
MOST_STACK = 32 * 1024
# Bytes for the functions around the kernels: the loop over batches, the step, the workers' barrier,
# functions such as tanh, and the C library's part in waiting.
AROUND = 4096
# A kernel keeps the registers of its caller, and values that LLVM computes ahead.
_AHEAD = 2048

_WIDEST = 64
_BYTES = {"f64": 8, "i64": 8}


class _Live:
    """Walks a kernel backwards, with the values that are still needed."""

    def __init__(self, kernel: ir.Kernel) -> None:
        self.kernel = kernel
        self.bytes: dict[str, int] = {}
        self.most = 0
        self.free_of: dict[int, set[str]] = {}
        # If all values were needed at once.
        self.limit = _AHEAD
        self.measure(kernel.body)
        self.limit += sum(self.bytes.values())

    def size(self, name: str) -> int:
        """The bytes that a value takes."""
        return self.bytes.get(name, _WIDEST)

    def measure(self, body: Sequence[ir.Statement], lanes: int = 1) -> None:
        """How wide each value is: a scalar as wide as a vector, which it may be spread to."""
        for statement in body:
            if isinstance(statement, ir.For):
                self.limit += _WIDEST
                wide = statement.kind == "vector"
                inner = 1 << (statement.extent - 1).bit_length() if wide else lanes
                self.measure(statement.body, inner)
            elif isinstance(statement, ir.Let):
                size = _BYTES.get(expr_type(statement.value), 4) * lanes
                self.bytes[statement.name] = max(size, _WIDEST)
            elif isinstance(statement, ir.Local):
                self.limit += _size(statement.buffer)

    def frame(self) -> int:
        """A bound of the bytes that the frame of the kernel takes."""
        self.walk(self.kernel.body, set(), 0)
        return _AHEAD + self.most

    def walk(self, body: Sequence[ir.Statement], after: set[str], registers: int) -> None:
        """Notes how much there is at once in `body`, where values `after` are needed behind it."""
        registers += sum(_size(s.buffer) for s in body if isinstance(s, ir.Local))
        live = set(after)
        total = registers + sum(map(self.size, live))
        self.most = max(self.most, total)
        for statement in reversed(body):
            needed: set[str] = set()
            if isinstance(statement, ir.For):
                needed = free(statement.body, self.free_of)
            elif isinstance(statement, ir.Let):
                if statement.name in live:
                    live.remove(statement.name)
                    total -= self.size(statement.name)
                needed = variables(statement.value)
            elif isinstance(statement, ir.Store):
                needed = variables(statement.value) | variables(statement.index)
            total += sum(map(self.size, needed - live))
            live |= needed
            self.most = max(self.most, total)
            if isinstance(statement, ir.For):
                self.walk(statement.body, live, registers)


def _size(buffer: ir.Buffer) -> int:
    return buffer.nbytes if buffer.storage == "register" else 0


def free(body: Sequence[ir.Statement], known: dict[int, set[str]] | None = None) -> set[str]:
    """The variables that a body uses and does not bind; those of the bodies inside are kept in
    `known`, by their identity.
    """
    known = {} if known is None else known
    if id(body) in known:
        return known[id(body)]
    bound: set[str] = set()
    used: set[str] = set()
    for statement in body:
        if isinstance(statement, ir.For):
            used |= free(statement.body, known) - {statement.var}
        elif isinstance(statement, ir.Let):
            used |= variables(statement.value)
            bound.add(statement.name)
        elif isinstance(statement, ir.Store):
            used |= variables(statement.value) | variables(statement.index)
    known[id(body)] = used - bound
    return known[id(body)]


def kernel_stack(kernel: ir.Kernel) -> int:
    """A bound of the bytes that the frame of a kernel takes."""
    return _Live(kernel).frame()


def stack_bytes(kernels: Iterable[ir.Kernel]) -> int:
    """A bound of the bytes of stack that a run of the kernels takes in any of its threads.

    Raises:
        CompileError: it is more than a program may take.
    """
    most, worst = 0, None
    # Those that may take most first: the others need not be walked through.
    for live in sorted(map(_Live, kernels), key=lambda live: -live.limit):
        if live.limit <= most:
            break
        frame = live.frame()
        if frame > most:
            most, worst = frame, live.kernel
    total = most + AROUND
    if worst is not None and total > MOST_STACK:
        raise CompileError(
            f"kernel {worst.name} ({worst.comment}) may take {total} bytes of stack, a program at "
            f"most {MOST_STACK}; compute it in smaller steps"
        )
    return total
