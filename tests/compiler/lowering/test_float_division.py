"""Quotients rounded down, and remainders, of floats: beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

import mynn
from mynn import Tensor

SPECIAL = [0.0, -0.0, 1.0, -1.0, 3.5, -3.5, np.inf, -np.inf, np.nan, 1e-30, -1e-30, 1e30, -1e30]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values_match_pytorch(dtype: type) -> None:
    """Where the quotient is not so large that PyTorch's remainder is not exact."""
    torch = pytest.importorskip("torch")
    x, y = (side.reshape(-1).astype(dtype) for side in np.meshgrid(SPECIAL, SPECIAL))
    with np.errstate(all="ignore"):
        exact = ~(np.abs(x / y) > 2.0**20) | np.isinf(x) | (y == 0)
    for of_ours, of_torch in (
        (lambda x, y: x // y, torch.floor_divide),
        (lambda x, y: x % y, torch.remainder),
    ):
        want = of_torch(torch.from_numpy(x), torch.from_numpy(y)).numpy()
        compiled, at_once = mynn.compile(of_ours)(x, y), of_ours(Tensor(x), Tensor(y)).numpy()
        for got in (compiled, at_once):
            np.testing.assert_array_equal(got[exact], want[exact])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_is_what_is_computed_at_once(dtype: type) -> None:
    rng = np.random.default_rng(0)
    for n in (*range(1, 20), 127, 1000):
        x, y = (rng.normal(size=n).astype(dtype) for _ in range(2))
        x *= dtype(100)
        for of in (lambda x, y: x % y, lambda x, y: x // y, lambda x, y: x.fmod(y)):
            np.testing.assert_array_equal(mynn.compile(of)(x, y), of(Tensor(x), Tensor(y)).numpy())
