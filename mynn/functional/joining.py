"""Functions that choose between tensors or join them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ArgumentTypeError, DataError, DTypeError, ShapeError
from mynn.functional.losses.common import (
    class_mask,
    integer_labels,
)
from mynn.ops import elementwise, movement
from mynn.ops.rules import normalize_axes
from mynn.tensor import Tensor, apply, as_tensor, binary, promote
from mynn.tensor.functions import written
from mynn.tensor.methods.joined import joined, stacked


@recorded
@explained
def where(condition: Any, input: Any = None, other: Any = None, *, out: Any = None) -> Any:
    """`input` where the condition holds, otherwise `other`; shapes broadcast.

    With the condition alone, a tuple of the indices along each axis where it holds:
    `condition.nonzero(as_tuple=True)`, whose shapes depend on values, so that programs have none.

    Example:
        >>> import numpy as np
        >>> from mynn import functional as F
        >>> F.where(np.array([True, False]), 1.0, 2.0).tolist()
        [1.0, 2.0]
    """
    test = as_tensor(condition)
    if input is None and other is None:
        return test.nonzero(as_tuple=True)
    if input is None or other is None:
        raise ArgumentTypeError("where: give both values, where(condition, input, other), or none")
    if test.dtype != np.bool_:
        raise DTypeError(
            f"where: the condition must be bool, it is {test.dtype}; compare with != 0"
        )
    result = test.choose(input, other)
    return result if out is None else written("where", result, out)


@recorded
@explained
def maximum(input: Any, other: Any, *, out: Any = None) -> Tensor:
    """The larger of two values, elementwise; where they tie each gets half of the gradient."""
    result = binary(elementwise.maximum, input, other)
    return result if out is None else written("maximum", result, out)


@recorded
@explained
def minimum(input: Any, other: Any, *, out: Any = None) -> Tensor:
    """The smaller of two values, elementwise; where they tie each gets half of the gradient."""
    result = binary(elementwise.minimum, input, other)
    return result if out is None else written("minimum", result, out)


@recorded
@explained
def concatenate(
    tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None, out: Any = None
) -> Tensor:
    """Tensors joined along an axis that they have; their dtypes are promoted to the common one.

    Example:
        >>> from mynn import functional as F
        >>> F.concatenate([[1.0], [2.0, 3.0]]).tolist()
        [1.0, 2.0, 3.0]
    """
    along = dim if axis is None else axis
    found = joined(tensors, along) if out is None and type(along) is int else None
    if found is not None:
        return found
    parts = [as_tensor(one) for one in tensors]
    if not parts:
        raise ArgumentError("concatenate: the sequence of tensors is empty; give at least one")
    dtype = promote(*(one.dtype for one in parts))
    for number, one in enumerate(parts):
        if not one.ndim:
            raise ShapeError(
                f"concatenate: tensor {number} has no axes; use stack, or reshape it to (1,)"
            )
    if any(one.ndim > 1 for one in parts):  # as in PyTorch nothing at all fits anywhere
        parts = [one for one in parts if one.shape != (0,)]
    chosen = normalize_axes(along, parts[0].ndim, "concatenate")[0]
    result = apply(movement.concatenate, *(one.astype(dtype) for one in parts), axis=chosen)
    return result if out is None else written("cat", result, out)


cat = concatenate


@recorded
@explained
def stack(
    tensors: Sequence[Any], dim: int = 0, *, axis: int | None = None, out: Any = None
) -> Tensor:
    """Tensors of one shape joined along a new axis."""
    chosen = dim if axis is None else axis
    if out is None and type(chosen) is int and chosen == 0:
        found = stacked(tensors)
        if found is not None:
            return found
    given = [as_tensor(one) for one in tensors]
    for number, one in enumerate(given):
        if one.shape != given[0].shape:
            raise ShapeError(
                f"stack: tensor 0 has shape {given[0].shape}, tensor {number} has {one.shape}; all "
                "must be equal (cat joins along an axis that is there)"
            )
    result = concatenate([one.unsqueeze(chosen) for one in given], chosen)
    return result if out is None else written("stack", result, out)


@recorded
@explained
def one_hot(input: Any, num_classes: int = -1, dtype: Any = np.int64) -> Tensor:
    """1 at the place of each label along a new last axis, 0 elsewhere.

    Args:
        input: integers from 0 to num_classes - 1, any shape [...].
        num_classes: extent of the new axis; -1 takes the largest label + 1 (not while tracing).
        dtype: of the result [..., num_classes]; as in PyTorch an int64.

    Example:
        >>> from mynn import functional as F
        >>> F.one_hot([0, 2], 3).tolist()
        [[1, 0, 0], [0, 0, 1]]
    """
    picked = as_tensor(input)
    if num_classes == -1:
        if not picked.numel():
            raise DataError("one_hot: num_classes cannot be found from no labels; give it")
        num_classes = int(picked.numpy().max()) + 1
    if num_classes < 1:
        raise ArgumentError(f"one_hot: num_classes must be at least 1, it is {num_classes}")
    picked = integer_labels("one_hot", picked, num_classes, argument="input")
    return class_mask(picked, (*picked.shape, num_classes), picked.ndim).astype(dtype)
