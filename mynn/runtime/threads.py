"""How many threads a program uses."""

from __future__ import annotations

import os

from mynn.errors import ArgumentError

# Operations that one thread should have to itself in a step; fewer are not worth meeting for.
OPERATIONS_PER_THREAD = 400_000

Threads = int | str


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_threads(threads: Threads) -> Threads:
    """A number of at least 1, or "auto"; `ArgumentError` for anything else."""
    whole = isinstance(threads, int) and not isinstance(threads, bool) and threads >= 1
    if threads != "auto" and not whole:
        raise ArgumentError(f'threads must be at least 1, or "auto"; it is {threads!r}')
    return threads


def default_threads() -> Threads:
    """`MYNN_THREADS` from the environment, otherwise "auto"."""
    text = os.environ.get("MYNN_THREADS", "auto")
    return check_threads(int(text) if text.isdigit() else text)


def choose_threads(requested: Threads | None, operations: int) -> int:
    """The number of threads for a step of so many operations."""
    wanted = default_threads() if requested is None else requested
    if isinstance(wanted, int):
        return wanted
    return max(1, min(processors(), operations // OPERATIONS_PER_THREAD))
