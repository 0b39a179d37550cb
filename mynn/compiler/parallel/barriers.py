"""Where workers meet, and in which order they run the kernels of a step.

Workers that share kernels must meet before one of them touches what another may still be writing,
or writes what another may still be reading. Which bytes a worker touches follows from its share of
the parallel loops. Where every kernel of a chain is shared by rows of the batch, a worker reads
what it wrote itself, and nobody waits.

`choose` takes the way to share each kernel that suits the others, `arrange` puts a kernel before
others where that saves a meeting.

Example, the rows of each kernel shared by two workers:

    h = relu(x @ w)         worker 0: rows 0..15      worker 1: rows 16..31
    y = h @ v               the same rows: no meeting
    dv = h.T @ y            all rows of h and y: they meet before it
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left
from collections.abc import Callable, Container, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.format import format_kernel
from mynn.compiler.loop_ir.ir import (
    Buffer,
    For,
    Kernel,
    Let,
    Load,
    Reduce,
    Statement,
    Store,
    buffers_of,
)
from mynn.compiler.loop_ir.walk import statements, sub_expressions

# Numbers of workers for which shares are looked at; more workers meet wherever whole buffers tell.
COUNTS = (2, 3, 4)

# A piece of memory: what it is part of, and its first byte there.
Location = tuple[Hashable, int]


@dataclass(frozen=True)
class Span:
    """What is touched of something: its first and last byte.

    Where it is columns of rows that are `pitch` bytes long, from `start` on, then of each row only
    the bytes `left` to `right` are meant (pitch 0: all).
    """

    space: Hashable
    first: int
    last: int
    pitch: int = 0
    start: int = 0
    left: int = 0
    right: int = 0

    def meets(self, other: Span) -> bool:
        """Whether there may be a byte in both."""
        if self.space != other.space or self.first > other.last or other.first > self.last:
            return False
        if self.pitch == 0 or (self.pitch, self.start) != (other.pitch, other.start):
            return True
        return self.left <= other.right and other.left <= self.right


@dataclass(frozen=True)
class Turn:
    """A kernel in its place. The workers meet before it if their number is in `meet`, or if it is
    larger than those in `COUNTS` and `many` is set. With `look` all that the kernel stands for is a
    look at the status word.
    """

    kernel: Kernel
    meet: frozenset[int]
    many: bool
    look: bool = False

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


def format_turns(turns: Sequence[Turn]) -> str:
    """The kernels in order, and between them for which numbers of workers there is a barrier."""
    parts = []
    for turn in turns:
        counts = [*map(str, sorted(turn.meet)), *([f"{max(COUNTS) + 1}+"] if turn.many else [])]
        if counts:
            parts.append(f"barrier for {', '.join(counts)} workers")
        parts.append(
            "stop where the status word says so" if turn.look else format_kernel(turn.kernel)
        )
    return "\n\n".join(parts)


def separate(
    kernels: Sequence[Kernel], locate: Callable[[Buffer], Location], workers: int
) -> list[list[Kernel]]:
    """The kernels, in their order, between two meetings of so many workers."""
    uses = [_Use(kernel, locate) for kernel in kernels]
    ends = sorted(_meetings(uses, workers))
    bounds = [0, *ends, len(uses)]
    return [
        [use.kernel for use in uses[start:end]]
        for start, end in itertools.pairwise(bounds)
        if start < end
    ]


def choose(ways: Sequence[Sequence[Kernel]], locate: Callable[[Buffer], Location]) -> list[Kernel]:
    """Of the ways to share each kernel the one for which two workers meet for the fewest others.

    Among equals it is the first. Chosen in order, each with regard to those before it.
    """
    every = [[_Use(kernel, locate) for kernel in alternatives] for alternatives in ways]
    memory = _Memory([uses[0] for uses in every])
    result: list[Kernel] = []
    for uses in every:
        others = memory.touching(uses[0]) if len(uses) > 1 else []
        chosen = min(uses, key=lambda use: sum(use.meets(other, 2) for other in others))
        memory.add(chosen)
        result.append(chosen.kernel)
    return result


def arrange(
    kernels: Sequence[Kernel],
    locate: Callable[[Buffer], Location],
    status: Buffer | None = None,
    state: Container[Buffer] = (),
) -> list[Turn]:
    """The kernels in an order in which two workers meet seldom, and where workers meet.

    `locate` tells where a buffer lies; buffers may share memory. Where there is a status word, all
    workers look at it before anything is written to `state`.
    """
    uses = [_Use(kernel, locate) for kernel in kernels]
    look = None
    if status is not None:
        look = _Use(Kernel("look", (Let("status", Load(status, Affine())),)), locate)
        uses.insert(1 + max(i for i, use in enumerate(uses) if look.touches(use)), look)
    memory = _Memory(uses)
    before: dict[_Use, list[_Use]] = {}
    for use in uses:
        before[use] = memory.touching(use)
        memory.add(use)
    if look is not None:
        for use in uses:
            if any(buffer in state for buffer in buffers_of(use.kernel)[1]):
                before[use].append(look)
    order = _arranged(uses, before)
    meet = {count: _meetings(order, count) for count in COUNTS}
    many = _meetings(order, None)
    return [
        Turn(
            use.kernel,
            frozenset(count for count in COUNTS if place in meet[count]),
            place in many,
            use is look,
        )
        for place, use in enumerate(order)
    ]


def _arranged(uses: Sequence[_Use], before: Mapping[_Use, Sequence[_Use]]) -> list[_Use]:
    """Between two meetings the first that may run, and before which workers need not meet; another
    meeting where there is none.
    """
    missing = {use: len(before[use]) for use in uses}
    places = {use: place for place, use in enumerate(uses)}
    behind: dict[_Use, list[_Use]] = {use: [] for use in uses}
    for use, others in before.items():
        for other in others:
            behind[other].append(use)
    ready = [place for place, use in enumerate(uses) if not missing[use]]
    later: list[int] = []
    order: list[_Use] = []
    phase = _Memory(uses)
    while ready or later:
        if not ready:
            phase.clear()
            ready, later = later, []
            heapq.heapify(ready)
        place = heapq.heappop(ready)
        use = uses[place]
        if any(use.meets(other, 2) for other in phase.touching(use)):
            later.append(place)
            continue
        phase.add(use)
        order.append(use)
        for other in behind[use]:
            missing[other] -= 1
            if not missing[other]:
                heapq.heappush(ready, places[other])
    assert len(order) == len(uses), "kernels wait for each other"
    return order


def _meetings(order: Sequence[_Use], workers: int | None) -> set[int]:
    """The places of the kernels before which so many workers meet."""
    found: set[int] = set()
    phase = _Memory(order)
    for place, use in enumerate(order):
        if any(use.meets(other, workers) for other in phase.touching(use)):
            found.add(place)
            phase.clear()
        phase.add(use)
    return found


# Where a loop touches memory: what of it, the bytes of a row, where the buffer starts, the bytes
# from round to round, and those along the rows.
_Key = tuple[Hashable, int, int, int, int]


@dataclass
class _Accesses:
    """What a loop touches. Accesses that move alike from round to round are taken together: each
    entry is the first and last byte in round 0, and the first and last along the rows.
    """

    spans: dict[_Key, tuple[int, int, int, int]] = field(default_factory=dict)

    def add(self, key: _Key, span: tuple[int, int, int, int]) -> None:
        """One more."""
        old = self.spans.get(key, span)
        first, left = min(old[0], span[0]), min(old[2], span[2])
        self.spans[key] = first, max(old[1], span[1]), left, max(old[3], span[3])

    def over(self, start: int, end: int) -> Iterator[Span]:
        """What the rounds from `start` to `end` touch."""
        for (space, pitch, place, step, shift), (first, last, left, right) in self.spans.items():
            ends = step * start, step * end
            low, high = first + min(ends), last + max(ends)
            yield Span(space, low, high, pitch, place, left + shift * start, right + shift * end)


@dataclass
class _Piece:
    """A parallel loop, or (rounds 0) what every worker does around the parallel loops."""

    rounds: int
    reads: _Accesses = field(default_factory=_Accesses)
    writes: _Accesses = field(default_factory=_Accesses)


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
        return Span(space, start, start + buffer.nbytes - 1)

    def touches(self, other: _Use) -> bool:
        """Whether one of the two writes where the other one reads or writes."""
        return _clash(self.reads, self.writes, other.reads, other.writes)

    def meets(self, other: _Use, workers: int | None) -> bool:
        """Whether workers meet between `other` and this; None: whatever their number."""
        if not self.touches(other) or (self.alone and other.alone):
            return False
        if workers is None:
            return True
        (reads, writes), (other_reads, other_writes) = (
            use.shares(workers) for use in (self, other)
        )
        return (
            _overlap(writes, other_reads)
            or _overlap(writes, other_writes)
            or _overlap(reads, other_writes)
        )

    def shares(self, workers: int) -> tuple[list[_Owned], list[_Owned]]:
        """What each of so many workers reads, and what it writes."""
        reads: list[_Owned] = []
        writes: list[_Owned] = []
        for worker in range(workers):
            read, written = self.share(worker, workers)
            reads += [(span, worker) for span in read]
            writes += [(span, worker) for span in written]
        return reads, writes

    def share(self, worker: int, workers: int) -> tuple[list[Span], list[Span]]:
        """What a worker reads, and what it writes."""
        key = worker, workers
        if key not in self._shares:
            reads: list[Span] = []
            writes: list[Span] = []
            for piece in self.pieces:
                first = piece.rounds * worker // workers
                last = piece.rounds * (worker + 1) // workers - 1
                if piece.rounds and last < first:
                    continue
                reads += piece.reads.over(first, last)
                writes += piece.writes.over(first, last)
            self._shares[key] = reads, writes
        return self._shares[key]


class _Memory:
    """Which of some uses touch what another one touches, without looking at all of them.

    Memory is cut wherever what a use reads or writes begins or ends: two uses touch each other
    where one writes a piece that the other one reads or writes.
    """

    def __init__(self, uses: Sequence[_Use]) -> None:
        cuts: dict[Hashable, set[int]] = {}
        for use in uses:
            for span in (*use.reads, *use.writes):
                cuts.setdefault(span.space, set()).update((span.first, span.last + 1))
        self.cuts = {space: sorted(ends) for space, ends in cuts.items()}
        self.clear()

    def clear(self) -> None:
        """Forget the uses."""
        self.readers: dict[tuple[Hashable, int], list[_Use]] = {}
        self.writers: dict[tuple[Hashable, int], list[_Use]] = {}

    def pieces(self, spans: Sequence[Span]) -> Iterator[tuple[Hashable, int]]:
        """The pieces of memory in some spans."""
        for span in spans:
            cuts = self.cuts[span.space]
            for place in range(bisect_left(cuts, span.first), bisect_left(cuts, span.last + 1)):
                yield span.space, place

    def add(self, use: _Use) -> None:
        """One more use."""
        for piece in self.pieces(use.reads):
            self.readers.setdefault(piece, []).append(use)
        for piece in self.pieces(use.writes):
            self.writers.setdefault(piece, []).append(use)

    def touching(self, use: _Use) -> list[_Use]:
        """The uses that were added and that touch `use`."""
        found: dict[_Use, None] = {}
        for piece in self.pieces(use.reads):
            found.update(dict.fromkeys(self.writers.get(piece, ())))
        for piece in self.pieces(use.writes):
            found.update(dict.fromkeys(self.readers.get(piece, ())))
            found.update(dict.fromkeys(self.writers.get(piece, ())))
        return list(found)


def bytes_read(kernel: Kernel, worker: int, workers: int) -> int:
    """Bytes that a worker reads in its share of a kernel, or between the first and the last."""
    use = _Use(kernel, lambda buffer: (buffer, 0))
    total = 0
    end: dict[Hashable, int] = {}
    for span in sorted(use.share(worker, workers)[0], key=lambda span: span.first):
        before = end.get(span.space, -1)
        total += max(0, span.last - max(span.first - 1, before))
        end[span.space] = max(span.last, before)
    return total


def _clash(
    reads: list[Span], writes: list[Span], other_reads: list[Span], other_writes: list[Span]
) -> bool:
    def meet(some: list[Span], others: list[Span]) -> bool:
        return any(a.meets(b) for a in some for b in others)

    return meet(writes, other_reads) or meet(writes, other_writes) or meet(reads, other_writes)


# What a worker touches, and which worker.
_Owned = tuple[Span, int]


def _overlap(some: list[_Owned], others: list[_Owned]) -> bool:
    """Whether one worker of `some` touches what another one of `others` touches."""
    by_space: dict[Hashable, tuple[list[_Owned], list[_Owned]]] = {}
    for side, owned in enumerate((some, others)):
        for span, worker in owned:
            by_space.setdefault(span.space, ([], []))[side].append((span, worker))
    for sides in by_space.values():
        if not all(sides):
            continue
        # In the order of their first bytes; `reached` are those that may go on behind it.
        order = sorted(
            ((span, worker, side) for side in (0, 1) for span, worker in sides[side]),
            key=lambda entry: entry[0].first,
        )
        reached: tuple[list[_Owned], list[_Owned]] = ([], [])
        for span, worker, side in order:
            rest = [(old, own) for old, own in reached[1 - side] if old.last >= span.first]
            if any(own != worker and old.meets(span) for old, own in rest):
                return True
            reached[1 - side][:] = rest
            reached[side].append((span, worker))
    return False


def _pieces(kernel: Kernel, locate: Callable[[Buffer], Location]) -> Iterator[_Piece]:
    """The parallel loops of a kernel, and what stands around them."""
    ends = {s.var: s.extent - 1 for s in statements(kernel.body) if isinstance(s, For)}

    def add(accesses: _Accesses, buffer: Buffer, index: Affine, count: int, shared: str) -> None:
        space, start = locate(buffer)
        size = buffer.nbytes // max(buffer.elements, 1)
        low = high = index.constant
        # Along the rows of the buffer; rounds of loops that go from row to row do not count.
        pitch = buffer.pitch
        left = index.constant % pitch if pitch else 0
        right = left + count - 1
        step = shift = 0
        for name, k in index.terms:
            if name not in ends:  # the place depends on data: it may be any place
                whole = start, start + buffer.nbytes - 1, 0, 0
                accesses.add((space, 0, start, 0, 0), whole)
                return
            along = k % pitch if pitch else 0
            if name == shared:
                step, shift = k, along
                continue
            low += min(0, k * ends[name])
            high += max(0, k * ends[name])
            right += along * ends[name]
        bytes_ = start + low * size, start + (high + count) * size - 1
        if pitch and right + shift * ends.get(shared, 0) < pitch:
            key = space, pitch * size, start, step * size, shift * size
            accesses.add(key, (*bytes_, left * size, right * size + size - 1))
        else:
            accesses.add((space, 0, start, step * size, 0), (*bytes_, 0, 0))

    def note(piece: _Piece, statement: Statement, shared: str) -> None:
        if isinstance(statement, Let | Store):
            for expr in sub_expressions(statement.value):
                if isinstance(expr, Load | Reduce) and expr.buffer.place == "memory":
                    count = expr.count if isinstance(expr, Reduce) else 1
                    add(piece.reads, expr.buffer, expr.index, count, shared)
        if isinstance(statement, Store) and statement.buffer.place == "memory":
            add(piece.writes, statement.buffer, statement.index, 1, shared)

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
    if around.reads.spans or around.writes.spans:
        yield around
