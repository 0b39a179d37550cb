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
from mynn.tensor import Parameter, Tensor
from mynn.trace import tracing
from tests.nn.harness import (
    BACKENDS,
    TOLERANCE,
    Program,
    assert_all_close,
    check_gradient,
    grad_of,
    rng,
    weights,
)

DTYPES = ("float32", "float64")

# name: (constructor that runs with mynn.nn and with torch.nn, shape of the input)
LAYERS: dict[str, tuple[Callable[[Any], Any], tuple[int, ...]]] = {
    "linear": (lambda nn: nn.Linear(3, 4), (5, 3)),
    "linear_1": (lambda nn: nn.Linear(3, 1), (5, 3)),
    "linear_no_bias": (lambda nn: nn.Linear(3, 4, bias=False), (5, 3)),
    "linear_vector": (lambda nn: nn.Linear(3, 4), (3,)),
    "linear_sequence": (lambda nn: nn.Linear(3, 4), (2, 5, 3)),
    "tanh": (lambda nn: nn.Tanh(), (5, 3)),
    "sigmoid": (lambda nn: nn.Sigmoid(), (5, 3)),
    "relu": (lambda nn: nn.ReLU(), (5, 3)),
    "leaky_relu": (lambda nn: nn.LeakyReLU(negative_slope=0.3), (5, 3)),
    "silu": (lambda nn: nn.SiLU(), (5, 3)),
    "gelu": (lambda nn: nn.GELU(), (5, 3)),
    "gelu_tanh": (lambda nn: nn.GELU(approximate="tanh"), (5, 3)),
    "softplus": (lambda nn: nn.Softplus(beta=3.0), (5, 3)),
    "softplus_threshold": (lambda nn: nn.Softplus(2, 1.0), (5, 3)),
    "softmax": (lambda nn: nn.Softmax(dim=-1), (5, 3)),
    "softmax_1": (lambda nn: nn.Softmax(dim=1), (2, 3, 4)),
    "log_softmax": (lambda nn: nn.LogSoftmax(dim=1), (5, 3)),
    "flatten": (lambda nn: nn.Flatten(), (2, 3, 4)),
    "flatten_some": (lambda nn: nn.Flatten(start_dim=0, end_dim=1), (2, 3, 4)),
    "identity": (lambda nn: nn.Identity(54, unused=True), (2, 3)),
    "dropout_0": (lambda nn: nn.Dropout(p=0.0), (2, 3)),
    "dropout_eval": (lambda nn: nn.Dropout(0.5).eval(), (2, 3)),
    "sequential": (
        lambda nn: nn.Sequential(
            nn.Flatten(), nn.Linear(6, 18), nn.Tanh(), nn.Linear(18, 4), nn.ReLU(), nn.Linear(4, 2)
        ),
        (5, 2, 3),
    ),
    "nested": (
        lambda nn: nn.Sequential(
            nn.Sequential(nn.Linear(3, 4), nn.GELU()), nn.ModuleList([nn.Linear(4, 2)])[0]
        ),
        (5, 3),
    ),
}


def labels(generator: Any) -> Array:
    return np.asarray(generator.integers(0, 4, 6))


# name: (constructor, shape of the input, how the target is drawn)
LOSSES: dict[str, tuple[Callable[[Any], Any], tuple[int, ...], Callable[[Any], Array]]] = {
    "mse": (lambda nn: nn.MSELoss(), (6, 4), lambda g: g.normal(size=(6, 4))),
    "mse_sum": (lambda nn: nn.MSELoss(reduction="sum"), (6, 4), lambda g: g.normal(size=(6, 4))),
    "cross_entropy": (lambda nn: nn.CrossEntropyLoss(), (6, 4), labels),
    "cross_entropy_options": (
        lambda nn: nn.CrossEntropyLoss(ignore_index=2, reduction="none", label_smoothing=0.1),
        (6, 4),
        labels,
    ),
    "nll": (lambda nn: nn.NLLLoss(), (6, 4), labels),
    "bce": (lambda nn: nn.BCEWithLogitsLoss(), (6, 4), lambda g: g.uniform(size=(6, 4))),
    "bce_none": (
        lambda nn: nn.BCEWithLogitsLoss(reduction="none"),
        (6, 4),
        lambda g: g.uniform(size=(6, 4)),
    ),
}


