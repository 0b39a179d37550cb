"""This tree beside another commit: `python -m benchmarks.compare --base f72097c --work W3,loop-W3`.

The other commit lies in a worktree of git's under `build/compare`. Both have a process and a cache
of compiled programs of their own; blocks of both alternate, so that what the machine does beside
them meets both alike. Works that the other commit has not got stay without a time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles

from rich.console import Console
from rich.table import Table

from benchmarks import compiling
from benchmarks.layers import LAYERS
from benchmarks.loops import LOOPS
from benchmarks.process import ROOT, Lost, Peer, Task, Tree, alternate, cores, keep_to
from benchmarks.rows import PREDICTIONS, fresh
from benchmarks.table import time_text
from benchmarks.works import WORKS, work_named

Say = Callable[[str], None]
BASE, HERE = "base", "here"
# What runs once in a new process: the arguments, and what it prints is microseconds.
FRESH = {
    "compile-W1": ("-m", "benchmarks.fresh", "compile"),
    **{name: ("-m", "benchmarks.compiling", name, "ours") for name in compiling.ABOUT},
}
NAMES = [*(work.name for work in WORKS), *PREDICTIONS, *LAYERS, *LOOPS, *FRESH]


@dataclass(frozen=True)
class Comparison:
    """Microseconds of a work in both trees, medians; the ratio is that of this tree over the base.

    `low` and `high` are the quartiles of the ratios of single rounds: what the ratio is worth.
    """

    work: str
    threads: int
    base_us: float | None
    here_us: float | None
    ratio: float | None
    low: float | None
    high: float | None


def git(*arguments: str, root: Path = ROOT) -> str:
    """What a command of git's prints."""
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def checkout(base: str, root: Path = ROOT) -> tuple[str, Path]:
    """A commit's full name, and a folder with its files."""
    commit = git("rev-parse", "--verify", f"{base}^{{commit}}", root=root)
    folder = root / "build" / "compare" / commit[:12]
    if not folder.exists():
        git("worktree", "prune", root=root)
        git("worktree", "add", "--detach", str(folder), commit, root=root)
    return commit, folder


def task_of(name: str, threads: int) -> Task:
    """What a worker is asked for."""
    if name in PREDICTIONS:
        work, batch = PREDICTIONS[name]
        return Task("predict", work, threads, batch)
    if name in LAYERS or name in LOOPS:
        return Task("layer" if name in LAYERS else "loop", name, threads)
    return Task("train", name, threads)


def units(name: str) -> int:
    """Steps in one epoch of a work, or in one call of a loop."""
    if name in LOOPS:
        return LOOPS[name].units
    return work_named(name).steps if name in {work.name for work in WORKS} else 1


def compared(name: str, threads: int, base: Sequence[float], here: Sequence[float]) -> Comparison:
    """Of seconds, the first of both measured in the same round, and so on."""
    if not base or not here:
        known = [1e6 * median(times) if times else None for times in (base, here)]
        return Comparison(name, threads, *known, None, None, None)
    ratios = [b / a for a, b in zip(base, here, strict=True)]
    low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    ratio = median(here) / median(base)
    return Comparison(name, threads, 1e6 * median(base), 1e6 * median(here), ratio, low, high)


def in_turn(
    name: str, threads: int, trees: Sequence[Tree], rounds: int, block: float, say: Say
) -> Comparison:
    """Blocks of a work in both trees, alternately; a block takes at least `block` seconds."""
    peers: list[Peer] = []
    keep_to(threads)
    try:
        for tree in trees:
            try:
                peers.append(Peer(task_of(name, threads), "ours", tree))
            except Lost as reason:
                say(f"{name}: {tree.name} is left out: {reason}")
        for peer in peers:
            peer.calibrate(block)
        longest = max((peer.scale for peer in peers), default=1)
        for peer in peers:
            peer.scale = longest
        times = alternate(peers, rounds, say)
    finally:
        for peer in peers:
            peer.close()
        keep_to(1)
    steps = units(name)
    base, here = ([t / steps for t in times.get(tree.name, ())] for tree in trees)
    return compared(name, threads, base, here)


def in_new_processes(name: str, trees: Sequence[Tree], rounds: int, say: Say) -> Comparison:
    """Whole processes with nothing in a cache, alternately."""
    times: dict[str, list[float]] = {tree.name: [] for tree in trees}
    for turn in range(rounds):
        for tree in trees if turn % 2 else trees[::-1]:
            took = fresh(*FRESH[name], tree=tree)
            if took is not None:
                times[tree.name].append(1e-6 * float(took[1]))
    for tree in trees:
        if len(times[tree.name]) < rounds:
            say(f"{name}: {tree.name} is left out: its process fails")
            times[tree.name].clear()
    return compared(name, 1, *(times[tree.name] for tree in trees))


def show(rows: Sequence[Comparison], commit: str) -> None:
    """Print the table."""
    table = Table()
    table.add_column("work")
    for title in ("threads", commit[:12], "this tree", "ratio", "quartiles"):
        table.add_column(title, justify="right")
    for row in rows:
        found = row.ratio is not None
        table.add_row(
            row.work,
            str(row.threads),
            *map(time_text, (row.base_us, row.here_us)),
            f"{row.ratio:.3f}" if found else "",
            f"{row.low:.3f} {row.high:.3f}" if found else "",
        )
    console = Console()
    console.print(table)
    console.print("microseconds unless it says s; medians; ratio: this tree over the other commit")


def arguments() -> argparse.Namespace:
    """Those of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("--base", required=True, help="the commit to compare with")
    parser.add_argument("--work", default="all", help=f"all, or some of {','.join(NAMES)}")
    parser.add_argument("--threads", default="1,2", help="numbers of threads, a row for each")
    parser.add_argument("--rounds", type=int, default=7, help="blocks of each tree, in turn")
    parser.add_argument("--block-ms", type=float, default=50, help="least length of a block")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "compare.json")
    given = parser.parse_args()
    given.work = NAMES if given.work == "all" else given.work.split(",")
    given.threads = [int(number) for number in given.threads.split(",")]
    if unknown := set(given.work) - set(NAMES):
        parser.error(f"no work is called {min(unknown)!r}; there are {', '.join(NAMES)}")
    if given.rounds < 1 or min(given.threads) < 1:
        parser.error("--rounds and --threads must be at least 1")
    return given


def main() -> int:
    """Measure, print the table, write the JSON."""
    given = arguments()
    commit, folder = checkout(given.base)
    caches = ROOT / "build" / "compare"
    trees = (
        Tree(BASE, folder, caches / f"cache-{commit[:12]}"),
        Tree(HERE, ROOT, caches / "cache-here"),
    )

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    rows = []
    for name in given.work:
        say(name)
        if name in FRESH:
            rows.append(in_new_processes(name, trees, given.rounds, say))
            continue
        able = [n for n in given.threads if n <= len(cores()) and (n == 1 or name not in LOOPS)]
        for threads in able:
            block = given.block_ms / 1000
            rows.append(in_turn(name, threads, trees, given.rounds, block, say))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    found = {"base": commit, "here": git("rev-parse", "HEAD"), "rows": [asdict(r) for r in rows]}
    given.out.write_text(json.dumps(found, indent=2) + "\n")
    show(rows, commit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
