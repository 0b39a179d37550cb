"""MNIST as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from examples.mnist.fetch import FOLDER
from mynn.data import read_idx

MEAN, DEVIATION = 0.1307, 0.3081  # of the training images, scaled to 0..1


class Digits(NamedTuple):
    """Images, (N, 784) float32 and standardised unless it says otherwise, and labels (N,) int64."""

    x: np.ndarray
    t: np.ndarray


def load_bytes(part: str, folder: Path = FOLDER) -> Digits:
    """The digits of `part` as they are stored: images (N, 28, 28) uint8, labels (N,) int64."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte")
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte")
    return Digits(images, labels.astype(np.int64))


def load(part: str, folder: Path = FOLDER) -> Digits:
    """The digits of `part`, "train" or "t10k"."""
    images, labels = load_bytes(part, folder)
    x = (images.reshape(len(images), -1) / np.float32(255) - np.float32(MEAN)) / np.float32(
        DEVIATION
    )
    return Digits(x, labels)
