"""What the tests of `mynn.compile` share."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mynn import nn
from mynn.core.types import Array

BACKENDS = ("native", "interpreter")
backends = pytest.mark.parametrize("backend", BACKENDS)

Point = collections.namedtuple("Point", ["x", "y"])


def ramp(*shape: int, dtype: Any = np.float32) -> Array:
    """1, 2, 3... in a shape."""
    return np.arange(1, 1 + int(np.prod(shape, dtype=int)), dtype=dtype).reshape(shape)


def step_of(net: Any, optimizer: Any, loss: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """A training step with the mean of squares as its loss."""

    def step(x: Any, t: Any) -> Any:
        value = (loss or nn.MSELoss())(net(x), t)
        value.backward()
        optimizer.step()
        return value

    return step
