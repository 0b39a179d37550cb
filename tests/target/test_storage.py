"""Storage as native code wants it."""

from __future__ import annotations

import itertools
import threading

from mynn.target import storage


def test_small_arrays_lie_side_by_side() -> None:
    """Each zeroed, aligned, with its slack, and none in another one."""
    sizes = [*range(1, 200), 4000, 100_000, 3]
    blocks = [storage.aligned_bytes(n) for n in sizes]
    assert all(block.ctypes.data % storage.ALIGNMENT == 0 for block in blocks)
    for number, block in enumerate(blocks):
        assert not block.any()
        block[:] = number % 255 + 1
    spans = sorted((b.ctypes.data, b.ctypes.data + len(b) + storage.SLACK) for b in blocks)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_neighbours() -> None:
    """What is allocated one after the other lies together, but where a block is full."""
    starts = [storage.aligned_bytes(1).ctypes.data for _ in range(50)]
    steps = [b - a for a, b in itertools.pairwise(starts)]
    assert sum(step == 192 for step in steps) >= len(steps) - 1


def test_threads_do_not_share_a_place() -> None:
    found: list[int] = []

    def allocate() -> None:
        kept = [storage.aligned_bytes(8) for _ in range(500)]
        found.extend(block.ctypes.data for block in kept)
        everything.extend(kept)

    everything: list[object] = []
    threads = [threading.Thread(target=allocate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 2000
