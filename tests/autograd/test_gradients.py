"""`autograd.grad` gives what PyTorch's gives, however the calls before it were run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import autograd, nn
from mynn.errors import ArgumentError, MynnError, ShapeError, UsageError

RNG = np.random.default_rng(0)
A = RNG.normal(size=(3, 4))
B = RNG.normal(size=(4,))


def leaf(lib: Any, array: Any) -> Any:
    return lib.tensor(array, requires_grad=True)


def plain(lib: Any) -> Any:
    a, b = leaf(lib, A), leaf(lib, B)
    return lib.autograd.grad((a * b).tanh().sum(), [a, b])


def cotangents(lib: Any) -> Any:
    a, b = leaf(lib, A), leaf(lib, B)
    y, z = a.exp() * b, (b * b).sum()
    v = lib.tensor(np.cos(A))
    return lib.autograd.grad([y, z], (a, b), grad_outputs=[v, None])


def on_the_way(lib: Any) -> Any:
    a = leaf(lib, A)
    h = (a * 2).sin()
    y = (h * h).sum()
    return lib.autograd.grad(y, [h, a])


def second(lib: Any) -> Any:
    a = leaf(lib, A)
    (g,) = lib.autograd.grad((a.tanh() ** 2).sum(), a, create_graph=True)
    (h,) = lib.autograd.grad((g * g).sum(), a, create_graph=True)
    return *lib.autograd.grad(h.sum(), a), h, g


def penalty(lib: Any) -> Any:
    """The gradient of a function of a gradient, into `.grad`."""
    w, x = leaf(lib, A), leaf(lib, A[:2] + 0.5)
    (g,) = lib.autograd.grad((x @ w.T).tanh().sum(), x, create_graph=True)
    ((g.norm(2, dim=1) - 1) ** 2).mean().backward()
    return w.grad, x.grad


def inner_step(lib: Any) -> Any:
    w = leaf(lib, A)
    own = w.clone()
    (g,) = lib.autograd.grad((own * own * own).sum(), [own], create_graph=True)
    loss = ((own - 0.1 * g) ** 2).sum()
    return lib.autograd.grad(loss, w)


def unused(lib: Any) -> Any:
    a, b = leaf(lib, A), leaf(lib, B)
    found = lib.autograd.grad(a.sum(), [a, b], allow_unused=True)
    assert found[1] is None
    return found[:1] + lib.autograd.grad(a.sum(), [a, b], materialize_grads=True)


def several(lib: Any) -> Any:
    a = leaf(lib, A)
    lib.autograd.backward([a.sum(), a.exp()], [None, lib.tensor(np.sin(A))])
    return (a.grad,)


PROGRAMS = (plain, cotangents, on_the_way, second, penalty, inner_step, unused, several)


@pytest.mark.parametrize("way", ["at once", "tape"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_gradients_are_those_of_pytorch(program: Callable[[Any], Any], way: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    expected = [one.detach().numpy() for one in program(torch)]
    with mynn.eager(way):
        for _ in range(4):  # on the tape also as programs
            for got, wanted in zip(program(mynn), expected, strict=True):
                np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-9, atol=1e-12)


def test_parameters_that_were_trained_before() -> None:
    """After steps whose gradients were programs, gradients by results on the way are found."""
    mynn.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
    optimizer = mynn.optim.SGD(net.parameters(), lr=0.1)
    x = mynn.tensor(A.astype(np.float32))
    for _ in range(6):
        h = net[1](net[0](x))
        loss = (net[2](h) ** 2).mean()
        (by_hidden,) = autograd.grad(loss, h, retain_graph=True)
        residual = (2 / 3) * net[2](h).detach() @ net[2].weight.detach()
        np.testing.assert_allclose(by_hidden.numpy(), residual.numpy(), rtol=1e-4, atol=1e-6)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_in_a_trace() -> None:
    @mynn.compile
    def bend(x: Any) -> Any:
        x = (x * 1.0).requires_grad_() if not x.requires_grad else x
        (g,) = autograd.grad((x**4).sum(), x, create_graph=True)
        return autograd.grad(g.sum(), x)[0]

    np.testing.assert_allclose(bend(A), 12 * A**2, rtol=1e-12)


WRONG: dict[str, tuple[Callable[[], Any], type[MynnError], str]] = {
    "unused": (
        lambda: autograd.grad(leaf(mynn, A).sum(), leaf(mynn, B)),
        UsageError,
        r"inputs\[0\]",
    ),
    "no gradient": (lambda: autograd.grad(leaf(mynn, A).sum(), mynn.tensor(B)), UsageError, "0"),
    "shape": (lambda: autograd.grad(leaf(mynn, A) * 2, leaf(mynn, A)), ShapeError, r"\(3, 4\)"),
    "number": (lambda: autograd.grad(1.0, leaf(mynn, A)), ArgumentError, "outputs"),
    "cotangent": (
        lambda: autograd.grad(leaf(mynn, A).sum(), leaf(mynn, A), mynn.tensor(B)),
        ShapeError,
        r"\(4,\)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name: str) -> None:
    use, kind, message = WRONG[name]
    with pytest.raises(kind, match=message):
        use()


@pytest.mark.parametrize("mode", ["at once", "tape"])
def test_a_slope_that_is_constant_asks_for_no_gradient(mode: Any) -> None:
    """As in PyTorch: the gradient of 3 x + s x, where s asks for none, is a leaf without one."""
    with mynn.eager(mode):
        for _ in range(3):
            x, s = leaf(mynn, A), mynn.tensor(A).exp()
            (g,) = mynn.autograd.grad((3 * x + s.sum() * x).sum(), x, create_graph=True)
            (h,) = mynn.autograd.grad((x * x).sum(), x, create_graph=True)
            assert (g.requires_grad, g.is_leaf) == (False, True)
            assert (h.requires_grad, h.is_leaf) == (True, False)
