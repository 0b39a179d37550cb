"""What scalers and encoders share: they learn buffers from data, and are layers then.

The buffers lie in the state dict of the network that such a layer is a part of. So a network that
is saved and loaded takes raw data. `load_state_dict` needs no `fit` before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import numpy as np

from mynn.core.types import Array
from mynn.errors import DataError, DTypeError, ShapeError, UsageError
from mynn.nn.module import Module
from mynn.tensor import Tensor
from mynn.tensor.dataframes import column_of, names_of
from mynn.tensor.gradients.history import array_of
from mynn.tensor.loaded import checked_mapping, numbers_of

Self = TypeVar("Self", bound="Fitted")


class Fitted(Module):
    """Base of layers that learn from data: `fit` before anything else, or `load_state_dict`."""

    _learns: ClassVar[bool] = True
    # Names of the buffers, those of numbered ones without their number.
    learnt: ClassVar[tuple[str, ...]] = ()

    def fit(self: Self, x: Any, y: Any = None) -> Self:
        """Learn from training data [rows, columns]: an array or a frame. `y` is not looked at."""
        names, columns = columns_of(type(self).__name__, x)
        self._learn(self._learnt_from(columns, names))
        return self

    def fit_transform(self, x: Any, y: Any = None) -> Array:
        """`fit(x)`, then `transform(x)`."""
        return self.fit(x).transform(x)

    def transform(self, x: Any) -> Array:
        """The array that it makes of data [rows, columns], an array or a frame."""
        raise UsageError(
            f"{type(self).__name__} defines no transform; write def transform(self, x)"
        )

    @property
    def n_features_in_(self) -> int:
        """Columns of the data that it was fitted on."""
        raise UsageError(f"{type(self).__name__} defines no n_features_in_")

    def _learnt_from(self, columns: list[Array], names: list[Any]) -> dict[str, Array]:
        """The values of the buffers."""
        raise UsageError(f"{type(self).__name__} defines no _learnt_from")

    # -- buffers -----------------------------------------------------------------------------------

    def _learn(self, values: Mapping[str, Array]) -> None:
        """Have these buffers, and no others."""
        if not values:
            return
        for name in [name for name in self._buffers if name not in values]:
            delattr(self, name)
        for name, value in values.items():
            self.register_buffer(name, np.array(value))

    def _values_from(self, what: str, prefix: str, state_dict: Any) -> dict[str, Array]:
        """What a state dict has for it, of any shape."""
        return {
            key.removeprefix(prefix): numbers_of(f"{what}: {key}", value)
            for key, value in checked_mapping(what, state_dict).items()
            if key.startswith(prefix)
            and key.removeprefix(prefix).rstrip("0123456789") in self.learnt
        }

    def _fitted(self, name: str) -> Tensor:
        """A buffer.

        Raises:
            UsageError: there is none yet.
        """
        found = self._buffers.get(name)
        if found is None:
            raise UsageError(
                f"{type(self).__name__} is not fitted: call fit(x) with the training data, or load "
                "a state dict"
            )
        return found

    def _value(self, name: str) -> Array:
        """A buffer as an array."""
        return array_of(self._fitted(name))

    def _check_width(self, width: int) -> None:
        wanted = self.n_features_in_
        if width != wanted:
            raise ShapeError(
                f"{type(self).__name__} was fitted on {wanted} column{'s' * (wanted != 1)}, the "
                f"input has {width}; give the same columns in the same order"
            )


def columns_of(owner: str, x: Any) -> tuple[list[Any], list[Array]]:
    """Names (numbers where there are none) and columns of a frame or an array [rows, columns]:
    numbers, or texts as objects.

    Raises:
        ShapeError: another number of axes. DataError: no rows, a missing value.
        DTypeError: a column of something else.
    """
    names = names_of(x)
    if names is not None:
        columns = [column_of(x, name) for name in names]
    else:
        array = array_of(x) if isinstance(x, Tensor) else np.asarray(x)
        if array.dtype.kind in "US":  # of a list with texts and numbers, say
            array = np.array(x, object)
        if array.ndim != 2:
            raise ShapeError(
                f"{owner}: the data has shape {array.shape}, it must be [rows, columns]; for one "
                "column write x.reshape(-1, 1), or table[['name']]"
            )
        names = list(range(array.shape[1]))
        columns = list(array.T)
    if not columns or not len(columns[0]):
        raise DataError(f"{owner}: the data holds no values, its shape is {np.shape(x)}")
    return names, [_plain(owner, *pair) for pair in zip(names, columns, strict=True)]


def _plain(owner: str, name: Any, column: Array) -> Array:
    """Numbers that stand as objects as numbers; texts as they are."""
    if column.dtype.kind == "O":
        kinds = {type(value) for value in column.tolist()}
        if kinds <= {int, float, bool}:
            column = np.array(column.tolist())
        elif kinds != {str}:
            odd = next(n for n, value in enumerate(column.tolist()) if not isinstance(value, str))
            raise DTypeError(
                f"{owner}: column {name!r} holds {column[odd]!r} in row {odd}, beside texts; it "
                "must hold texts alone, or numbers alone: fill what is missing"
            )
    elif column.dtype.kind not in "biuf":
        raise DTypeError(f"{owner}: column {name!r} holds {column.dtype}, no numbers and no texts")
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        row = int(np.argmin(np.isfinite(column)))
        raise DataError(
            f"{owner}: column {name!r} holds {column[row]} in row {row}; clean the data or fill it"
        )
    return column
