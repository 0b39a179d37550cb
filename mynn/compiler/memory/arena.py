"""The arena: memory for the buffers of one run, shared by those that are not needed together.

Few bytes are not shared: workers would have to wait for each other before one of them uses them
again. Otherwise the largest buffer is placed first, and each next one at the first place where no
other one is that lives at the same time. That compares all with all; where there are many, the
kernels are gone through in order instead, which takes up to a tenth more memory. A buffer takes the
smallest gap that it fits in when a kernel first touches it, and leaves one behind when the last
kernel has:

    kernel 0 writes a    a
    kernel 1 writes b    a b
    kernel 2 reads a     . b
    kernel 3 writes c    c b
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Container, Mapping, Sequence

from mynn.compiler.loop_ir.ir import Buffer, Kernel, buffers_of
from mynn.target.storage import ALIGNMENT, SLACK

# Up to so many bytes are left to one buffer each.
_ROOM = 1 << 18
# Up to so many buffers are compared with each other.
_COMPARED = 256


def live_spans(
    kernels: Sequence[Kernel], fixed: Container[Buffer]
) -> dict[Buffer, tuple[int, int]]:
    """For each buffer that is not `fixed`, the numbers of the first and the last kernel to touch
    it.
    """
    spans: dict[Buffer, tuple[int, int]] = {}
    for time, kernel in enumerate(kernels):
        reads, writes = buffers_of(kernel)
        for buffer in [*reads, *writes]:
            if buffer not in fixed:
                spans[buffer] = (spans.get(buffer, (time, time))[0], time)
    return spans


def arena(kernels: Sequence[Kernel], fixed: Container[Buffer]) -> tuple[dict[Buffer, int], int]:
    """Offsets in bytes for the buffers that are not `fixed`, and the bytes that they take."""
    spans = live_spans(kernels, fixed)
    if sum(buffer.nbytes + SLACK for buffer in spans) <= _ROOM:
        offsets, total = {}, 0
        for buffer in sorted(spans, key=lambda buffer: -buffer.elements):
            offsets[buffer] = total
            total += _size(buffer)
        return offsets, total
    return _largest_first(spans) if len(spans) <= _COMPARED else _in_time(spans)


def _size(buffer: Buffer) -> int:
    return -(-(buffer.nbytes + SLACK) // ALIGNMENT) * ALIGNMENT


def _largest_first(spans: Mapping[Buffer, tuple[int, int]]) -> tuple[dict[Buffer, int], int]:
    taken: list[tuple[int, int, int, int]] = []
    offsets: dict[Buffer, int] = {}
    for buffer, (start, end) in sorted(spans.items(), key=lambda x: -x[0].elements):
        size, offset = _size(buffer), 0
        for low, high, first, last in taken:
            if first <= end and start <= last and offset + size > low:
                offset = max(offset, high)
        insort(taken, (offset, offset + size, start, end))
        offsets[buffer] = offset
    return offsets, max(high for _, high, _, _ in taken)


def _in_time(spans: Mapping[Buffer, tuple[int, int]]) -> tuple[dict[Buffer, int], int]:
    ends: dict[int, list[Buffer]] = {}
    for buffer, (_, end) in spans.items():
        ends.setdefault(end, []).append(buffer)
    gaps = _Gaps()
    offsets: dict[Buffer, int] = {}
    done = 0
    # Of those that begin together the largest first.
    for buffer, (start, _) in sorted(spans.items(), key=lambda x: (x[1][0], -x[0].nbytes)):
        for time in range(done, start):
            for old in ends.get(time, ()):
                gaps.give_back(offsets[old], _size(old))
        done = max(done, start)
        offsets[buffer] = gaps.take(_size(buffer))
    return offsets, gaps.total


class _Gaps:
    """Free pieces of memory, by size and by their ends; no two of them lie side by side."""

    def __init__(self) -> None:
        self.total = 0
        self.by_size: list[tuple[int, int]] = []
        self.by_start: dict[int, int] = {}
        self.by_end: dict[int, int] = {}

    def take(self, size: int) -> int:
        """The offset of `size` bytes in the smallest gap that has them; the end grows where none
        has.
        """
        place = bisect_left(self.by_size, (size, -1))
        if place < len(self.by_size):
            length, start = self.by_size[place]
            self._remove(start, length)
            if length > size:
                self._add(start + size, length - size)
            return start
        start = self.total
        if self.total in self.by_end:  # the last gap, and what it lacks
            start = self.by_end[self.total]
            self._remove(start, self.total - start)
        self.total = start + size
        return start

    def give_back(self, start: int, size: int) -> None:
        """A gap, together with those beside it."""
        end = start + size
        if end in self.by_start:
            length = self.by_start[end]
            self._remove(end, length)
            end += length
        if start in self.by_end:
            first = self.by_end[start]
            self._remove(first, start - first)
            start = first
        self._add(start, end - start)

    def _add(self, start: int, length: int) -> None:
        insort(self.by_size, (length, start))
        self.by_start[start] = length
        self.by_end[start + length] = start

    def _remove(self, start: int, length: int) -> None:
        del self.by_size[bisect_left(self.by_size, (length, start))]
        del self.by_start[start]
        del self.by_end[start + length]
