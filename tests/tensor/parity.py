"""A function of tensors, ours and PyTorch's: values, dtypes, shapes, gradients; eager, compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import mynn
from mynn import Tensor
from mynn.core.types import Array
from mynn.tensor import as_tensor


def _leaves(result: Any) -> list[Any]:
    return list(result) if isinstance(result, tuple) else [result]


def _theirs(function: Callable[..., Any], arrays: tuple[Array, ...]) -> list[Array]:
    torch = pytest.importorskip("torch")
    inputs = [torch.tensor(x) for x in arrays]
    for x in inputs:
        x.requires_grad_(x.is_floating_point())
    results = _leaves(function(*inputs))
    floats = [y for y in results if y.requires_grad]
    if floats:
        sum((y * _weights(torch, y)).sum() for y in floats).backward()
    return [
        *(y.detach().numpy() for y in results),
        *(
            np.zeros_like(a) if x.grad is None else x.grad.numpy()
            for a, x in _pairs(arrays, inputs)
        ),
    ]


def _pairs(arrays: tuple[Array, ...], inputs: list[Any]) -> Iterator[tuple[Array, Any]]:
    """Those that take part in a gradient."""
    return ((a, x) for a, x in zip(arrays, inputs, strict=True) if a.dtype.kind == "f")


def _weights(module: Any, y: Any) -> Any:
    """A different factor for each result, so that gradients at other places differ."""
    shape = tuple(y.shape)
    weights = np.cos(np.arange(int(np.prod(shape)), dtype=np.float64)).reshape(shape) + 0.1
    return module.tensor(weights.astype(np.float32)) if module else weights.astype(np.float32)


def _ours(function: Callable[..., Any], inputs: list[Tensor]) -> list[Any]:
    results = [as_tensor(y) for y in _leaves(function(*inputs))]
    floats = [y for y in results if y.requires_grad]
    if floats:
        total = sum(((y * _weights(None, y)).sum() for y in floats), start=Tensor(0.0))
        total.backward()
    return results


def _eager(function: Callable[..., Any], arrays: tuple[Array, ...]) -> list[Array]:
    inputs = [Tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]
    results = _ours(function, inputs)
    return [
        *(y.detach().numpy() for y in results),
        *(
            np.zeros_like(a) if x.grad is None else x.grad.numpy()
            for a, x in _pairs(arrays, inputs)
        ),
    ]


def _compiled(function: Callable[..., Any], arrays: tuple[Array, ...]) -> list[Array]:
    floats = [i for i, x in enumerate(arrays) if x.dtype.kind == "f"]

    def step(*inputs: Any) -> tuple[Any, ...]:
        results = tuple(_leaves(function(*inputs)))
        if not floats:
            return results

        def total(*moved: Any) -> Tensor:
            full = list(inputs)
            for i, x in zip(floats, moved, strict=True):
                full[i] = x
            parts = [as_tensor(y) for y in _leaves(function(*full))]
            parts = [y for y in parts if y.dtype.kind == "f"]
            return sum(((y * _weights(None, y)).sum() for y in parts), start=as_tensor(0.0))

        gradients = mynn.grad(total, tuple(range(len(floats))))(*(inputs[i] for i in floats))
        return (*results, *gradients)

    return [np.asarray(y) for y in mynn.compile(step)(*arrays)]


def assert_parity(
    function: Callable[..., Any],
    arrays: tuple[Array, ...],
    theirs: Callable[..., Any] | None = None,
    rtol: float = 1e-6,
    atol: float = 1e-6,
) -> None:
    """Our values and gradients are PyTorch's (of `theirs`, or the same function)."""
    expected = _theirs(theirs or function, arrays)
    for kind, run in (("eager", _eager), ("compiled", _compiled)):
        got = run(function, arrays)
        assert len(got) == len(expected), kind
        for i, (a, b) in enumerate(zip(got, expected, strict=True)):
            assert a.dtype == b.dtype, f"{kind} {i}: {a.dtype} instead of {b.dtype}"
            assert a.shape == b.shape, f"{kind} {i}: {a.shape} instead of {b.shape}"
            np.testing.assert_allclose(a, b, rtol=rtol, atol=atol, err_msg=f"{kind} {i}")
