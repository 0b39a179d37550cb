"""MNIST as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from examples.mnist.fetch import FOLDER

MEAN, DEVIATION = 0.1307, 0.3081  # of the training images, scaled to 0..1
KINDS = {0x08: np.dtype(np.uint8)}


class Digits(NamedTuple):
    """Images, (N, 784) float32 and standardised unless it says otherwise, and labels (N,) int64."""

    x: np.ndarray
    t: np.ndarray


def read_idx(path: Path) -> np.ndarray:
    """An IDX file: two zero bytes, a type, the number of axes, their big-endian lengths, values."""
    raw = path.read_bytes()
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in KINDS:
        raise ValueError(f"{path} is not an IDX file of bytes")
    header = 4 + 4 * raw[3]
    shape = tuple(int(n) for n in np.frombuffer(raw[4:header], ">u4"))
    values = np.frombuffer(raw, KINDS[raw[2]], offset=header)
    if values.size != int(np.prod(shape)):
        raise ValueError(f"{path} holds {values.size} values, its header says {shape}")
    return values.reshape(shape)


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
