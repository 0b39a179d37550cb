"""The linear map."""

from __future__ import annotations

import math
from typing import Any

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ShapeError
from mynn.tensor import Tensor, as_tensor, same_dtype


@recorded
@explained
def linear(input: Any, weight: Any, bias: Any = None) -> Tensor:
    """y = x W^T + b.

    Args:
        input: [..., in_features]; converted to the weight's dtype.
        weight: [out_features, in_features].
        bias: [out_features] or None.

    Returns:
        [..., out_features].

    Example:
        >>> from mynn import functional as F
        >>> F.linear([1.0, 2.0], [[3.0, 4.0]], [0.5]).tolist()
        [11.5]
    """
    w, x = as_tensor(weight), as_tensor(input)
    x, w = (x.astype(w.dtype), w) if w.dtype.kind == "f" else same_dtype(x, w)
    if w.ndim != 2 or not x.ndim or x.shape[-1] != w.shape[1]:
        raise ShapeError(
            f"linear: an input of shape {x.shape} and a weight of shape {w.shape} do not fit; "
            "they must be [..., in_features] and [out_features, in_features]"
        )
    leading = x.shape[:-1]
    y = x.reshape(math.prod(leading), x.shape[-1]) @ w.T
    if bias is not None:
        y = y + bias
    return y.reshape(*leading, w.shape[0])


@recorded
@explained
def bilinear(input1: Any, input2: Any, weight: Any, bias: Any = None) -> Tensor:
    """y_o = sum over i and j of x1_i W_oij x2_j + b_o.

    Args:
        input1: [..., I]; input2: [..., J].
        weight: W, [O, I, J].
        bias: [O] or None.

    Returns:
        [..., O].
    """
    w = as_tensor(weight)
    x, y = as_tensor(input1).astype(w.dtype), as_tensor(input2).astype(w.dtype)
    fits = w.ndim == 3 and x.ndim == y.ndim > 0 and x.shape[:-1] == y.shape[:-1]
    if not fits or (x.shape[-1], y.shape[-1]) != w.shape[1:]:
        raise ShapeError(
            f"bilinear: inputs of shapes {x.shape} and {y.shape} and a weight of shape {w.shape} "
            "do not fit; they must be [..., I], [..., J] and [O, I, J]"
        )
    lead, (outputs, i, j) = x.shape[:-1], w.shape
    rows = math.prod(lead)
    z = x.reshape((rows, i)) @ w.permute((1, 0, 2)).reshape((i, outputs * j))
    total = (z.reshape((rows, outputs, j)) * y.reshape((rows, 1, j))).sum(-1)
    total = total if bias is None else total + bias
    return total.reshape((*lead, outputs))
