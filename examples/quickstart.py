"""Points inside and outside of a circle, told apart: `python -m examples.quickstart`."""

from __future__ import annotations

import numpy as np

import mynn
from mynn import nn, optim


def main() -> None:
    """Train in native code, print what was reached and what it was reached with."""
    x = np.random.default_rng(0).random((1000, 2), np.float32)
    t = (np.hypot(*x.T) < 0.5).astype(np.int64)
    mynn.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 25), nn.Tanh(), nn.Linear(25, 2))
    optimizer, criterion = optim.Adam(net.parameters(), lr=0.01), nn.CrossEntropyLoss()

    @mynn.compile
    def step(x: mynn.Tensor, t: mynn.Tensor) -> mynn.Tensor:
        loss = criterion(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    history = mynn.fit(step, (x, t), epochs=100, seed=0)
    print(history)
    print("right:", (mynn.predict(net, x).argmax(axis=1) == t).mean())
    print(step.program(x[:32], t[:32]))


if __name__ == "__main__":
    main()
