"""Hooks of modules, as PyTorch calls them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.errors import UsageError

X = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)


def test_forward_hooks() -> None:
    layer = nn.Linear(4, 3)
    seen: list[str] = []
    plain = layer(X).numpy()
    handles = [
        layer.register_forward_pre_hook(lambda m, args: seen.append("before")),
        layer.register_forward_pre_hook(lambda m, args: (args[0] * 2.0,), prepend=True),
        layer.register_forward_hook(lambda m, args, y: seen.append("after")),
        layer.register_forward_hook(lambda m, args, y: y + 1.0),
    ]
    changed = layer(X).numpy()
    assert seen == ["before", "after"]
    bias = layer.bias.numpy()
    np.testing.assert_allclose(changed, 2 * (plain - bias) + bias + 1, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mynn.compile(layer)(X), changed, rtol=1e-4, atol=1e-5)
    for handle in handles:
        handle.remove()
    np.testing.assert_array_equal(layer(X).numpy(), plain)
    np.testing.assert_allclose(mynn.compile(layer)(X), plain, rtol=1e-4, atol=1e-5)


def test_keywords_and_errors() -> None:
    class Net(nn.Module):
        def forward(self, x: Any, scale: float = 1.0) -> Any:
            if scale == 0:
                raise ValueError("zero")
            return x * scale

    net = Net()
    seen: list[Any] = []
    net.register_forward_pre_hook(lambda m, a, k: (a, {"scale": 3.0}), with_kwargs=True)
    with net.register_forward_hook(
        lambda m, a, k, y: seen.append((k, y is None)), with_kwargs=True, always_call=True
    ):
        np.testing.assert_allclose(net(mynn.Tensor(X), scale=1.0).numpy(), 3 * X, rtol=1e-6)
        net.register_forward_pre_hook(lambda m, a, k: (a, {"scale": 0}), with_kwargs=True)
        with pytest.raises(ValueError, match="zero"):
            net(X)
    assert seen == [({"scale": 3.0}, False), ({"scale": 0}, True)]
    net.register_forward_pre_hook(lambda m, a, k: a, with_kwargs=True)
    with pytest.raises(UsageError, match="a tuple"):
        net(X)


def observed(nn: Any, x: Any) -> list[Any]:
    """Gradients that hooks see and change."""
    layer = nn.Linear(4, 3)
    with_values = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    seen: list[Any] = []
    if isinstance(layer, mynn.nn.Module):
        layer.weight.data = with_values
    else:
        layer.weight.data.copy_(type(layer.weight.data)(with_values))
    layer.register_full_backward_pre_hook(lambda m, g: (g[0] * 2.0,))

    def hook(m: Any, grad_input: Any, grad_output: Any) -> Any:
        seen.extend([grad_input[0], grad_output[0]])
        return (grad_input[0] * 10.0,)

    layer.register_full_backward_hook(hook)
    (layer(x) * 3.0).sum().backward()
    return [*seen, x.grad, layer.weight.grad]


def test_backward_hooks() -> None:
    torch = pytest.importorskip("torch")
    ours = observed(nn, mynn.Tensor(X, requires_grad=True))
    theirs = observed(torch.nn, torch.tensor(X, requires_grad=True))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


def test_backward_hooks_are_eager() -> None:
    layer = nn.Linear(4, 3)
    layer.register_full_backward_hook(lambda m, a, b: None)
    with pytest.raises(UsageError, match="backward hooks are called with values"):
        mynn.compile(layer)(X)


def test_hooks_on_a_tape() -> None:
    layer = nn.Linear(4, 3)
    seen: list[Any] = []
    with mynn.eager("tape"):
        for _ in range(3):
            layer(X)
        handle = layer.register_forward_hook(lambda m, args, y: seen.append(y.shape))
        layer(X)
        handle.remove()
        layer(X)
    assert seen == [(5, 3)]


def test_hooks_below_on_a_tape() -> None:
    """A hook sees every call, with values, also where a module above it is called."""
    net = nn.Sequential(nn.Linear(4, 3), nn.Sequential(nn.Tanh()))
    seen: list[float] = []
    with mynn.eager("tape"):
        for _ in range(3):
            net(X).sum().item()
        handle = net[1][0].register_forward_hook(lambda m, args, y: seen.append(y.sum().item()))
        totals = [net(X * k).sum().item() for k in range(4)]
        handle.remove()
        net(X).sum().item()
    np.testing.assert_allclose(seen, totals, rtol=1e-5, atol=1e-6)
    assert net[1][0]._hooks is None


def test_backward_hooks_without_a_gradient_of_the_input() -> None:
    """As in PyTorch they are called, with None for the input, when that of the output is there."""
    seen: list[Any] = []
    layer = nn.Linear(2, 3)
    layer.register_full_backward_pre_hook(lambda m, g: (g[0] * 10,))
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].tolist())))
    layer(np.ones((1, 2), np.float32)).sum().backward()
    assert seen == [((None,), [[10.0, 10.0, 10.0]])]
    assert layer.weight.grad.tolist() == [[10.0, 10.0]] * 3
