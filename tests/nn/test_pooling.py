from __future__ import annotations

import doctest
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import functional as F
from mynn import nn
from mynn.errors import ArgumentError, DTypeError, ShapeError
from mynn.functional import pooling
from mynn.nn import pooling as layers
from tests.registry.entries import rng
from tests.registry.running import (
    BACKENDS,
    pytorch,
)


@pytest.mark.parametrize("file", [layers, pooling])
def test_doctests(file: Any) -> None:
    assert doctest.testmod(file).failed == 0


def test_all_windows_of_small_inputs_are_pytorchs() -> None:
    """Extents, strides, padding and ceil_mode through every small combination."""
    torch = pytorch()
    seen = 0
    for n in range(1, 8):
        x = rng("small").normal(size=(1, 1, n))
        theirs = torch.tensor(x)
        for k in range(1, 4):
            for s in range(1, 4):
                for p in range(k // 2 + 1):
                    for ceil in (False, True):
                        if n + 2 * p < k:
                            continue
                        for include in (False, True):
                            got = F.avg_pool1d(x, k, s, p, ceil, include)
                            expected = torch.nn.functional.avg_pool1d(
                                theirs, k, s, p, ceil, include
                            )
                            np.testing.assert_allclose(got.value, expected.numpy(), rtol=1e-12)
                        got = F.max_pool1d(x, k, s, p, 1, ceil)
                        expected = torch.nn.functional.max_pool1d(theirs, k, s, p, 1, ceil)
                        np.testing.assert_array_equal(got.value, expected.numpy())
                        seen += 1
    assert seen > 100


def test_adaptive_windows_of_small_inputs_are_pytorchs() -> None:
    torch = pytorch()
    for n in range(1, 12):
        x = rng("adaptive").normal(size=(1, 2, n))
        for o in range(1, 14):
            expected = torch.nn.functional.adaptive_avg_pool1d(torch.tensor(x), o)
            np.testing.assert_allclose(
                F.adaptive_avg_pool1d(x, o).value, expected.numpy(), rtol=1e-12
            )
            expected = torch.nn.functional.adaptive_max_pool1d(torch.tensor(x), o)
            np.testing.assert_array_equal(F.adaptive_max_pool1d(x, o).value, expected.numpy())


def test_integers() -> None:
    x = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    largest = F.max_pool2d(x, 3, 2, 1)
    assert largest.dtype == np.uint8
    assert largest.tolist() == [[[5, 7], [13, 15]]]
    negative = -x.astype(np.int32) - 1
    assert F.max_pool2d(negative, 3, 2, 1).tolist() == [[[-1, -2], [-5, -6]]]
    with pytest.raises(DTypeError, match=r"avg_pool2d: the input is uint8.*astype"):
        F.avg_pool2d(x, 2)


TIES: dict[str, Callable[..., Any]] = {
    "max1d": lambda F, x: F.max_pool1d(x[:, :, 0], 3, 2, 1),
    "max2d": lambda F, x: F.max_pool2d(x, 2),
    "max2d_overlap": lambda F, x: F.max_pool2d(x, 3, 1, 1),
    "max2d_dilation": lambda F, x: F.max_pool2d(x, 2, 2, 0, 2),
    "max2d_ceil": lambda F, x: F.max_pool2d(x, (2, 3), ceil_mode=True),
    "adaptive": lambda F, x: F.adaptive_max_pool2d(x, (2, 4)),
    "adaptive_uneven": lambda F, x: F.adaptive_max_pool2d(x, (3, 5)),
    "adaptive_one_axis_uneven": lambda F, x: F.adaptive_max_pool2d(x, (3, 4)),
    "adaptive_global": lambda F, x: F.adaptive_max_pool2d(x, 1),
}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", TIES)
def test_the_first_of_equal_values_has_the_gradient(name: str, dtype: Any) -> None:
    """As in PyTorch, eagerly and compiled; images of three values are full of ties."""
    torch = pytorch()
    x = rng(name).integers(0, 3, (2, 3, 8, 8)).astype(dtype)
    theirs = torch.tensor(x, requires_grad=True)
    y = TIES[name](torch.nn.functional, theirs)
    c = rng("cotangent").normal(size=tuple(y.shape)).astype(dtype)
    y.backward(torch.tensor(c))

    def gradient(x: Any) -> Any:
        return mynn.grad(lambda x: (TIES[name](F, x) * c).sum())(x)

    expected = theirs.grad.numpy()
    np.testing.assert_allclose(gradient(x).numpy(), expected, rtol=1e-6)
    for backend in BACKENDS:
        found = mynn.compile(gradient, backend=backend)(x)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_keeps_its_gradient(backend: str) -> None:
    x = np.array([[1.0, np.nan, 3.0, 4.0]], np.float32)
    gradient = mynn.compile(mynn.grad(lambda x: F.max_pool1d(x, 2).sum()), backend=backend)
    assert gradient(x).tolist() == [[0.0, 1.0, 0.0, 1.0]]


def test_padding_is_never_the_largest() -> None:
    x = np.full((1, 1, 4, 4), -5.0, np.float32)
    for backend in BACKENDS:
        pool = mynn.compile(nn.MaxPool2d(3, 2, 1), backend=backend)
        np.testing.assert_array_equal(pool(x), np.full((1, 1, 2, 2), -5.0))


def test_infinity_stays_in_its_window() -> None:
    x = np.zeros((1, 5))
    x[0, 0] = np.inf
    np.testing.assert_array_equal(F.adaptive_avg_pool1d(x, 3).value, [[np.inf, 0, 0]])


x2 = np.zeros((1, 2, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.MaxPool2d(5)(x2), ShapeError, r"MaxPool2d.*\(5, 5\).*\(4, 4\)"),
        (lambda: nn.MaxPool2d(2)(np.zeros((4, 4))), ShapeError, r"MaxPool2d.*\[N, C, H, W\]"),
        (lambda: nn.MaxPool1d(2)(x2), ShapeError, r"\[N, C, L\]"),
        (lambda: nn.MaxPool2d(2, padding=2)(x2), ArgumentError, "at most half"),
        (lambda: nn.MaxPool2d(2, stride=0)(x2), ArgumentError, "stride"),
        (lambda: nn.MaxPool2d(0)(x2), ArgumentError, "kernel_size"),
        (lambda: nn.MaxPool2d((2, 2, 2))(x2), ArgumentError, "2 numbers"),
        (lambda: nn.AvgPool1d(0), ArgumentError, "kernel_size"),
        (lambda: nn.AvgPool2d(2, divisor_override=0)(x2), ArgumentError, "divisor_override"),
        (lambda: nn.AdaptiveAvgPool2d((1, 2, 3))(x2), ArgumentError, "output_size"),
        (lambda: nn.AdaptiveAvgPool2d(0)(x2), ArgumentError, "output_size"),
        (lambda: nn.AdaptiveAvgPool2d(2)(x2[:, :, :0]), ShapeError, "empty"),
    ],
)
def test_bad_input(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
