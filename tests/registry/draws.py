"""Inputs that the registry draws."""

from __future__ import annotations

import numpy as np

from mynn.core.types import Array
from tests.registry.entries import Case, Draw


def uniform(*shape: int, low: float = -3, high: float = 3) -> Draw:
    return lambda generator: generator.uniform(low, high, shape)


def labels(*shape: int, classes: int) -> Draw:
    return lambda generator: generator.integers(0, classes, shape)


def distribution(*shape: int) -> Draw:
    """Probabilities along axis 1."""

    def draw(generator: np.random.Generator) -> Array:
        q = generator.uniform(0.1, 1, shape)
        return np.asarray(q / q.sum(1, keepdims=True))

    return draw


KINKS = np.array([[0.0, -0.0, np.nan, 30.0, -30.0], [1.0, -1.0, 0.5, -80.0, 90.0]])


def kinked(name: str) -> Case:
    """Infinite slopes, zeros of both signs, NaN and what overflows."""
    return Case(lambda F, x: getattr(F, name)(x), (KINKS,), smooth=False)
