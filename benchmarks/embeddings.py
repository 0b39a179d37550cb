"""Steps that train a table of vectors, beside PyTorch's: `python -m benchmarks.embeddings`.

A table of 100,000 x 32, batches of 256 rows, one thread. Ours is compiled, PyTorch's runs at once,
with a sparse gradient and with a dense one. Blocks of all three by turns, of which the fastest
counts. Writes build/embeddings.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import mynn
from benchmarks.process import ROOT, keep_to

ROWS, COLUMNS, BATCH = 100_000, 32, 256
# Of each optimiser: for sparse gradients, for dense ones, the rate.
OPTIMIZERS = {
    "SGD": ("SGD", "SGD", 0.1),
    "Adagrad": ("Adagrad", "Adagrad", 0.1),
    "Adam": ("SparseAdam", "Adam", 0.001),
}


def step_of(torch: Any, optimizer: str, rate: float, sparse: bool) -> Callable[[Any, Any], Any]:
    """A training step, the same text for both toolboxes."""
    table = torch.nn.Embedding(ROWS, COLUMNS, sparse=sparse)
    update = getattr(torch.optim, optimizer)(table.parameters(), lr=rate)

    def step(index: Any, target: Any) -> Any:
        update.zero_grad()
        loss = ((table(index) - target) ** 2).mean()
        loss.backward()
        update.step()
        return loss

    return step


def _block(step: Callable[..., Any], batches: list[Any], seconds: float) -> float:
    start, done = perf_counter(), 0
    while perf_counter() - start < seconds:
        step(*batches[done % len(batches)])
        done += 1
    return (perf_counter() - start) / done


def measure(name: str, rounds: int, seconds: float) -> dict[str, float]:
    """Microseconds a step: ours with `sparse` and without, PyTorch's too."""
    import torch

    sparse, dense, rate = OPTIMIZERS[name]
    rng = np.random.default_rng(0)
    arrays = [
        (rng.integers(0, ROWS, BATCH), rng.normal(size=(BATCH, COLUMNS)).astype(np.float32))
        for _ in range(64)
    ]
    tensors = [tuple(torch.from_numpy(array) for array in pair) for pair in arrays]
    steps: dict[str, tuple[Callable[..., Any], list[Any]]] = {
        "ours": (mynn.compile(step_of(mynn, sparse, rate, True), threads=1), arrays),
        "ours, by itself": (mynn.compile(step_of(mynn, dense, rate, False), threads=1), arrays),
        "torch sparse": (step_of(torch, sparse, rate, True), tensors),
        "torch dense": (step_of(torch, dense, rate, False), tensors),
    }
    best = dict.fromkeys(steps, float("inf"))
    for number in range(rounds + 1):
        for kind, (step, batches) in steps.items():
            taken = 1e6 * _block(step, batches, seconds)
            best[kind] = min(best[kind], taken) if number else best[kind]
    return best


def main() -> int:
    """Measure everything, write the JSON, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embeddings", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--block-ms", type=float, default=100)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "embeddings.json")
    arguments = parser.parse_args()
    keep_to(1)
    import torch

    torch.set_num_threads(1)
    found = {
        name: measure(name, arguments.rounds, arguments.block_ms / 1000) for name in OPTIMIZERS
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(found, indent=2) + "\n")
    print(f"{'us a step':10}" + "".join(f"{kind:>17}" for kind in found["SGD"]))
    for name, row in found.items():
        print(f"{name:10}" + "".join(f"{us:17.1f}" for us in row.values()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
