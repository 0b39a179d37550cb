"""Watch a deep network learn: `python -m examples.record`.

Records the gradient of every layer's output at four steps of one training, and prints its size
layer by layer. Sigmoids make it shrink on its way back to the input; tanh keeps it alive.
"""

from __future__ import annotations

import numpy as np

import mynn
from mynn import nn, optim

STEPS = (0, 100, 1000, 3000)


def network(activation: type[nn.Module]) -> nn.Sequential:
    """Eight layers of 16 units."""
    parts: list[nn.Module] = []
    for inputs in (2, *[16] * 7):
        parts += [nn.Linear(inputs, 16), activation()]
    return nn.Sequential(*parts, nn.Linear(16, 1))


def train(net: nn.Sequential, x: np.ndarray, t: np.ndarray) -> mynn.History:
    """One training of 4000 steps that records the gradients of the layers."""
    optimizer, criterion = optim.SGD(net.parameters(), lr=0.05), nn.BCEWithLogitsLoss()

    def step(x: mynn.Tensor, t: mynn.Tensor) -> mynn.Tensor:
        loss = criterion(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    layers = [str(number) for number in range(1, 16, 2)]
    record = mynn.Record(layers=layers, quantities=["gradients"], steps=STEPS)
    return mynn.fit(step, (x, t), epochs=128, seed=0, record=record)


def main() -> None:
    """Train both, print a table each."""
    x = np.random.default_rng(0).random((1000, 2), np.float32)
    t = (np.hypot(*x.T) < 0.5).astype(np.float32)[:, None]
    for activation in (nn.Sigmoid, nn.Tanh):
        mynn.manual_seed(0)
        history = train(network(activation), x, t)
        print(f"{activation.__name__}, loss {history['loss'][-1]:.3f}")
        for recorded in history.records:
            sizes = [np.abs(g).mean() for name, g in recorded.gradients.items() if "." not in name]
            print(f"  step {recorded.step:4}:", *(f"{size:8.1e}" for size in sizes))


if __name__ == "__main__":
    main()
