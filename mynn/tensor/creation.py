"""Tensors from data, under PyTorch's name."""

from __future__ import annotations

from typing import Any

from mynn.errors import ArgumentError
from mynn.tensor.tensor import Tensor


def tensor(data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor that holds a copy of `data`; Python floats become float32.

    Args:
        data: array, number or nested list.
        dtype: as for `Tensor`; that of the data where left out.
        device: None or "cpu", which is where all tensors are.
        requires_grad: whether `backward` fills `grad`.

    Raises:
        ArgumentError: another device. DTypeError, DataError: as for `Tensor`.

    Example:
        >>> import mynn
        >>> mynn.tensor([1.0, 2.0]).tolist()
        [1.0, 2.0]
    """
    if device is not None and str(device) != "cpu":
        raise ArgumentError(f'tensor: device must be None or "cpu", it is {str(device)!r}')
    return Tensor(data, dtype, requires_grad)
