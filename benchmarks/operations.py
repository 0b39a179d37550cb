"""Single operations, compiled, beside PyTorch at once: `python -m benchmarks.operations`.

Pointwise functions, reductions, scans, sorts, gathers, scatters, products, windows and what else
programs are made of, on float32 values, one thread, sizes of 10^3 to 10^6. Blocks of both by turns,
of which the fastest counts. Writes build/operations.json, prints a table, says which are behind.
"""

from __future__ import annotations

import argparse
import functools
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
from mynn.core.types import Array

SIZES = (1_000, 10_000, 100_000, 1_000_000)
BEHIND = 0.8
# Extents of a row, of an image's side, of a signal; channels.
WIDTH, SIDE, LENGTH, CHANNELS = 64, 16, 128, 8


def _values(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(size=shape).astype(np.float32)


# What operations work on: about so many values, and places among them.
def _vector(rng: np.random.Generator, size: int) -> list[Array]:
    return [_values(rng, size)]


def _places(rng: np.random.Generator, size: int) -> list[Array]:
    return [_values(rng, size), rng.integers(0, size, size)]


def _rows(rng: np.random.Generator, size: int) -> list[Array]:
    return [_values(rng, size // WIDTH, WIDTH)]


def _labels(rng: np.random.Generator, size: int) -> list[Array]:
    rows = size // WIDTH
    return [_values(rng, rows, WIDTH), rng.integers(0, WIDTH, rows)]


def _table(rng: np.random.Generator, size: int) -> list[Array]:
    return [_values(rng, 1000, WIDTH), rng.integers(0, 1000, size // WIDTH)]


def _square(rng: np.random.Generator, size: int) -> list[Array]:
    return [_values(rng, int(size**0.5), int(size**0.5))]


def _product(rng: np.random.Generator, size: int) -> list[Array]:
    """Of odd extents, which fill no vector."""
    return [_values(rng, size // WIDTH, WIDTH), _values(rng, WIDTH, 37)]


def _stacks(rng: np.random.Generator, size: int) -> list[Array]:
    stacks = size // 250
    return [_values(rng, stacks, 10, 25), _values(rng, stacks, 25, 10)]


def _signals(rng: np.random.Generator, size: int) -> list[Array]:
    return [_values(rng, max(1, size // (CHANNELS * LENGTH)), CHANNELS, LENGTH)]


def _images(rng: np.random.Generator, size: int) -> list[Array]:
    return [_values(rng, max(1, size // (CHANNELS * SIDE * SIDE)), CHANNELS, SIDE, SIDE)]


Inputs = Callable[[np.random.Generator, int], list[Array]]
# The same text for both toolboxes, of which a function gets the one, and its arrays.
OPERATIONS: dict[str, tuple[Inputs, Callable[..., Any]]] = {
    "x + 1": (_vector, lambda m, x: x + 1),
    "x * x": (_vector, lambda m, x: x * x),
    "exp": (_vector, lambda m, x: x.exp()),
    "tanh": (_vector, lambda m, x: x.tanh()),
    "sigmoid": (_vector, lambda m, x: x.sigmoid()),
    "relu": (_vector, lambda m, x: x.relu()),
    "sum": (_vector, lambda m, x: x.sum()),
    "mean": (_vector, lambda m, x: x.mean()),
    "amax": (_vector, lambda m, x: x.amax()),
    "argmax": (_vector, lambda m, x: x.argmax()),
    "var": (_vector, lambda m, x: x.var()),
    "std": (_vector, lambda m, x: x.std()),
    "norm": (_vector, lambda m, x: x.norm()),
    "logsumexp": (_vector, lambda m, x: x.logsumexp(0)),
    "softmax": (_vector, lambda m, x: x.softmax(0)),
    "cumsum": (_vector, lambda m, x: x.cumsum(0)),
    "cumprod": (_vector, lambda m, x: x.cumprod(0)),
    "cummax": (_vector, lambda m, x: x.cummax(0)[0]),
    "logcumsumexp": (_vector, lambda m, x: x.logcumsumexp(0)),
    "sort": (_vector, lambda m, x: x.sort()[0]),
    "sort, stable": (_vector, lambda m, x: x.sort(stable=True)[0]),
    "sort, descending": (_vector, lambda m, x: x.sort(descending=True)[0]),
    "argsort": (_vector, lambda m, x: x.argsort()),
    "topk, 10": (_vector, lambda m, x: x.topk(10)[0]),
    "median": (_vector, lambda m, x: x.median()),
    "x % 0.3": (_vector, lambda m, x: x % 0.3),
    "x // 0.3": (_vector, lambda m, x: x // 0.3),
    "int": (_vector, lambda m, x: x.int()),
    "long": (_vector, lambda m, x: x.long()),
    "repeat": (_vector, lambda m, x: x.repeat(2)),
    "clamp": (_vector, lambda m, x: x.clamp(-0.5, 0.5)),
    "where": (_vector, lambda m, x: m.where(x > 0, x, x * 0.1)),
    "masked_fill": (_vector, lambda m, x: x.masked_fill(x > 0, 0.0)),
    "roll": (_vector, lambda m, x: x.roll(7)),
    "flip": (_vector, lambda m, x: x.flip(0)),
    "pad": (_vector, lambda m, x: m.nn.functional.pad(x, (3, 4))),
    "cat": (_vector, lambda m, x: m.cat([x, x, x])),
    "stack": (_vector, lambda m, x: m.stack([x, x], 1)),
    "gather": (_places, lambda m, x, i: x.gather(0, i)),
    "index_select": (_places, lambda m, x, i: x.index_select(0, i)),
    "scatter": (_places, lambda m, x, i: x.scatter(0, i, x)),
    "scatter_add": (_places, lambda m, x, i: x.scatter_add(0, i, x)),
    "index_add": (_places, lambda m, x, i: x.index_add(0, i, x)),
    "rows: softmax": (_rows, lambda m, x: x.softmax(-1)),
    "rows: log_softmax": (_rows, lambda m, x: x.log_softmax(-1)),
    "rows: logsumexp": (_rows, lambda m, x: x.logsumexp(-1)),
    "rows: sum": (_rows, lambda m, x: x.sum(-1)),
    "columns: sum": (_rows, lambda m, x: x.sum(0)),
    "rows: var": (_rows, lambda m, x: x.var(-1)),
    "rows: norm": (_rows, lambda m, x: x.norm(dim=-1)),
    "rows: argmax": (_rows, lambda m, x: x.argmax(-1)),
    "rows: cumsum": (_rows, lambda m, x: x.cumsum(-1)),
    "columns: cumsum": (_rows, lambda m, x: x.cumsum(0)),
    "rows: sort": (_rows, lambda m, x: x.sort(-1)[0]),
    "rows: topk, 5": (_rows, lambda m, x: x.topk(5, -1)[0]),
    "rows: roll": (_rows, lambda m, x: x.roll(7, -1)),
    "rows: flip": (_rows, lambda m, x: x.flip(-1)),
    "rows: pad": (_rows, lambda m, x: m.nn.functional.pad(x, (1, 2))),
    "rows: cat": (_rows, lambda m, x: m.cat([x, x], -1)),
    "rows: split": (_rows, lambda m, x: [part + 1 for part in x.split(10, -1)]),
    "rows: transpose": (_rows, lambda m, x: x.T.contiguous()),
    "rows: gather": (_labels, lambda m, x, t: x.gather(1, t.unsqueeze(1))),
    "rows: layer_norm": (_rows, lambda m, x: m.nn.functional.layer_norm(x, (WIDTH,))),
    "rows: batch_norm": (
        _rows,
        lambda m, x: m.nn.functional.batch_norm(x, None, None, training=True),
    ),
    "cross_entropy": (_labels, lambda m, x, t: m.nn.functional.cross_entropy(x, t)),
    "one_hot": (_labels, lambda m, x, t: m.nn.functional.one_hot(t, WIDTH)),
    "embedding": (_table, lambda m, x, t: m.nn.functional.embedding(t, x)),
    "tril": (_square, lambda m, x: x.tril()),
    "triu": (_square, lambda m, x: x.triu(1)),
    "matmul": (_product, lambda m, x, w: x @ w),
    "einsum, ij,jk->ki": (_product, lambda m, x, w: m.einsum("ij,jk->ki", x, w)),
    "bmm": (_stacks, lambda m, x, y: m.bmm(x, y)),
    "einsum, bij,bjk->bk": (_stacks, lambda m, x, y: m.einsum("bij,bjk->bk", x, y)),
    "einsum, bij,bji->b": (_stacks, lambda m, x, y: m.einsum("bij,bji->b", x, y)),
    "avg_pool1d": (_signals, lambda m, x: m.nn.functional.avg_pool1d(x, 5)),
    "max_pool2d": (_images, lambda m, x: m.nn.functional.max_pool2d(x, 2)),
    "avg_pool2d": (_images, lambda m, x: m.nn.functional.avg_pool2d(x, 2)),
    "interpolate, nearest": (
        _images,
        lambda m, x: m.nn.functional.interpolate(x, scale_factor=2),
    ),
    "interpolate, bilinear": (
        _images,
        lambda m, x: m.nn.functional.interpolate(x, scale_factor=2, mode="bilinear"),
    ),
    "conv1d": (
        _signals,
        lambda m, x: m.nn.functional.conv1d(x, x[0, :, :24].reshape(8, 8, 3), padding=1),
    ),
    "conv2d": (
        _images,
        lambda m, x: m.nn.functional.conv2d(x, x[0, :, :9, :8].reshape(8, 8, 3, 3), padding=1),
    ),
}


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

    inputs, operation = OPERATIONS[name]
    arrays = inputs(np.random.default_rng(0), size)
    compiled = mynn.compile(functools.partial(operation, mynn), threads=1)
    tensors = [torch.from_numpy(array) for array in arrays]
    pairs: list[Callable[[], Any]] = [
        lambda: compiled(*arrays),
        lambda: operation(torch, *tensors),
    ]
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
    lines = [f"{'x PyTorch':22}" + "".join(f"{size:>10}" for size in sizes)]
    for name in dict.fromkeys(row.name for row in rows):
        lines.append(f"{name:22}" + "".join(f"{found[name, n].ratio:10.2f}" for n in sizes))
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operations", description=__doc__)
    parser.add_argument("--names", default="", help=f"only these of {' / '.join(OPERATIONS)}")
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
    names = arguments.names.split("/") if arguments.names else list(OPERATIONS)
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
