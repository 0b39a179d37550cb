from __future__ import annotations

import copy
import doctest
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import functional as F
from mynn import nn, optim
from mynn.core.graph import topological
from mynn.core.types import Array
from mynn.errors import ArgumentError, DataError, ShapeError
from mynn.functional import normalization as functions
from mynn.nn import normalization
from mynn.ops import reduce
from mynn.tensor import Tensor, graph_node
from mynn.trace import tracing
from tests.registry.entries import rng
from tests.registry.running import (
    BACKENDS,
    Namespace,
    pytorch,
)


@pytest.mark.parametrize("file", [normalization, functions])
def test_doctests(file: Any) -> None:
    assert doctest.testmod(file).failed == 0


def test_the_gradient_takes_two_sums() -> None:
    """Over x only g and g (x - mean) are summed, beside the two sums of the forward pass."""
    layer = nn.BatchNorm2d(3, affine=False, track_running_stats=False)
    x = Tensor(np.ones((4, 3, 5, 5), np.float32), requires_grad=True)
    with tracing.tracing():
        (layer(x) * np.ones((4, 3, 5, 5), np.float32)).sum().backward()
        assert x.grad is not None
        sums = [
            node
            for node in topological([graph_node(x.grad)])
            if node.primitive is reduce.sum and node.inputs[0].type.size == x.numel()
        ]
    assert len(sums) == 4


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e5])
def test_a_large_mean_costs_no_accuracy(offset: float) -> None:
    x = (rng("offset").normal(size=(64, 3)) + offset).astype(np.float32)
    y = nn.BatchNorm1d(3)(x).numpy()
    centred = x.astype(np.float64) - x.astype(np.float64).mean(0)
    expected = centred / np.sqrt((centred**2).mean(0) + 1e-5)
    np.testing.assert_allclose(y, expected, atol=2e-6 + 3e-7 * offset)


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("backend", [None, *BACKENDS])
def test_running_statistics_over_steps(momentum: float | None, backend: str | None) -> None:
    """Training steps of unequal batches, then evaluation: as in PyTorch."""
    torch = pytorch()
    ours = Namespace("float64").BatchNorm1d(3, momentum=momentum)
    theirs = torch.nn.BatchNorm1d(3, momentum=momentum).double()
    run = ours if backend is None else mynn.compile(ours, backend=backend)
    x = rng("running").normal(size=(30, 3)) * [1, 5, 0.1] + [0, 3, -20]
    for start, stop in ((0, 10), (10, 12), (12, 30)):
        got = np.asarray(run(x[start:stop]))
        expected = theirs(torch.tensor(x[start:stop])).detach().numpy()
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
    assert ours.num_batches_tracked.item() == 3
    for key, value in theirs.state_dict().items():
        np.testing.assert_allclose(ours.state_dict()[key], value.numpy(), rtol=1e-12)
    ours.eval()
    theirs.eval()
    got = np.asarray(run(x))
    np.testing.assert_allclose(got, theirs(torch.tensor(x)).detach().numpy(), rtol=1e-10)
    assert ours.num_batches_tracked.item() == 3


def test_a_changed_momentum_is_seen_by_the_program() -> None:
    layer = nn.BatchNorm1d(2)
    run = mynn.compile(layer)
    x = rng("momentum").normal(size=(8, 2)).astype(np.float32)
    run(x)
    layer.momentum = 1.0
    run(x)
    np.testing.assert_allclose(layer.running_mean.value, x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.value, x.var(0, ddof=1), rtol=1e-5)


def test_reset() -> None:
    layer = nn.BatchNorm2d(3)
    before = copy.deepcopy(layer.state_dict())
    layer(rng("reset").normal(size=(4, 3, 5, 2)))
    for parameter in layer.parameters():
        parameter.data = [1, 2, 3]
    layer.reset_parameters()
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
    for other in (nn.LayerNorm(3), nn.GroupNorm(1, 3), nn.RMSNorm(3)):
        for parameter in other.parameters():
            parameter.data = [5, 5, 5]
        other.reset_parameters()
        assert {float(p.value.sum()) for p in other.parameters()} <= {0.0, 3.0}


def test_inputs_are_converted() -> None:
    x = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for layer in (nn.BatchNorm1d(3), nn.LayerNorm(4), nn.RMSNorm(4), nn.GroupNorm(3, 3)):
        assert layer(x).dtype == np.float32
        assert layer(x.astype(np.float64)).dtype == np.float32
    assert nn.LayerNorm(4, dtype=np.float64)(x).dtype == np.float64


