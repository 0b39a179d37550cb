"""Footprints: which bytes each worker touches when workers share a kernel.

A kernel is its parallel loops, and what every worker does around them. Of a loop's accesses those
to one buffer that move alike from round to round make a *region*; a worker's share of the rounds
makes an interval of bytes of it. Where rows are shared by their columns, the interval holds between
its first and its last byte only the bytes of each row that lie between two columns.

Example, for 8 rows of 4 floats, where round i stores row i: the region moves by 16 bytes a round,
from 0..15 in round 0; the second of two workers has rounds 4 to 7, bytes 64..127.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import field

from mynn.base.dataclass import dataclass
from mynn.compiler.loop_ir.affine import Affine
from mynn.compiler.loop_ir.instance import original
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
from mynn.compiler.loop_ir.repeat import Nest, Repeat
from mynn.compiler.loop_ir.walk import statements, sub_expressions

# A place in memory: what it is part of, and its first byte there.
Location = tuple[Hashable, int]


@dataclass(frozen=True, slots=True)
class Interval:
    """Bytes of something: the first and the last one.

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

    def overlaps(self, other: Interval) -> bool:
        """Whether there may be a byte in both."""
        if self.space != other.space or self.first > other.last or other.first > self.last:
            return False
        if self.pitch == 0 or (self.pitch, self.start) != (other.pitch, other.start):
            return True
        return self.left <= other.right and other.left <= self.right


@dataclass(frozen=True, slots=True)
class Motion:
    """How an access moves: `step` bytes of its buffer from round to round, of which `shift` bytes
    along rows of `pitch` bytes (pitch 0: the rows of the buffer are nothing to it).
    """

    buffer: Buffer
    step: int = 0
    pitch: int = 0
    shift: int = 0


@dataclass(frozen=True, slots=True)
class AccessRegion:
    """Accesses that move alike: their first and last byte in round 0, and the first and last along
    the rows, counted from the start of the buffer.
    """

    motion: Motion
    first: int
    last: int
    left: int = 0
    right: int = 0

    def joined(self, other: AccessRegion) -> AccessRegion:
        """Both, for the same motion."""
        return AccessRegion(
            self.motion,
            min(self.first, other.first),
            max(self.last, other.last),
            min(self.left, other.left),
            max(self.right, other.right),
        )

    def over(self, rounds: range, location: Location) -> Interval:
        """What some rounds touch of a buffer that lies at a location."""
        space, start = location
        moved = self.motion.step * rounds[0], self.motion.step * rounds[-1]
        first, last = start + self.first + min(moved), start + self.last + max(moved)
        if not self.motion.pitch:
            return Interval(space, first, last, start=start)
        left = self.left + self.motion.shift * rounds[0]
        right = self.right + self.motion.shift * rounds[-1]
        return Interval(space, first, last, self.motion.pitch, start, left, right)


