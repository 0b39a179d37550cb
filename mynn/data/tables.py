"""Tables: columns with names, each of numbers or of texts; read from CSV."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mynn.base.arguments import nearest, shown
from mynn.core.types import Array
from mynn.errors import ArgumentError, ArgumentTypeError, DataError, KeyNameError
from mynn.tensor.dataframes import frame_array

_TYPES: dict[Any, str] = {float: "float64", int: "int64", str: "object", bool: "bool"}
_TRUTH = {"true": True, "false": False, "1": True, "0": False}


class Table:
    """Columns of equal length with names: float64, int64, bool, or texts (object).

    Args:
        columns: a dict of names and arrays or lists.

    `table["age"]` is a column, `table[["age", "fare"]]` a table of some, `table[rows]` one of some
    rows (a slice, indices, a mask). A table of numbers stands wherever an array may:
    `numpy.asarray(table)`, `fit`, `predict`, `StandardScaler`.

    Raises:
        DataError: columns of different lengths. KeyNameError: no column has the name.

    Example:
        >>> import numpy as np
        >>> table = Table({"age": [31, 45, 27], "city": ["Ulm", "Bonn", "Ulm"]})
        >>> table.shape, table["age"].dtype.name, table[table["age"] > 30]["city"].tolist()
        ((3, 2), 'int64', ['Ulm', 'Bonn'])
        >>> np.asarray(table[["age"]]).tolist()
        [[31], [45], [27]]
    """

    def __init__(self, columns: Mapping[str, Any]) -> None:
        if not isinstance(columns, Mapping):
            raise ArgumentTypeError(
                f"Table: columns must be a dict of names and arrays, it is {shown(columns)}"
            )
        self._columns = {name: _column(name, values) for name, values in columns.items()}
        lengths = {name: len(values) for name, values in self._columns.items()}
        if len(set(lengths.values())) > 1:
            raise DataError(f"Table: the columns hold different numbers of rows: {lengths}")
        self._rows = next(iter(lengths.values()), 0)

    @property
    def columns(self) -> list[str]:
        """The names."""
        return list(self._columns)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self._rows, len(self._columns)

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self._columns:
                close = nearest(key, self._columns)
                hint = f"did you mean {close!r}?" if close else f"there are {self.columns}"
                raise KeyNameError(f"the table has no column {key!r}; {hint}")
            return self._columns[key]
        if isinstance(key, list | tuple) and key and all(isinstance(one, str) for one in key):
            return Table({name: self[name] for name in key})
        if isinstance(key, int | np.integer):
            raise ArgumentTypeError(
                f"a table is asked for a column by its name or for rows by a slice, not by {key}; "
                f"write table[{key}:{key + 1}]"
            )
        rows = key if isinstance(key, slice) else np.asarray(key)
        return Table({name: values[rows] for name, values in self._columns.items()})

    def drop(self, *names: str) -> Table:
        """The table without these columns."""
        gone = {name for name in names if self[name] is not None}
        return Table({name: own for name, own in self._columns.items() if name not in gone})

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        array = frame_array(self, self.columns)
        return array if dtype is None else array.astype(dtype)

    def __repr__(self) -> str:
        kinds = ", ".join(
            f"{name}: {'text' if own.dtype == object else own.dtype}"
            for name, own in self._columns.items()
        )
        return f"Table({self._rows} rows; {kinds})"


def _column(name: Any, values: Any) -> Array:
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"Table: column {name!r} has shape {array.shape}, it must have one axis")
    return array.astype(object) if array.dtype.kind in "US" else array


def read_csv(
    path: Any,
    *,
    sep: str = ",",
    header: bool | Sequence[str] = True,
    types: Mapping[str, type] | None = None,
    missing: Sequence[str] = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"),
    fill: Mapping[str, Any] | None = None,
    encoding: str = "utf-8",
) -> Table:
    """A CSV file as a table with a type for each column.

    A column of which most values are numbers is one of numbers: of whole ones where all are whole
    (int64), else float64. Others are texts. Blank lines are passed over.

    Args:
        path: the file.
        sep: the character between two values; values with it in them stand in double quotes.
        header: whether the first line has the names, or the names; without any, "0", "1", ...
        types: int, float, bool or str for some of the columns, by name.
        missing: how a file says that there is no value.
        fill: the value for missing ones, by name; float("nan") leaves them open.
        encoding: of the file.

    Raises:
        DataError: a value that is missing or does not fit, with its line, column and remedy; a line
            of another length; no rows. KeyNameError: `types` or `fill` name no column.
        OSError: the file cannot be read.

    Example:
        >>> import os, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "people.csv")
        >>> _ = path.write_text("age,city\\n31,Ulm\\n,Bonn\\n")
        >>> read_csv(path)
        Traceback (most recent call last):
        mynn.errors.DataError: read_csv: line 3 of 'people.csv' has no value in column 'age'; ...
        >>> read_csv(path, fill={"age": 0})["age"]
        array([31,  0])
    """
    if not isinstance(path, str | os.PathLike):
        raise ArgumentTypeError(f"read_csv: path must be a path, it is {shown(path)}")
    if not isinstance(sep, str) or len(sep) != 1:
        raise ArgumentError(f"read_csv: sep must be one character, it is {sep!r}")
    where = repr(os.path.basename(os.fspath(path)))
    lines = _lines(path, sep, encoding, where)
    names = _names(lines, header, where)
    _check_lines(lines, names, sep, where)
    for argument, given in (("types", types), ("fill", fill)):
        for name in given or ():
            if name not in names:
                raise KeyNameError(
                    f"read_csv: {argument} names the column {name!r}, {where} has {names}"
                )
    numbers = [number for number, _ in lines]
    gone = {text.strip() for text in missing}
    table = {}
    for name, values in zip(names, zip(*(row for _, row in lines), strict=True), strict=True):
        reading = _Reading(where, name, numbers, (fill or {}).get(name, _Reading.nothing))
        table[name] = reading.column([v.strip() for v in values], gone, (types or {}).get(name))
    return Table(table)


# The values of a line as they stand in the file, with its number.
_Line = tuple[int, list[str]]


def _lines(path: Any, sep: str, encoding: str, where: str) -> list[_Line]:
    """The lines of a file that are not blank."""
    try:
        with open(path, newline="", encoding="utf-8-sig" if encoding == "utf-8" else encoding) as f:
            reader = csv.reader(f, delimiter=sep)
            return [(reader.line_num, row) for row in reader if row]
    except UnicodeDecodeError as error:
        raise DataError(
            f"read_csv: {where} is no text in {encoding}: {error}; give encoding="
        ) from None
    except csv.Error as error:
        raise DataError(f"read_csv: {where}, line {reader.line_num}: {error}") from None


def _check_lines(lines: list[_Line], names: list[str], sep: str, where: str) -> None:
    """Raise where there are none, or one has more or fewer values than there are columns."""
    if not lines:
        raise DataError(f"read_csv: {where} holds no rows")
    for number, row in lines:
        if len(row) != len(names):
            raise DataError(
                f"read_csv: line {number} of {where} has {len(row)} values, there are "
                f"{len(names)} columns; mend the line, put values that hold {sep!r} into double "
                "quotes, or give another sep="
            )


def _names(lines: list[_Line], header: Any, where: str) -> list[str]:
    """The names of the columns; takes the line away that has them."""
    if not lines:
        raise DataError(f"read_csv: {where} is empty")
    if header is True:
        names = [name.strip() for name in lines.pop(0)[1]]
    elif header is False:
        names = [str(number) for number in range(len(lines[0][1]))]
    else:
        names = list(header)
    twice = [name for name, own in itertools.groupby(sorted(names)) if len(list(own)) > 1]
    if twice:
        raise DataError(
            f"read_csv: {where} has several columns {twice[0]!r}; give other names: header=[...]"
        )
    return names


class _Reading:
    """A column while it is read."""

    nothing = object()

    def __init__(self, where: str, name: str, lines: list[int], fill: Any) -> None:
        self.where, self.name, self.lines, self.fill = where, name, lines, fill

    def column(self, values: list[str], gone: set[str], given: Any) -> Array:
        """The values as an array."""
        dtype = self._dtype(values, gone) if given is None else given
        if dtype not in _TYPES:
            raise ArgumentError(
                f"read_csv: types[{self.name!r}] must be int, float, bool or str, it is "
                f"{shown(dtype)}"
            )
        column = np.empty(len(values), object)
        absent = []
        for row, value in enumerate(values):
            if value not in gone or (dtype is str and value and given is str):
                column[row] = self._value(row, value, dtype, given is not None)
            elif self.fill is self.nothing:
                raise DataError(
                    f"read_csv: line {self.lines[row]} of {self.where} has no value in column "
                    f"{self.name!r}; give one with fill={{{self.name!r}: ...}}"
                )
            else:
                column[row] = self.fill
                absent.append(row)
        if dtype is int and absent and not isinstance(self.fill, int | np.integer):
            dtype = float
        try:
            return column if dtype is str else column.astype(_TYPES[dtype])
        except (TypeError, ValueError):
            raise DataError(
                f"read_csv: fill[{self.name!r}] is {shown(self.fill)}, the column holds "
                f"{dtype.__name__}"
            ) from None
        except OverflowError:
            raise DataError(
                f"read_csv: column {self.name!r} of {self.where} holds whole numbers beyond "
                f"int64; read it with types={{{self.name!r}: float}}"
            ) from None

    @staticmethod
    def _dtype(values: list[str], gone: set[str]) -> type:
        """What most of the values are."""
        present = [value for value in values if value not in gone]
        numbers = [value for value in present if _number(value) is not None]
        if not present or 2 * len(numbers) <= len(present):
            return str
        return int if all(isinstance(_number(value), int) for value in numbers) else float

    def _value(self, row: int, value: str, dtype: type, given: bool) -> Any:
        """A value as one of that type."""
        if dtype is str:
            return value
        number = _TRUTH.get(value.lower()) if dtype is bool else _number(value)
        if number is not None and dtype is int and not isinstance(number, int):
            number = int(number) if number.is_integer() else None
        if number is None:
            remedy = f"types={{{self.name!r}: str}}, or missing=[{value!r}] if it means none"
            raise DataError(
                f"read_csv: line {self.lines[row]} of {self.where} has {value!r} in column "
                f"{self.name!r}, {'whose type is' if given else 'most of which is'} "
                f"{dtype.__name__}; mend it, or give {remedy}"
            )
        return number


def _number(text: str) -> int | float | None:
    """A number; None where it is none. Underscores make none."""
    if "_" in text:
        return None
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return None
