"""Windows of signals: weights that fade towards both ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.base.arguments import explained, whole_number
from mynn.base.devices import require_cpu
from mynn.core.types import Array, as_dtype, default_float
from mynn.errors import ArgumentError, DTypeError
from mynn.tensor import Tensor, as_tensor
from mynn.tensor.creation import finished


def _window(
    name: str,
    length: Any,
    periodic: bool,
    shape: Callable[[Array], Array],
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: bool = False,
    requires_grad: bool = False,
) -> Tensor:
    """Values at 0..1, of which a periodic window leaves out the last."""
    require_cpu(name, device)
    kind = as_dtype(default_float() if dtype is None else dtype)
    if kind.kind != "f":
        raise DTypeError(f"{name}: windows are floats, dtype is {kind}; give mynn.float32")
    count = whole_number(f"{name}: window_length", length)
    if count < 0:
        raise ArgumentError(f"{name}: window_length must be 0 or more, it is {count}")
    steps = count if periodic else count - 1
    values = np.ones(count) if count < 2 else shape(np.arange(count) / steps)
    return finished(name, as_tensor(values.astype(kind)), requires_grad)


def _cosines(*factors: float) -> Callable[[Array], Array]:
    """The sum of (-1)^k a_k cos(2 pi k x)."""

    def values(x: Array) -> Array:
        turns = [(-1) ** k * a * np.cos(2 * np.pi * k * x) for k, a in enumerate(factors)]
        return np.asarray(sum(turns))

    return values


@explained
def hann_window(window_length: int, periodic: bool = True, **more: Any) -> Tensor:
    """w[n] = 1/2 - 1/2 cos(2 pi n / N), for n = 0 .. window_length - 1.

    N is window_length, or one less where not `periodic`. Further arguments are `dtype`, `device`
    and `requires_grad`, as for all windows.

    Example:
        >>> hann_window(4).tolist()
        [0.0, 0.5, 1.0, 0.5]
    """
    return _window("hann_window", window_length, periodic, _cosines(0.5, 0.5), **more)


@explained
def hamming_window(
    window_length: int,
    periodic: bool = True,
    alpha: float = 0.54,
    beta: float = 0.46,
    **more: Any,
) -> Tensor:
    """w[n] = alpha - beta cos(2 pi n / N); see `hann_window`."""
    return _window("hamming_window", window_length, periodic, _cosines(alpha, beta), **more)


@explained
def blackman_window(window_length: int, periodic: bool = True, **more: Any) -> Tensor:
    """w[n] = 0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N); see `hann_window`."""
    shape = _cosines(0.42, 0.5, 0.08)
    return _window("blackman_window", window_length, periodic, shape, **more)


@explained
def bartlett_window(window_length: int, periodic: bool = True, **more: Any) -> Tensor:
    """w[n] = 1 - |2 n / N - 1|, a triangle; see `hann_window`."""
    return _window(
        "bartlett_window", window_length, periodic, lambda x: 1 - np.abs(2 * x - 1), **more
    )


@explained
def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, **more: Any
) -> Tensor:
    """w[n] = I0(beta sqrt(1 - (2 n / N - 1)^2)) / I0(beta), with the Bessel function I0."""

    def shape(x: Array) -> Array:
        inside = np.sqrt(np.maximum(1 - (2 * x - 1) ** 2, 0))
        return np.asarray(np.i0(beta * inside) / np.i0(beta))

    return _window("kaiser_window", window_length, periodic, shape, **more)