def test_training_is_the_same_eager_and_compiled() -> None:
    """Steps of a network with all of them, then evaluation."""

    def trained(backend: str | None) -> tuple[dict[str, Array], list[float]]:
        mynn.manual_seed(2)
        net = nn.Sequential(
            nn.Conv2d(2, 4, 3, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.GroupNorm(2, 4),
            nn.Flatten(),
            nn.Linear(64, 8),
            nn.LayerNorm(8),
            nn.Tanh(),
            nn.RMSNorm(8),
            nn.Linear(8, 3),
        )
        criterion = nn.CrossEntropyLoss()
        optimizer = optim.Adam(net.parameters(), lr=0.01)
        x = np.random.default_rng(0).normal(size=(24, 2, 6, 6)).astype(np.float32)
        t = np.arange(24) % 3

        def step(x: Any, t: Any) -> Any:
            loss = criterion(net(x), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        run = step if backend is None else mynn.compile(step, backend=backend)
        losses = [float(run(x[i : i + 8], t[i : i + 8])) for _ in range(3) for i in (0, 8, 16)]
        return net.eval().state_dict() | {"y": net(x).numpy()}, losses

    state, losses = trained(None)
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    for backend in BACKENDS:
        other, same = trained(backend)
        np.testing.assert_allclose(same, losses, rtol=2e-3)
        for key, value in state.items():
            np.testing.assert_allclose(other[key], value, rtol=1e-2, atol=1e-2, err_msg=key)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.BatchNorm2d(3)(np.zeros((2, 4, 5, 5))), ShapeError, r"BatchNorm2d\(4\)"),
        (lambda: nn.BatchNorm2d(3)(np.zeros((2, 3))), ShapeError, r"BatchNorm2d.*\[N, C, H, W\]"),
        (lambda: nn.BatchNorm1d(3)(np.zeros((2, 3, 4, 5))), ShapeError, r"\[N, C\] or"),
        (lambda: nn.BatchNorm1d(3)(np.zeros((1, 3))), DataError, "BatchNorm1d.*more than one"),
        (lambda: nn.BatchNorm1d(0), ArgumentError, "num_features"),
        (lambda: nn.BatchNorm1d(3, momentum=1.5), ArgumentError, "momentum.*1.5"),
        (lambda: nn.BatchNorm1d(3, eps=-1), ArgumentError, "eps.*-1"),
        (lambda: nn.LayerNorm(3)(np.zeros((2, 4))), ShapeError, r"LayerNorm\(\(4,\)\)"),
        (lambda: nn.LayerNorm((3, 4))(np.zeros(4)), ShapeError, r"\(3, 4\)"),
        (lambda: nn.LayerNorm(()), ArgumentError, "normalized_shape"),
        (lambda: nn.RMSNorm(3)(np.zeros((2, 4))), ShapeError, "RMSNorm"),
        (lambda: nn.RMSNorm((0,)), ArgumentError, "normalized_shape"),
        (lambda: nn.GroupNorm(2, 3), ArgumentError, "num_groups=2"),
        (lambda: nn.GroupNorm(2, 4)(np.zeros((2, 3, 4))), ShapeError, "num_channels = 4"),
        (lambda: F.batch_norm(np.zeros((2, 3)), None, None), ArgumentError, "running_mean"),
        (
            lambda: F.batch_norm(np.zeros((2, 3)), None, None, np.zeros(2), training=True),
            ShapeError,
            r"weight has shape \(2,\)",
        ),
        (lambda: F.batch_norm(np.zeros(3), None, None, training=True), ShapeError, "batch_norm"),
        (lambda: F.layer_norm(np.zeros((2, 3)), 2), ShapeError, r"layer_norm.*\(2,\)"),
        (lambda: F.group_norm(np.zeros((2, 3)), 2), ShapeError, "2 groups"),
        (lambda: nn.GroupNorm(4, 4)(np.zeros((1, 4))), DataError, "GroupNorm.*more than one"),
        (lambda: mynn.compile(nn.GroupNorm(4, 4))(np.zeros((1, 4, 1))), DataError, "more than one"),
    ],
)
def test_bad_input(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("shape", [(1, 4), (2, 4), (1, 4, 1), (1, 4, 2), (3, 4, 1, 1)])
def test_group_norm_refuses_what_pytorch_refuses(shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")

    def refused(call: Callable[[], Any]) -> bool:
        try:
            call()
        except ValueError:
            return True
        return False

    ours = refused(lambda: nn.GroupNorm(4, 4)(np.ones(shape, np.float32)))
    assert ours == refused(lambda: torch.nn.GroupNorm(4, 4)(torch.ones(shape)))
