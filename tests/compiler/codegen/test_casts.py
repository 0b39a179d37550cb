"""Floats as int64 in vectors: truncated, out of range the nearest, NaN 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn.core.types import Array

EDGES = [0.0, -0.0, 0.5, -0.5, 1.0, -1.5, 2.0**31, -(2.0**31), 2.0**52 + 1, 2.0**53, 2.0**62]
EDGES += [2.0**63, -(2.0**63), 2.0**64, -(2.0**64), np.inf, -np.inf, np.nan, 1e-45, 8388607.5]
EDGES += [np.nextafter(2.0**63, 0), -np.nextafter(2.0**63, 0), np.nextafter(1.0, 0), 16777217.0]


def _as_python_does(x: Array) -> list[int]:
    most = 2**63
    return [
        0 if np.isnan(v) else most - 1 if v >= most else -most if v <= -most else int(v)
        for v in x.tolist()
    ]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_int64_of_any_float(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    words = np.dtype(f"u{np.dtype(dtype).itemsize}")
    bits = rng.integers(0, 2 ** (8 * words.itemsize), 20_003, words).view(dtype)
    with np.errstate(all="ignore"):
        x = np.concatenate([np.array(EDGES).astype(dtype), bits, rng.normal(0, 1e4, 999)])
        x = x.astype(dtype)
    assert mynn.compile(lambda x: x.long())(x).tolist() == _as_python_does(x)
