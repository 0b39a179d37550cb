"""`orthogonal` beside PyTorch's: values, gradients, state dicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.errors import ArgumentError, ShapeError, UsageError
from mynn.nn.utils.orthogonal import MAPS
from mynn.nn.utils.parametrizations import orthogonal

SHAPES = [(4, 4), (6, 3), (3, 6), (5, 1)]
RNG = np.random.default_rng(0)


def of(lib: Any, weight: Any, **named: Any) -> Any:
    """A linear layer that begins at a weight."""
    layer = lib.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    with lib.no_grad():
        layer.weight.copy_(lib.from_numpy(weight.copy()))
    if lib is mynn:
        return orthogonal(layer, **named)
    return lib.nn.utils.parametrizations.orthogonal(layer, **named)


def start(shape: tuple[int, int]) -> Any:
    """An orthogonal weight."""
    q, _ = np.linalg.qr(RNG.normal(size=(max(shape), min(shape))))
    return (q if shape[0] >= shape[1] else q.T).astype(np.float32)


def train(lib: Any, layer: Any, x: Any, steps: int = 5) -> Any:
    """The weight after some steps."""
    optimizer = lib.optim.SGD(layer.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        (layer(lib.from_numpy(x.copy())) ** 3).mean().backward()
        optimizer.step()
    return layer.weight.detach().numpy()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", [*MAPS, None])
@pytest.mark.parametrize("trivialized", [True, False])
def test_training_is_that_of_torch(shape: Any, name: Any, trivialized: bool) -> None:
    torch = pytest.importorskip("torch")
    weight = start(shape)
    named = {"orthogonal_map": name, "use_trivialization": trivialized}
    ours, theirs = of(mynn, weight, **named), of(torch, weight, **named)
    expected = theirs.weight.detach().numpy()
    np.testing.assert_allclose(ours.weight.detach().numpy(), expected, atol=2e-6)
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    assert list(state) == list(ours.state_dict())
    ours.load_state_dict(state)  # columns that are made up are drawn
    x = RNG.normal(size=(8, shape[1])).astype(np.float32)
    found = train(mynn, ours, x)
    np.testing.assert_allclose(found, train(torch, theirs, x), atol=5e-5)
    assert np.abs(found - expected).max() > 1e-3
    tall = found if shape[0] >= shape[1] else found.T
    np.testing.assert_allclose(tall.T @ tall, np.eye(min(shape)), atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 4), (5, 3)])
def test_a_weight_that_is_not_orthogonal_begins_at_its_factor(shape: Any) -> None:
    torch = pytest.importorskip("torch")
    weight = RNG.normal(size=shape).astype(np.float32)
    found = of(mynn, weight).weight.detach().numpy()
    np.testing.assert_allclose(found, of(torch, weight).weight.detach().numpy(), atol=2e-6)


def test_compiled_and_interpreted_weights() -> None:
    for name in MAPS:
        layer = of(mynn, start((4, 4)), orthogonal_map=name)
        x = mynn.from_numpy(RNG.normal(size=(8, 4)).astype(np.float32))
        expected = layer(x).numpy()
        found = np.asarray(mynn.compile(layer)(x))
        np.testing.assert_allclose(found, expected, atol=5e-6)


def test_stacks_of_matrices() -> None:
    layer = nn.Conv1d(3, 2, 3, bias=False)
    weight = orthogonal(layer).weight.detach().numpy()
    np.testing.assert_allclose(weight @ weight.swapaxes(1, 2), np.stack([np.eye(3)] * 2), atol=1e-5)


def test_a_parametrized_weight_is_assigned() -> None:
    """It is still computed, and trained."""
    layer = orthogonal(nn.Linear(3, 3))
    turned = start((3, 3))
    layer.weight = mynn.from_numpy(turned.copy())
    np.testing.assert_allclose(layer.weight.detach().numpy(), turned, atol=1e-6)
    layer(mynn.ones(1, 3)).sum().backward()
    assert layer.parametrizations["weight"].original.grad is not None
    free = nn.utils.parametrize.register_parametrization(nn.Linear(2, 2), "weight", nn.Tanh())
    with pytest.raises(UsageError, match="Tanh has no right_inverse"):
        free.weight = mynn.eye(2)


def test_an_assigned_weight_that_does_not_fit_changes_nothing() -> None:
    class Added(nn.Module):
        """a + sum(b), whose inverse gives a b of another shape each time."""

        extents = iter((9, 5))

        def forward(self, a: mynn.Tensor, b: mynn.Tensor) -> mynn.Tensor:
            return a + b.sum()

        def right_inverse(self, value: mynn.Tensor) -> tuple[mynn.Tensor, mynn.Tensor]:
            return value, mynn.zeros(next(self.extents))

    layer = nn.Linear(3, 2)
    before = layer.weight.numpy()
    nn.utils.parametrize.register_parametrization(layer, "weight", Added())
    with pytest.raises(ShapeError, match=r"\(5,\)\] for original0, original1, which have .*\(9,\)"):
        layer.weight = mynn.zeros(2, 3)
    np.testing.assert_array_equal(layer.weight.numpy(), before)


def test_a_weight_under_spectral_norm_is_assigned() -> None:
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)).eval()
    layer.weight = mynn.eye(3) * 2
    original = layer.parametrizations["weight"].original
    np.testing.assert_array_equal(original.numpy(), np.eye(3, dtype=np.float32) * 2)


def test_what_cannot_be_orthogonal() -> None:
    with pytest.raises(ArgumentError, match="two axes or more"):
        orthogonal(nn.Linear(3, 3), "bias")
    with pytest.raises(ArgumentError, match="matrix_exp, cayley, householder, it is 'exp'"):
        orthogonal(nn.Linear(3, 3), orthogonal_map="exp")
    with pytest.raises(ArgumentError, match="has no parameter 'weights'"):
        orthogonal(nn.Linear(3, 3), "weights")
