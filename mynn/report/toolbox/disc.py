"""The data of the report's section 1.3: points of the unit square, in or out of a disc."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.base.arguments import positive
from mynn.core.types import Array

RADIUS = 0.5


def generate_disc_set(n: int, seed: Any = None) -> tuple[Array, Array]:
    """Random points of the unit square and whether they lie in the disc around the origin.

    x, y ~ U[0, 1);  target = [1, 0] where x² + y² < 1/4, else [0, 1] (outside, or on the edge)

    Args:
        n: number of points.
        seed: anything `numpy.random.default_rng` takes; None draws other points at each call.

    Returns:
        input: float32 of shape (n, 2).
        target: float32 of shape (n, 2), one-hot.

    Raises:
        ArgumentError: n is not a whole number of 1 or more.

    Example:
        >>> from mynn.module import generate_disc_set
        >>> input, target = generate_disc_set(1000, seed=0)
        >>> input.shape, target.shape
        ((1000, 2), (1000, 2))

    Source: the report, section 1.3; figure 2 shows the quarter of the disc.
    """
    count = positive("the number of points", n)
    points = np.random.default_rng(seed).random((count, 2), dtype=np.float32)
    inside = np.sum(points.astype(np.float64) ** 2, axis=1) < RADIUS**2
    return points, np.stack([inside, ~inside], axis=1).astype(np.float32)
