"""What the examples share: a training written once, run by mynn and by PyTorch; pictures.

`torch` is either library in an example's functions: `import torch`, or `import mynn as torch`.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Step = Callable[..., Any]


def options(about: str | None, epochs: int, fetch: bool = False) -> argparse.ArgumentParser:
    """`--library`, `--epochs`, `--picture`; `--fetch` where an example gets its data itself."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--library", choices=["mynn", "torch"], default="mynn")
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--picture", type=Path, help="where to draw what came out (matplotlib)")
    if fetch:
        parser.add_argument("--fetch", action="store_true", help="get the data")
    return parser


def library(name: str) -> Any:
    """The library, with its random numbers at their start; PyTorch with as many threads as mynn."""
    torch = importlib.import_module(name)
    torch.manual_seed(0)
    if name == "torch":
        torch.set_num_threads(1)
    return torch


def train(
    torch: Any, step: Step, data: tuple[Any, ...], epochs: int, batch_size: int, seed: int = 0
) -> tuple[list[float], float]:
    """The mean loss of each epoch, and the seconds that it took, compilation included.

    mynn runs all of it in its native loop; PyTorch has the loop that people write, over tensors
    that stand in memory.
    """
    start = time.perf_counter()
    if torch.__name__ == "mynn":
        given = {"epochs": epochs, "batch_size": batch_size, "seed": seed, "verbose": False}
        losses = torch.fit(torch.compile(step, threads=1), data, **given)["loss"].tolist()
    else:
        tensors, losses = [torch.from_numpy(np.array(one)) for one in data], []
        draw = np.random.default_rng(seed)
        for _ in range(epochs):
            rows = torch.from_numpy(draw.permutation(len(tensors[0])))
            total = 0.0
            for batch in rows.split(batch_size):
                total += step(*(one[batch] for one in tensors)).item() * len(batch)
            losses.append(total / len(rows))
    return losses, time.perf_counter() - start


def descend(
    torch: Any, net: Any, optimizer: Any, loss_of: Step, clip: float = 0.0, schedule: Any = None
) -> Step:
    """A step of training: the gradient of a loss, clipped by its norm where that is asked for, the
    optimiser's update, and a step of a schedule of the learning rate.
    """

    def step(*batch: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_of(*batch)
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        if schedule is not None:
            schedule.step()
        return loss

    return step


def predict(torch: Any, function: Step, *arrays: np.ndarray) -> np.ndarray:
    """What a network or a function gives for all rows of arrays."""
    if torch.__name__ == "mynn":
        data = arrays[0] if len(arrays) == 1 else arrays
        return np.asarray(torch.predict(function, data))
    with torch.no_grad():
        return np.asarray(function(*(torch.from_numpy(np.array(one)) for one in arrays)))


def loop(torch: Any, body: Callable[[Any, Any], Any], carry: Any, xs: Any) -> tuple[Any, Any]:
    """`mynn.scan`, and for PyTorch the same as a loop of Python: c, y[t] = body(c, x[t])."""
    if torch.__name__ == "mynn":
        return torch.scan(body, carry, xs)
    found = []
    for x in xs:
        carry, y = body(carry, x)
        found.append(y)
    return carry, torch.stack(found)


def figure(columns: int, rows: int = 1, width: float = 4.0, height: float = 3.2) -> Any:
    """An empty picture, and its panels."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width * columns, height * rows), layout="constrained", dpi=80)
    panels = drawn.subplots(rows, columns, squeeze=False)
    for panel in panels.flat:
        panel.spines[["top", "right"]].set_visible(False)
    return drawn, panels


def save(drawn: Any, path: Path) -> None:
    """Write a picture, always the same bytes for the same picture."""
    drawn.savefig(path, metadata={"Software": None})
    print(f"drawn: {path}")
