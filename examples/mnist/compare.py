"""Our MNIST run beside PyTorch's, epoch by epoch in turn: `python -m examples.mnist.compare`.

Prints a table and writes build/mnist.json. Without PyTorch its lines are left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from examples.mnist.fetch import complete
from examples.mnist.job import EPOCHS, GOAL

ROOT = Path(__file__).parents[2]
OUT = ROOT / "build" / "mnist.json"
Run = list[dict[str, Any]]


class Side:
    """One training in a process of its own, which waits for its turn before every epoch."""

    def __init__(self, module: str, threads: int, epochs: int, seed: int) -> None:
        options = (f"--threads={threads}", f"--epochs={epochs}", f"--seed={seed}", "--in-turn")
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *options],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def epoch(self) -> dict[str, Any]:
        """Let it train one epoch; what it reports."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._process.args} ended with {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """Wait for its end."""
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def alternate(contenders: list[tuple[str, str, int]], epochs: int, seed: int) -> list[Run]:
    """Train all of them, epoch by epoch in turn."""
    sides = [Side(module, threads, epochs, seed) for _, module, threads in contenders]
    runs: list[Run] = [[] for _ in sides]
    try:
        for _ in range(epochs):
            for side, run in zip(sides, runs, strict=True):
                run.append(side.epoch())
    finally:
        for side in sides:
            side.close()
    return runs


def seconds_to_goal(epochs: Run) -> float | None:
    """Training time until the test accuracy first reaches the goal."""
    spent = 0.0
    for epoch in epochs:
        spent += epoch["seconds"]
        if epoch["accuracy"] >= GOAL:
            return spent
    return None


def summary(who: str, threads: int, runs: list[Run]) -> dict[str, Any]:
    """One line of the table: medians over the runs."""
    reached = [seconds_to_goal(run) for run in runs]
    times = [seconds for seconds in reached if seconds is not None]
    return {
        "who": who,
        "threads": threads,
        "seconds_first_epoch": median(run[0]["seconds"] for run in runs),
        "seconds_per_epoch": median(epoch["seconds"] for run in runs for epoch in run[1:] or run),
        "accuracy": median(run[-1]["accuracy"] for run in runs),
        "accuracy_by_epoch": [
            median(e["accuracy"] for e in same) for same in zip(*runs, strict=True)
        ],
        "runs_that_reach_goal": f"{len(times)} of {len(runs)}",
        "seconds_to_goal": median(times) if times else None,
    }


def show(lines: list[dict[str, Any]]) -> None:
    """Print the table."""
    table = Table(caption="MNIST, 784-256-128-10 relu, Adam, batch 128; medians of the runs")
    titles = (
        "",
        "threads",
        "first epoch",
        "an epoch",
        "test accuracy",
        f"to {GOAL:.0%}",
        "reached",
    )
    for title in titles:
        table.add_column(title, justify="right" if title else "left")
    for line in lines:
        goal = line["seconds_to_goal"]
        table.add_row(
            line["who"],
            str(line["threads"]),
            f"{line['seconds_first_epoch']:.2f} s",
            f"{line['seconds_per_epoch']:.3f} s",
            f"{line['accuracy']:.2%}",
            "" if goal is None else f"{goal:.2f} s",
            line["runs_that_reach_goal"],
        )
    Console().print(table)


def main() -> int:
    """Run everybody in turn; PyTorch on one thread and on two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--runs", type=int, default=3, help="trainings of each, seeds 0, 1, ...")
    args = parser.parse_args()
    if not complete():
        print("there is no MNIST here: python -m examples.mnist.fetch", file=sys.stderr)
        return 1
    ours = ("mynn", "examples.mnist.train", 1)
    peers = [("PyTorch", "examples.mnist.torch_peer", threads) for threads in (1, 2)]
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed: its lines are left out", file=sys.stderr)
        peers = []
    contenders = [ours, *peers]
    trials = []
    for seed in range(args.runs):
        print(f"run {seed + 1} of {args.runs}", file=sys.stderr, flush=True)
        trials.append(alternate(contenders, args.epochs, seed))
    lines = [
        summary(who, threads, list(runs))
        for (who, _, threads), runs in zip(contenders, zip(*trials, strict=True), strict=True)
    ]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(lines, indent=2) + "\n")
    show(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
