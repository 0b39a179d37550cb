"""Threads: the outer loops of a kernel are split among workers that run the same program.

Work is split over results, never over a sum, and the loops themselves stay as they are. So the
results are the same bits for every number of threads.

Before:                         After:
    for p in 8:                     for p in 8 parallel:       each worker takes its share
      out[...] = ...                  out[...] = ...
    local acc                       for once in 1 parallel:    one worker runs what is left
    ...                               local acc ...

Guarantees: a parallel loop stands at the top of a kernel, its rounds store different elements, and
nothing that one round binds or keeps in registers is used outside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mynn.compiler.loops import (
    Affine,
    Buffer,
    For,
    Kernel,
    Let,
    Load,
    Local,
    Reduce,
    Statement,
    Store,
    Var,
    buffers_of,
    statements,
    sub_expressions,
)

# Fewer operations than this are not worth waking a second worker for.
SMALL = 20_000


def parallelise(kernel: Kernel) -> Kernel:
    """The kernel with its outer loops split among workers, where it is large enough."""
    if kernel.operations < SMALL and kernel.nbytes < 4 * SMALL:
        return _once(kernel)
    body: list[Statement] = []
    pending: list[Statement] = []

    def flush() -> None:
        if pending:
            body.append(For(f"once{len(body)}", 1, tuple(pending), "parallel"))
            pending.clear()

    for statement in kernel.body:
        if isinstance(statement, For) and statement.kind == "serial" and _independent(statement):
            flush()
            body.append(For(statement.var, statement.extent, statement.body, "parallel"))
        else:
            pending.append(statement)
    flush()
    if not _separate(body):
        return _once(kernel)
    return _with_body(kernel, body)


def _once(kernel: Kernel) -> Kernel:
    return _with_body(kernel, [For("once", 1, kernel.body, "parallel")])


def _with_body(kernel: Kernel, body: Sequence[Statement]) -> Kernel:
    return Kernel(kernel.name, tuple(body), kernel.comment, kernel.operations, kernel.nbytes)


def is_serial(kernel: Kernel) -> bool:
    """Whether one worker runs the whole kernel."""
    return all(isinstance(s, For) and s.extent == 1 for s in kernel.body)


def _independent(loop: For) -> bool:
    """Whether the rounds of a loop store different elements and keep nothing for each other."""
    if loop.where:
        return False
    local = {s.buffer for s in statements(loop.body) if isinstance(s, Local)}
    stored: set[tuple[Buffer, Affine]] = set()
    for statement in statements(loop.body):
        if isinstance(statement, Store) and statement.buffer not in local:
            if statement.buffer.place != "memory":
                return False
            if statement.index.coefficient(loop.var) == 0:
                return False
            stored.add((statement.buffer, statement.index))
    if not stored:
        return False
    loaded: set[tuple[Buffer, Affine]] = set()
    for statement in statements(loop.body):
        if isinstance(statement, Let | Store):
            for expr in sub_expressions(statement.value):
                if isinstance(expr, Load):
                    loaded.add((expr.buffer, expr.index))
    for buffer in {buffer for buffer, _ in stored}:
        reads = {index for other, index in loaded if other is buffer}
        writes = {index for other, index in stored if other is buffer}
        if not reads <= writes and not _own_digit(loop, reads | writes):
            return False
    return True


def _own_digit(loop: For, accesses: set[Affine]) -> bool:
    """Whether the round can be read off every index, as a digit of a number with mixed base.

    The stride c of the loop is one place of that number, the next larger stride the place above:
    an index is  above * period + c * round + below,  0 <= below < c.  Then no two rounds touch the
    same element.
    """
    extents = {s.var: s for s in statements(loop.body) if isinstance(s, For)}
    strides = {access.coefficient(loop.var) for access in accesses}
    stride = strides.pop()
    if strides or stride <= 0:
        return False
    larger = [k for access in accesses for _, k in access.terms if k > stride]
    period = min(larger, default=0)
    if period and (any(k % period for k in larger) or stride * loop.extent > period):
        return False
    for access in accesses:
        below = access.constant % period if period else access.constant
        for name, k in access.terms:
            if name == loop.var or k > stride:
                continue
            inner = extents.get(name)
            if inner is None or k < 0:
                return False
            rounds = inner.extent
            if inner.kind == "vector":  # a store may spill into the padding of its row
                rounds = 1 << (rounds - 1).bit_length()
            below += k * (rounds - 1)
        if access.constant < 0 or below >= stride:
            return False
    return True


def _separate(body: Sequence[Statement]) -> bool:
    """Whether no statement uses what another one binds, nor stores where another one may."""
    made: list[set[object]] = []
    used: list[set[object]] = []
    for outer in body:
        own: set[object] = set()
        needs: set[object] = set()
        for statement in statements((outer,)):
            if isinstance(statement, Let):
                own.add(statement.name)
            if isinstance(statement, Local):
                own.add(statement.buffer)
            if isinstance(statement, Store):
                names = {name for name, _ in statement.index.terms}
                needs.add(statement.buffer)
                needs.update(names)
                if names & own:  # the place depends on data: it may be any place
                    own.add(statement.buffer)
            if isinstance(statement, Let | Store):
                for expr in sub_expressions(statement.value):
                    if isinstance(expr, Var):
                        needs.add(expr.name)
                    if isinstance(expr, Load | Reduce):
                        needs.add(expr.buffer)
                        needs.update(name for name, _ in expr.index.terms)
                    if isinstance(expr, Affine):
                        needs.update(name for name, _ in expr.terms)
        made.append(own)
        used.append(needs)
    return not any(made[i] & used[j] for i in range(len(body)) for j in range(len(body)) if i != j)


def barriers(kernels: Sequence[Kernel], overlap: Callable[[Buffer, Buffer], bool]) -> list[bool]:
    """For each kernel, whether the workers must meet before it.

    They meet where it touches what another one may still be writing, or writes what another one
    may still be reading. Kernels that one worker runs alone, one after the other, need no meeting.
    `overlap(a, b)` says whether two buffers share memory.
    """
    result = []
    reads: set[Buffer] = set()
    writes: set[Buffer] = set()
    alone = True

    def touches(some: set[Buffer], others: set[Buffer]) -> bool:
        return any(a is b or overlap(a, b) for a in some for b in others)

    for kernel in kernels:
        loaded, stored = (set(buffers) for buffers in buffers_of(kernel))
        serial = is_serial(kernel)
        conflict = touches(writes, loaded | stored) or touches(reads, stored)
        meet = conflict and not (alone and serial)
        result.append(meet)
        if meet:
            reads, writes, alone = set(), set(), True
        reads |= loaded
        writes |= stored
        alone = alone and serial
    return result
