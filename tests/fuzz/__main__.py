"""The long run: `make fuzz MINUTES=10 SEED=...`, or `python -m tests.fuzz --minutes 10 --seed 0`.

Takes turns between random graphs, random kernels of the loop IR and whole trainings of random
networks, counts what ran, prints a smaller program for what failed, and ends with an error where
anything did.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Callable

from mynn.target.target import host
from tests.fuzz.eager.compare import program_problems, program_report
from tests.fuzz.eager.generator import program
from tests.fuzz.native import KINDS, problems, report
from tests.fuzz.networks import network
from tests.fuzz.run_kernels import run_seeds
from tests.fuzz.training import pytorch, training_problems, training_report

# How much of the time each kind has.
SHARES = {
    "compared": 0.25,
    "training": 0.25,
    "eager": 0.25,
    "plain": 0.08,
    "gradient": 0.07,
    "stateful": 0.05,
    "split": 0.03,
    "kernels": 0.02,
}


# What runs at least for each minute, whatever the machine: of graphs that compare recomputed values
# 2,000 in ten, of eager programs 1,000.
LEAST = {"compared": 200, "eager": 100}


def run_graph(kind: str, seed: int) -> str | None:
    """The report of a graph that fails, "" for one that does not, None where there is none."""
    program = KINDS[kind](seed)
    if program is None:
        return None
    return report(kind, program) if problems(program, kind) else ""


def run_training(seed: int) -> str | None:
    """The same for a network."""
    drawn = network(seed)
    return training_report(drawn) if training_problems(drawn) else ""


def run_eager(seed: int) -> str:
    """The same for an eager program."""
    drawn = program(seed)
    problems = program_problems(drawn)
    return program_report(drawn, problems) if problems else ""


def run_kernel(seed: int) -> str:
    """The same for a kernel of the loop IR."""
    return "".join(report for _, report in run_seeds([seed], host()))


def runner(kind: str) -> Callable[[int], str | None]:
    """What runs a seed of a kind."""
    special = {"kernels": run_kernel, "training": run_training, "eager": run_eager}
    return special.get(kind) or (lambda seed: run_graph(kind, seed))


def main() -> int:
    """Run until the time is up; the number of failures decides the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="the first seed of every kind")
    given = parser.parse_args()
    os.environ.setdefault("MYNN_CACHE", "0")
    end = time.monotonic() + 60 * given.minutes
    spent = dict.fromkeys(SHARES, 0.0)
    ran: Counter[str] = Counter()
    seeds = dict.fromkeys(SHARES, given.seed)
    failed: dict[str, list[int]] = {kind: [] for kind in SHARES}
    while True:
        kind = min(SHARES, key=lambda kind: spent[kind] / SHARES[kind])
        if time.monotonic() >= end:
            short = [kind for kind, least in LEAST.items() if ran[kind] < least * given.minutes]
            if not short:
                break
            kind = short[0]
        start, seed = time.monotonic(), seeds[kind]
        seeds[kind] += 1
        found = runner(kind)(seed)
        spent[kind] += time.monotonic() - start
        if found is not None:
            ran[kind] += 1
        if found:
            failed[kind].append(seed)
            print(found, flush=True)
    if pytorch() is None:
        print("PyTorch is not installed: trainings were compared with the interpreter alone")
    for kind in SHARES:
        last = f"seeds {given.seed} to {seeds[kind] - 1}, {spent[kind]:.0f} s"
        print(f"{kind:9} {ran[kind]:6} ran, {len(failed[kind])} failed {failed[kind]} ({last})")
    return 1 if any(failed.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
