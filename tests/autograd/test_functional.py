"""Gradients as PyTorch's `autograd.grad` and `autograd.functional` return them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.autograd import functional
from mynn.errors import MynnError
from tests.registry.running import pytorch

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(3,)), RNG.normal(size=(2, 3))


def leaf(library: Any, array: Any) -> Any:
    if library is mynn:
        return mynn.Tensor(array, requires_grad=True)
    return library.tensor(array, requires_grad=True)


def one(x: Any) -> Any:
    return (x.sin() * x).sum()


def vector(x: Any) -> Any:
    return (x * x).cumsum(0)


def several(x: Any, y: Any) -> Any:
    return (y * x).sum(1), (x * x * x).sum()


def number(x: Any, y: Any) -> Any:
    return ((y * x) ** 2).sum() + (x.exp()).sum()


CALLS: dict[str, Callable[[Any, Any, Any, Any], Any]] = {
    "jacobian": lambda f, t, x, y: f.jacobian(vector, x),
    "jacobian of several": lambda f, t, x, y: f.jacobian(several, (x, y)),
    "hessian": lambda f, t, x, y: f.hessian(one, x),
    "hessian of several": lambda f, t, x, y: f.hessian(number, (x, y)),
    "vjp": lambda f, t, x, y: f.vjp(vector, x, t([1.0, 2.0, 3.0])),
    "vjp of several": lambda f, t, x, y: f.vjp(several, (x, y), (t([1.0, 2.0]), t(0.5))),
    "vjp of one number": lambda f, t, x, y: f.vjp(one, x),
    "jvp": lambda f, t, x, y: f.jvp(vector, x, t([1.0, 2.0, 3.0])),
    "jvp of several": lambda f, t, x, y: f.jvp(several, (x, y), (t(X), t(Y))),
    "hvp": lambda f, t, x, y: f.hvp(one, x, t([1.0, 2.0, 3.0])),
    "vhp of several": lambda f, t, x, y: f.vhp(number, (x, y), (t(X), t(Y))),
    "all at once": lambda f, t, x, y: f.jacobian(several, (x, y), vectorize=True),
    "forwards": lambda f, t, x, y: f.jacobian(vector, x, vectorize=True, strategy="forward-mode"),
    "hessian forwards": lambda f, t, x, y: f.hessian(
        number, (x, y), vectorize=True, outer_jacobian_strategy="forward-mode"
    ),
    "unused": lambda f, t, x, y: f.jacobian(lambda x, y: x * 2, (x, y)),
}


def flat(value: Any) -> list[Any]:
    if isinstance(value, tuple | list):
        return [leaf for item in value for leaf in flat(item)]
    return [value.detach().numpy()]


# PyTorch's derivatives forwards use a part of it that it warns about.
@pytest.mark.one_in(3)
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("name", CALLS)
def test_functions_are_those_of_pytorch(name: str) -> None:
    torch = pytorch()
    f64 = torch.float64
    expected = CALLS[name](
        torch.autograd.functional, lambda v: torch.tensor(v, dtype=f64), *map(torch.tensor, (X, Y))
    )
    got = CALLS[name](
        functional, lambda v: mynn.Tensor(np.asarray(v, np.float64)), mynn.Tensor(X), mynn.Tensor(Y)
    )
    for a, b in zip(flat(got), flat(expected), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-10)


def test_grad_is_that_of_pytorch() -> None:
    torch = pytorch()
    results = []
    for library in (mynn, torch):
        x, y = leaf(library, X), leaf(library, Y)
        z = (x * x).sin()
        out = (z * y).sum(1)
        grad = functools.partial(library.autograd.grad, retain_graph=True)
        seed = library.tensor(np.array([1.0, 2.0]))
        found = [
            *grad(out.sum(), (x, y)),
            *grad([out, z], [x, z], [seed, z.detach()]),
            *grad(out.sum(), y, allow_unused=True),
        ]
        first = grad(out.sum(), x, create_graph=True)[0]
        found += [first, *grad((first * first).sum(), (x, y))]
        assert grad(z.sum(), (x, y), allow_unused=True)[1] is None
        found.append(grad(z.sum(), (x, y), materialize_grads=True)[1])
        each = library.tensor(np.eye(2))
        found += grad(out, (x, y), each, is_grads_batched=True)
        found += grad(out, [y, x], [each], is_grads_batched=True, create_graph=True)
        found += grad(found[-1].sum(), x)
        assert x.grad is None
        results.append([one.detach().numpy() for one in found])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("way", ["eager", "tape", "compiled"])
def test_gradient_penalty(way: str) -> None:
    """The loss of a critic with the gradient of its output in it (WGAN-GP)."""
    mynn.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1))
    optimizer = mynn.optim.SGD(net.parameters(), lr=0.1)
    points = np.random.default_rng(1).normal(size=(4, 2)).astype(np.float32)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        x = mynn.Tensor(x, requires_grad=True) if way != "compiled" else x.requires_grad_()
        (slope,) = mynn.autograd.grad(net(x).sum(), x, create_graph=True)
        loss = (((slope * slope).sum(1) - 1) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    run = mynn.compile(step) if way == "compiled" else step
    with mynn.eager("tape" if way == "tape" else "at once"):
        losses = [float(run(points)) for _ in range(4)]
    assert losses[3] < losses[0]
    first = PENALTY.setdefault("losses", losses)
    np.testing.assert_allclose(losses, first, rtol=1e-5)


PENALTY: dict[str, list[float]] = {}


def test_second_derivatives_through_what_a_tape_ran() -> None:
    """Results that were looked at, again and again, so that their gradients are programs."""
    x = mynn.Tensor(X, requires_grad=True)
    weight = mynn.Parameter(Y)

    def run() -> list[Any]:
        hidden = ((weight * x).sin() * x).sum()
        assert hidden.item() == pytest.approx((np.sin(Y * X) * X).sum())
        (slope,) = mynn.autograd.grad(hidden * 2, x, create_graph=True)
        total = (slope * slope).sum() + (weight * x).sum()
        return [
            total.detach().numpy(),
            *(g.numpy() for g in mynn.autograd.grad(total, (x, weight))),
        ]

    with mynn.eager("at once"):
        expected = run()
    with mynn.eager("tape"):
        for _ in range(6):
            for a, b in zip(run(), expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-10)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no gradient": (
        lambda: mynn.autograd.grad(leaf(mynn, X).sum(), mynn.Tensor(X)),
        r"inputs\[0\].* does not require.*requires_grad_\(\)",
    ),
    "unused": (
        lambda: mynn.autograd.grad(leaf(mynn, X).sum(), leaf(mynn, Y)),
        r"depends on inputs\[0\].*2,3.*allow_unused",
    ),
    "vector": (
        lambda: mynn.autograd.grad(leaf(mynn, X) * 2, leaf(mynn, X)),
        "reduce it first",
    ),
    "constant": (
        lambda: mynn.autograd.grad(mynn.Tensor(1.0), leaf(mynn, X)),
        "outputs\\[0\\].* does not",
    ),
    "shape": (
        lambda: mynn.autograd.grad(leaf(mynn, X) * 2, leaf(mynn, X), mynn.Tensor([1.0])),
        r"\(1,\), its output \(3,\)",
    ),
    "count": (
        lambda: mynn.autograd.grad(leaf(mynn, X).sum(), leaf(mynn, X), [None, None]),
        "2 for 1 outputs",
    ),
    "no tensor": (lambda: mynn.autograd.grad([1.0], leaf(mynn, X)), "outputs must be tensors"),
    "batched": (
        lambda: mynn.autograd.grad(leaf(mynn, X).sum(), leaf(mynn, X), is_grads_batched=True),
        "give its cotangent",
    ),
    "v": (lambda: functional.vjp(vector, mynn.Tensor(X)), "give v"),
    "v shape": (
        lambda: functional.vjp(vector, mynn.Tensor(X), mynn.Tensor(1.0)),
        "have the shapes",
    ),
    "hessian": (lambda: functional.hessian(vector, mynn.Tensor(X)), "one element"),
    "result": (lambda: functional.jacobian(lambda x: 3, mynn.Tensor(X)), "must return tensors.*3"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    call, message = REFUSED[name]
    with pytest.raises((MynnError, TypeError), match=message):
        call()
