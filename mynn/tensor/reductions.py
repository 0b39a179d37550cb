"""Reductions: sums, means, extrema and their places, over some or all axes.

Each takes the tensor first, and is a method of `Tensor`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mynn.errors import ShapeError
from mynn.graph import Primitive, Shape
from mynn.ops import reduce
from mynn.ops.rules import normalize_axes
from mynn.tensor.operations import apply

if TYPE_CHECKING:
    from mynn.tensor.core import Tensor


def _reduce(x: Tensor, primitive: Primitive, axis: Any, keepdims: bool) -> Tensor:
    axes = normalize_axes(axis, x.ndim, primitive.name)
    result = apply(primitive, x, axes=axes)
    return result.reshape(_kept(x.shape, axes)) if keepdims else result


def sum(x: Tensor, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Sum over `axis` (a number, a tuple, or all)."""
    x = x.astype(np.int64) if x.dtype == np.bool_ else x
    return _reduce(x, reduce.sum, axis, keepdims)


def mean(x: Tensor, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Mean over `axis`."""
    axes = normalize_axes(axis, x.ndim, "mean")
    count = math.prod(x.shape[one] for one in axes)
    if count == 0:
        raise ShapeError(f"mean: the reduced axes {axes} of {x.shape} hold no values")
    return x.floating().sum(axes, keepdims) * (1.0 / count)


def var(x: Tensor, axis: Any = None, keepdims: bool = False, correction: int = 0) -> Tensor:
    """Variance over `axis`; divided by n - correction."""
    axes = normalize_axes(axis, x.ndim, "var")
    count = math.prod(x.shape[one] for one in axes)
    centred = x - x.mean(axes, keepdims=True)
    return (centred * centred).sum(axes, keepdims) * (1.0 / (count - correction))


def max(x: Tensor, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Largest value over `axis`; values that tie share the gradient."""
    return _reduce(x, reduce.max, axis, keepdims)


def min(x: Tensor, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Smallest value over `axis`."""
    return _reduce(x, reduce.min, axis, keepdims)


def argmax(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Index of the first largest value along `axis`, or in the flattened tensor."""
    if axis is None:
        flat = apply(reduce.argmax, x.reshape(-1), axis=0)
        return flat.reshape((1,) * x.ndim) if keepdims else flat
    axes = normalize_axes(axis, x.ndim, "argmax")
    result = apply(reduce.argmax, x, axis=axes[0])
    return result.reshape(_kept(x.shape, axes)) if keepdims else result


def argmin(x: Tensor, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Index of the first smallest value along `axis`."""
    return (-x).argmax(axis, keepdims)


def _kept(shape: Shape, axes: tuple[int, ...]) -> Shape:
    return tuple(1 if axis in axes else n for axis, n in enumerate(shape))
