"""The layers that are timed alone: the output for a batch of images and all gradients.

y = layer(x);  d loss / d x and d loss / d parameters for the cotangent c of y
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Layer:
    """A layer under the names of `torch.nn`, and the images (N, C, H, W) that go through it."""

    name: str
    make: Callable[[Any], Any]
    shape: tuple[int, ...]

    @property
    def about(self) -> str:
        """The layer and its input in a few words."""
        return f"{self.name} of {'x'.join(map(str, self.shape))}, forward and backward"


IMAGES = (64, 16, 28, 28)
LAYERS = {
    "layer-maxpool": Layer("MaxPool2d(2)", lambda nn: nn.MaxPool2d(2), IMAGES),
    "layer-maxpool-overlap": Layer("MaxPool2d(3, 2, 1)", lambda nn: nn.MaxPool2d(3, 2, 1), IMAGES),
    "layer-avgpool": Layer("AvgPool2d(2)", lambda nn: nn.AvgPool2d(2), IMAGES),
    "layer-groupnorm": Layer("GroupNorm(4, 16)", lambda nn: nn.GroupNorm(4, 16), IMAGES),
    "layer-batchnorm": Layer("BatchNorm2d(16)", lambda nn: nn.BatchNorm2d(16), IMAGES),
    "layer-layernorm": Layer(
        "LayerNorm((16, 28, 28))", lambda nn: nn.LayerNorm((16, 28, 28)), IMAGES
    ),
}


def images(layer: Layer) -> np.ndarray:
    """The input of a layer."""
    return np.random.default_rng(1).normal(size=layer.shape).astype(np.float32)


def cotangent(shape: tuple[int, ...]) -> np.ndarray:
    """The gradient of the loss with respect to the output."""
    return np.random.default_rng(2).normal(size=shape).astype(np.float32)
