"""The networks of the works and of the loops, once for every library with the names of `torch.nn`.

`nn` is `mynn.nn` or `torch.nn`.
"""

from __future__ import annotations

import functools
from math import prod
from typing import Any

import numpy as np

from benchmarks.works import Array, Pool, Work

# Channels in, channels out and stride of each block of ResNet-20.
BLOCKS = (
    [(16, 16, 1)] * 3 + [(16, 32, 2), (32, 32, 1), (32, 32, 1), (32, 64, 2)] + [(64, 64, 1)] * 2
)


def sequential(nn: Any, work: Work) -> Any:
    """The network of a work."""
    parts: list[Any] = []
    for part in work.front:
        if isinstance(part, Pool):
            parts.append(nn.MaxPool2d(part.size))
        else:
            conv = nn.Conv2d(part.inputs, part.outputs, part.kernel, padding=part.padding)
            parts += [conv, nn.ReLU()]
    if work.front:
        parts.append(nn.Flatten())
    for index, (n, m) in enumerate(work.layers):
        parts.append(nn.Linear(n, m))
        if work.activated(index):
            parts.append(nn.Tanh() if work.activation == "tanh" else nn.ReLU())
    return nn.Sequential(*parts)


@functools.cache
def block(nn: Any) -> type:
    """The class of ResNet's residual blocks, as a user writes it for the library."""

    class Block(nn.Module):
        """Two convolutions, and one more where the shape changes."""

        def __init__(self, n: int, m: int, stride: int) -> None:
            super().__init__()
            self.first = nn.Conv2d(n, m, 3, stride=stride, padding=1, bias=False)
            self.first_norm = nn.BatchNorm2d(m)
            self.second = nn.Conv2d(m, m, 3, padding=1, bias=False)
            self.second_norm = nn.BatchNorm2d(m)
            self.same = n == m
            if not self.same:
                self.short = nn.Conv2d(n, m, 1, stride=stride, bias=False)
                self.short_norm = nn.BatchNorm2d(m)

        def forward(self, x: Any) -> Any:
            """N, n, H, W to N, m, H / stride, W / stride."""
            y = self.second_norm(self.second(self.first_norm(self.first(x)).relu()))
            return (y + (x if self.same else self.short_norm(self.short(x)))).relu()

    return Block


def resnet20(nn: Any) -> Any:
    """ResNet-20 of 16 channels, for images 3x32x32."""
    parts = [nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    parts += [block(nn)(*shape) for shape in BLOCKS]
    return nn.Sequential(*parts, nn.AvgPool2d(8), nn.Flatten(), nn.Linear(64, 10))


def separable(nn: Any) -> Any:
    """Convolutions in depth and in width by turns, for images 3x32x32."""
    parts = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()]
    for n, m, stride in ((16, 32, 1), (32, 64, 2), (64, 64, 1)):
        parts += [nn.Conv2d(n, n, 3, stride=stride, padding=1, groups=n), nn.ReLU()]
        parts += [nn.Conv2d(n, m, 1), nn.ReLU()]
    return nn.Sequential(*parts, nn.AvgPool2d(16), nn.Flatten(), nn.Linear(64, 10))


def strided(nn: Any) -> Any:
    """Three convolutions, each to half the width and height, for images 3x32x32."""
    parts: list[Any] = []
    for n, m in ((3, 16), (16, 32), (32, 64)):
        parts += [nn.Conv2d(n, m, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(64 * 16, 10))


def weights(net: Any, seed: int = 7) -> dict[str, Array]:
    """The parameters to start from, the same for a network of any library: random weights and
    biases, the scales of normalisations 1.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for name, parameter in net.named_parameters():
        shape = tuple(parameter.shape)
        if len(shape) == 1 and name.endswith("weight"):
            found[name] = np.ones(shape, np.float32)
        else:
            scale = np.sqrt(2 / prod(shape[1:])) if len(shape) > 1 else 0.1
            found[name] = (rng.standard_normal(shape) * scale).astype(np.float32)
    return found
