"""What the workers of pools of processes are given to do; they import it by its name."""

from __future__ import annotations

from typing import Any

import numpy as np

import mynn
from mynn import nn, optim
from mynn.runtime.threads import processors


def train(seed: int) -> tuple[list[Any], int]:
    """Parameters after a short training on two threads, and how many threads "auto" may take."""
    rng = np.random.default_rng(seed)
    net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
    net.load_state_dict({k: 0.3 * rng.normal(size=v.shape) for k, v in net.state_dict().items()})
    optimizer = optim.Adam(net.parameters(), lr=0.01)

    @mynn.compile(threads=2)
    def step(x: mynn.Tensor) -> mynn.Tensor:
        loss = (net(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    x = rng.normal(size=(40, 6)).astype(np.float32)
    mynn.fit(step, x, epochs=3, batch_size=8, shuffle=False, verbose=False)
    return [*(p.numpy() for p in net.parameters()), mynn.predict(net, x)], processors()
