"""Threefry-2x32 in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry2x32(k0: Any, k1: Any, c0: Any, c1: Any) -> tuple[Any, Any]:
    """Two words of bits for key (k0, k1) and counter (c0, c1), all uint32."""
    with np.errstate(over="ignore"):
        keys = (np.uint32(k0), np.uint32(k1), np.uint32(k0) ^ np.uint32(k1) ^ np.uint32(0x1BD11BDA))
        x0 = np.asarray(c0, np.uint32) + keys[0]
        x1 = np.asarray(c1, np.uint32) + keys[1]
        for block in range(5):
            for r in ROTATIONS[block % 2]:
                x0 = x0 + x1
                x1 = (x1 << np.uint32(r)) | (x1 >> np.uint32(32 - r))
                x1 = x1 ^ x0
            x0 = x0 + keys[(block + 1) % 3]
            x1 = x1 + keys[(block + 2) % 3] + np.uint32(block + 1)
    return x0, x1
