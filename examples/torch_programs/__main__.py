"""Both frameworks side by side: `python -m examples.torch_programs [NAME...] [--steps 100]`.

Each program is trained under PyTorch and under mynn in turn, for so many steps, then with the same
networks anew for four times as many: so it is known how long the first steps take, and the later
ones. In the first round is what is done once (mynn compiles programs, PyTorch sets itself up); in
the others networks are new, of structures that are known. Times are of the processor. What was
measured is kept in build/torch_programs.json, program by program.
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
from mynn.core.types import Array

FILE = Path(__file__).parents[2] / "build" / "torch_programs.json"
LATER = 4
WAYS = ("tape", "at once")


def compare(name: str, steps: int, rounds: int, way: str) -> dict[str, float]:
    """Milliseconds of a step under PyTorch and under mynn, in turn: of later steps, of the first
    ones in the first round (`once`) and in later rounds (`first`); the largest difference of the
    losses in the first steps, relative.
    """
    programs = {framework: load(name, framework) for framework in ("torch", "mynn")}
    weights = programs["torch"].networks()
    seconds: dict[tuple[str, int], list[float]] = {}
    losses = {}
    with mynn.eager(way):  # type: ignore[arg-type]
        for _ in range(rounds):
            for framework, program in programs.items():
                for times in (LATER, 1):
                    networks = program.networks()
                    copy_weights(weights, networks)
                    start = time.process_time()
                    found = program.train(networks, times * steps)
                    seconds.setdefault((framework, times), []).append(time.process_time() - start)
                losses[framework] = np.array(found, dtype=float)
    row = {"difference": _difference(losses["torch"], losses["mynn"]), "steps": float(steps)}
    for framework in programs:
        few, many = seconds[framework, 1], seconds[framework, LATER]
        # The long training is the first that compiles; so the first steps are what is left of it.
        later = median([b - a for a, b in zip(few, many, strict=True)][1:]) / (LATER - 1)
        row[framework] = 1e3 * later / steps
        row[f"{framework} first"] = 1e3 * median(few[1:]) / steps
        row[f"{framework} once"] = 1e3 * (many[0] - later * (LATER - 1)) / steps
    return row


def _difference(theirs: Array, ours: Array) -> float:
    return float(np.max(np.abs(theirs - ours) / np.maximum(np.abs(theirs), 0.1)))


def summary(rows: list[dict[str, float]]) -> str:
    """How many programs are at least as fast, and the median, in later and in first steps."""
    texts = []
    for kind in ("", " first"):
        ratios = [row[f"torch{kind}"] / row[f"mynn{kind}"] for row in rows]
        ahead = sum(ratio >= 1 for ratio in ratios)
        texts.append(f"median {median(ratios):.2f} times as fast, {ahead} of {len(ratios)} ahead")
    steps = round(rows[0]["steps"])
    return f"later steps: {texts[0]}; the first {steps} of a new network: {texts[1]}"


def main() -> None:
    """Print a line for each program, and keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=PROGRAMS, metavar="NAME")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", default=WAYS[0], help="of " + ", ".join(WAYS))
    given = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    if given.rounds < 2:
        parser.error("--rounds: the first one compiles, give at least 2")
    found = json.loads(FILE.read_text()) if FILE.is_file() else {}
    ways = given.ways.split(",")
    print(f"{'ms a step':27}{'PyTorch':>9}{'mynn':>9}{'faster':>9}{'first':>9}{'once':>9}  differ")
    for name in given.names:
        for way in ways:
            row = compare(name, given.steps, given.rounds, way)
            found.setdefault(name, {})[way] = row
            ratios = [row[f"torch{kind}"] / row[f"mynn{kind}"] for kind in ("", " first", " once")]
            print(
                f"{name:18}{way:9}{row['torch']:9.3g}{row['mynn']:9.3g}"
                + "".join(f"{ratio:8.2f}x" for ratio in ratios)
                + f"  by {row['difference']:.0e}",
                flush=True,
            )
            FILE.parent.mkdir(exist_ok=True)
            FILE.write_text(json.dumps(found, indent=1))
    for way in ways:
        print(f"{way}: {summary([row[way] for row in found.values() if way in row])}")


if __name__ == "__main__":
    main()
