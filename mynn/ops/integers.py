"""Elementwise primitives of integers: division and shifts."""

from __future__ import annotations

import numpy as np

from mynn.core.types import Array
from mynn.ops.rules import binary, integer_samples

INTEGERS = "iu"


def _floor_divide(x: Array, y: Array) -> Array:
    """0 for a division by 0, as the remainder is."""
    with np.errstate(all="ignore"):
        return np.asarray(np.floor_divide(x, y))


def _left_shift(x: Array, y: Array) -> Array:
    wide = x.dtype.itemsize * 8
    inside = (y >= 0) & (y < wide)
    shifted = np.left_shift(x, np.where(inside, y, 0).astype(y.dtype))
    return np.asarray(np.where(inside, shifted, 0)).astype(x.dtype)


def _right_shift(x: Array, y: Array) -> Array:
    wide = x.dtype.itemsize * 8
    inside = (y >= 0) & (y < wide)
    shifted = np.right_shift(x, np.where(inside, y, 0).astype(y.dtype))
    return np.asarray(np.where(inside, shifted, np.where(x < 0, -1, 0))).astype(x.dtype)


# The largest whole number not above x / y; 0 where y is 0.
floor_divide = binary(
    "floor_divide",
    INTEGERS,
    _floor_divide,
    None,
    integer_samples(2, -9, 9, np.int64),
)

# The bits of x moved up by y places, or down; no bit stays where y is not in its range, where
# negative numbers moved down are -1.
left_shift = binary("left_shift", INTEGERS, _left_shift, None, integer_samples(2, 0, 9, np.int64))

right_shift = binary(
    "right_shift", INTEGERS, _right_shift, None, integer_samples(2, 0, 9, np.int64)
)

PRIMITIVES = (floor_divide, left_shift, right_shift)
