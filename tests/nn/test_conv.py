from __future__ import annotations

import doctest
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import functional as F
from mynn import nn, optim
from mynn.core.types import Array
from mynn.errors import ArgumentError, DTypeError, ShapeError
from mynn.functional import conv as functions
from mynn.nn import conv
from mynn.tensor import Tensor
from tests.registry.entries import rng
from tests.registry.running import (
    BACKENDS,
    pytorch,
)

# PyTorch warns of it once in a process, in whichever test comes first.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")


@pytest.mark.parametrize("file", [conv, functions])
def test_doctests(file: Any) -> None:
    assert doctest.testmod(file).failed == 0


def test_second_derivatives() -> None:
    """The gradient of the squared norm of a gradient, through stride, padding and groups."""
    torch = pytorch()
    arrays = [rng("second").normal(size=shape) for shape in ((2, 4, 6, 5), (6, 2, 3, 2))]

    def ours(x: Any, w: Any) -> Any:
        y = F.conv2d(x, w, stride=2, padding=1, groups=2)
        return (y * y * y).sum()

    def norm(x: Any, w: Any) -> Any:
        gx, gw = mynn.grad(ours, (0, 1))(x, w)
        return (gx * gx).sum() + (gw * gw).sum()

    x, w = (torch.tensor(a, requires_grad=True) for a in arrays)
    y = torch.nn.functional.conv2d(x, w, stride=2, padding=1, groups=2)
    gradients = torch.autograd.grad((y * y * y).sum(), (x, w), create_graph=True)
    sum((g * g).sum() for g in gradients).backward()
    for got, expected in zip(mynn.grad(norm, (0, 1))(*arrays), (x, w), strict=True):
        np.testing.assert_allclose(got.numpy(), expected.grad.numpy(), rtol=1e-11)


def test_transposed_is_the_adjoint() -> None:
    """<conv(x), y> = <x, conv_transpose(y)>."""
    generator = rng("adjoint")
    w = generator.normal(size=(6, 2, 3, 2))
    x, y = generator.normal(size=(2, 4, 7, 6)), generator.normal(size=(2, 6, 4, 5))
    options: dict[str, Any] = {"stride": (2, 1), "padding": (1, 0), "groups": 2}
    left = (F.conv2d(x, w, **options) * y).sum().item()
    right = (F.conv_transpose2d(y, w, **options) * x).sum().item()
    assert left == pytest.approx(right, rel=1e-12)


@pytest.mark.parametrize(
    ("layer", "fastest"),
    [
        (nn.Conv1d(3, 8, 5), 0),
        (nn.Conv2d(3, 8, 5), 0),
        (nn.ConvTranspose1d(3, 8, 5), 1),
        (nn.ConvTranspose2d(3, 8, 5), 1),
    ],
)
def test_output_channels_lie_side_by_side(layer: nn.Module, fastest: int) -> None:
    strides = layer.weight.value.strides
    assert strides[fastest] == 4
    assert list(strides[2:]) == sorted(strides[2:], reverse=True)
    assert min(strides[2:]) > strides[1 - fastest] > 4


def test_initial_values_are_pytorchs() -> None:
    for layer, bound in (
        (nn.Conv2d(3, 200, 5), 75**-0.5),
        (nn.ConvTranspose2d(20, 8, 2), 32**-0.5),
    ):
        tops = [float(np.abs(parameter.value).max()) for parameter in layer.parameters()]
        assert 0.95 * bound < tops[0] <= bound
        assert 0.2 * bound < tops[1] <= bound


def test_inputs_are_converted() -> None:
    images = np.arange(2 * 25, dtype=np.uint8).reshape(2, 1, 5, 5)
    layer = nn.Conv2d(1, 2, 3)
    y = layer(images)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y.value, layer(images.astype(np.float64)).value)
    assert nn.Conv2d(1, 2, 3, dtype=np.float64)(images).dtype == np.float64


def test_any_memory_layout() -> None:
    layer = nn.Conv2d(3, 4, 3, padding=1)
    x = rng("layout").normal(size=(2, 6, 10, 3)).astype(np.float32)[:, :, ::2].transpose(0, 3, 1, 2)
    x.flags.writeable = False
    same = layer(np.ascontiguousarray(x)).value
    np.testing.assert_allclose(layer(x).value, same, rtol=1e-5, atol=1e-6)


