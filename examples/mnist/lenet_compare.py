"""Our LeNet run beside PyTorch's, in turn: `python -m examples.mnist.lenet_compare`.

Each is timed from the start of its process to its end: imports, reading the data, compiling,
training and testing. Prints a table, writes build/lenet.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from rich.console import Console
from rich.table import Table

from examples.mnist.fetch import complete
from examples.mnist.job import EPOCHS

ROOT = Path(__file__).parents[2]
OUT = ROOT / "build" / "lenet.json"
MODULES = {"mynn": "examples.mnist.lenet", "PyTorch": "examples.mnist.lenet_torch"}


@dataclass(frozen=True)
class Run:
    """One process; the lists have an entry for each epoch."""

    who: str
    threads: int
    seconds: float  # the whole process
    reached: list[float]  # seconds from the start of the process to the end of the epoch
    training: list[float]  # seconds of the epoch without testing
    accuracy: list[float]  # on the test digits


def run(who: str, threads: int, epochs: int, seed: int) -> Run:
    """Train in a new process on as many cores as it has threads; nothing is compiled before."""
    options = (f"--threads={threads}", f"--epochs={epochs}", f"--seed={seed}")
    cores = sorted(os.sched_getaffinity(0))[-threads:] if hasattr(os, "sched_getaffinity") else None
    own = {"OMP_NUM_THREADS": str(threads), "MYNN_CACHE": "0"}
    start = perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", MODULES[who], *options],
        cwd=ROOT,
        env=os.environ | own,
        stdout=subprocess.PIPE,
        text=True,
    )
    if cores:
        os.sched_setaffinity(process.pid, cores)
    lines, reached = [], []
    for line in process.stdout:
        reached.append(perf_counter() - start)
        lines.append(json.loads(line))
    if process.wait():
        raise RuntimeError(f"{MODULES[who]} ended with status {process.returncode}")
    seconds = perf_counter() - start
    training = [line["seconds"] for line in lines]
    return Run(who, threads, seconds, reached, training, [line["accuracy"] for line in lines])


def show(runs: list[Run]) -> None:
    """Print the accuracy of each epoch, then medians of the times."""
    for one in runs:
        curve = " ".join(f"{100 * accuracy:.2f}" for accuracy in one.accuracy)
        print(f"{one.who}, {one.threads} threads, {one.seconds:.2f} s: {curve} %")
    table = Table(caption="LeNet on MNIST from process start to end; medians of the runs")
    for title in ("", "threads", "whole run", "an epoch", "test accuracy", "beside PyTorch"):
        table.add_column(title, justify="right" if title else "left")
    for threads in sorted({one.threads for one in runs}):
        own = [one for one in runs if one.threads == threads]
        whole = {who: median(o.seconds for o in own if o.who == who) for who in _names(own)}
        for who, seconds in whole.items():
            mine = [one for one in own if one.who == who]
            table.add_row(
                who,
                str(threads),
                f"{seconds:.2f} s",
                f"{median(epoch for one in mine for epoch in one.training):.3f} s",
                f"{median(one.accuracy[-1] for one in mine):.2%}",
                f"{whole['PyTorch'] / seconds:.2f}x" if "PyTorch" in whole else "",
            )
    Console().print(table)


def _names(runs: list[Run]) -> list[str]:
    return list(dict.fromkeys(one.who for one in runs))


def main() -> int:
    """Everybody in turn, for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--runs", type=int, default=1, help="of each, seeds 0, 1, ...")
    parser.add_argument("--threads", default="1,2", help="numbers of threads")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    if not complete():
        print("there is no MNIST here: python -m examples.mnist.fetch", file=sys.stderr)
        return 1
    names = list(MODULES)
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: its lines are left out", file=sys.stderr)
        names.remove("PyTorch")
    runs = [
        run(who, int(threads), args.epochs, seed)
        for seed in range(args.runs)
        for threads in args.threads.split(",")
        for who in names
    ]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps([asdict(one) for one in runs], indent=2) + "\n")
    show(runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
