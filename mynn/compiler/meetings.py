"""Where workers meet, and in which order they run the kernels of a step.

Workers that share kernels must meet before one of them touches what another may still be writing,
or writes what another may still be reading. Which bytes a worker touches follows from its share of
the parallel loops. Where every kernel of a chain is shared by rows of the batch, a worker reads
what it wrote itself, and nobody waits.

`arrange` puts a kernel before others where that saves a meeting.

Example, the rows of each kernel shared by two workers:

    h = relu(x @ w)         worker 0: rows 0..15      worker 1: rows 16..31
    y = h @ v               the same rows: no meeting
    dv = h.T @ y            all rows of h and y: they meet before it
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from mynn.compiler.loops import (
    Affine,
    Buffer,
    For,
    Kernel,
    Let,
    Load,
    Reduce,
    Statement,
    Store,
    buffers_of,
    statements,
    sub_expressions,
)

# Numbers of workers for which shares are looked at; more workers meet wherever whole buffers tell.
COUNTS = (2, 3, 4)

# A piece of memory: what it is part of, and its first byte there.
Location = tuple[Hashable, int]
# First and last byte of what is touched of something.
Span = tuple[Hashable, int, int]


@dataclass(frozen=True)
class Turn:
    """A kernel in its place. The workers meet before it if their number is in `meet`, or if it is
    larger than those in `COUNTS` and `many` is set.
    """

    kernel: Kernel
    meet: frozenset[int]
    many: bool

    def meets(self, workers: int) -> bool:
        """Whether so many workers meet before the kernel."""
        return self.many if workers > max(COUNTS) else workers in self.meet


def phases(turns: Sequence[Turn], workers: int) -> list[list[Kernel]]:
    """The kernels between two meetings of so many workers."""
    result: list[list[Kernel]] = [[]]
    for turn in turns:
        if turn.meets(workers) and result[-1]:
            result.append([])
        result[-1].append(turn.kernel)
    return result


def arrange(kernels: Sequence[Kernel], locate: Callable[[Buffer], Location]) -> list[Turn]:
    """The kernels in an order in which two workers meet seldom, and where workers meet.

    `locate` tells where a buffer lies; buffers may share memory.
    """
    uses = [_Use(kernel, locate) for kernel in kernels]
    before: dict[_Use, list[_Use]] = {
        use: [other for other in uses[:place] if use.touches(other)]
        for place, use in enumerate(uses)
    }
    waiting = list(uses)
    order: list[_Use] = []
    phase: list[_Use] = []
    done: set[_Use] = set()
    while waiting:
        for use in waiting:
            ready = all(other in done for other in before[use])
            if ready and not any(use.meets(other, 2) for other in phase):
                break
        else:
            phase = []
            continue
        waiting.remove(use)
        done.add(use)
        phase.append(use)
        order.append(use)
    meet = {count: _meetings(order, count) for count in COUNTS}
    many = _meetings(order, None)
    return [
        Turn(
            use.kernel,
            frozenset(count for count in COUNTS if place in meet[count]),
            place in many,
        )
        for place, use in enumerate(order)
    ]


def _meetings(order: Sequence[_Use], workers: int | None) -> set[int]:
    """The places of the kernels before which so many workers meet."""
    found: set[int] = set()
    phase: list[_Use] = []
    for place, use in enumerate(order):
        if any(use.meets(other, workers) for other in phase):
            found.add(place)
            phase = []
        phase.append(use)
    return found


@dataclass(frozen=True)
class _Access:
    """Bytes that a loop touches: low + step * round .. high + step * round."""

    space: Hashable
    low: int
    high: int
    step: int


@dataclass
class _Piece:
    """A parallel loop, or (rounds 0) what every worker does around the parallel loops."""

    rounds: int
    reads: set[_Access] = field(default_factory=set)
    writes: set[_Access] = field(default_factory=set)


@dataclass(eq=False)
class _Use:
    """What a kernel touches."""

    kernel: Kernel
    locate: Callable[[Buffer], Location]

    def __post_init__(self) -> None:
        reads, writes = buffers_of(self.kernel)
        self.reads = [self._whole(buffer) for buffer in reads]
        self.writes = [self._whole(buffer) for buffer in writes]
        self.pieces = list(_pieces(self.kernel, self.locate))
        self.alone = all(piece.rounds == 1 for piece in self.pieces)
        self._shares: dict[tuple[int, int], tuple[list[Span], list[Span]]] = {}

    def _whole(self, buffer: Buffer) -> Span:
        space, start = self.locate(buffer)
        return space, start, start + buffer.nbytes - 1

    def touches(self, other: _Use) -> bool:
        """Whether one of the two writes where the other one reads or writes."""
        return _clash(self.reads, self.writes, other.reads, other.writes)

    def meets(self, other: _Use, workers: int | None) -> bool:
        """Whether workers meet between `other` and this; None: whatever their number."""
        if not self.touches(other) or (self.alone and other.alone):
            return False
        if workers is None:
            return True
        mine = [self.share(worker, workers) for worker in range(workers)]
        others = [other.share(worker, workers) for worker in range(workers)]
        return any(
            _clash(*mine[i], *others[j]) for i in range(workers) for j in range(workers) if i != j
        )

    def share(self, worker: int, workers: int) -> tuple[list[Span], list[Span]]:
        """What a worker reads, and what it writes."""
        key = worker, workers
        if key not in self._shares:
            reads: set[Span] = set()
            writes: set[Span] = set()
            for piece in self.pieces:
                first = piece.rounds * worker // workers
                last = piece.rounds * (worker + 1) // workers - 1
                if piece.rounds and last < first:
                    continue
                for accesses, spans in ((piece.reads, reads), (piece.writes, writes)):
                    for a in accesses:
                        ends = a.step * first, a.step * last
                        spans.add((a.space, a.low + min(ends), a.high + max(ends)))
            self._shares[key] = list(reads), list(writes)
        return self._shares[key]


def bytes_read(kernel: Kernel, worker: int, workers: int) -> int:
    """Bytes that a worker reads in its share of a kernel, or between the first and the last."""
    use = _Use(kernel, lambda buffer: (buffer, 0))
    total = 0
    end: dict[Hashable, int] = {}
    for space, low, high in sorted(use.share(worker, workers)[0], key=lambda span: span[1]):
        total += max(0, high - max(low - 1, end.get(space, -1)))
        end[space] = max(high, end.get(space, -1))
    return total


def _clash(
    reads: list[Span], writes: list[Span], other_reads: list[Span], other_writes: list[Span]
) -> bool:
    def meet(some: list[Span], others: list[Span]) -> bool:
        return any(a[0] == b[0] and a[1] <= b[2] and b[1] <= a[2] for a in some for b in others)

    return meet(writes, other_reads) or meet(writes, other_writes) or meet(reads, other_writes)


def _pieces(kernel: Kernel, locate: Callable[[Buffer], Location]) -> Iterator[_Piece]:
    """The parallel loops of a kernel, and what stands around them."""
    ends = {s.var: s.extent - 1 for s in statements(kernel.body) if isinstance(s, For)}

    def access(buffer: Buffer, index: Affine, count: int, shared: str) -> _Access:
        space, start = locate(buffer)
        size = buffer.nbytes // max(buffer.elements, 1)
        low = high = index.constant
        for name, step in index.terms:
            if name == shared:
                continue
            if name not in ends:  # the place depends on data: it may be any place
                return _Access(space, start, start + buffer.nbytes - 1, 0)
            low += min(0, step * ends[name])
            high += max(0, step * ends[name])
        step = index.coefficient(shared) * size if shared else 0
        return _Access(space, start + low * size, start + (high + count) * size - 1, step)

    def note(piece: _Piece, statement: Statement, shared: str) -> None:
        if isinstance(statement, Let | Store):
            for expr in sub_expressions(statement.value):
                if isinstance(expr, Load | Reduce) and expr.buffer.place == "memory":
                    count = expr.count if isinstance(expr, Reduce) else 1
                    piece.reads.add(access(expr.buffer, expr.index, count, shared))
        if isinstance(statement, Store) and statement.buffer.place == "memory":
            piece.writes.add(access(statement.buffer, statement.index, 1, shared))

    around = _Piece(0)

    def walk(body: Sequence[Statement]) -> Iterator[_Piece]:
        for statement in body:
            if isinstance(statement, For) and statement.kind == "parallel":
                piece = _Piece(statement.extent)
                for inner in statements(statement.body):
                    note(piece, inner, statement.var)
                yield piece
            elif isinstance(statement, For):
                yield from walk(statement.body)
            else:
                note(around, statement, "")

    yield from walk(kernel.body)
    if around.reads or around.writes:
        yield around
