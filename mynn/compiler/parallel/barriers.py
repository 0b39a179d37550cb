"""Barriers: where workers wait for each other, and in which order they run the kernels of a step.

Workers that share kernels must wait before one of them touches what another may still be writing,
or writes what another may still be reading. Which bytes a worker touches is its footprint
(`mynn.compiler.parallel.footprint`). Where every kernel of a chain is shared by rows of the batch,
a worker reads what it wrote itself, and nobody waits.

`choose_split` takes the way to share each kernel that suits the others, `list_schedule` puts a
kernel before others where that saves a barrier.

Example, the rows of each kernel shared by two workers:

    h = relu(x @ w)         worker 0: rows 0..15      worker 1: rows 16..31
    y = h @ v               the same rows: no barrier
    dv = h.T @ y            all rows of h and y: a barrier before it
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left
from collections.abc import Container, Hashable, Iterator, Mapping, Sequence

from mynn.base.dataclass import dataclass
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.format import format_kernel
from mynn.compiler.loop_ir.ir import Buffer, Kernel, Let, Load, buffers_of
from mynn.compiler.parallel.footprint import Footprint, Footprints, Interval

# Numbers of workers for which shares are looked at; more wait wherever whole buffers tell.
COUNTS = (2, 3, 4)


@dataclass(frozen=True)
class ScheduledKernel:
    """A kernel in its place. Before it there is a barrier for the numbers of workers in `counts`,
    and for more than those in `COUNTS` where `more` is set. With `checks_status` all that the
    kernel stands for is a look at the status word.
    """

    kernel: Kernel
    counts: frozenset[int]
    more: bool
    checks_status: bool = False

    def has_barrier(self, workers: int) -> bool:
        """Whether so many workers wait for each other before the kernel."""
        return self.more if workers > max(COUNTS) else workers in self.counts


def barrier_intervals(schedule: Sequence[ScheduledKernel], workers: int) -> list[list[Kernel]]:
    """The kernels between two barriers of so many workers."""
    result: list[list[Kernel]] = [[]]
    for scheduled in schedule:
        if scheduled.has_barrier(workers) and result[-1]:
            result.append([])
        result[-1].append(scheduled.kernel)
    return result


def format_schedule(schedule: Sequence[ScheduledKernel]) -> str:
    """The kernels in order, and between them for which numbers of workers there is a barrier."""
    parts = []
    for scheduled in schedule:
        more = [f"{max(COUNTS) + 1}+"] if scheduled.more else []
        counts = [*map(str, sorted(scheduled.counts)), *more]
        if counts:
            parts.append(f"barrier for {', '.join(counts)} workers")
        look = "stop where the status word says so"
        parts.append(look if scheduled.checks_status else format_kernel(scheduled.kernel))
    return "\n\n".join(parts)


def split_at_barriers(
    kernels: Sequence[Kernel], footprints: Footprints, workers: int
) -> list[list[Kernel]]:
    """The kernels, in their order, between two barriers of so many workers."""
    ends = sorted(_barriers([footprints.of(kernel) for kernel in kernels], workers))
    bounds = [0, *ends, len(kernels)]
    return [list(kernels[start:end]) for start, end in itertools.pairwise(bounds) if start < end]


def choose_split(ways: Sequence[Iterator[Kernel]], footprints: Footprints) -> list[Kernel]:
    """Of the ways to share each kernel the one for which two workers wait for the fewest others.

    Among equals it is the first; further ones are not looked for once nobody waits. Chosen in
    order, each with regard to those before it.
    """
    first = [footprints.of(next(alternatives)) for alternatives in ways]
    memory = _Touched(first)
    result: list[Kernel] = []
    for chosen, further in zip(first, ways, strict=True):
        others = memory.touching(chosen)
        least = sum(needs_barrier(other, chosen, 2) for other in others)
        while least and (way := next(further, None)) is not None:
            one = footprints.of(way)
            waits = sum(needs_barrier(other, one, 2) for other in others)
            if waits < least:
                chosen, least = one, waits
        memory.add(chosen)
        result.append(chosen.kernel)
    return result


def list_schedule(
    kernels: Sequence[Kernel],
    footprints: Footprints,
    status: Buffer | None = None,
    state: Container[Buffer] = (),
) -> list[ScheduledKernel]:
    """The kernels in an order in which two workers wait seldom, and where workers wait.

    Where there is a status word, all workers look at it before anything is written to `state`.
    """
    prints = [footprints.of(kernel) for kernel in kernels]
    look = None
    if status is not None:
        reads = Let("status", Load(status, Affine()))
        look = footprints.of(Kernel("look", (reads,)))
        prints.insert(1 + max(i for i, one in enumerate(prints) if touches(look, one)), look)
    memory = _Touched(prints)
    before: dict[Footprint, list[Footprint]] = {}
    for one in prints:
        before[one] = memory.touching(one)
        memory.add(one)
    if look is not None:
        for one in prints:
            if any(buffer in state for buffer in buffers_of(one.kernel)[1]):
                before[one].append(look)
    order = _scheduled(prints, before)
    places = {count: _barriers(order, count) for count in COUNTS}
    more = _barriers(order, None)
    return [
        ScheduledKernel(
            one.kernel,
            frozenset(count for count in COUNTS if place in places[count]),
            place in more,
            one is look,
        )
        for place, one in enumerate(order)
    ]


def _scheduled(
    prints: Sequence[Footprint], before: Mapping[Footprint, Sequence[Footprint]]
) -> list[Footprint]:
    """Between two barriers the first that may run, and before which workers need not wait; another
    barrier where there is none.
    """
    missing = {one: len(before[one]) for one in prints}
    places = {one: place for place, one in enumerate(prints)}
    behind: dict[Footprint, list[Footprint]] = {one: [] for one in prints}
    for one, others in before.items():
        for other in others:
            behind[other].append(one)
    ready = [place for place, one in enumerate(prints) if not missing[one]]
    later: list[int] = []
    order: list[Footprint] = []
    interval = _Touched(prints)
    while ready or later:
        if not ready:
            interval.clear()
            ready, later = later, []
            heapq.heapify(ready)
        place = heapq.heappop(ready)
        one = prints[place]
        if any(needs_barrier(other, one, 2) for other in interval.touching(one)):
            later.append(place)
            continue
        interval.add(one)
        order.append(one)
        for other in behind[one]:
            missing[other] -= 1
            if not missing[other]:
                heapq.heappush(ready, places[other])
    assert len(order) == len(prints), "kernels wait for each other"
    return order


def _barriers(order: Sequence[Footprint], workers: int | None) -> set[int]:
    """The places of the kernels before which so many workers wait."""
    found: set[int] = set()
    interval = _Touched(order)
    for place, one in enumerate(order):
        if any(needs_barrier(other, one, workers) for other in interval.touching(one)):
            found.add(place)
            interval.clear()
        interval.add(one)
    return found


# -- who touches what another one does -------------------------------------------------------------


def touches(one: Footprint, other: Footprint) -> bool:
    """Whether one of the two writes where the other one reads or writes."""

    def overlap(some: list[Interval], others: list[Interval]) -> bool:
        return any(a.overlaps(b) for a in some for b in others)

    return (
        overlap(one.writes, other.reads)
        or overlap(one.writes, other.writes)
        or overlap(one.reads, other.writes)
    )


def needs_barrier(earlier: Footprint, later: Footprint, workers: int | None) -> bool:
    """Whether workers wait between two kernels; None: whatever their number."""
    if not touches(later, earlier) or (later.alone and earlier.alone):
        return False
    if workers is None:
        return True
    key = earlier.kind, workers, _shared_buffers(earlier, later)
    found = later.kind.barriers.get(key)
    if found is None:
        reads, writes = _shares(later, workers)
        other_reads, other_writes = _shares(earlier, workers)
        found = later.kind.barriers[key] = (
            _overlap(writes, other_reads)
            or _overlap(writes, other_writes)
            or _overlap(reads, other_writes)
        )
    return found


def _shared_buffers(one: Footprint, other: Footprint) -> tuple[tuple[int, int, int], ...]:
    """Which buffers of two kernels lie in the same memory, and how far one begins behind the other.

    For kernels of the same kinds that says all of who touches what another worker does. Buffers
    without a byte in common count too: a load that is masked may seem to reach beyond its buffer.
    """
    return tuple(
        [
            (i, j, b.first - a.first)
            for i, a in enumerate((*one.reads, *one.writes))
            for j, b in enumerate((*other.reads, *other.writes))
            if a.space == b.space
        ]
    )


# What a worker touches, and which worker.
_Owned = tuple[Interval, int]


def _shares(one: Footprint, workers: int) -> tuple[list[_Owned], list[_Owned]]:
    """What each of so many workers reads, and what it writes."""
    reads: list[_Owned] = []
    writes: list[_Owned] = []
    for worker in range(workers):
        read, written = one.share(worker, workers)
        reads += [(interval, worker) for interval in read]
        writes += [(interval, worker) for interval in written]
    return reads, writes


def _overlap(some: list[_Owned], others: list[_Owned]) -> bool:
    """Whether one worker of `some` touches what another one of `others` touches."""
    by_space: dict[Hashable, tuple[list[_Owned], list[_Owned]]] = {}
    for side, owned in enumerate((some, others)):
        for interval, worker in owned:
            by_space.setdefault(interval.space, ([], []))[side].append((interval, worker))
    for sides in by_space.values():
        if not all(sides):
            continue
        # In the order of their first bytes; `reached` are those that may go on behind it.
        order = sorted(
            ((interval, worker, side) for side in (0, 1) for interval, worker in sides[side]),
            key=lambda entry: entry[0].first,
        )
        reached: tuple[list[_Owned], list[_Owned]] = ([], [])
        for interval, worker, side in order:
            others = [(old, own) for old, own in reached[1 - side] if old.last >= interval.first]
            if any(own != worker and old.overlaps(interval) for old, own in others):
                return True
            reached[1 - side][:] = others
            reached[side].append((interval, worker))
    return False


class _Touched:
    """Which of some footprints touch what another one touches, without looking at all of them.

    Memory is cut wherever what a kernel reads or writes begins or ends: two kernels touch each
    other where one writes a piece that the other one reads or writes.
    """

    def __init__(self, prints: Sequence[Footprint]) -> None:
        cuts: dict[Hashable, set[int]] = {}
        for one in prints:
            for interval in (*one.reads, *one.writes):
                ends = interval.first, interval.last + 1
                cuts.setdefault(interval.space, set()).update(ends)
        self.cuts = {space: sorted(ends) for space, ends in cuts.items()}
        self.clear()

    def clear(self) -> None:
        """Forget the footprints."""
        self.readers: dict[tuple[Hashable, int], list[Footprint]] = {}
        self.writers: dict[tuple[Hashable, int], list[Footprint]] = {}

    def pieces(self, intervals: Sequence[Interval]) -> Iterator[tuple[Hashable, int]]:
        """The pieces of memory in some intervals."""
        for interval in intervals:
            cuts = self.cuts[interval.space]
            ends = bisect_left(cuts, interval.first), bisect_left(cuts, interval.last + 1)
            for place in range(*ends):
                yield interval.space, place

    def add(self, one: Footprint) -> None:
        """One more footprint."""
        for piece in self.pieces(one.reads):
            self.readers.setdefault(piece, []).append(one)
        for piece in self.pieces(one.writes):
            self.writers.setdefault(piece, []).append(one)

    def touching(self, one: Footprint) -> list[Footprint]:
        """Those that were added and that touch `one`."""
        found: dict[Footprint, None] = {}
        for piece in self.pieces(one.reads):
            found.update(dict.fromkeys(self.writers.get(piece, ())))
        for piece in self.pieces(one.writes):
            found.update(dict.fromkeys(self.readers.get(piece, ())))
            found.update(dict.fromkeys(self.writers.get(piece, ())))
        return list(found)
