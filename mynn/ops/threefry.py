"""Threefry-2x32 with 20 rounds, in NumPy: the reference of the compiled random bits.

A block cipher of two words, keyed by two words and applied to a counter. After (x0, x1) = counter
+ key, a round is x0 += x1, then x1 = rotate(x1) ^ x0. After every fourth round the next two of the
three key words (the third is k0 ^ k1 ^ PARITY) and the number of the block are added.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROTATIONS: Final = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY: Final = 0x1BD11BDA

Words = NDArray[np.uint32]
_MASK = 0xFFFFFFFF


def threefry2x32(k0: ArrayLike, k1: ArrayLike, c0: ArrayLike, c1: ArrayLike) -> tuple[Words, Words]:
    """The two words of random bits of key (k0, k1) and counter (c0, c1); uint32, broadcast."""
    first, second = np.asarray(k0, np.uint32), np.asarray(k1, np.uint32)
    keys = (first, second, first ^ second ^ np.uint32(PARITY))
    with np.errstate(over="ignore"):
        x0 = np.asarray(c0, np.uint32) + keys[0]
        x1 = np.asarray(c1, np.uint32) + keys[1]
        for block in range(5):
            for count in ROTATIONS[block % 2]:
                x0 = x0 + x1
                x1 = ((x1 << np.uint32(count)) | (x1 >> np.uint32(32 - count))) ^ x0
            x0 = x0 + keys[(block + 1) % 3]
            x1 = x1 + keys[(block + 2) % 3] + np.uint32(block + 1)
    return np.asarray(x0), np.asarray(x1)


def halves_exchanged(words: Words) -> Words:
    """Each word rotated by 16 bits."""
    return np.asarray((words << np.uint32(16)) | (words >> np.uint32(16)))


def first_word(k0: int, k1: int, c0: int) -> int:
    """The first word for counter (c0, 0), in Python's integers: for a few words the faster way."""
    keys = (k0, k1, k0 ^ k1 ^ PARITY)
    x0, x1 = (c0 + k0) & _MASK, k1
    for block in range(5):
        for count in ROTATIONS[block % 2]:
            x0 = (x0 + x1) & _MASK
            x1 = ((x1 << count) & _MASK | x1 >> (32 - count)) ^ x0
        x0 = (x0 + keys[(block + 1) % 3]) & _MASK
        x1 = (x1 + keys[(block + 2) % 3] + block + 1) & _MASK
    return x0
