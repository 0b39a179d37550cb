"""What `fit` over an iterable takes beyond the compiled call: `python -m benchmarks.streams`.

The step of W3 (16-64-64-4, batches of 32). A loop that calls the compiled step, and `fit` over a
list of the same batches, by turns; the medians of the rounds, in microseconds a batch.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from time import perf_counter
from typing import Any

import numpy as np

import mynn
from benchmarks.process import keep_to
from mynn import nn, optim

BATCHES, ROUNDS = 4000, 9


class Batches:
    """The same batches in every epoch."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.batches = [
            (
                rng.normal(size=(32, 16)).astype(np.float32),
                rng.normal(size=(32, 4)).astype(np.float32),
            )
            for _ in range(BATCHES)
        ]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def main() -> int:
    """Measure and print."""
    keep_to(1)
    net = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
    net.append(nn.Linear(64, 4))
    optimizer = optim.SGD(net.parameters(), lr=0.01, momentum=0.9)

    @mynn.compile(threads=1)
    def step(x: Any, t: Any) -> Any:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    data = Batches()

    def loop() -> None:
        for batch in data:
            step(*batch)

    def fitted() -> None:
        mynn.fit(step, data, verbose=False)

    times: dict[str, list[float]] = {"loop": [], "fit": []}
    for number in range(ROUNDS + 1):
        for name, run in (("loop", loop), ("fit", fitted)):
            start = perf_counter()
            run()
            if number:
                times[name].append(1e6 * (perf_counter() - start) / BATCHES)
    a, b = (statistics.median(times[name]) for name in ("loop", "fit"))
    print(f"compiled call {a:.1f} us, fit {b:.1f} us a batch: {b - a:+.1f} us")
    return 0


if __name__ == "__main__":
    sys.exit(main())
