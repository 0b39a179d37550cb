"""Measures each work beside its peers, and makes one row of the table of it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from statistics import median
from time import perf_counter

import numpy as np

from benchmarks import compiling, reference
from benchmarks.layers import LAYERS
from benchmarks.limits import limit_us
from benchmarks.loops import LOOPS
from benchmarks.peers import DIFFERENTIATORS, PREDICTORS, SINGLE_THREADED, TRAINERS
from benchmarks.process import ROOT, Peer, Task, Tree, alternate, environment, keep_to, start
from benchmarks.works import WORKS, Work, work_named

PREDICTIONS = {
    f"predict-{work}-b{batch}": (work, batch) for work in ("W4", "W8") for batch in (1, 64)
}
OTHERS = {
    "compile-W1": "compile the training program of W1, in a new process",
    **compiling.ABOUT,
    "report-cold": "100 epochs x 1000 samples of W1 in a new process; the peer imports only",
}
NAMES = [*(work.name for work in WORKS), *PREDICTIONS, *LAYERS, *LOOPS, *OTHERS]
# Its network and loss are a little different: nothing to compare results with.
UNVERIFIED = "sklearn"
# Ours in another way: `ratio` is over the faster of the two.
ON_TAPE = "ours-tape"
# Differences of results that are all smaller than this are not relative.
SMALL = 1e-6


@dataclass(frozen=True)
class Row:
    """A line of the table; times are microseconds, medians, `None` where unknown."""

    work: str
    threads: int
    ours_us: float | None
    peers_us: dict[str, float | None]
    limit_us: float | None
    ratio: float | None  # the best peer over ours

    @property
    def fastest_us(self) -> float | None:
        """Ours, at once or on the tape."""
        known = [us for us in (self.ours_us, self.peers_us.get(ON_TAPE)) if us is not None]
        return min(known, default=None)

    @property
    def others_us(self) -> dict[str, float]:
        """The times of those peers that are not ours on the tape."""
        found = self.peers_us.items()
        return {name: us for name, us in found if us is not None and name != ON_TAPE}

    def as_json(self) -> dict[str, object]:
        """The row as plain data."""
        return asdict(self)


@dataclass(frozen=True)
class Options:
    """What to measure with."""

    rounds: int
    block: float  # seconds
    verify: bool
    peers: tuple[str, ...]  # none: all
    peak: float  # operations a second
    threads: tuple[int, ...]
    say: Callable[[str], None]

    def chosen(self, names: Iterable[str]) -> list[str]:
        """Those of `names` asked for."""
        return [name for name in names if not self.peers or name in self.peers]


class Disagreement(Exception):
    """A peer's results differ from the reference."""


def about(name: str) -> str:
    """What the work `name` is, in a few words."""
    if name in PREDICTIONS:
        work, batch = PREDICTIONS[name]
        return f"one prediction of {batch} from Python, the network of {work}"
    if name in LAYERS:
        return LAYERS[name].about
    if name in LOOPS:
        return LOOPS[name].about
    return OTHERS[name] if name in OTHERS else work_named(name).about


def _row(
    name: str,
    asked: list[str],
    times: dict[str, list[float]],
    limit: float | None = None,
    threads: int = 1,
) -> Row:
    us = {peer: 1e6 * median(times[peer]) if times.get(peer) else None for peer in asked}
    ours = us.pop("ours", None)
    row = Row(name, threads, ours, us, limit, None)
    best, others = row.fastest_us, row.others_us
    return replace(row, ratio=min(others.values()) / best if others and best else None)


def check(work: Work, peers: list[Peer], say: Callable[[str], None]) -> None:
    """Raise `Disagreement` unless every peer's epoch gives the reference's loss and weights."""
    expected = reference.trained(work)
    for peer in peers:
        if peer.name == UNVERIFIED:
            continue
        off = reference.deviation(*peer.results(), expected)
        say(f"{work.name}: {peer.name} agrees with the reference to {off:.1e}")
        if off > reference.tolerance(work):
            raise Disagreement(f"{work.name}: {peer.name} is off the reference by {off:.2g}")


def check_outputs(
    name: str, peers: list[Peer], say: Callable[[str], None], tolerance: float = 1e-4
) -> None:
    """Raise `Disagreement` unless all peers have the same results, relative to the largest."""
    results = {peer.name: peer.outputs() for peer in peers if peer.name != UNVERIFIED}
    first = next(iter(results.values()), [])
    for peer, arrays in results.items():
        off = max(
            float(np.abs(a - b).max() / max(np.abs(b).max(), SMALL))
            for a, b in zip(arrays, first, strict=True)
        )
        say(f"{name}: {peer} agrees to {off:.1e}")
        if not off < tolerance:
            raise Disagreement(f"{name}: {peer} is off by {off:.2g}")


