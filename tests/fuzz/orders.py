"""Steps of random graphs that look at the order of values."""

from __future__ import annotations

import numpy as np

from mynn.core.graph import Node
from mynn.core.types import Type
from mynn.ops import sorting
from tests.fuzz.generator import Generator


def ordered(g: Generator) -> Node | None:
    """Of integers and of what few operations made: floats that nearly tie may be either way."""
    x = g.any(g.pick("iub"), ndim=1)
    axis = int(g.rng.integers(len(x.shape)))
    if x.shape[axis] and g.chance(0.3):
        k = int(g.rng.integers(x.shape[axis])) + 1
        return g.add(sorting.top, x, axis=axis, k=k, descending=g.chance(0.5))
    if x.shape[axis] and g.chance(0.3):
        kept = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
        k = g.leaf(Type(kept, np.dtype(np.int64)))
        return g.add(sorting.kth, x, k, axis=axis)
    return g.add(sorting.argsort, x, axis=axis, descending=g.chance(0.3))
