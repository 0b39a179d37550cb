"""A network that solves u'' = -u, u(0) = 0, u'(0) = 1: `python -m examples.second_derivatives`.

The solution is sin x. The trial function u(x) = x + x^2 net(x) has the right values at 0 whatever
the network; training makes u'' + u small on [0, 3]. A gradient is more graph, so u'' is two
gradients, and the loss that holds it is differentiated once more by `backward`.
"""

from __future__ import annotations

import numpy as np

import mynn
from mynn import nn, optim


def main() -> None:
    """Train, print the error."""
    mynn.manual_seed(0)
    net = nn.Sequential(nn.Linear(1, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = optim.Adam(net.parameters(), lr=2e-3)

    def u(x: mynn.Tensor) -> mynn.Tensor:
        return x + x * x * net(x)

    du = mynn.grad(lambda x: u(x).sum())
    d2u = mynn.grad(lambda x: du(x).sum())

    def step(x: mynn.Tensor) -> mynn.Tensor:
        loss = ((d2u(x) + u(x)) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    x = np.linspace(0, 3, 256, dtype=np.float32)[:, None]
    history = mynn.fit(step, x, epochs=2000, batch_size=32, seed=0)
    print(history)
    print(f"largest error on [0, 3]: {np.abs(mynn.predict(u, x) - np.sin(x)).max():.4f}")


if __name__ == "__main__":
    main()
