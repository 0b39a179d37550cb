"""Products where values are 0, and running totals: what samples do not show."""

from __future__ import annotations

import numpy as np
import pytest

from mynn import Tensor, check_grads, compile, grad
from mynn.core.types import Array

ZEROS: dict[str, Array] = {
    "one": np.array([2.0, 0.0, 3.0, -1.5, 0.5]),
    "two": np.array([2.0, 0.0, 3.0, 0.0]),
    "all": np.zeros(3),
    "rows": np.array([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0], [1.0, 2.0, 3.0]]),
}


@pytest.mark.parametrize("name", ZEROS)
def test_derivatives_of_products_with_zeros(name: str) -> None:
    """Of every order: no quotient is taken."""
    x = ZEROS[name]
    check_grads(lambda x: x.prod(-1), (x,), order=3, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 17, 33])
@pytest.mark.parametrize("compiled", [False, True])
def test_gradient_is_the_product_of_the_others(count: int, compiled: bool) -> None:
    x = np.random.default_rng(count).uniform(0.5, 1.5, (3, count)) * np.array([[1], [-1], [0]])
    function = grad(lambda x: x.prod(1).sum())
    got = np.asarray((compile(function) if compiled else function)(x))
    expected = [[np.delete(row, i).prod() for i in range(count)] for row in x]
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_axes_of_a_product() -> None:
    x = np.random.default_rng(0).uniform(0.5, 1.5, (2, 3, 4, 5))
    c = np.random.default_rng(1).normal(size=(3, 5))
    got = grad(lambda x: (x.prod((0, 2)) * Tensor(c)).sum())(x)
    expected = (x.prod((0, 2)) * c)[None, :, None, :] / x
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12)


def test_products_and_totals_of_nothing() -> None:
    x = Tensor(np.zeros((0, 3)), requires_grad=True)
    y = x.prod(0)
    assert y.tolist() == [1, 1, 1]
    (y.sum() + x.cumsum(0).sum()).backward()
    assert x.grad is not None
    assert x.grad.shape == (0, 3)
    assert compile(lambda x: x.prod(0))(np.zeros((0, 3))).tolist() == [1, 1, 1]


def test_products_of_integers_wrap_around() -> None:
    x = np.array([2**40, 2**40, 3], np.int64)
    assert compile(lambda x: x.prod())(x) == Tensor(x).prod().item() == 0
