from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn
from mynn.errors import ArgumentError, ShapeError
from mynn.nn import init
from mynn.tensor import Parameter, Tensor

SHAPE = (400, 300)
IN, OUT = 300, 400

# name: (initialiser, mean, deviation, bound or None where it is normal)
MOMENTS: dict[str, tuple[Callable[..., Any], float, float, float | None]] = {
    "uniform": (lambda t, g: init.uniform_(t, -1, 3, generator=g), 1, 4 / math.sqrt(12), 3),
    "normal": (lambda t, g: init.normal_(t, 2.0, 0.1, generator=g), 2, 0.1, None),
    "xavier_uniform": (
        lambda t, g: init.xavier_uniform_(t, generator=g),
        0,
        math.sqrt(2 / (IN + OUT)),
        math.sqrt(6 / (IN + OUT)),
    ),
    "xavier_normal": (
        lambda t, g: init.xavier_normal_(t, gain=5 / 3, generator=g),
        0,
        5 / 3 * math.sqrt(2 / (IN + OUT)),
        None,
    ),
    "kaiming_uniform": (
        lambda t, g: init.kaiming_uniform_(t, nonlinearity="relu", generator=g),
        0,
        math.sqrt(2 / IN),
        math.sqrt(6 / IN),
    ),
    "kaiming_normal": (
        lambda t, g: init.kaiming_normal_(t, 0.1, "fan_out", generator=g),
        0,
        math.sqrt(2 / 1.01 / OUT),
        None,
    ),
    "lecun_normal": (lambda t, g: init.lecun_normal_(t, generator=g), 0, math.sqrt(1 / IN), None),
    "lecun_uniform": (
        lambda t, g: init.lecun_uniform_(t, generator=g),
        0,
        math.sqrt(1 / IN),
        math.sqrt(3 / IN),
    ),
    "default": (
        lambda t, g: init.default_(t, None, generator=g),
        0,
        1 / math.sqrt(3 * IN),
        1 / math.sqrt(IN),
    ),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", MOMENTS)
def test_moments(name: str, dtype: Any) -> None:
    fill, mean, deviation, bound = MOMENTS[name]
    tensor = Parameter(np.zeros(SHAPE, dtype), order=(1, 0))
    fill(tensor, 3)
    x = tensor.value.astype(np.float64)
    n = math.sqrt(x.size)
    assert tensor.dtype == dtype
    assert abs(x.mean() - mean) < 5 * deviation / n
    assert abs(x.std() / deviation - 1) < 5 / n
    kurtosis = (((x - mean) / deviation) ** 4).mean()
    if bound is None:
        assert abs(kurtosis - 3) < 0.1
    else:
        assert abs(x).max() <= bound * (1 + 1e-6)
        assert abs(kurtosis - 1.8) < 0.05
    again = Tensor(np.zeros(SHAPE, dtype))
    fill(again, np.random.default_rng(3))
    np.testing.assert_array_equal(again.value, tensor.value)
    fill(again, 4)
    assert not np.array_equal(again.value, tensor.value)


@pytest.mark.parametrize("shape", [(5, 5), (4, 9), (9, 4), (6, 2, 3), (1, 3)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    tensor = Tensor(np.zeros(shape))
    init.orthogonal_(tensor, gain=2.0, generator=0)
    matrix = tensor.value.reshape(shape[0], -1)
    rows, columns = matrix.shape
    product = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    np.testing.assert_allclose(product, 4 * np.eye(min(rows, columns)), atol=1e-12)


def test_orthogonal_is_uniform() -> None:
    """Determinants of both signs, and a mean of 0 in every place."""
    drawn = []
    for seed in range(400):
        tensor = Tensor(np.zeros((2, 2)))
        init.orthogonal_(tensor, generator=seed)
        drawn.append(tensor.numpy())
    assert abs(np.mean(drawn, 0)).max() < 0.15
    assert 0.4 < np.mean(np.linalg.det(drawn) > 0) < 0.6


def test_constants() -> None:
    tensor = Parameter(np.full((3, 2), 7.0))
    assert init.zeros_(tensor) is tensor
    assert not tensor.value.any()
    assert init.ones_(tensor).tolist() == [[1, 1]] * 3
    assert init.constant_(tensor, 0.5).tolist() == [[0.5, 0.5]] * 3


def test_truncated_normal() -> None:
    """Moments of the standard normal between -0.5 and 1, shifted and scaled."""
    tensor = Parameter(np.zeros((300, 200), np.float32))
    assert init.trunc_normal_(tensor, 3.0, 2.0, 2.0, 5.0, generator=4) is tensor
    x = tensor.numpy().astype(np.float64)
    assert x.min() >= 2
    assert x.max() <= 5
    points = np.linspace(-0.5, 1, 100001)
    density = np.exp(-points * points / 2)
    density /= density.sum()
    mean = (points * density).sum()
    deviation = math.sqrt((points**2 * density).sum() - mean**2)
    assert x.mean() == pytest.approx(3 + 2 * mean, abs=0.02)
    assert x.std() == pytest.approx(2 * deviation, abs=0.02)
    with pytest.raises(ArgumentError, match="bounds around the mean"):
        init.trunc_normal_(tensor, 0.0, 1.0, 7.0, 8.0)
    with pytest.raises(ArgumentError, match="a below b"):
        init.trunc_normal_(tensor, a=2.0, b=-2.0)


@pytest.mark.parametrize("shape", [(6, 2, 3), (4, 4, 3, 2), (2, 3, 1, 2, 5)])
def test_dirac_is_that_of_pytorch(shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    for groups in (1, 2):
        tensor = Parameter(np.ones(shape, np.float32))
        expected = torch.nn.init.dirac_(torch.ones(shape), groups).numpy()
        np.testing.assert_array_equal(init.dirac_(tensor, groups).numpy(), expected)


def test_dirac_keeps_what_goes_through() -> None:
    layer = nn.Conv2d(3, 3, 3, padding=1, bias=False)
    init.dirac_(layer.weight)
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(layer(x).numpy(), x)


def test_eye_and_sparse() -> None:
    tensor = Parameter(np.full((3, 5), 7.0))
    assert init.eye_(tensor).tolist() == np.eye(3, 5).tolist()
    tensor = Parameter(np.zeros((50, 40)))
    init.sparse_(tensor, 0.33, std=0.5, generator=1)
    x = tensor.numpy()
    assert ((x == 0).sum(0) == math.ceil(0.33 * 50)).all()
    assert len({tuple(column) for column in (x == 0).T}) > 30
    assert x[x != 0].std() == pytest.approx(0.5, rel=0.1)


def test_generators_of_both_kinds() -> None:
    first, second = Tensor(np.zeros(5)), Tensor(np.zeros(5))
    for generator in (mynn.Generator(3), mynn.Generator(3)):
        init.normal_(first, generator=generator)
        init.normal_(second, generator=generator)
        assert first.tolist() != second.tolist()
    again = Tensor(np.zeros(5))
    assert (
        init.normal_(again, generator=mynn.Generator(3)).tolist()
        == init.normal_(first, generator=mynn.Generator(3)).tolist()
    )


GAINS = ("linear", "conv1d", "conv_transpose3d", "sigmoid", "tanh", "relu", "leaky_relu", "selu")


@pytest.mark.parametrize("name", GAINS)
def test_gains_are_those_of_pytorch(name: str) -> None:
    torch = pytest.importorskip("torch")
    assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    slope = torch.nn.init.calculate_gain("leaky_relu", 0.3)
    assert init.calculate_gain("leaky_relu", 0.3) == pytest.approx(slope)


def test_linear_default() -> None:
    bound = 1 / math.sqrt(50)
    layer = nn.Linear(50, 2000)
    for x in (layer.weight.value, layer.bias.value):
        assert abs(x).max() <= bound
        assert x.std() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_manual_seed_and_own_generators() -> None:
    mynn.manual_seed(5)
    first = nn.Linear(3, 2)
    second = nn.Linear(3, 2)
    assert first.weight.tolist() != second.weight.tolist()
    mynn.manual_seed(5)
    assert nn.Linear(3, 2).weight.tolist() == first.weight.tolist()
    first.reset_parameters(8)
    second.reset_parameters(np.random.default_rng(8))
    assert first.state_dict()["bias"].tolist() == second.state_dict()["bias"].tolist()
    # Numbers that are drawn on the way do not change the initial values.
    mynn.manual_seed(5)
    mynn.random.normal(10)
    expected = nn.Linear(3, 2).weight.tolist()
    mynn.manual_seed(5)
    assert nn.Linear(3, 2).weight.tolist() == expected


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: init.xavier_normal_(Tensor(np.zeros(3))), ShapeError, "two axes"),
        (lambda: init.orthogonal_(Tensor(np.zeros(3))), ShapeError, "two axes"),
        (
            lambda: init.kaiming_normal_(Tensor(np.zeros((2, 2))), mode="fan"),
            ArgumentError,
            "'fan'",
        ),
        (lambda: init.calculate_gain("gelu"), ArgumentError, "gelu"),
        (lambda: init.eye_(Tensor(np.zeros(3))), ShapeError, "dirac_"),
        (lambda: init.dirac_(Tensor(np.zeros((3, 3)))), ShapeError, "eye_"),
        (lambda: init.dirac_(Tensor(np.zeros((3, 3, 1))), 2), ShapeError, "divide"),
        (lambda: init.sparse_(Tensor(np.zeros(3)), 0.5), ShapeError, "normal_"),
        (lambda: init.sparse_(Tensor(np.zeros((3, 3))), 1.5), ArgumentError, "1.5"),
    ],
)
def test_bad_arguments(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()
