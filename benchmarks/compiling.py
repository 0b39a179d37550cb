"""Seconds from a built network to the end of its first training step, in a process of its own.

python -m benchmarks.compiling compile-tanh50 ours      or jax, which jits the same step

Nothing is at hand that was compiled before; what is measured is nearly all compilation.
"""

from __future__ import annotations

import sys
from time import perf_counter

import numpy as np

import mynn
from benchmarks.networks import BLOCKS, resnet20
from mynn import nn, optim
from mynn.nn.module import Module
from mynn.tensor import Tensor

BATCH = 32
ABOUT = {
    "compile-tanh50": "first step of 50 layers of 64 with tanh, nothing cached",
    "compile-tanh200": "first step of 200 such layers",
    "compile-resnet20": "first step of ResNet-20 (16 channels, 3x32x32)",
    "compile-convbn5": "first step of 5 convolutions of 16 channels with batch norm, 3x16x16",
}


def network(name: str) -> tuple[nn.Sequential, tuple[int, ...]]:
    """A network and the shape of a sample."""
    parts: list[Module] = []
    if name.startswith("compile-tanh"):
        for _ in range(int(name.removeprefix("compile-tanh"))):
            parts += [nn.Linear(64, 64), nn.Tanh()]
        return nn.Sequential(*parts), (64,)
    if name == "compile-resnet20":
        return resnet20(nn), (3, 32, 32)
    for layer in range(5):
        parts += [nn.Conv2d(16 if layer else 3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(16 * 16 * 16, 10)), (3, 16, 16)


def ours(name: str) -> float:
    """The first `fit`, of one step."""
    net, shape = network(name)
    optimizer = optim.SGD(net.parameters(), lr=0.01)
    labels = len(shape) > 1
    criterion = nn.CrossEntropyLoss() if labels else nn.MSELoss()
    x = np.zeros((BATCH, *shape), np.float32)
    t = np.zeros(BATCH, np.int64) if labels else np.zeros((BATCH, 64), np.float32)

    @mynn.compile(threads=1)
    def step(x: Tensor, t: Tensor) -> Tensor:
        loss: Tensor = criterion(net(x), t)
        loss.backward()
        optimizer.step()
        return loss

    start = perf_counter()
    mynn.fit(step, (x, t), epochs=1, batch_size=BATCH, verbose=False)
    return perf_counter() - start


def first_step(name: str, who: str) -> float:
    """Seconds of the first step of ours, or of JAX's twin."""
    if who == "ours":
        return ours(name)
    from benchmarks.peers import jax_compile

    return jax_compile.first_step(name, BLOCKS, BATCH)


if __name__ == "__main__":
    print(first_step(sys.argv[1], sys.argv[2]))
