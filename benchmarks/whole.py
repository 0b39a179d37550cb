"""What a training costs with all that belongs to one, beside the same network's plain training.

W3 (16-64-64-4 relu, batches of 32 of 4096 samples). `plain` is SGD with momentum; `whole` is Adam,
gradients clipped by their norm, dropout, a one-cycle schedule, accuracy, and validation on 1024
samples after each epoch. Both are `fit` on one thread. Blocks of the two alternate; medians.

    python -m benchmarks.whole
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SAMPLES, BATCH, EPOCHS, ROUNDS = 4096, 32, 40, 9
PARTS = ("adam", "clip", "dropout", "schedule", "metrics", "validation")


def training(parts: frozenset[str]) -> Callable[[], float]:
    """Runs a block of epochs, and returns the microseconds of a step."""
    import mynn
    from mynn import nn, optim
    from mynn.nn.utils import clip_grad_norm_
    from mynn.optim.lr_scheduler import OneCycleLR

    mynn.manual_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES + 1024, 16)).astype(np.float32)
    t = (x @ rng.normal(size=(16, 4))).argmax(1)
    drop = [nn.Dropout(0.1)] if "dropout" in parts else []
    net = nn.Sequential(
        nn.Linear(16, 64), nn.ReLU(), *drop, nn.Linear(64, 64), nn.ReLU(), *drop, nn.Linear(64, 4)
    )
    optimizer: Any = optim.SGD(net.parameters(), lr=0.02, momentum=0.9)
    if "adam" in parts:
        optimizer = optim.Adam(net.parameters(), lr=1e-3)
    steps = SAMPLES // BATCH * EPOCHS * (ROUNDS + 2)
    schedule = OneCycleLR(optimizer, 1e-2, total_steps=steps) if "schedule" in parts else None

    def step(x: Any, t: Any) -> Any:
        y = net(x)
        loss = nn.functional.cross_entropy(y, t)
        optimizer.zero_grad()
        loss.backward()
        if "clip" in parts:
            clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        if schedule is not None:
            schedule.step()
        return {"loss": loss, "y": y, "t": t} if "metrics" in parts else loss

    def validate(x: Any, t: Any) -> Any:
        y = net(x)
        return {
            "loss": nn.functional.cross_entropy(y, t),
            "accuracy": (y.argmax(1) == t).float().mean(),
        }

    def metric_step(x: Any, t: Any) -> Any:
        found = step(x, t)
        if isinstance(found, dict):
            accuracy = (found["y"].argmax(1) == found["t"]).float().mean()
            return {"loss": found["loss"], "accuracy": accuracy}
        return found

    options: dict[str, Any] = {}
    if "validation" in parts:
        options = {"validate": validate, "validation_data": (x[SAMPLES:], t[SAMPLES:])}

    def block() -> float:
        start = time.perf_counter()
        mynn.fit(
            metric_step,
            (x[:SAMPLES], t[:SAMPLES]),
            epochs=EPOCHS,
            batch_size=BATCH,
            shuffle=False,
            verbose=False,
            **options,
        )
        return (time.perf_counter() - start) * 1e6 / (EPOCHS * SAMPLES // BATCH)

    block()
    return block


def main() -> None:
    """Print a row for plain, for each part alone, and for all of them."""
    os.environ.setdefault("MYNN_THREADS", "1")
    rows = {
        "plain": frozenset[str](),
        **{part: frozenset({part}) for part in PARTS},
        "whole": frozenset(PARTS),
    }
    blocks = {name: training(parts) for name, parts in rows.items()}
    times: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(ROUNDS):
        for name, block in blocks.items():
            times[name].append(block())
    found = {name: statistics.median(one) for name, one in times.items()}
    for name, took in found.items():
        print(f"{name:12} {took:8.2f} us a step   {took / found['plain']:.2f}x")
    Path("build").mkdir(exist_ok=True)
    Path("build/whole.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
