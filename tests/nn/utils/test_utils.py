"""Helpers for parameters, against PyTorch's."""

from __future__ import annotations

import copy
import inspect
from typing import Any, Literal

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.errors import ArgumentError, DataError, MynnError, ShapeError, UsageError
from mynn.nn import utils
from mynn.nn.utils import parametrize

X = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)


def trained() -> nn.Module:
    mynn.manual_seed(2)
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    (net(X) * 7.0).sum().backward()
    return net


def twin(net: nn.Module, torch: Any) -> Any:
    """The same network of PyTorch, with the same gradients."""
    other = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 2))
    other.load_state_dict({k: torch.tensor(v) for k, v in net.state_dict().items()})
    (other(torch.tensor(X)) * 7.0).sum().backward()
    return other


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, float("inf")])
@pytest.mark.parametrize("limit", [0.5, 1e4])
def test_clip_grad_norm(norm_type: float, limit: float) -> None:
    torch = pytest.importorskip("torch")
    net = trained()
    other = twin(net, torch)
    expected = torch.nn.utils.clip_grad_norm_(other.parameters(), limit, norm_type)
    got = utils.clip_grad_norm_(net.parameters(), limit, norm_type)
    np.testing.assert_allclose(got.item(), expected.item(), rtol=1e-5)
    for a, b in zip(net.parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_clip_grad_value() -> None:
    net = trained()
    before = [p.grad.numpy() for p in net.parameters()]
    utils.clip_grad_value_(net.parameters(), 1.5)
    for p, g in zip(net.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), g.clip(-1.5, 1.5))


