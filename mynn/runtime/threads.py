"""How many threads a program uses."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mynn.base.environment import reader
from mynn.errors import ArgumentError

# Operations that one thread should have to itself in a step; fewer are not worth meeting for.
OPERATIONS_PER_THREAD = 400_000
# More threads for one program are a mistake.
MOST_THREADS = 1024

Threads = int | str
# What is asked for programs that are run by single calls alone, never in the loop of `fit`: several
# threads only where a call is worth sharing (`LEAST_OPERATIONS`).
CALLS = "calls"
# Operations of a call for which it pays to have several threads.
LEAST_OPERATIONS = 20_000_000
_openmp = reader("OMP_NUM_THREADS")
_wanted = reader("MYNN_THREADS")


def processors() -> int:
    """Processors that this process may keep busy: the fewest that its affinity, the quota of its
    control group and `OMP_NUM_THREADS` allow.
    """
    if hasattr(os, "sched_getaffinity"):
        number = len(os.sched_getaffinity(0))
    else:
        number = os.cpu_count() or 1
    for limit in (quota(), _openmp_threads()):
        if limit is not None and limit < number:
            number = limit
    return max(1, number)


def _openmp_threads() -> int | None:
    """What `OMP_NUM_THREADS` says, which pools of processes set in their workers; the first number
    of a list, None for nothing or nonsense.
    """
    text = _openmp()
    if text is None:
        return None
    first = text.split(",")[0].strip()
    return int(first) if first.isdigit() and int(first) > 0 else None


@functools.cache
def quota(root: Path = Path("/")) -> int | None:
    """Whole processors that the control groups of this process grant it, as containers have them;
    None where there is no limit.

    - `root`: where `proc` and `sys` lie.
    """
    shares = [share for share in _shares(root) if share > 0]
    return max(1, int(min(shares))) if shares else None


def _shares(root: Path) -> Iterator[float]:
    """The processor time a second in each control group that has a limit, of version 1 or 2."""
    mounts = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            for folder in _folders(mounts, group):
                yield _share(_read(folder / "cpu.max").split())
        elif "cpu" in controllers.split(","):
            for mount in (mounts / "cpu", mounts / controllers):
                for folder in _folders(mount, group):
                    files = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
                    yield _share([_read(folder / name).strip() for name in files])


def _folders(mount: Path, group: str) -> Iterator[Path]:
    """The folders of a group and of all around it; a container sees the innermost as the root."""
    path = PurePosixPath("/", group)
    for part in (path, *path.parents):
        yield mount / part.relative_to("/")


def _share(words: list[str]) -> float:
    """Microseconds in each period over those of the period; 0 where there is no limit."""
    if len(words) != 2 or not all(word.isdigit() for word in words) or not int(words[1]):
        return 0.0
    return int(words[0]) / int(words[1])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def check_threads(threads: Threads) -> Threads:
    """A number from 1 to `MOST_THREADS`, or "auto"; `ArgumentError` for anything else."""
    whole = isinstance(threads, int) and not isinstance(threads, bool) and threads >= 1
    if threads != "auto" and not whole:
        raise ArgumentError(f'threads must be at least 1, or "auto"; it is {threads!r}')
    if isinstance(threads, int) and threads > MOST_THREADS:
        raise ArgumentError(
            f"threads must be at most {MOST_THREADS}, it is {threads}; there are {processors()} "
            'processors here, threads="auto" finds the fastest number'
        )
    return threads


def default_threads() -> Threads:
    """`MYNN_THREADS` from the environment, otherwise "auto"."""
    text = _wanted()
    if text is None:
        return "auto"
    return check_threads(int(text) if text.isdigit() else text)


def wanted_threads(requested: Threads | None) -> Threads:
    """What a request comes to: for None `default_threads`, and so for `CALLS` where there is one
    thread for everything.
    """
    if requested is not None and requested != CALLS:
        return requested
    wanted = default_threads()
    most = processors() if wanted == "auto" else wanted
    return wanted if requested is None or most == 1 else CALLS


def choose_threads(requested: Threads | None, operations: int) -> int:
    """The number of threads for a step of so many operations."""
    wanted = wanted_threads(requested)
    if wanted == CALLS:
        return choose_threads(None, operations) if operations >= LEAST_OPERATIONS else 1
    if isinstance(wanted, int):
        return wanted
    return max(1, min(processors(), operations // OPERATIONS_PER_THREAD))


def is_for_one_thread(operations: int) -> bool:
    """Whether "auto" means one thread for a step of so many operations on any machine."""
    return operations < 2 * OPERATIONS_PER_THREAD
