"""Positions: by their equations, in programs, from any first position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.core.types import Array
from mynn.errors import MynnError

LAYERS: dict[str, Any] = {
    "sinusoidal": lambda: nn.SinusoidalPositionalEncoding(6, base=50.0),
    "interleaved": lambda: nn.RotaryEmbedding(6, base=50.0),
    "halves": lambda: nn.RotaryEmbedding(6, base=50.0, interleaved=False),
}


def by_equation(name: str, x: Array, first: int) -> Array:
    y = x.copy()
    for p in range(x.shape[-2]):
        for i in range(3):
            angle = (p + first) * 50.0 ** (-2 * i / 6)
            sin, cos = np.sin(angle), np.cos(angle)
            one, two = (i, i + 3) if name == "halves" else (2 * i, 2 * i + 1)
            a, b = x[..., p, one], x[..., p, two]
            if name == "sinusoidal":
                y[..., p, one], y[..., p, two] = a + sin, b + cos
            else:
                y[..., p, one], y[..., p, two] = a * cos - b * sin, a * sin + b * cos
    return y


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LAYERS)
def test_equations(name: str, dtype: Any) -> None:
    layer = LAYERS[name]()
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 6)).astype(dtype)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    for first in (0, 70):
        expected = by_equation(name, x, first)
        given = (first, np.asarray(first), np.int64(first))
        compiled = mynn.compile(lambda x, first: layer(x, first))
        for got in (*(layer(x, one) for one in given), compiled(x, np.asarray(first))):
            assert got.dtype == dtype
            np.testing.assert_allclose(np.asarray(got), expected, rtol=0, atol=tolerance)


def test_products_depend_on_the_distance_alone() -> None:
    rng = np.random.default_rng(0)
    q, k = (rng.normal(size=(1, 8)) for _ in range(2))
    for interleaved in (False, True):
        rotary = nn.RotaryEmbedding(8, interleaved=interleaved)
        near, far = (
            (rotary(q, first + 5) @ rotary(k, first).transpose(0, 1)).item() for first in (0, 900)
        )
        assert near == pytest.approx(far, abs=1e-10)


REFUSED: dict[str, tuple[Any, str]] = {
    "odd": (lambda: nn.RotaryEmbedding(5), "RotaryEmbedding: dim must be even, it is 5"),
    "base": (lambda: nn.SinusoidalPositionalEncoding(4, 0.5), "base must be more than 1"),
    "width": (
        lambda: nn.RotaryEmbedding(4)(np.zeros((3, 6))),
        r"must end with an axis of positions and 4 features, its shape is \[3, 6\]",
    ),
    "one axis": (lambda: nn.RotaryEmbedding(4)(np.zeros(4)), r"its shape is \[4\]"),
    "offset": (
        lambda: nn.RotaryEmbedding(4)(np.zeros((3, 4)), 0.5),
        "offset must be a whole number, it is float",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, message = REFUSED[name]
    with pytest.raises(MynnError, match=message):
        call()