@pytest.mark.parametrize("backend", ["native", "interpreter"])
def test_clipped_in_a_compiled_step(backend: str) -> None:
    net = trained()
    eager = copy.deepcopy(net)
    found = []
    for one, wrap in ((net, lambda f: mynn.compile(f, backend=backend)), (eager, lambda f: f)):
        optimizer = optim.SGD(one.parameters(), lr=0.1)

        def step(x: Any, one: Any = one, optimizer: Any = optimizer) -> Any:
            optimizer.zero_grad()
            loss = (one(x) * 5.0).sum()
            loss.backward()
            norm = utils.clip_grad_norm_(one.parameters(), 1.0)
            optimizer.step()
            return norm

        run = wrap(step)
        found.append([float(run(mynn.Tensor(X) if wrap is None else X)) for _ in range(3)])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    for a, b in zip(net.parameters(), eager.parameters(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


def test_gradients_that_are_not_finite() -> None:
    net = trained()
    net[0].weight.grad = net[0].weight.grad * np.inf
    with pytest.raises(DataError, match="cannot be clipped"):
        utils.clip_grad_norm_(net.parameters(), 1.0, error_if_nonfinite=True)
    assert not np.isfinite(utils.clip_grad_norm_(net.parameters(), 1.0).item())
    assert utils.clip_grad_norm_([], 1.0).item() == 0


def test_parameters_as_a_vector() -> None:
    net = trained()
    vector = utils.parameters_to_vector(net.parameters())
    assert vector.shape == (23,)
    np.testing.assert_array_equal(vector.detach().numpy()[:12], net[0].weight.numpy().reshape(-1))
    utils.vector_to_parameters(np.arange(23, dtype=np.float32), net.parameters())
    assert net[2].bias.tolist() == [21, 22]
    with pytest.raises(ShapeError, match="23 values"):
        utils.vector_to_parameters(np.zeros(5, np.float32), net.parameters())
    with pytest.raises(ArgumentError, match="no parameters"):
        utils.parameters_to_vector([])


# -- weights that are computed ---------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dim", [0, 1, None])
def test_weight_norm(dim: int | None) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    ours = utils.weight_norm(nn.Linear(4, 3), dim=dim)
    theirs = torch.nn.utils.weight_norm(torch.nn.Linear(4, 3), dim=dim)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    ours.load_state_dict(state)
    x = torch.tensor(X)
    (theirs(x) ** 2).sum().backward()
    (ours(X) ** 2).sum().backward()
    np.testing.assert_allclose(ours(X).detach().numpy(), theirs(x).detach().numpy(), rtol=1e-5)
    for name, parameter in ours.named_parameters():
        expected = theirs.get_parameter(name).grad.numpy()
        np.testing.assert_allclose(parameter.grad.numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mynn.compile(ours)(X), ours(X).numpy(), rtol=1e-5)
    before = ours(X).numpy()
    utils.remove_weight_norm(ours)
    assert list(ours.state_dict()) == ["bias", "weight"]
    np.testing.assert_allclose(ours(X).numpy(), before, rtol=1e-5)


def test_weight_norm_in_training() -> None:
    layer = utils.weight_norm(nn.Conv2d(2, 3, 2))
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    x = np.ones((1, 2, 3, 3), np.float32)

    @mynn.compile
    def step() -> Any:
        optimizer.zero_grad()
        loss = (layer(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    losses = [float(step()) for _ in range(20)]
    assert losses[-1] < losses[0]
    assert copy.deepcopy(layer)(x).shape == (1, 3, 2, 2)


@pytest.mark.filterwarnings("ignore")
def test_spectral_norm() -> None:
    torch = pytest.importorskip("torch")
    ours = utils.spectral_norm(nn.Linear(4, 3), n_power_iterations=2)
    theirs = torch.nn.utils.spectral_norm(torch.nn.Linear(4, 3), n_power_iterations=2)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    for _ in range(2):
        expected = theirs(torch.tensor(X)).detach().numpy()
        np.testing.assert_allclose(ours(X).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    for key, value in ours.state_dict().items():
        np.testing.assert_allclose(value, theirs.state_dict()[key].numpy(), rtol=1e-4, atol=1e-5)
    for _ in range(30):
        ours(X)
    assert np.linalg.svd(ours.weight.detach().numpy())[1][0] == pytest.approx(1, rel=1e-3)
    ours.eval()
    u = ours.weight_u.numpy()
    expected = ours(X).detach().numpy()
    np.testing.assert_array_equal(ours.weight_u.numpy(), u)
    utils.remove_spectral_norm(ours)
    assert list(ours.state_dict()) == ["bias", "weight"]
    np.testing.assert_allclose(ours(X).detach().numpy(), expected, rtol=1e-5)


def test_what_has_no_such_weight() -> None:
    with pytest.raises(ArgumentError, match="Tanh has no parameter 'weight'"):
        utils.weight_norm(nn.Tanh())
    layer = utils.weight_norm(nn.Linear(2, 2))
    with pytest.raises(MynnError):
        utils.weight_norm(layer)
    with pytest.raises(ArgumentError, match="no spectral_norm"):
        utils.remove_spectral_norm(layer)


# -- fused -----------------------------------------------------------------------------------------


def test_normalisation_taken_into_the_layer_before() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 2, 5, 5)).astype(np.float32)
    for layer, norm, x in (
        (nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), images),
        (nn.ConvTranspose2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), images),
        (nn.Linear(4, 3), nn.BatchNorm1d(3), X),
    ):
        with pytest.raises(UsageError, match="eval"):
            utils.fuse_conv_bn_eval(layer, norm)
        norm.load_state_dict(
            {
                "weight": rng.uniform(0.5, 2, 3),
                "bias": rng.normal(size=3),
                "running_mean": rng.normal(size=3),
                "running_var": rng.uniform(0.5, 2, 3),
                "num_batches_tracked": 3,
            }
        )
        net = nn.Sequential(layer, norm).eval()
        if isinstance(layer, nn.Linear):
            fused = utils.fuse_linear_bn_eval(layer, norm)
        else:
            fused = utils.fuse_conv_bn_eval(layer, norm, isinstance(layer, nn.ConvTranspose2d))
        np.testing.assert_allclose(fused(x).numpy(), net(x).numpy(), rtol=1e-4, atol=1e-5)


def test_arguments_are_those_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    for name in set(utils.__all__) - {"parametrize", "parametrizations"}:
        theirs = inspect.signature(getattr(torch.nn.utils, name)).parameters
        ours = inspect.signature(getattr(utils, name)).parameters
        if set(theirs) != {"args", "kwargs"}:
            assert list(ours) == list(theirs), name


# -- parametrizations ------------------------------------------------------------------------------


class Symmetric(nn.Module):
    def forward(self, x: Any) -> Any:
        return (x + x.T) * 0.5


def test_parametrizations() -> None:
    layer = nn.Linear(4, 4)
    weight = layer.weight.numpy()
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert parametrize.is_parametrized(layer, "weight")
    np.testing.assert_allclose(layer.weight.detach().numpy(), (weight + weight.T) / 2, rtol=1e-6)
    expected = layer(X).numpy()
    np.testing.assert_allclose(mynn.compile(layer)(X), expected, rtol=1e-5, atol=1e-6)
    (layer(X) ** 2).sum().backward()
    gradient = layer.parametrizations["weight"].original.grad.numpy()
    np.testing.assert_allclose(gradient, gradient.T, rtol=1e-4, atol=1e-5)
    parametrize.remove_parametrizations(layer, "weight")
    assert list(layer.state_dict()) == ["bias", "weight"]
    np.testing.assert_allclose(layer(X).numpy(), expected, rtol=1e-6)
    with pytest.raises(ArgumentError, match="has no parametrization"):
        parametrize.remove_parametrizations(layer, "weight")
    with pytest.raises(ShapeError, match="unsafe=True"):
        parametrize.register_parametrization(layer, "weight", nn.Flatten(0))


@pytest.mark.parametrize("name", ["weight_norm", "spectral_norm"])
def test_parametrized_as_in_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    ours = getattr(utils.parametrizations, name)(nn.Linear(4, 3))
    theirs = getattr(torch.nn.utils.parametrizations, name)(torch.nn.Linear(4, 3))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    for _ in range(2):
        expected = theirs(torch.tensor(X))
        got = ours(X)
        np.testing.assert_allclose(
            got.detach().numpy(), expected.detach().numpy(), rtol=1e-4, atol=1e-5
        )
    (expected**2).sum().backward()
    (got**2).sum().backward()
    for key, parameter in ours.named_parameters():
        wanted = theirs.get_parameter(key).grad.numpy()
        np.testing.assert_allclose(parameter.grad.numpy(), wanted, rtol=1e-3, atol=1e-4)
    copy.deepcopy(ours)(X)


def test_rooms_come_with_the_package() -> None:
    """As in PyTorch, nobody needs to import them; here they are loaded when they are asked for."""
    assert nn.utils.rnn.pack_sequence([np.ones(3), np.ones(2)]).batch_sizes.tolist() == [2, 2, 1]
    assert callable(nn.utils.stateless.functional_call)
    with pytest.raises(AttributeError, match="no attribute 'rmm'"):
        _ = nn.utils.rmm


@pytest.mark.parametrize("way", ["at once", "tape"])
@pytest.mark.parametrize("clip", ["norm", "value"])
def test_gradients_taken_before_are_clipped(way: Literal["at once", "tape"], clip: str) -> None:
    """In place: as in PyTorch, who has a gradient has the clipped one."""
    with mynn.eager(way):
        net = nn.Linear(3, 2)
        (net(np.ones((4, 3), np.float32)) * 5).sum().backward()
        held = [p.grad for p in net.parameters()]
        before = [one.numpy().copy() for one in held]
        if clip == "norm":
            total = nn.utils.clip_grad_norm_(net.parameters(), 1.0).item()
            expected = [one / np.float32(total) for one in before]
        else:
            nn.utils.clip_grad_value_(net.parameters(), 0.5)
            expected = [one.clip(-0.5, 0.5) for one in before]
        for one, p, value in zip(held, net.parameters(), expected, strict=True):
            assert one is p.grad
            np.testing.assert_allclose(one.numpy(), value, rtol=1e-5)
