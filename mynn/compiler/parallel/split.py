"""Threads: the outer loops of a kernel are split among workers that run the same program.

Work is split over results, never over a sum, and the loops themselves stay as they are. So the
results are the same bits for every number of threads.

Before:                         After:
    for p in 8:                     for p in 8 parallel:       each worker takes its share
      out[...] = ...                  out[...] = ...
    local acc                       for once in 1 parallel:    one worker runs what is left
    ...                               local acc ...

Guarantees: a parallel loop stands at the top of a kernel or in serial loops, its rounds store
different elements, and nothing that one round binds or keeps in registers is used outside it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import replace

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.instance import instance, original
from mynn.compiler.loop_ir.ir import (
    Buffer,
    For,
    Kernel,
    Let,
    Load,
    Local,
    Prefetch,
    Reduce,
    Statement,
    Store,
    Var,
)
from mynn.compiler.loop_ir.repeat import Nest
from mynn.compiler.loop_ir.walk import statements, sub_expressions
from mynn.compiler.parallel.footprint import Footprints

# Fewer operations than this are not worth waking a second worker for.
SMALL = 20_000
# Bytes that a worker may read more than it would otherwise, where that saves a meeting; and the
# worker that is looked at, the first of two.
_MORE_READ = 1 << 16
_HALF = (0, 2)


def parallelise(kernel: Kernel, footprints: Footprints | None = None) -> Iterator[Kernel]:
    """The ways in which workers may share the kernel, the best one by itself first.

    Best are slices of what it stores, rows or columns, so that workers who go on with the next
    kernel find what they need among what they stored themselves; rounds of its outer loops are
    where a worker would have to read much more for a slice. The last resort is that one worker runs
    it all, as one does a loop or a branch around kernels.
    """
    if isinstance(kernel, Nest):
        yield replace(kernel, shared=True)
        return
    if len(kernel.body) > 1 and _accumulates(kernel.body):
        yield _once(kernel)  # in stages: what one stores another one adds to
        return
    footprints = footprints or Footprints(lambda buffer: (buffer, 0))
    large = kernel.operations >= SMALL or kernel.nbytes >= 4 * SMALL
    rounds = _by_rounds(kernel) if large else None
    much = 0 if rounds is None else footprints.bytes_read(rounds, *_HALF) + _MORE_READ
    last: list[Kernel] = []
    none = rounds is None
    for columns in (False, True):
        way = _by_slices(kernel, columns)
        if way is None:
            continue
        none = False
        if rounds is not None and footprints.bytes_read(way, *_HALF) > much:
            last.append(way)
        else:
            yield way
    if rounds is not None:
        yield rounds
    yield from last
    if none:
        yield _once(kernel)


class Ways:
    """The ways in which workers may share a kernel and its instances; each is looked for when
    those before it do not suit.
    """

    def __init__(self, kernel: Kernel, footprints: Footprints) -> None:
        self.found: list[Kernel] = []
        self.further = parallelise(kernel, footprints)

    def __iter__(self) -> Iterator[Kernel]:
        for number in itertools.count():
            if number == len(self.found):
                way = next(self.further, None)
                if way is None:
                    return
                self.found.append(way)
            yield self.found[number]

    def of(self, kernel: Kernel) -> Iterator[Kernel]:
        """Those of an instance."""
        for way in self:
            yield instance(way, kernel.name, kernel.bindings)


def ways_to_share(kernels: Sequence[Kernel], footprints: Footprints) -> list[Iterator[Kernel]]:
    """For each kernel the ways in which workers may share it; found out once for all instances of
    a kernel.
    """
    known: dict[int, Ways] = {}
    result = []
    for kernel in kernels:
        first = original(kernel)
        ways = known.get(id(first))
        if ways is None:
            ways = known[id(first)] = Ways(first, footprints)
        result.append(iter(ways) if kernel is first else ways.of(kernel))
    return result


def _by_rounds(kernel: Kernel) -> Kernel | None:
    """Shares of the rounds of the outermost loops."""
    body: list[Statement] = []
    pending: list[Statement] = []

    def flush() -> None:
        if pending:
            body.append(_run_once(pending, len(body)))
            pending.clear()

    for statement in kernel.body:
        if isinstance(statement, For) and statement.kind == "serial" and _independent(statement):
            flush()
            body.append(replace(statement, kind="parallel"))
        else:
            pending.append(statement)
    flush()
    split = _with_body(kernel, body)
    return split if _separate(body) and not is_serial(split) else None


def _by_slices(kernel: Kernel, columns: bool) -> Kernel | None:
    """Shares that each store a slice of every result: from one element to another, or `columns`
    from one place in each row to another.

    The loops that run over slices may stand inside others, which every worker then runs for its own
    slice, with the copies to scratch memory that they make.
    """
    ends = {s.var: s.extent - 1 for s in statements(kernel.body) if isinstance(s, For)}
    if any(name not in ends for store in _stores(kernel.body) for name, _ in store.index.terms):
        return None  # the place depends on data: it may be any place
    count = 0
    split = False

    def shared(body: Sequence[Statement], depth: int) -> list[Statement]:
        nonlocal count, split
        result: list[Statement] = []
        pending: list[Statement] = []

        def flush() -> None:
            nonlocal count
            if pending:
                result.append(_run_once(pending, count))
                count += 1
                pending.clear()

        for statement in body:
            if isinstance(statement, For) and statement.kind == "serial":
                if _slices(statement, ends, columns) and _independent(statement):
                    flush()
                    result.append(replace(statement, kind="parallel"))
                    split = True
                    continue
                if depth < 2 and not statement.where and _can_enter(statement):
                    flush()
                    inner = shared(statement.body, depth + 1)
                    result.append(replace(statement, body=tuple(inner)))
                    continue
            copied = isinstance(statement, Local) and statement.buffer.storage == "scratch"
            if not pending and (copied or _only_copies(statement)):
                result.append(statement)
            else:
                pending.append(statement)
        flush()
        own = {s.buffer for s in result if isinstance(s, Local)}
        return result if _separate(result, own) else [*body]

    body = shared(kernel.body, 0)
    if not split:
        return None
    found = _with_body(kernel, body)
    return found if all(_is_shared(statement) for statement in body) else None


def _slices(loop: For, ends: Mapping[str, int], columns: bool) -> bool:
    """Whether each round stores the elements between two places of each result, or of each row."""
    for store in _stores(loop.body):
        pitch = store.buffer.pitch if columns else 0
        steps = {name: k % pitch if pitch else k for name, k in store.index.terms}
        step = steps.pop(loop.var, 0)
        below = store.index.constant % pitch if pitch else 0
        below += sum(abs(k) * ends[name] for name, k in steps.items())
        if step <= below or (pitch and step * loop.extent > pitch):
            return False
    return loop.extent > 1


def _stores(body: Sequence[Statement]) -> list[Store]:
    """The stores to memory."""
    every = statements(tuple(body))
    return [s for s in every if isinstance(s, Store) and s.buffer.storage == "memory"]


def _can_enter(loop: For) -> bool:
    """Whether workers may share what is inside: it stores to memory, each element once."""
    return bool(_stores(loop.body)) and not _accumulates((loop,))


def _accumulates(body: Sequence[Statement]) -> bool:
    """Whether an element is stored in several rounds of a loop."""
    return any(
        store.index.coefficient(loop.var) == 0
        for loop in statements(tuple(body))
        if isinstance(loop, For) and loop.extent > 1
        for store in _stores(loop.body)
    )


def _is_parallel(statement: Statement) -> bool:
    return isinstance(statement, For) and statement.kind == "parallel"


def _is_shared(statement: Statement) -> bool:
    """Whether nothing in it is stored to memory but by a worker in its share."""
    if _is_parallel(statement):
        return True
    if isinstance(statement, For):
        return all(_is_shared(inner) for inner in statement.body)
    if isinstance(statement, Store):
        return statement.buffer.storage != "memory"
    return isinstance(statement, Let | Local | Prefetch)


def _only_copies(statement: Statement) -> bool:
    """Whether it is a loop that stores to scratch memory only, and to registers of its own."""
    own = {s.buffer for s in statements((statement,)) if isinstance(s, Local)}
    stores = [s for s in statements((statement,)) if isinstance(s, Store)]
    return isinstance(statement, For) and all(
        s.buffer.storage == "scratch" or s.buffer in own for s in stores
    )


def _run_once(body: Sequence[Statement], number: int) -> For:
    """By one worker."""
    return For(f"once{number}", 1, tuple(body), "parallel")


def _once(kernel: Kernel) -> Kernel:
    return _with_body(kernel, [For("once", 1, kernel.body, "parallel")])


def _with_body(kernel: Kernel, body: Sequence[Statement]) -> Kernel:
    return Kernel(kernel.name, tuple(body), kernel.comment, kernel.operations, kernel.nbytes)


def is_serial(kernel: Kernel) -> bool:
    """Whether one worker runs the whole kernel."""
    return all(_is_parallel(s) and s.extent == 1 for s in kernel.body if isinstance(s, For))


def _independent(loop: For) -> bool:
    """Whether the rounds of a loop store different elements and keep nothing for each other."""
    if loop.where:
        return False
    local = {s.buffer for s in statements(loop.body) if isinstance(s, Local)}
    stored: set[tuple[Buffer, Affine]] = set()
    for statement in statements(loop.body):
        if isinstance(statement, Store) and statement.buffer not in local:
            if statement.buffer.storage != "memory":
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


def _separate(body: Sequence[Statement], everyones: Set[Buffer] = frozenset()) -> bool:
    """Whether no statement uses what another one binds, nor stores where another one may.

    Of the buffers `everyones` each worker has its own; so no worker may fill one alone.
    """
    for statement in body:
        inside = statements((statement,)) if _is_parallel(statement) else ()
        if any(isinstance(s, Store) and s.buffer in everyones for s in inside):
            return False
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
        made.append(own - everyones)
        used.append(needs)
    return not any(made[i] & used[j] for i in range(len(body)) for j in range(len(body)) if i != j)