def _in_turn(task: Task, asked: list[str], options: Options) -> dict[str, list[float]]:
    """Seconds of each block of each peer, all on the task's number of cores."""
    keep_to(task.threads)
    able = [name for name in asked if task.threads == 1 or name not in SINGLE_THREADED]
    peers = start(task, able, options.say)
    try:
        if options.verify and task.kind == "train":
            check(work_named(task.work), peers, options.say)
        if options.verify and task.kind == "layer":
            check_outputs(task.work, peers, options.say)
        for peer in peers:
            peer.calibrate(options.block)
        return alternate(peers, options.rounds, options.say)
    finally:
        for peer in peers:
            peer.close()
        keep_to(1)


def training(work: Work, threads: int, options: Options) -> Row:
    """Microseconds of a training step."""
    asked = options.chosen(TRAINERS)
    epochs = _in_turn(Task("train", work.name, threads), asked, options)
    steps = {peer: [t / work.steps for t in times] for peer, times in epochs.items()}
    return _row(work.name, asked, steps, limit_us(work, options.peak, threads), threads)


def predicting(name: str, threads: int, options: Options) -> Row:
    """Microseconds of one prediction, each peer with its own kind of array."""
    asked = options.chosen(PREDICTORS)
    work, batch = PREDICTIONS[name]
    times = _in_turn(Task("predict", work, threads, batch), asked, options)
    return _row(name, asked, times, threads=threads)


def differentiating(name: str, threads: int, options: Options) -> Row:
    """Microseconds of a layer's output and gradients from Python."""
    asked = options.chosen(DIFFERENTIATORS)
    times = _in_turn(Task("layer", name, threads), asked, options)
    return _row(name, asked, times, threads=threads)


def looping(name: str, threads: int, options: Options) -> Row:
    """Microseconds of a step of a loop."""
    loop, task = LOOPS[name], Task("loop", name, threads)
    asked = options.chosen(loop.peers)
    if options.verify and loop.compared:
        peers = start(task, options.chosen(loop.compared), options.say)
        try:
            check_outputs(name, peers, options.say, loop.tolerance)
        finally:
            for peer in peers:
                peer.close()
    steps = _in_turn(task, asked, options)
    times = {peer: [t / loop.units for t in found] for peer, found in steps.items()}
    return _row(name, asked, times, threads=threads)


def fresh(*arguments: str, tree: Tree | None = None) -> tuple[float, str] | None:
    """Seconds a new Python process took, and what it printed; none where it failed.

    Nothing that was compiled before is at hand.
    """
    begin = perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree.root if tree else ROOT,
        env={**environment(), **(tree.variables if tree else {}), "MYNN_CACHE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    return (perf_counter() - begin, done.stdout) if done.returncode == 0 else None


def report_cold(options: Options) -> Row:
    """The report's run as a whole process, beside a process that only imports PyTorch."""
    commands = {
        "ours": ("-m", "benchmarks.fresh", "report"),
        "torch-import": ("-c", "import torch"),
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(options.rounds + 1):
        for name, command in commands.items():
            took = fresh(*command)
            if took is None:
                options.say(f"report-cold: {name} failed")
            elif turn:  # the first turn only warms the disk cache
                times[name].append(took[0])
    return _row("report-cold", list(commands), times)


def first_steps(name: str, options: Options) -> Row:
    """Microseconds of a first training step, ours and JAX's, in processes of their own."""
    asked = options.chosen(["ours", "jax-step"])
    times: dict[str, list[float]] = {peer: [] for peer in asked}
    for _ in range(options.rounds):
        for peer in asked:
            if peer != "ours" and importlib.util.find_spec("jax") is None:
                continue
            took = fresh("-m", "benchmarks.compiling", name, "ours" if peer == "ours" else "jax")
            if took is not None:
                times[peer].append(float(took[1]))
    for peer in asked:
        if not times[peer]:
            options.say(f"{name}: {peer} is not installed, or failed")
    return _row(name, asked, times)


def compile_w1(options: Options) -> Row:
    """Microseconds from a built network to the end of its first epoch, mostly compilation."""
    took = [fresh("-m", "benchmarks.fresh", "compile") for _ in range(options.rounds)]
    times = [float(one[1]) for one in took if one is not None]
    if not times:
        options.say("compile-W1: ours failed")
    return _row("compile-W1", ["ours"], {"ours": times})


def measure(name: str, options: Options) -> list[Row]:
    """The rows of the work called `name`, one for each number of threads."""
    special = {"compile-W1": compile_w1, "report-cold": report_cold}
    if name in special:
        return [special[name](options)]
    if name in compiling.ABOUT:
        return [first_steps(name, options)]
    if name in PREDICTIONS:
        alone = PREDICTIONS[name][1] == 1  # one sample leaves nothing to share
        counts = options.threads[:1] if alone else options.threads
        return [predicting(name, threads, options) for threads in counts]
    if name in LAYERS:
        return [differentiating(name, threads, options) for threads in options.threads]
    if name in LOOPS:
        counts = options.threads if LOOPS[name].several else options.threads[:1]
        return [looping(name, threads, options) for threads in counts]
    return [training(work_named(name), threads, options) for threads in options.threads]
