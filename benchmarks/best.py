"""Everybody with the number of threads that suits them best: the rows of a work made into one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import groupby

from benchmarks.rows import Row


@dataclass(frozen=True)
class Best:
    """A work at the best number of threads, ours beside the best peer; times are microseconds."""

    work: str
    ours_us: float | None
    ours_threads: int | None
    peer: str | None
    peer_us: float | None
    peer_threads: int | None
    limit_us: float | None  # on one thread
    ratio: float | None  # the peer over ours

    def as_json(self) -> dict[str, object]:
        """The line as plain data."""
        return asdict(self)


def best_of(rows: list[Row]) -> Best:
    """One line from the rows of one work."""
    ours = min(((us, r.threads) for r in rows if (us := r.fastest_us)), default=(None, None))
    peers = [(us, name, r.threads) for r in rows for name, us in r.others_us.items()]
    us, name, threads = min(peers, default=(None, None, None))
    ratio = us / ours[0] if us and ours[0] else None
    limit = next((r.limit_us for r in rows if r.threads == 1), None)
    return Best(rows[0].work, *ours, name, us, threads, limit, ratio)


def bests(rows: Iterable[Row]) -> list[Best]:
    """A line for each work; the rows of a work stand together."""
    return [best_of(list(same)) for _, same in groupby(rows, key=lambda row: row.work)]
