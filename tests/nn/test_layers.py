from __future__ import annotations

import doctest
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import nn, optim
from mynn.core.types import Array
from mynn.errors import ArgumentError, DataError, DTypeError, ShapeError
from mynn.nn import activation, container, dropout, init, linear, loss, module
from mynn.tensor import Tensor
from mynn.trace import tracing
from tests.registry.entries import rng
from tests.registry.running import BACKENDS, Program, assert_all_close


@pytest.mark.parametrize("file", [module, linear, activation, container, dropout, loss, init])
def test_doctests(file: Any) -> None:
    assert doctest.testmod(file).failed == 0


def test_linear_is_stored_input_major() -> None:
    layer = nn.Linear(5, 25)
    assert layer.weight.shape == (25, 5)
    assert layer.weight.value.strides == (4, 4 * 32)
    assert layer.weight.value.ctypes.data % 64 == 0


def test_linear_converts_inputs() -> None:
    layer = nn.Linear(2, 3)
    for dtype in ("float64", "float32", "int64", "uint8", "bool"):
        assert layer(np.ones((4, 2), dtype)).dtype == np.float32
    assert nn.Linear(2, 3, dtype=np.float64)(np.ones((4, 2), np.float32)).dtype == np.float64


def test_linear_takes_any_memory_layout() -> None:
    layer = nn.Linear(3, 2)
    x = np.arange(24, dtype=np.float32).reshape(3, 8)[:, ::2].T
    x.flags.writeable = False
    np.testing.assert_array_equal(layer(x).value, layer(np.ascontiguousarray(x)).value)


def test_linear_of_no_samples() -> None:
    assert nn.Linear(3, 2)(np.zeros((0, 3), np.float32)).shape == (0, 2)


