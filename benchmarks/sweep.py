"""Ours over widths and batches: `python -m benchmarks.sweep`.

Training steps of the networks w-w-w-10 (relu, cross-entropy, SGD with momentum) on one thread.
Writes build/sweep.json and docs/figures/sweep.png, and checks that no step takes more than 1.5
times its smaller neighbour's time per operation.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter

from benchmarks import limits
from benchmarks.ours import Trainer
from benchmarks.process import ROOT, keep_to
from benchmarks.works import Work

WIDTHS = (8, 9, 12, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 96, 127, 128, 129, 192, 255, 256)
BATCHES = (1, 2, 4, 8, 15, 16, 32, 33, 64, 128, 256, 512)
SAMPLES = 512  # at least; an epoch is as many whole batches
JUMP = 1.5
PATIENCE = 150  # seconds, after which nothing is measured again
TRIES = 3  # what seems to jump is measured again: other processes may have been at work
FIGURE = ROOT / "docs" / "figures" / "sweep.png"


@dataclass(frozen=True)
class Point:
    """A training step of one width and batch."""

    width: int
    batch: int
    operations: int
    us: float
    share: float  # of the arithmetic limit

    @property
    def per_operation(self) -> float:
        """Microseconds of one operation."""
        return self.us / self.operations


def work_of(width: int, batch: int) -> Work:
    """The network w-w-w-10."""
    samples = -(-SAMPLES // batch) * batch
    sizes = (width, width, width, 10)
    return Work(f"{width}x{batch}", sizes, "relu", "cross-entropy", batch, samples, 1e-4, 0.9)


def measure(width: int, batch: int, peak: float, block: float, blocks: int) -> Point:
    """The fastest of some blocks of at least `block` seconds."""
    work = work_of(width, batch)
    trainer = Trainer(work)
    trainer.train(1)
    epochs, best, measured = 1, float("inf"), 0
    while measured < blocks:
        start = perf_counter()
        trainer.train(epochs)
        seconds = perf_counter() - start
        if seconds < block:
            epochs = max(2 * epochs, int(1.1 * epochs * block / seconds))
            continue
        best = min(best, seconds / epochs / work.steps)
        measured += 1
    count = limits.operations(work)
    return Point(width, batch, count, 1e6 * best, limits.limit_us(work, peak) / (1e6 * best))


def neighbours(points: Sequence[Point]) -> Iterator[tuple[Point, Point]]:
    """Each point with the next wider one, and with that of the next larger batch."""
    for fixed, moving in (("batch", "width"), ("width", "batch")):
        lines: dict[int, list[Point]] = {}
        for point in points:
            lines.setdefault(getattr(point, fixed), []).append(point)
        for line in lines.values():
            yield from pairwise(sorted(line, key=lambda point: getattr(point, moving)))


def jumps(points: Sequence[Point]) -> list[tuple[Point, Point]]:
    """The neighbours of which the larger takes more than `JUMP` times the time per operation."""
    return [
        (small, large)
        for small, large in neighbours(points)
        if large.per_operation > JUMP * small.per_operation
    ]


def draw(points: Sequence[Point], path: Path) -> None:
    """The share of the limit for every point, and the time per operation over the widths."""
    from matplotlib.figure import Figure

    widths = sorted({point.width for point in points})
    batches = sorted({point.batch for point in points})
    table = {(point.width, point.batch): point for point in points}
    figure = Figure(figsize=(12, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    shares = [[100 * table[w, b].share for w in widths] for b in batches]
    image = left.imshow(shares, origin="lower", aspect="auto", vmin=0, vmax=100, cmap="viridis")
    left.set_xticks(range(len(widths)), [str(w) for w in widths], rotation=90)
    left.set_yticks(range(len(batches)), [str(b) for b in batches])
    left.set(xlabel="width w", ylabel="batch", title="share of the arithmetic limit, %")
    figure.colorbar(image, ax=left)
    for batch in batches:
        times = [1e6 * table[w, batch].per_operation for w in widths]
        shade = batches.index(batch) / max(1, len(batches) - 1)
        right.plot(widths, times, ".-", label=str(batch), color=image.cmap(0.9 * shade))
    right.set(xlabel="width w", ylabel="picoseconds per operation", xscale="log", yscale="log")
    right.set_title("a training step of w-w-w-10, one thread")
    right.legend(title="batch", fontsize="small", ncols=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__)
    parser.add_argument("--widths", type=_numbers, default=WIDTHS)
    parser.add_argument("--batches", type=_numbers, default=BATCHES)
    parser.add_argument("--block-ms", type=float, default=10, help="least length of a block")
    parser.add_argument("--blocks", type=int, default=5, help="of each point; the fastest counts")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "sweep.json")
    parser.add_argument("--figure", type=Path, default=FIGURE)
    return parser.parse_args()


def main() -> int:
    """Measure all points, write and draw them; 1 where one jumps."""
    arguments = _arguments()
    start = perf_counter()
    keep_to(1)
    peak = limits.peak()

    def at(width: int, batch: int) -> Point:
        return measure(width, batch, peak, arguments.block_ms / 1000, arguments.blocks)

    points = {(w, b): at(w, b) for w in arguments.widths for b in arguments.batches}
    for _ in range(TRIES):
        suspects = {(p.width, p.batch) for pair in jumps(list(points.values())) for p in pair}
        for place in suspects:
            if perf_counter() - start > PATIENCE:
                break
            points[place] = min(points[place], at(*place), key=lambda point: point.us)
    made = list(points.values())
    found = jumps(made)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps([asdict(point) for point in made], indent=2) + "\n")
    draw(made, arguments.figure)
    worst = max((b.per_operation / a.per_operation for a, b in neighbours(made)), default=0.0)
    print(f"{len(made)} steps; from one to its larger neighbour, time per operation x{worst:.2f}")
    for small, large in found:
        ratio = large.per_operation / small.per_operation
        print(
            f"width {small.width} batch {small.batch} -> {large.width}, {large.batch}: {ratio:.2f}"
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
