"""Derivatives of first to third order where formulas have their seams: at 0, at equal values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import functional as F

torch = pytest.importorskip("torch")

Call = Callable[[Any, Any, Any], Any]
ZERO = np.zeros(4)
MIXED = np.array([0.0, 0.5, -0.5, 2.0])
WEIGHTS = np.linspace(0.5, 1.5, 4)


def bce(lib: Any, functions: Any, x: Any) -> Any:
    return functions.binary_cross_entropy_with_logits(x, lib.zeros(4), reduction="none")


def bce_weighted(lib: Any, functions: Any, x: Any) -> Any:
    ones, weights = lib.ones(4), lib.full((4,), 3.0)
    call = functions.binary_cross_entropy_with_logits
    return call(x, ones, pos_weight=weights, reduction="none")


SMOOTH: dict[str, Call] = {
    "softplus": lambda lib, f, x: f.softplus(x),
    "softplus of a slope": lambda lib, f, x: f.softplus(x, beta=3),
    "logsigmoid": lambda lib, f, x: f.logsigmoid(x),
    "mish": lambda lib, f, x: f.mish(x),
    "cross-entropy of logits": bce,
    "weighted": bce_weighted,
    "soft margins": lambda lib, f, x: f.soft_margin_loss(x, lib.ones(4)),
    "logaddexp": lambda lib, f, x: lib.logaddexp(x, 2 * x),
    "logaddexp2": lambda lib, f, x: lib.logaddexp2(x, lib.zeros(4)),
    "erfinv": lambda lib, f, x: lib.erfinv(x * 0.4),
    "tanh": lambda lib, f, x: x.tanh(),
    "sigmoid": lambda lib, f, x: x.sigmoid(),
    "softmax": lambda lib, f, x: x.softmax(0),
}


def derivatives(lib: Any, functions: Any, call: Call, at: Any, orders: int) -> list[Any]:
    x, weights = lib.tensor(at, requires_grad=True), lib.tensor(WEIGHTS)
    found = [call(lib, functions, x)]
    for _ in range(orders):
        found += lib.autograd.grad((found[-1] * weights).sum(), x, create_graph=True)
    return [one.detach().numpy() for one in found]


@pytest.mark.parametrize("mode", ["at once", "tape"])
@pytest.mark.parametrize("at", [ZERO, MIXED], ids=["zero", "mixed"])
@pytest.mark.parametrize("name", SMOOTH)
def test_smooth_functions_have_all_derivatives(name: str, at: Any, mode: Any) -> None:
    theirs = derivatives(torch, torch.nn.functional, SMOOTH[name], at, 3)
    with mynn.eager(mode):
        ours = derivatives(mynn, F, SMOOTH[name], at, 3)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


def test_second_derivatives_in_programs() -> None:
    curved = mynn.compile(mynn.grad(lambda x: mynn.grad(lambda z: F.softplus(z).sum())(x).sum()))
    np.testing.assert_allclose(curved(ZERO), 0.25)
    values = np.array([-30.0, -1.0, 0.0, 1.0, 30.0])
    slopes = 1 / (1 + np.exp(-values))
    np.testing.assert_allclose(curved(values), slopes * (1 - slopes), rtol=1e-6, atol=1e-12)


def test_newton_on_a_logistic_regression_from_zero() -> None:
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(20, 3)), (rng.random(20) > 0.5) * 1.0
    inputs, targets = mynn.tensor(x), mynn.tensor(t)

    def loss(w: Any) -> Any:
        return F.binary_cross_entropy_with_logits(inputs @ w, targets)

    w = np.zeros(3)
    for _ in range(6):
        curvature = mynn.func.hessian(loss)(mynn.tensor(w)).numpy()
        w = w - np.linalg.solve(curvature, np.asarray(mynn.grad(loss)(w)))
    assert np.abs(np.asarray(mynn.grad(loss)(w))).max() < 1e-12


FIRST: dict[str, tuple[Call, Any]] = {
    "std of equal values": (lambda lib, f, x: x.std(), ZERO),
    "std along": (lambda lib, f, x: x.reshape(2, 2).std(1), np.array([1.0, 1.0, 2.0, 5.0])),
    "std and mean": (lambda lib, f, x: lib.std_mean(x)[0], ZERO),
    "angle of the origin": (lambda lib, f, x: lib.atan2(x, 2 * x), MIXED),
    "erfinv at its ends": (lambda lib, f, x: x.erfinv(), np.array([0.0, 1.0, -1.0, 0.9])),
}


@pytest.mark.parametrize("mode", ["at once", "tape", "compiled"])
@pytest.mark.parametrize("name", FIRST)
def test_first_derivatives_are_those_of_pytorch(name: str, mode: Any) -> None:
    call, at = FIRST[name]
    x = torch.tensor(at, requires_grad=True)
    call(torch, torch.nn.functional, x).sum().backward()
    if mode == "compiled":
        ours = mynn.compile(mynn.grad(lambda x: call(mynn, F, x).sum()))(at)
    else:
        with mynn.eager(mode):
            own = mynn.tensor(at, requires_grad=True)
            call(mynn, F, own).sum().backward()
            assert own.grad is not None
            ours = own.grad.numpy()
    np.testing.assert_allclose(ours, x.grad.numpy(), rtol=1e-6, atol=1e-9)