@pytest.mark.parametrize("shape", [(4,), (2, 4), (), (3, 2)])
def test_linear_names_the_layer_and_the_shapes(shape: tuple[int, ...]) -> None:
    net = nn.Sequential(nn.Identity(), nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(ShapeError) as caught:
        net(np.zeros(shape, np.float32))
    message = str(caught.value)
    assert message.startswith("layer '1.0' (Linear): ")
    assert str(shape) in message
    assert "in_features=3" in message
    assert caught.value.layer == "1.0"


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.Linear(0, 3), ArgumentError, "in_features"),
        (lambda: nn.Linear(3, -1), ArgumentError, "out_features"),
        (lambda: nn.Linear(2.5, 3), TypeError, "in_features.*whole number.*2.5"),
        (lambda: nn.Linear(2, 3, dtype=np.int32), DTypeError, "int32"),
        (lambda: nn.Linear(2, 3)(np.zeros((1, 2), complex)), DTypeError, "Linear.*complex"),
        (lambda: nn.Linear(2, 3)(np.array([[None, 1]])), DTypeError, "Linear.*object"),
        (lambda: nn.Dropout(-0.1), ArgumentError, "-0.1"),
        (lambda: nn.GELU("erf"), ArgumentError, "erf"),
        (lambda: nn.Softplus(0), ArgumentError, "beta"),
        (lambda: nn.MSELoss(reduction="average"), ArgumentError, "MSELoss.*average"),
        (lambda: nn.MSELoss(False), ArgumentError, "MSELoss.*size_average=False.*reduction="),
        (lambda: nn.Linear(2, 3, True, "cuda"), ArgumentError, "Linear: device.*cuda"),
        (lambda: nn.Linear(2, 3, dtype="x"), DTypeError, "Linear: dtype 'x'"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=-1), ArgumentError, "-1"),
        (lambda: nn.Sequential(nn.Tanh(), np.tanh), ArgumentError, "'1'.*tanh"),
        (lambda: nn.MSELoss()(np.zeros((2, 3)), np.zeros(2)), ShapeError, "MSELoss"),
        (
            lambda: nn.CrossEntropyLoss()(np.zeros((1, 2)), [2]),
            DataError,
            r"CrossEntropyLoss.*0\.\.1",
        ),
        (lambda: nn.Softmax(dim=2)(np.zeros((2, 2))), ShapeError, "Softmax.*axis 2"),
    ],
)
def test_bad_input(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_dropout_is_the_same_eager_and_compiled() -> None:
    net = nn.Sequential(nn.Dropout(0.3, generator=mynn.Generator(3)), nn.Linear(20, 2))
    x = rng("x").normal(size=(4, 20)).astype(np.float32)
    expected = []
    for backend in BACKENDS:
        net[0].generator.manual_seed(3)
        expected = [net(x).numpy() for _ in range(3)]
        assert not np.array_equal(expected[0], expected[1])
        net[0].generator.manual_seed(3)
        program = Program(net, backend)
        for value in expected:
            assert_all_close(program(x), [value], 1e-5)


def test_dropout_modes() -> None:
    layer = nn.Dropout(0.5)
    x = np.ones(1000, np.float32)
    assert (layer(x).value == 0).any()
    layer.eval()
    np.testing.assert_array_equal(layer(x).value, x)
    assert layer.train()(x).value.max() == 2


def test_mode_is_a_guard_of_the_trace() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    with tracing.tracing() as trace:
        net(Tensor(np.ones((1, 2), np.float32)))
    assert trace.guards.properties == {(net[1], "_mode"): True}
    assert trace.guards.attributes[net[1], "p"] == 0.5


def test_compiled_network_follows_its_mode() -> None:
    net = nn.Sequential(nn.Linear(4, 50), nn.Dropout(0.5))
    predict = mynn.compile(net)
    x = np.ones((3, 4), np.float32)
    for _ in range(2):
        assert (predict(x) == 0).any()
        net.eval()
        assert_all_close([predict(x)], [net(x).numpy()], 1e-5)
        assert (predict(x) != 0).all()
        net.train()
    net[1].p = 1.0
    assert (predict(x) == 0).all()


def test_compiled_loss_checks_labels() -> None:
    criterion = mynn.compile(nn.CrossEntropyLoss())
    logits = np.zeros((2, 3), np.float32)
    assert criterion(logits, np.array([0, 2])) == pytest.approx(math.log(3), rel=1e-6)
    for wrong in (-1, 3):
        with pytest.raises(DataError, match=r"labels must lie in 0\.\.2"):
            criterion(logits, np.array([0, wrong]))


def test_training_is_the_same_eager_and_compiled() -> None:
    """A whole step: forward, loss, backward, update; over epochs of batches, with dropout."""

    def trained(backend: str | None) -> tuple[dict[str, Array], list[float]]:
        mynn.manual_seed(1)
        net = nn.Sequential(
            nn.Linear(4, 20),
            nn.GELU(),
            nn.Dropout(0.2),
            nn.Linear(20, 17),
            nn.Tanh(),
            nn.Linear(17, 3),
        )
        criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
        optimizer = optim.AdamW(net.parameters(), lr=0.01)
        x = np.random.default_rng(0).normal(size=(48, 4)).astype(np.float32)
        t = (x[:, 0] > 0).astype(np.int64) + (x[:, 1] > 0)

        def step(x: Any, t: Any) -> Any:
            loss = criterion(net(x), t)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss

        run = step if backend is None else mynn.compile(step, backend=backend)
        losses = []
        for _ in range(5):
            for start in range(0, 48, 16):
                losses.append(float(run(x[start : start + 16], t[start : start + 16])))
        return net.state_dict(), losses

    state, losses = trained(None)
    assert losses[-1] < losses[0]
    for backend in BACKENDS:
        other, same = trained(backend)
        np.testing.assert_allclose(same, losses, rtol=1e-4)
        for key, value in state.items():
            np.testing.assert_allclose(other[key], value, rtol=1e-3, atol=1e-4)
