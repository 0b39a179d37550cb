"""Both frameworks side by side: `python -m examples.torch_programs [NAME...] [--steps 100]`.

Each program is trained under PyTorch and under mynn in turn, with calls run at once, and recorded
(`mynn.eager("tape")`). The first round contains what is done once (programs are compiled in it),
the others do not. What was measured is kept in build/torch_programs.json, program by program.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median

import numpy as np

import mynn
from examples.torch_programs.loading import PROGRAMS, copy_weights, load

FILE = Path(__file__).parents[2] / "build" / "torch_programs.json"
WAYS = ("at once", "tape")


def compare(name: str, steps: int, rounds: int, way: str) -> dict[str, float]:
    """Milliseconds of a step under PyTorch and under mynn, in turn, in the first round and in later
    ones; the largest difference of the losses, relative.
    """
    programs = {framework: load(name, framework) for framework in ("torch", "mynn")}
    first = programs["torch"].networks()
    times: dict[str, list[float]] = {framework: [] for framework in programs}
    losses = {}
    with mynn.eager(way):  # type: ignore[arg-type]
        for _ in range(rounds):
            for framework, program in programs.items():
                networks = program.networks()
                copy_weights(first, networks)
                start = time.process_time()
                losses[framework] = np.array(program.train(networks, steps), dtype=float)
                times[framework].append(1e3 * (time.process_time() - start) / steps)
    scale = np.maximum(np.abs(losses["torch"]), 0.1)
    differ = np.max(np.abs(losses["torch"] - losses["mynn"]) / scale)
    later = {framework: median(each[1:] or each) for framework, each in times.items()}
    early = {f"{framework} first": each[0] for framework, each in times.items()}
    return {**later, **early, "difference": float(differ), "steps": float(steps)}


def main() -> None:
    """Print a line for each program, and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=PROGRAMS, metavar="NAME")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", default=",".join(WAYS))
    given = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    found = json.loads(FILE.read_text()) if FILE.is_file() else {}
    ways = given.ways.split(",")
    print(
        f"{'ms a step':18}{'':9}{'PyTorch':>9}{'mynn':>9}{'faster':>9}{'first':>9}  losses differ"
    )
    for name in given.names:
        for way in ways:
            row = compare(name, given.steps, given.rounds, way)
            found.setdefault(name, {})[way] = row
            print(
                f"{name:18}{way:9}{row['torch']:9.3g}{row['mynn']:9.3g}"
                f"{row['torch'] / row['mynn']:8.2f}x{row['torch first'] / row['mynn first']:8.2f}x"
                f"  by {row['difference']:.0e}",
                flush=True,
            )
            FILE.parent.mkdir(exist_ok=True)
            FILE.write_text(json.dumps(found, indent=1))
    for way in ways:
        ratios = [row[way]["torch"] / row[way]["mynn"] for row in found.values() if way in row]
        print(f"{way}: median {median(ratios):.2f}x of {len(ratios)} programs")


if __name__ == "__main__":
    main()
