"""A network whose layers are all alike, which trains natively or interpreted."""

from __future__ import annotations

from typing import Any

import numpy as np

import mynn
from mynn import nn, optim


def train_deep(layers: int, threads: int, backend: str) -> list[float]:
    """The loss of each epoch."""
    mynn.manual_seed(0)
    net = nn.Sequential(*[part for _ in range(layers) for part in (nn.Linear(9, 9), nn.Tanh())])
    optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    @mynn.compile(threads=threads, backend=backend)
    def step(x: Any, t: Any) -> Any:
        loss = ((net(x) - t) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    x = np.random.default_rng(1).standard_normal((64, 9)).astype(np.float32)
    return mynn.fit(step, (x, x), epochs=3, batch_size=16, verbose=False)["loss"]
