"""Runs what the registry holds in every way there is, so that the results can be compared.

Results are a list of arrays: the values that a call returns, then the gradient of their weighted
sum for each input of floats, then for each parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import functional, nn
from mynn.core.types import Array
from mynn.tensor import Tensor, as_tensor
from tests.registry.entries import Case, rng
from tests.subset import is_whole

BACKENDS = ("interpreter", "native")
DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 3e-6, "float64": 1e-12}


def dtypes_of(name: str) -> Sequence[str]:
    """The dtypes that a case is compiled in: plain ones in both, or in either if not all runs."""
    if not name.endswith("-plain"):
        return DTYPES[:1]
    return DTYPES if is_whole() else (DTYPES[len(name) % 2],)


backends = pytest.mark.parametrize("backend", BACKENDS)


def pytorch() -> Any:
    """PyTorch on one thread (two would wait for each other on a busy machine), or a skip."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch


def weights(shape: tuple[int, ...]) -> Array:
    """Fixed factors, with which an output of any shape is summed to one number."""
    return np.asarray(np.random.default_rng(3).uniform(0.5, 1.5, shape))


def tensors_of(arrays: Iterable[Array]) -> list[Tensor]:
    return [Tensor(array, requires_grad=array.dtype.kind == "f") for array in arrays]


def _values(returned: Any) -> tuple[Any, ...]:
    """The results one after the other, also of nested tuples; None is left out."""
    if not isinstance(returned, tuple | list):
        return () if returned is None else (returned,)
    return tuple([value for part in returned for value in _values(part)])


def _forward(call: Callable[..., Any], inputs: Sequence[Any]) -> list[Tensor]:
    """The values, after `backward` of their weighted sum."""
    values = [as_tensor(y) for y in _values(call(*inputs))]
    floats = [y for y in values if y.requires_grad]
    if floats:
        parts = [(y * weights(y.shape).astype(y.dtype)).sum() for y in floats]
        sum(parts[1:], start=parts[0]).backward()
    return values


def _gradients(tensors: Iterable[Any]) -> list[Any]:
    return [
        np.zeros(x.shape, x.dtype) if x.grad is None else x.grad for x in tensors if x.requires_grad
    ]


def run_eager(
    call: Callable[..., Any], arrays: Sequence[Array], parameters: Sequence[Tensor] = ()
) -> list[Array]:
    inputs = tensors_of(arrays)
    for parameter in parameters:
        parameter.grad = None
    values = _forward(call, inputs)
    gradients = _gradients([*inputs, *parameters])
    return [as_tensor(value).detach().numpy() for value in (*values, *gradients)]


def run_compiled(
    call: Callable[..., Any],
    arrays: Sequence[Array],
    parameters: Sequence[Tensor] = (),
    backend: str = "native",
) -> list[Array]:
    """The same as one program. Inputs without gradients are its arguments, the rest is state."""
    inputs = tensors_of(arrays)
    given = [i for i, x in enumerate(inputs) if not x.requires_grad]

    def step(*arguments: Any) -> tuple[Any, ...]:
        full: list[Any] = list(inputs)
        for i, argument in zip(given, arguments, strict=True):
            full[i] = argument
        values = _forward(call, full)
        return (*values, *_gradients([*inputs, *parameters]))

    return Program(step, backend)(*(arrays[i] for i in given))


def run_torch(
    torch: Any, call: Callable[..., Any], arrays: Sequence[Array], parameters: Sequence[Any] = ()
) -> list[Array]:
    """The same with PyTorch."""
    inputs = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    values = _values(call(*inputs))
    floats = [y for y in values if y.requires_grad]
    if floats:
        sum(
            (y * torch.tensor(weights(tuple(y.shape))).to(y.dtype)).sum() for y in floats
        ).backward()
    moved = [x for x in (*inputs, *parameters) if x.requires_grad]
    gradients = [torch.zeros_like(x) if x.grad is None else x.grad for x in moved]
    return [one.detach().numpy() for one in (*values, *gradients)]


class Program:
    """A step function compiled; a call gives its results as a list."""

    def __init__(self, step: Callable[..., Any], backend: str) -> None:
        self.compiled = mynn.compile(step, backend=backend)

    def __call__(self, *arrays: Array) -> list[Array]:
        return [np.asarray(result) for result in _values(self.compiled(*arrays))]


def assert_all_close(got: Sequence[Array], expected: Sequence[Array], tolerance: float) -> None:
    """Equal dtypes and shapes; differences up to `tolerance`, absolute or relative."""
    assert len(got) == len(expected)
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert a.dtype == b.dtype, f"result {i}"
        assert a.shape == b.shape, f"result {i}"
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=f"result {i}")


# -- layers ----------------------------------------------------------------------------------------


class Namespace:
    """`mynn.nn`, whose layers have parameters of a dtype."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def __getattr__(self, name: str) -> Any:
        kind = getattr(nn, name)

        def make(*args: Any, **options: Any) -> Any:
            typed = "dtype" in kind.__init__.__annotations__
            return kind(*args, **options, **({"dtype": self.dtype} if typed else {}))

        return make


def build(name: str, case: Case, dtype: str) -> tuple[nn.Module, list[Array]]:
    """A layer with random parameters, the same for a name, and what it is called with."""
    layer: nn.Module = case.call(Namespace(dtype))
    generator = rng(f"{name} parameters")
    for parameter in layer.parameters():
        parameter.data = generator.normal(size=parameter.shape)
    return layer, case.arrays(name, dtype)


def run_layer(layer: nn.Module, arrays: Sequence[Array], backend: str | None = None) -> list[Array]:
    """Results of a layer, and the buffers that it leaves."""
    parameters = list(layer.parameters())
    if backend is None:
        found = run_eager(layer, arrays, parameters)
    else:
        found = run_compiled(layer, arrays, parameters, backend)
    return [*found, *(buffer.numpy() for buffer in layer.buffers())]


# -- functions -------------------------------------------------------------------------------------


def our_function(case: Case) -> Callable[..., Any]:
    return lambda *xs: case.call(functional, *xs)


class _Torch:
    """PyTorch's functions, wherever it has them."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.torch.nn.functional, name, None) or getattr(self.torch, name)


def their_function(torch: Any, case: Case) -> Callable[..., Any]:
    if case.theirs is not None:
        theirs = case.theirs
        return lambda *xs: theirs(torch, *xs)
    return lambda *xs: case.call(_Torch(torch), *xs)
