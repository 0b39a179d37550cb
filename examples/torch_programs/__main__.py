"""Both frameworks side by side: `python -m examples.torch_programs [NAME...] [--steps 30]`."""

from __future__ import annotations

import argparse
import time
from statistics import median

import numpy as np

from examples.torch_programs.loading import PROGRAMS, copy_weights, load


def compare(name: str, steps: int, rounds: int) -> dict[str, float]:
    """The largest difference of the losses, relative, and seconds of each, alternately."""
    programs = {framework: load(name, framework) for framework in ("torch", "mynn")}
    first = programs["torch"].networks()
    seconds: dict[str, list[float]] = {framework: [] for framework in programs}
    losses = {}
    for _ in range(rounds):
        for framework, program in programs.items():
            networks = program.networks()
            copy_weights(first, networks)
            start = time.perf_counter()
            losses[framework] = np.array(program.train(networks, steps), dtype=float)
            seconds[framework].append(time.perf_counter() - start)
    scale = np.maximum(np.abs(losses["torch"]), 0.1)
    found = {framework: median(each) for framework, each in seconds.items()}
    return {**found, "difference": float(np.max(np.abs(losses["torch"] - losses["mynn"]) / scale))}


def main() -> None:
    """Print a line for each program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=PROGRAMS, metavar="NAME")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()

    import torch

    torch.set_num_threads(1)
    ratios = []
    print(f"{'':18}{'PyTorch':>10}{'mynn':>10}{'faster':>9}  losses differ by")
    for name in given.names:
        row = compare(name, given.steps, given.rounds)
        ratios.append(row["torch"] / row["mynn"])
        print(
            f"{name:18}{row['torch']:8.3f} s{row['mynn']:8.3f} s{ratios[-1]:8.2f}x"
            f"  {row['difference']:.1e}",
            flush=True,
        )
    print(f"median {median(ratios):.2f}x")


if __name__ == "__main__":
    main()
