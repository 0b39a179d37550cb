"""Graphs that are deeper than Python's stack."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from tests.subset import count

DEEP = count(5, 2) * sys.getrecursionlimit()
X = np.linspace(-1, 1, 8, dtype=np.float32)


def chain(x: Any) -> Any:
    for number in range(DEEP):
        x = x * 0.999 if number % 8 else x.tanh()
    return x


def additions(x: Any) -> Any:
    y = x
    for _ in range(DEEP):
        y = y + x
    return y


def movement(x: Any) -> Any:
    for number in range(DEEP):
        x = x.reshape(2, 4).T.reshape(8) if number % 2 else x.flip(0)
    return x


def reductions(x: Any) -> Any:
    for _ in range(DEEP // 10):
        x = x - 0.01 * x.sum()
    return x


def products(x: Any) -> Any:
    for _ in range(DEEP // 10):
        x = (x.reshape(4, 2) @ x.reshape(2, 4)).sum(0).reshape(4, 1).tanh() * x.reshape(4, 2)
        x = x.reshape(8)
    return x


FUNCTIONS: list[Callable[[Any], Any]] = [chain, additions, movement, reductions, products]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("function", FUNCTIONS)
def test_native_code_agrees_with_the_interpreter(function: Callable[[Any], Any]) -> None:
    expected = mynn.compile(function, backend="interpreter")(X)
    np.testing.assert_allclose(mynn.compile(function)(X), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.wide
def test_gradients() -> None:
    x = mynn.Tensor(X, requires_grad=True)
    chain(x).sum().backward()
    native = mynn.compile(mynn.grad(lambda x: chain(x).sum()))(X)
    assert x.grad is not None
    np.testing.assert_allclose(native, x.grad.numpy(), rtol=1e-3, atol=1e-9)


def test_copies() -> None:
    x = mynn.Tensor(X, requires_grad=True)
    y = chain(x)
    np.testing.assert_array_equal(copy.deepcopy(y).numpy(), y.numpy())
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(y)).numpy(), y.numpy())


def test_networks() -> None:
    net = nn.Sequential(*[nn.Tanh() for _ in range(DEEP)])
    assert len(copy.deepcopy(net)) == len(pickle.loads(pickle.dumps(net))) == DEEP
    np.testing.assert_allclose(mynn.compile(net)(X), net(X).numpy(), rtol=1e-3)
