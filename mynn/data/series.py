"""Windows over long series, as a view: none of them is copied before its batch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from mynn.base.arguments import positive
from mynn.core.types import Array
from mynn.errors import DataError, ShapeError
from mynn.tensor import as_array


def windows(series: Any, length: int, step: int = 1) -> Array:
    """Every window of a series: a view [windows, length, ...] of it that cannot be written.

    `fit`, `evaluate` and `predict` gather the rows of such a view natively, batch by batch, so that
    a series takes its own memory and no more. Slices along the length are views as well:

        w = windows(series, 48 + 1)
        mynn.fit(step, (w[:, :48], w[:, 48]))

    Windows that overlap share values: cut the series, not its windows, into what is trained on and
    what is measured.

    Args:
        series: [times] or [times, ...], an array or a frame.
        length: times in a window.
        step: times from the start of a window to that of the next one.

    Raises:
        ShapeError: no axis of times. DataError: fewer times than a window has.

    Example:
        >>> import numpy as np
        >>> windows(np.arange(6), 3, step=2).tolist()
        [[0, 1, 2], [2, 3, 4]]
    """
    length, step = positive("windows: length", length), positive("windows: step", step)
    values = np.ascontiguousarray(as_array(series))
    if not np.ndim(series):
        raise ShapeError("windows: the series is a single number; give an array [times, ...]")
    if len(values) < length:
        raise DataError(
            f"windows: the series has {len(values)} times, fewer than a window's length={length}; "
            "give a longer series or a smaller length"
        )
    count = (len(values) - length) // step + 1
    row = values.strides[0]
    shape = count, length, *values.shape[1:]
    return as_strided(values, shape, (step * row, row, *values.strides[1:]), writeable=False)
