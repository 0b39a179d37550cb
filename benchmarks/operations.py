"""Single operations, compiled, beside PyTorch at once: `python -m benchmarks.operations`.

Pointwise functions, reductions, scans, sorts, gathers and scatters of float32 values, one thread,
sizes of 10^3 to 10^6. Blocks of both by turns, of which the fastest counts. Writes
build/operations.json, prints a table, and says which are behind.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

import mynn
from benchmarks.process import ROOT, keep_to

SIZES = (1_000, 10_000, 100_000, 1_000_000)
BEHIND = 0.8

# Of values [N]; of values and places [N]. The same text for both toolboxes.
OF_VALUES: dict[str, Callable[[Any], Any]] = {
    "x + 1": lambda x: x + 1,
    "x * x": lambda x: x * x,
    "exp": lambda x: x.exp(),
    "tanh": lambda x: x.tanh(),
    "sigmoid": lambda x: x.sigmoid(),
    "relu": lambda x: x.relu(),
    "sum": lambda x: x.sum(),
    "mean": lambda x: x.mean(),
    "amax": lambda x: x.amax(),
    "argmax": lambda x: x.argmax(),
    "var": lambda x: x.var(),
    "cumsum": lambda x: x.cumsum(0),
    "cumprod": lambda x: x.cumprod(0),
    "cummax": lambda x: x.cummax(0)[0],
    "sort": lambda x: x.sort()[0],
    "sort, stable": lambda x: x.sort(stable=True)[0],
    "argsort": lambda x: x.argsort(),
    "topk, 10": lambda x: x.topk(10)[0],
    "x % 0.3": lambda x: x % 0.3,
    "x // 0.3": lambda x: x // 0.3,
    "int": lambda x: x.int(),
    "repeat": lambda x: x.repeat(2),
    "masked_fill": lambda x: x.masked_fill(x > 0, 0.0),
    "roll": lambda x: x.roll(7),
    "flip": lambda x: x.flip(0),
}
WITH_PLACES: dict[str, Callable[[Any, Any], Any]] = {
    "gather": lambda x, i: x.gather(0, i),
    "index_select": lambda x, i: x.index_select(0, i),
    "scatter": lambda x, i: x.scatter(0, i, x),
    "scatter_add": lambda x, i: x.scatter_add(0, i, x),
    "index_add": lambda x, i: x.index_add(0, i, x),
}
OPERATIONS: dict[str, Callable[..., Any]] = {**OF_VALUES, **WITH_PLACES}


@dataclass(frozen=True)
class Row:
    """An operation of one size, in microseconds a call."""

    name: str
    size: int
    ours_us: float
    torch_us: float

    @property
    def ratio(self) -> float:
        """How many times as fast as PyTorch."""
        return self.torch_us / self.ours_us


def _block(call: Callable[[], Any], calls: int) -> float:
    start = perf_counter()
    for _ in range(calls):
        call()
    return (perf_counter() - start) / calls


def measure(name: str, size: int, rounds: int, block: float) -> Row:
    """The fastest of some blocks of at least `block` seconds, ours and PyTorch's by turns."""
    import torch

    rng = np.random.default_rng(0)
    x, i = rng.normal(size=size).astype(np.float32), rng.integers(0, size, size)
    operation = OPERATIONS[name]
    compiled = mynn.compile(operation, threads=1)
    arrays = (x, i) if name in WITH_PLACES else (x,)
    tensors = [torch.from_numpy(array) for array in arrays]
    pairs: list[Callable[[], Any]] = [lambda: compiled(*arrays), lambda: operation(*tensors)]
    with torch.no_grad():
        for call in pairs:
            call()
        counts = [max(1, int(block / _block(call, 1))) for call in pairs]
        times = [
            [_block(call, n) for call, n in zip(pairs, counts, strict=True)] for _ in range(rounds)
        ]
    ours, theirs = (1e6 * min(column) for column in zip(*times, strict=True))
    return Row(name, size, ours, theirs)


def table(rows: Sequence[Row]) -> str:
    """How many times as fast as PyTorch, an operation a line, a size a column."""
    sizes = sorted({row.size for row in rows})
    found = {(row.name, row.size): row for row in rows}
    lines = [f"{'x PyTorch':18}" + "".join(f"{size:>10}" for size in sizes)]
    for name in dict.fromkeys(row.name for row in rows):
        lines.append(f"{name:18}" + "".join(f"{found[name, n].ratio:10.2f}" for n in sizes))
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operations", description=__doc__)
    parser.add_argument("--names", default="", help=f"only these of {', '.join(OPERATIONS)}")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--block-ms", type=float, default=5)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "operations.json")
    return parser.parse_args()


def main() -> int:
    """Measure everything, write the JSON, print the table."""
    arguments = _arguments()
    keep_to(1)
    import torch

    torch.set_num_threads(1)
    names = arguments.names.split(",") if arguments.names else list(OPERATIONS)
    rows = [
        measure(name, int(size), arguments.rounds, arguments.block_ms / 1000)
        for name in names
        for size in arguments.sizes.split(",")
    ]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    print(table(rows))
    print(f"median {statistics.median(row.ratio for row in rows):.2f} x PyTorch")
    behind = [row for row in rows if row.ratio < BEHIND]
    for row in behind:
        print(f"behind: {row.name} of {row.size}: {row.ours_us:.1f} us, PyTorch {row.torch_us:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
