"""Tables with named columns (pandas, polars, Arrow, `mynn.data.Table`) as arrays.

Nothing of those packages is imported: a frame is what has columns with names and becomes an array.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.base.arguments import shown
from mynn.core.types import Array
from mynn.errors import DataError, DTypeError


def names_of(data: Any) -> list[Any] | None:
    """The names of the columns, None where it is no frame."""
    names = getattr(data, "column_names", None)  # Arrow's, whose `columns` are the values
    if names is None:
        names = getattr(data, "columns", None)
    if names is None or isinstance(data, type) or not hasattr(data, "__array__"):
        return None
    return list(names)


def column_of(data: Any, name: Any) -> Array:
    """A column as an array: numbers, booleans, or texts as objects; no text is None.

    Raises:
        DataError: a value is missing among whole numbers or booleans.
    """
    column = np.asarray(data[name])
    if column.dtype.kind in "US":
        column = column.astype(object)
    if column.dtype.kind != "O" or not len(column):
        return column
    values = column.tolist()
    missing = [_is_missing(value) for value in values]
    known = [value for value, gone in zip(values, missing, strict=True) if not gone]
    if all(isinstance(value, bool | int | float | np.bool_ | np.number) for value in known):
        if any(missing):
            row = missing.index(True)
            raise DataError(
                f"column {name!r} has no value in row {row}; fill such places (fillna, fill_null), "
                "or leave those rows out"
            )
        return np.array(known)
    return column


def frame_array(data: Any, names: list[Any]) -> Array:
    """All columns side by side, [rows, columns]; they must hold numbers or booleans.

    Raises:
        DTypeError: a column holds something else. DataError: a value is missing.
    """
    columns = []
    for name in names:
        column = column_of(data, name)
        if column.dtype.kind not in "biuf":
            held = f"{column.dtype}" if column.dtype.kind != "O" else shown(column[0])
            raise DTypeError(
                f"column {name!r} holds no numbers but {held}; make numbers of it with "
                "mynn.data.OrdinalEncoder or OneHotEncoder, or leave the column out"
            )
        columns.append(column)
    if not columns:
        raise DataError("the frame has no columns; give one with at least one")
    return np.stack(columns, axis=1)


def _is_missing(value: Any) -> bool:
    """None, NaN, and what neither is equal to itself nor says so (pandas' NA)."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):
        return type(value).__name__ in ("NAType", "NaTType")