@dataclass
class LoopAccesses:
    """What a parallel loop touches, or (rounds 0) what every worker does around such loops."""

    rounds: int
    reads: dict[Motion, AccessRegion] = field(default_factory=dict)
    writes: dict[Motion, AccessRegion] = field(default_factory=dict)

    def share(self, worker: int, workers: int) -> range:
        """The rounds of a worker; round 0 of what all of them do."""
        if not self.rounds:
            return range(1)
        return range(self.rounds * worker // workers, self.rounds * (worker + 1) // workers)


def loop_accesses(kernel: Kernel) -> list[LoopAccesses]:
    """The parallel loops of a kernel, and what stands around them.

    Of a loop or a branch around kernels it is all that they touch, in its one round, or by every
    worker.
    """
    if isinstance(kernel, Nest):
        sides = [
            {Motion(buffer): AccessRegion(Motion(buffer), 0, buffer.nbytes - 1) for buffer in side}
            for side in buffers_of(kernel)
        ]
        together = isinstance(kernel, Repeat) and kernel.together
        return [LoopAccesses(1 if kernel.shared and not together else 0, *sides)]
    ends = {s.var: s.extent - 1 for s in statements(kernel.body) if isinstance(s, For)}
    around = LoopAccesses(0)
    loops: list[LoopAccesses] = []

    def walk(body: Sequence[Statement]) -> None:
        for statement in body:
            if isinstance(statement, For) and statement.kind == "parallel":
                loop = LoopAccesses(statement.extent)
                for inner in statements(statement.body):
                    _note(loop, inner, statement.var, ends)
                loops.append(loop)
            elif isinstance(statement, For):
                walk(statement.body)
            else:
                _note(around, statement, "", ends)

    walk(kernel.body)
    return [*loops, around] if around.reads or around.writes else loops


def _note(loop: LoopAccesses, statement: Statement, shared: str, ends: dict[str, int]) -> None:
    """Add what a statement touches in the rounds of the loop over `shared`."""
    if isinstance(statement, Let | Store):
        for expr in sub_expressions(statement.value):
            if isinstance(expr, Load | Reduce) and expr.buffer.storage == "memory":
                count = expr.count if isinstance(expr, Reduce) else 1
                _add(loop.reads, _region(expr.buffer, expr.index, count, shared, ends))
    if isinstance(statement, Store) and statement.buffer.storage == "memory":
        _add(loop.writes, _region(statement.buffer, statement.index, 1, shared, ends))


def _add(regions: dict[Motion, AccessRegion], region: AccessRegion) -> None:
    old = regions.get(region.motion)
    regions[region.motion] = region if old is None else old.joined(region)


def _region(
    buffer: Buffer, index: Affine, count: int, shared: str, ends: dict[str, int]
) -> AccessRegion:
    """What an access to `count` elements touches while the loops around it run, but for `shared`.

    `ends` has for each loop the last value of its variable.
    """
    size = buffer.nbytes // max(buffer.elements, 1)
    if any(name not in ends for name, _ in index.terms):  # depends on data: it may be any place
        return AccessRegion(Motion(buffer), 0, buffer.nbytes - 1)
    inner = [(name, k) for name, k in index.terms if name != shared]
    step = index.coefficient(shared)
    low = index.constant + sum(min(0, k * ends[name]) for name, k in inner)
    high = index.constant + sum(max(0, k * ends[name]) for name, k in inner)
    first, last = low * size, (high + count) * size - 1
    if buffer.pitch:
        # Along the rows; rounds of loops that go from row to row do not count.
        pitch = buffer.pitch
        shift, left = step % pitch, index.constant % pitch
        right = left + count - 1 + sum(k % pitch * ends[name] for name, k in inner)
        if right + shift * ends.get(shared, 0) < pitch:
            motion = Motion(buffer, step * size, pitch * size, shift * size)
            return AccessRegion(motion, first, last, left * size, right * size + size - 1)
    return AccessRegion(Motion(buffer, step * size), first, last)


@dataclass(eq=False)
class Kind:
    """A kernel and its instances: what their loops touch.

    `barriers`: whether workers wait between one of them and one of another kind, where their
    buffers lie so to each other (`mynn.compiler.parallel.barriers`).
    """

    kernel: Kernel
    loops: Sequence[LoopAccesses]
    barriers: dict[Hashable, bool] = field(default_factory=dict)


class Footprint:
    """What a kernel touches: all buffers that it reads and writes, and each worker's part.

    Those of one `kind` differ in nothing but where their buffers lie.
    """

    def __init__(self, kernel: Kernel, kind: Kind, locate: Callable[[Buffer], Location]) -> None:
        self.kernel = kernel
        self.kind = kind
        self.loops = kind.loops
        self.locate = locate
        reads, writes = buffers_of(kernel)
        self.reads = [self._whole(buffer) for buffer in reads]
        self.writes = [self._whole(buffer) for buffer in writes]
        self.alone = all(loop.rounds == 1 for loop in kind.loops)
        self._shares: dict[tuple[int, int], tuple[list[Interval], list[Interval]]] = {}

    def _whole(self, buffer: Buffer) -> Interval:
        space, start = self.locate(buffer)
        return Interval(space, start, start + buffer.nbytes - 1)

    def share(self, worker: int, workers: int) -> tuple[list[Interval], list[Interval]]:
        """What a worker reads, and what it writes."""
        key = worker, workers
        if key not in self._shares:
            reads: list[Interval] = []
            writes: list[Interval] = []
            for loop in self.loops:
                rounds = loop.share(worker, workers)
                if rounds:
                    reads += self._over(loop.reads, rounds)
                    writes += self._over(loop.writes, rounds)
            self._shares[key] = reads, writes
        return self._shares[key]

    def _over(self, regions: dict[Motion, AccessRegion], rounds: range) -> Iterator[Interval]:
        own = self.kernel.bindings
        for motion, region in regions.items():
            yield region.over(rounds, self.locate(own.get(motion.buffer, motion.buffer)))


class Footprints:
    """The footprints of kernels; those of instances of one kernel are found out once.

    `locate` tells where a buffer lies; buffers may share memory.
    """

    def __init__(self, locate: Callable[[Buffer], Location]) -> None:
        self.locate = locate
        self._kinds: dict[int, Kind] = {}

    def kind(self, kernel: Kernel) -> Kind:
        """The kernel and its instances."""
        first = original(kernel)
        kind = self._kinds.get(id(first))
        if kind is None:
            kind = self._kinds[id(first)] = Kind(first, loop_accesses(first))
        return kind

    def of(self, kernel: Kernel) -> Footprint:
        """The footprint of a kernel."""
        return Footprint(kernel, self.kind(kernel), self.locate)

    def bytes_read(self, kernel: Kernel, worker: int, workers: int) -> int:
        """Bytes that a worker reads in its share of a kernel, or between the first and the last."""
        total = 0
        end: dict[Hashable, int] = {}
        alone = Footprint(kernel, self.kind(kernel), lambda buffer: (buffer, 0))
        reads, _ = alone.share(worker, workers)
        for interval in sorted(reads, key=lambda interval: interval.first):
            before = end.get(interval.space, -1)
            total += max(0, interval.last - max(interval.first - 1, before))
            end[interval.space] = max(interval.last, before)
        return total


def footprint(
    kernel: Kernel, worker: int, workers: int, locate: Callable[[Buffer], Location]
) -> tuple[list[Interval], list[Interval]]:
    """What one of so many workers reads in its share of a kernel, and what it writes."""
    return Footprints(locate).of(kernel).share(worker, workers)