def build(name: str, dtype: str) -> tuple[nn.Module, list[Array]]:
    """A layer or loss with parameters in `dtype`, and the arrays that it is called with."""
    generator = rng(name)
    if name in LAYERS:
        made, shape = LAYERS[name]
        arrays = [generator.normal(size=shape).astype(dtype)]
    else:
        made, shape, target = LOSSES[name]
        t = target(generator)
        t = t.astype(dtype) if t.dtype.kind == "f" else t
        arrays = [generator.normal(size=shape).astype(dtype), t]
    layer: nn.Module = made(nn)
    for one in layer.modules():
        for key, p in list(one.named_parameters(recurse=False)):
            values = generator.normal(size=p.shape).astype(dtype)
            setattr(one, key, Parameter(values, order=(1, 0) if p.ndim == 2 else None))
    return layer, arrays


def results(layer: nn.Module, arrays: list[Array]) -> list[Array]:
    """Output, gradient for the input, gradients for the parameters."""
    layer.zero_grad()
    x = Tensor(arrays[0], requires_grad=True)
    y = layer(x, *arrays[1:])
    (y * weights(y.shape).astype(y.dtype)).sum().backward()
    return [y.numpy(), grad_of(x), *map(grad_of, layer.parameters())]


NAMES = [*LAYERS, *LOSSES]


@pytest.mark.parametrize("file", [module, linear, activation, container, dropout, loss, init])
def test_doctests(file: Any) -> None:
    assert doctest.testmod(file).failed == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_pytorch(name: str, dtype: str) -> None:
    torch = pytest.importorskip("torch")
    layer, arrays = build(name, dtype)
    other = (LAYERS.get(name) or LOSSES[name])[0](torch.nn).to(getattr(torch, dtype))
    other.load_state_dict({k: torch.from_numpy(v) for k, v in layer.state_dict().items()})
    assert repr(layer) == repr(other) or name.startswith(("identity", "dropout", "softplus"))
    x = torch.tensor(arrays[0], requires_grad=True)
    y = other(x, *map(torch.tensor, arrays[1:]))
    (y * torch.tensor(weights(tuple(y.shape))).to(y.dtype)).sum().backward()
    expected = [y.detach().numpy(), x.grad.numpy(), *(p.grad.numpy() for p in other.parameters())]
    assert_all_close(results(layer, arrays), expected, TOLERANCE[dtype])


@pytest.mark.parametrize("name", NAMES)
def test_gradient(name: str) -> None:
    layer, arrays = build(name, "float64")
    check_gradient(lambda x: layer(x, *arrays[1:]), arrays[:1])
    for key, p in layer.named_parameters():
        owner = layer.get_submodule(key.rpartition(".")[0])

        def function(w: Tensor, owner: nn.Module = owner, key: str = key) -> Any:
            owner._parameters[key.rpartition(".")[2]] = w
            return layer(*arrays)

        check_gradient(function, [p.numpy()])
        owner._parameters[key.rpartition(".")[2]] = p


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NAMES)
def test_traced(name: str, backend: str) -> None:
    for dtype in DTYPES:
        layer, arrays = build(name, dtype)
        expected = results(layer, arrays)
        x = Tensor(arrays[0], requires_grad=True)

        def step(*rest: Tensor, layer: nn.Module = layer, x: Tensor = x) -> Any:
            y = layer(x, *rest)
            (y * weights(y.shape).astype(y.dtype)).sum().backward()
            return (y, x.grad, *(p.grad for p in layer.parameters()))

        got = Program(step, backend)(*arrays[1:])
        assert_all_close(got, expected, TOLERANCE[dtype])


def test_linear_is_stored_input_major() -> None:
    layer = nn.Linear(5, 25)
    assert layer.weight.shape == (25, 5)
    assert layer.weight.data.strides == (4, 4 * 32)
    assert layer.weight.data.ctypes.data % 64 == 0


def test_linear_converts_inputs() -> None:
    layer = nn.Linear(2, 3)
    for dtype in ("float64", "float32", "int64", "uint8", "bool"):
        assert layer(np.ones((4, 2), dtype)).dtype == np.float32
    assert nn.Linear(2, 3, dtype=np.float64)(np.ones((4, 2), np.float32)).dtype == np.float64


def test_linear_takes_any_memory_layout() -> None:
    layer = nn.Linear(3, 2)
    x = np.arange(24, dtype=np.float32).reshape(3, 8)[:, ::2].T
    x.flags.writeable = False
    np.testing.assert_array_equal(layer(x).data, layer(np.ascontiguousarray(x)).data)


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
    assert (layer(x).data == 0).any()
    layer.eval()
    np.testing.assert_array_equal(layer(x).data, x)
    assert layer.train()(x).data.max() == 2


def test_mode_is_a_guard_of_the_trace() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    with tracing.tracing() as tracer:
        net(Tensor(np.ones((1, 2), np.float32)))
    assert tracer.guards == {(net[1], "_mode"): True}
    assert tracer.attributes[net[1], "p"] == 0.5


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
