"""Where a run stands: taken out, stored as plain data, and put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mynn.base.dataclass import dataclass
from mynn.core.types import Array
from mynn.errors import ArgumentError
from mynn.tensor import Tensor


@dataclass(frozen=True, eq=False)
class Cursor:
    """Where a run stands between two steps: together with the values of the state that steps
    change, all that it goes on from.

    - `epoch`: epochs that are complete; `batch`: the next batch of the epoch that follows; `steps`:
      steps that have run.
    - `random`: the state of the random numbers of the shuffle, 64 bits.
    - `order`: the order of the rows, int64 [rows]; [0] where they lie in order. At batch 0 that of
      the epoch before, from which the next order is shuffled.
    - `sums`: of every metric over the samples of each epoch so far, float64 [epoch + 1, metrics].
    - `generators`: the keys of the generators that steps draw from, uint32 [generators, 2].

    Example:
        >>> keys = np.zeros((0, 2), np.uint32)
        >>> cursor = Cursor(1, 0, 8, 42, np.arange(3), np.zeros((2, 1)), keys)
        >>> Cursor.from_dict(cursor.to_dict()).steps
        8
    """

    epoch: int
    batch: int
    steps: int
    random: int
    order: Array
    sums: Array
    generators: Array

    def to_dict(self) -> dict[str, Any]:
        """Numbers and NumPy arrays by their names."""
        return dict(vars(self))

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Cursor:
        """What `to_dict` gave.

        Raises:
            ArgumentError: a part is missing, or is not what it should be.
        """
        missing = [name for name in Cursor.__dataclass_fields__ if name not in values]
        if missing:
            raise ArgumentError(
                f"a cursor has {', '.join(missing)} too; give what Cursor.to_dict returned"
            )
        epoch, batch, steps, random = (
            _number(name, values[name]) for name in ("epoch", "batch", "steps", "random")
        )
        return Cursor(
            epoch,
            batch,
            steps,
            random,
            _array("order", values["order"], np.int64, 1),
            _array("sums", values["sums"], np.float64, 2),
            _array("generators", values["generators"], np.uint32, 2),
        )


def _number(name: str, value: Any) -> int:
    number = int(value)
    if number != value or not 0 <= number < 2**64:
        raise ArgumentError(
            f"{name} of a cursor is a whole number from 0 to 2**64 - 1, not {value!r}"
        )
    return number


def _array(name: str, value: Any, dtype: Any, axes: int) -> Array:
    array = np.array(value)
    if (array.dtype, array.ndim) != (dtype, axes):
        raise ArgumentError(
            f"{name} of a cursor is an array of {np.dtype(dtype)} with {axes} axes, not "
            f"{array.dtype} {list(array.shape)}"
        )
    return array


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A cursor, and copies of the values of all other state that steps change."""

    cursor: Cursor
    values: Mapping[Tensor, Array]
