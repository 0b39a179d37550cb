from __future__ import annotations

import doctest
import gc
import weakref
from typing import Any

import numpy as np
import pytest

import mynn.transform.grad
from mynn import Tensor, grad, no_grad, value_and_grad
from mynn.core import interpreter
from mynn.errors import ArgumentError, DTypeError, UsageError
from tests.helpers import graph_of

POINTS = (-1.3, -0.2, 0.0, 0.7, 2.1)


def tanh(x: Any) -> Any:
    return x.tanh().sum()


def test_doctest() -> None:
    assert doctest.testmod(mynn.transform.grad).failed == 0


@pytest.mark.parametrize("x", POINTS)
def test_derivatives_of_tanh(x: float) -> None:
    t = np.tanh(x)
    expected = [1 - t**2, -2 * t * (1 - t**2), (1 - t**2) * (6 * t**2 - 2)]
    derivative = tanh
    for value in expected:
        derivative = grad(derivative)
        assert derivative(np.float64(x)).item() == pytest.approx(value, abs=1e-13)


def test_value_and_gradient() -> None:
    x = np.array([1.0, -2.0, 3.0])
    value, slope = value_and_grad(lambda x: (x * x).sum())(x)
    assert value.item() == 14
    np.testing.assert_array_equal(slope.numpy(), 2 * x)
    assert slope.dtype == np.float64
    assert not value.requires_grad
    assert not slope.requires_grad


def test_argnums() -> None:
    def f(x: Any, name: str, y: Any, scale: float = 1.0) -> Any:
        assert name == "passed through"
        return (x * x * y).sum() * scale

    x, y = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    dy, dx = grad(f, argnums=(2, 0))(x, "passed through", y, scale=2.0)
    np.testing.assert_array_equal(dx.numpy(), 4 * x * y)
    np.testing.assert_array_equal(dy.numpy(), 2 * x * x)
    np.testing.assert_array_equal(grad(f, argnums=-1)(x, "passed through", y).numpy(), x * x)


def test_other_arguments_are_passed_as_they_are() -> None:
    y = np.ones(2)

    def f(x: Any, other: Any) -> Any:
        assert other is y
        return x.sum()

    grad(f)(np.zeros(2), y)


def test_zero_where_the_argument_is_not_used() -> None:
    dx, dy = grad(lambda x, y: (x * x).sum(), (0, 1))(np.ones((2, 3)), np.ones(4, np.float32))
    assert dy.shape == (4,)
    assert dy.dtype == np.float32
    assert not dy.numpy().any()
    assert dx.shape == (2, 3)
    assert grad(lambda x: Tensor(3.0))(2.0).item() == 0


def test_hessian_vector_product_matches_finite_differences() -> None:
    rng = np.random.default_rng(0)
    a, x, v = rng.normal(size=(5, 5)), rng.normal(size=5), rng.normal(size=5)

    def f(x: Any) -> Any:
        y = (x @ a).tanh()
        return ((y * y).sum() + 1.0).log() * x.exp().sum()

    product = grad(lambda x: (grad(f)(x) * v).sum())(x).numpy()
    step = 1e-5
    difference = (grad(f)(x + step * v).numpy() - grad(f)(x - step * v).numpy()) / (2 * step)
    np.testing.assert_allclose(product, difference, rtol=1e-7, atol=1e-7)


def test_only_the_argument_is_varied() -> None:
    """The inner gradient holds x fixed, although it is taken at y = x."""

    def f(x: Any) -> Any:
        return grad(lambda y: x * x * y * y)(x)

    assert f(Tensor(3.0)).item() == 54
    # f(x) = 2 x^3
    assert grad(f)(3.0).item() == 54
    assert grad(lambda x: x * grad(lambda y: x + y)(1.0))(1.0).item() == 1


def test_gradient_penalty_reaches_parameters() -> None:
    w = Tensor([2.0, 3.0], requires_grad=True)
    slope = grad(lambda x: (w * x * x).sum())(np.float32([1.0, 5.0]))
    assert slope.requires_grad
    (slope * slope).sum().backward()
    # slope = 2 w x, its square's derivative by w is 8 w x^2
    assert w.grad is not None
    np.testing.assert_allclose(w.grad.numpy(), [16, 600])


def test_under_no_grad() -> None:
    w = Tensor([2.0], requires_grad=True)
    with no_grad():
        slope = grad(lambda x: (w * x * x).sum())([3.0])
    assert slope.tolist() == [12]
    assert not slope.requires_grad
    assert w.grad is None


def test_argument_that_requires_grad_keeps_its_history() -> None:
    x = Tensor([2.0], requires_grad=True)
    slope = grad(lambda x: (x * x * x).sum())(x)
    slope.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [12]


def test_traced_equals_eager() -> None:
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 2))

    def f(w: Any, x: Any) -> Any:
        y = (x @ w).tanh()
        return (y * y).mean()

    def step(w: Any, x: Any) -> Any:
        value, slope = value_and_grad(f)(w, x)
        curvature = grad(lambda w: (grad(f)(w, x) * slope).sum())(w)
        with no_grad():
            plain = grad(f)(w, x)
        return value, slope, curvature, plain

    eager = [result.numpy() for result in step(Tensor(w), Tensor(x))]
    traced = interpreter.evaluate(graph_of(step, w, x), [w, x])
    for a, b in zip(eager, traced, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: grad(lambda x: x * 2)([1.0, 2.0]),
            UsageError,
            "must return a float of one element",
        ),
        (lambda: grad(lambda x: 3.0)(1.0), UsageError, "it returned float"),
        (lambda: grad(lambda x: (x > 0).sum())(1.0), UsageError, "a float of one"),
        (lambda: grad(lambda x: x)(1), DTypeError, "argument 0 is int64"),
        (lambda: grad(lambda x: x, 1)(1.0), ArgumentError, "argnums names argument 1"),
        (lambda: grad(lambda x, y: x, (0, -2))(1.0, 1.0), ArgumentError, "twice"),
    ],
)
def test_errors(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_nothing_is_kept_alive() -> None:
    x = Tensor(np.ones(3))
    grad(tanh)(x)
    y = (Tensor(np.ones(3), requires_grad=True) * x).sum()
    y.backward()
    watch = weakref.ref(x)
    del x, y
    gc.collect()
    assert watch() is None
