"""Runs a function of tensors in every way there is, so that the results can be compared.

A case is written once, as a lambda of a namespace: `lambda F, x: F.relu(x)` runs with
`mynn.functional` and with `torch.nn.functional`, which also shows that names and arguments are
PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import mynn
from mynn.core.types import Array
from mynn.tensor import Tensor

BACKENDS = ("interpreter", "native")


def rng(name: str) -> np.random.Generator:
    """Random numbers that depend on a case's name alone."""
    return np.random.default_rng(list(name.encode()))


def with_dtype(arrays: Sequence[Array], dtype: Any) -> list[Array]:
    """Float arrays in another dtype, others as they are."""
    return [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays]


def weights(shape: tuple[int, ...]) -> Array:
    """Fixed factors, with which an output of any shape is summed to one number."""
    return np.asarray(np.random.default_rng(3).uniform(0.5, 1.5, shape))


def run_eager(function: Callable[..., Any], arrays: Sequence[Array]) -> list[Array]:
    """The value and the gradient for each float array."""
    tensors = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    y = function(*tensors)
    (y * weights(y.shape).astype(y.dtype)).sum().backward()
    return [y.numpy(), *(grad_of(x) for x in tensors if x.requires_grad)]


def run_torch(torch: Any, function: Callable[..., Any], arrays: Sequence[Array]) -> list[Array]:
    """The same with PyTorch."""
    tensors = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    y = function(*tensors)
    factors = torch.tensor(weights(tuple(y.shape))).to(y.dtype)
    (y * factors).sum().backward()
    grads = [torch.zeros_like(x) if x.grad is None else x.grad for x in tensors if x.requires_grad]
    return [y.detach().numpy(), *(g.numpy() for g in grads)]


def run_traced(function: Callable[..., Any], arrays: Sequence[Array], backend: str) -> list[Array]:
    """The same as one graph, interpreted or compiled."""
    tensors = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]

    def step() -> tuple[Any, ...]:
        y = function(*tensors)
        (y * weights(y.shape).astype(y.dtype)).sum().backward()
        return (y, *(x.grad for x in tensors if x.requires_grad))

    return Program(step, backend)()


def grad_of(tensor: Tensor) -> Array:
    """A tensor's gradient, zeros where there is none."""
    return np.zeros(tensor.shape, tensor.dtype) if tensor.grad is None else tensor.grad.numpy()


class Program:
    """A step function compiled; a call gives its results as a list."""

    def __init__(self, step: Callable[..., Any], backend: str) -> None:
        self.compiled = mynn.compile(step, backend=backend)

    def __call__(self, *arrays: Array) -> list[Array]:
        results = self.compiled(*arrays)
        return list(results) if isinstance(results, tuple) else [results]


def assert_all_close(got: Sequence[Array], expected: Sequence[Array], tolerance: float) -> None:
    """Equal dtypes and shapes; differences up to `tolerance`, absolute or relative."""
    assert len(got) == len(expected)
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert a.dtype == b.dtype, f"result {i}"
        assert a.shape == b.shape, f"result {i}"
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=f"result {i}")


TOLERANCE = {"float32": 3e-6, "float64": 1e-12}


def check_gradient(function: Callable[..., Any], arrays: Sequence[Array]) -> None:
    """Gradients in float64 against central differences along random directions."""
    arrays = with_dtype(arrays, np.float64)
    y, *gradients = run_eager(function, arrays)
    factors = weights(y.shape)
    generator = np.random.default_rng(11)
    floats = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    for place, gradient in zip(floats, gradients, strict=True):
        direction = generator.normal(size=arrays[place].shape)
        values = []
        for h in (1e-6, -1e-6):
            moved = list(arrays)
            moved[place] = arrays[place] + h * direction
            values.append(float((function(*map(Tensor, moved)).numpy() * factors).sum()))
        slope = (values[0] - values[1]) / 2e-6
        assert abs(slope - float((gradient * direction).sum())) < 1e-7 * max(1.0, abs(slope))
