"""What every layer goes through: PyTorch, finite differences, traced and compiled.

A layer is written once, as a function of a namespace: `lambda nn: nn.Conv2d(3, 4, 3)`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mynn import nn
from mynn.core.types import Array
from mynn.tensor import Tensor
from tests.nn.harness import (
    TOLERANCE,
    Program,
    assert_all_close,
    check_gradient,
    grad_of,
    rng,
    weights,
)

Made = Callable[[Any], Any]
Case = tuple[Made, tuple[int, ...]]
DTYPES = ("float32", "float64")


def pytorch() -> Any:
    """PyTorch on one thread (two would wait for each other on a busy machine), or a skip."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch


def build(name: str, case: Case, dtype: str) -> tuple[nn.Module, Array]:
    """The layer with random parameters, and an input for it."""
    made, shape = case
    generator = rng(name)
    layer: nn.Module = made(namespace(dtype))
    for parameter in layer.parameters():
        parameter.data = generator.normal(size=parameter.shape)
    return layer, generator.normal(size=shape).astype(dtype)


def namespace(dtype: str) -> Any:
    """`mynn.nn`, whose layers have parameters of a dtype."""

    class Namespace:
        def __getattr__(self, name: str) -> Any:
            kind = getattr(nn, name)

            def make(*args: Any, **options: Any) -> Any:
                typed = "dtype" in kind.__init__.__annotations__
                return kind(*args, **options, **({"dtype": dtype} if typed else {}))

            return make

    return Namespace()


def results(layer: nn.Module, array: Array) -> list[Array]:
    """Output, gradient for the input, gradients for the parameters."""
    layer.zero_grad()
    x = Tensor(array, requires_grad=True)
    y = layer(x)
    (y * weights(y.shape).astype(y.dtype)).sum().backward()
    return [y.numpy(), grad_of(x), *map(grad_of, layer.parameters())]


def check_pytorch(torch: Any, name: str, case: Case) -> None:
    """Values, gradients, buffers, keys and the printed form are PyTorch's."""
    for dtype in DTYPES:
        layer, array = build(name, case, dtype)
        other = case[0](torch.nn).to(getattr(torch, dtype))
        assert repr(layer) == repr(other)
        state = layer.state_dict()
        assert list(state) == list(other.state_dict())
        other.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
        other.train(layer._training)
        x = torch.tensor(array, requires_grad=True)
        y = other(x)
        (y * torch.tensor(weights(tuple(y.shape))).to(y.dtype)).sum().backward()
        expected = [y.detach(), x.grad, *(p.grad for p in other.parameters())]
        tolerance = 10 * TOLERANCE[dtype]
        assert_all_close(results(layer, array), [one.numpy() for one in expected], tolerance)
        buffers = [value.numpy() for value in other.state_dict().values()]
        assert_all_close(list(layer.state_dict().values()), buffers, tolerance)


def check_differences(name: str, case: Case) -> None:
    """Gradients for the input and each parameter against finite differences, in float64."""
    layer, array = build(name, case, "float64")
    check_gradient(layer, [array])
    for key, parameter in layer.named_parameters():

        def function(value: Any, key: str = key) -> Any:
            layer._parameters[key] = value
            return layer(array)

        check_gradient(function, [parameter.numpy()])
        layer._parameters[key] = parameter


def check_backend(name: str, case: Case, backend: str) -> None:
    """A step with the layer, traced or compiled, gives what it gives eagerly; so do its buffers."""
    for dtype in DTYPES:
        layer, array = build(name, case, dtype)
        twin, _ = build(name, case, dtype)
        expected = results(twin, array)
        x = Tensor(array, requires_grad=True)

        def step(layer: nn.Module = layer, x: Tensor = x) -> Any:
            y = layer(x)
            (y * weights(y.shape).astype(y.dtype)).sum().backward()
            return (y, x.grad, *(p.grad for p in layer.parameters()))

        tolerance = 10 * TOLERANCE[dtype]
        assert_all_close(Program(step, backend)(), expected, tolerance)
        states = [list(one.state_dict().values()) for one in (layer, twin)]
        assert_all_close(states[0], states[1], tolerance)