def test_no_samples() -> None:
    x = Tensor(np.zeros((0, 3, 5, 5), np.float32), requires_grad=True)
    y = nn.Conv2d(3, 4, 3)(x)
    y.sum().backward()
    assert y.shape == (0, 4, 3, 3)
    assert x.grad is not None
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("shape", [(2, 4, 6, 6), (6, 6), (1, 1, 3, 6, 6), (4, 6, 6)])
def test_the_layer_and_the_shapes_are_named(shape: tuple[int, ...]) -> None:
    net = nn.Sequential(nn.Identity(), nn.Sequential(nn.Conv2d(3, 2, 3)))
    with pytest.raises(ShapeError) as caught:
        net(np.zeros(shape, np.float32))
    message = str(caught.value)
    assert message.startswith("layer '1.0' (Conv2d): ")
    assert str(shape) in message
    assert "in_channels = 3" in message


x2: Array = np.zeros((1, 2, 4, 4), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Conv2d(0, 3, 3), ArgumentError, "in_channels"),
        (lambda: nn.Conv2d(2, 3, 0), ArgumentError, "kernel_size.*at least 1"),
        (lambda: nn.Conv2d(2, 3, (3, 3, 3)), ArgumentError, "kernel_size.*2 numbers"),
        (lambda: nn.Conv2d(2, 3, 2.5), ArgumentError, "kernel_size.*whole number"),
        (lambda: nn.Conv2d(2, 3, 3, stride=0), ArgumentError, "stride"),
        (lambda: nn.Conv2d(2, 3, 3, padding=-1), ArgumentError, "padding"),
        (lambda: nn.Conv2d(2, 3, 3, padding="full"), ArgumentError, "full"),
        (lambda: nn.Conv2d(2, 3, 3, 2, "same"), ArgumentError, "stride 1"),
        (lambda: nn.Conv2d(2, 3, 3, groups=2), ArgumentError, "groups=2"),
        (lambda: nn.Conv2d(2, 3, 3, padding_mode="mirror"), ArgumentError, "mirror"),
        (lambda: nn.Conv2d(2, 3, 3, dtype=np.int32), DTypeError, "int32"),
        (lambda: nn.Conv2d(2, 3, 5)(x2), ShapeError, "Conv2d.*spans 5 values does not fit"),
        (lambda: nn.ConvTranspose2d(2, 3, 3, padding="same"), ArgumentError, "same"),
        (
            lambda: nn.ConvTranspose2d(2, 3, 3, 2, output_padding=2)(x2),
            ArgumentError,
            "output_padding",
        ),
        (lambda: nn.ConvTranspose2d(2, 3, 1, padding=2)(x2), ShapeError, "cuts all"),
        (lambda: F.conv2d(x2, np.zeros((3, 1, 3, 3))), ShapeError, "in_channels = 1"),
        (lambda: F.conv2d(x2, np.zeros((3, 1, 3, 3)), groups=2), ShapeError, "divide by 2"),
        (lambda: F.conv2d(x2, np.zeros((3, 3))), ShapeError, "4 axes"),
        (lambda: F.conv2d(x2, np.zeros((3, 2, 3, 3)), groups=0), ArgumentError, "groups"),
        (lambda: F.conv2d(x2, np.zeros((3, 2, 3, 3)), padding="full"), ArgumentError, "full"),
        (lambda: F.conv1d(x2, np.zeros((3, 2, 3))), ShapeError, r"\[N, C, L\]"),
        (lambda: F.conv_transpose2d(x2, np.zeros((3, 2, 3, 3))), ShapeError, "in_channels = 3"),
    ],
)
def test_bad_input(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_training_is_the_same_eager_and_compiled() -> None:
    """Steps of a small LeNet: convolution, pooling, linear layers, cross-entropy, momentum."""

    def trained(backend: str | None) -> tuple[dict[str, Array], list[float]]:
        mynn.manual_seed(1)
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Flatten(),
            nn.Linear(24, 3),
        )
        criterion = nn.CrossEntropyLoss()
        optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        x = np.random.default_rng(0).normal(size=(24, 1, 10, 10)).astype(np.float32)
        t = np.arange(24) % 3
        x[np.arange(24), 0, 2 * t, :] += 2

        def step(x: Any, t: Any) -> Any:
            loss = criterion(net(x), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        run = step if backend is None else mynn.compile(step, backend=backend)
        losses = [float(run(x[i : i + 8], t[i : i + 8])) for _ in range(6) for i in (0, 8, 16)]
        return net.state_dict(), losses

    state, losses = trained(None)
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    for backend in BACKENDS:
        other, same = trained(backend)
        np.testing.assert_allclose(same, losses, rtol=1e-4)
        for key, value in state.items():
            np.testing.assert_allclose(other[key], value, rtol=1e-3, atol=1e-5, err_msg=key)
