"""Our MNIST run beside PyTorch's, alternately: `python -m examples.mnist.compare`.

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


def run(module: str, threads: int, epochs: int, seed: int) -> Run:
    """One training in a process of its own; a record for each epoch."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            module,
            f"--threads={threads}",
            f"--epochs={epochs}",
            f"--seed={seed}",
        ],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


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
    runs: dict[tuple[str, int], list[Run]] = {}
    for seed in range(args.runs):
        for who, module, threads in (ours, *peers):
            print(f"{who}, threads: {threads}, seed {seed}", file=sys.stderr, flush=True)
            found = run(module, threads, args.epochs, seed)
            runs.setdefault((who, threads), []).append(found)
    lines = [summary(who, threads, found) for (who, threads), found in runs.items()]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(lines, indent=2) + "\n")
    show(lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
