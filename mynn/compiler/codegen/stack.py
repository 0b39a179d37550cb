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
        # Values by their names, and the bytes that some of them take beyond those of a vector.
        self.names: set[str] = set()
        self.beyond: dict[str, int] = {}
        self.most = 0
        self.needs: dict[int, set[str]] = {}
        # If all values were needed at once.
        self.limit = _AHEAD
        self.measure(kernel.body)
        self.limit += self.size(self.names)

    def size(self, names: set[str]) -> int:
        """The bytes that values take."""
        return _WIDEST * len(names) + sum(self.beyond[name] for name in self.beyond.keys() & names)

    def measure(self, body: Sequence[ir.Statement], lanes: int = 1) -> None:
        """How wide each value is: a scalar as wide as a vector, which it may be spread to."""
        for statement in body:
            if isinstance(statement, ir.For):
                self.limit += _WIDEST
                wide = statement.kind == "vector"
                inner = 1 << (statement.extent - 1).bit_length() if wide else lanes
                self.measure(statement.body, inner)
            elif isinstance(statement, ir.Let):
                self.names.add(statement.name)
                size = _BYTES.get(expr_type(statement.value), 4) * lanes
                if size > _WIDEST:
                    self.beyond[statement.name] = size - _WIDEST
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
        total = registers + self.size(live)
        self.most = max(self.most, total)
        for statement in reversed(body):
            if isinstance(statement, ir.Let) and statement.name in live:
                live.remove(statement.name)
                total -= _WIDEST + self.beyond.get(statement.name, 0)
            new = needed(statement, self.needs) - live
            if new:
                total += self.size(new)
                live |= new
                self.most = max(self.most, total)
            if isinstance(statement, ir.For):
                self.walk(statement.body, live, registers)


def _size(buffer: ir.Buffer) -> int:
    return buffer.nbytes if buffer.storage == "register" else 0


def needed(statement: ir.Statement, known: dict[int, set[str]]) -> set[str]:
    """The variables that a statement uses and does not bind, but for the one of a loop itself; kept
    in `known` by its identity, and so are those of the statements inside.
    """
    found = known.get(id(statement))
    if found is not None:
        return found
    if isinstance(statement, ir.For):
        found = set()
        for inner in statement.body:
            used = needed(inner, known)
            found |= used - {inner.var} if isinstance(inner, ir.For) else used
        found -= {inner.name for inner in statement.body if isinstance(inner, ir.Let)}
    elif isinstance(statement, ir.Let):
        found = variables(statement.value)
    elif isinstance(statement, ir.Store):
        found = variables(statement.value) | variables(statement.index)
    else:
        found = set()
    known[id(statement)] = found
    return found


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
