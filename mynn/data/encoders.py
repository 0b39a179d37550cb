"""Encoders: columns of categories as numbers, by the categories of the training data.

Categories are texts or numbers. They lie in buffers, texts as bytes of UTF-8 [categories, longest],
so that they are a part of the state dict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn.base.arguments import checked, shown, whole_number
from mynn.core.types import Array
from mynn.data.fitted import Fitted, columns_of
from mynn.errors import ArgumentError, DataError, DTypeError, UsageError
from mynn.functional import concatenate, stack, where
from mynn.tensor import Tensor, as_tensor
from mynn.tensor.checks import require_range

# Stands for values that are known, where a trace looks at those that are not.
_KNOWN = 1e300


class _Encoder(Fitted):
    learnt = ("categories",)

    @checked
    def __init__(self, categories: Any, handle_unknown: str, ways: tuple[str, ...]) -> None:
        super().__init__()
        owner = type(self).__name__
        if handle_unknown not in ways:
            raise ArgumentError(
                f"{owner}: handle_unknown must be one of {', '.join(map(repr, ways))}, it is "
                f"{shown(handle_unknown)}"
            )
        if categories != "auto" and (
            isinstance(categories, str) or not isinstance(categories, Sequence)
        ):
            raise ArgumentError(
                f'{owner}: categories must be "auto" or a list with those of each column, it is '
                f"{shown(categories)}"
            )
        self.given = categories
        self.handle_unknown = handle_unknown

    @property
    def n_features_in_(self) -> int:
        self._fitted("categories0")
        return len(self._buffers)

    @property
    def categories_(self) -> list[Array]:
        """The categories of each column, in the order of their numbers."""
        return [_texts(self._value(f"categories{n}")) for n in range(self.n_features_in_)]

    def _learnt_from(self, columns: list[Array], names: list[Any]) -> dict[str, Array]:
        owner = type(self).__name__
        if self.given == "auto":
            categories = [np.unique(column) for column in columns]
        else:
            if len(self.given) != len(columns):
                raise ArgumentError(
                    f"{owner}: categories has those of {len(self.given)} columns, the data has "
                    f"{len(columns)}"
                )
            categories = [_as_categories(owner, own) for own in self.given]
            for number, (own, column, name) in enumerate(
                zip(categories, columns, names, strict=True)
            ):
                if self.handle_unknown == "error":
                    self._found(number, name, own, column)
        return {f"categories{number}": _bytes(own) for number, own in enumerate(categories)}

    def _numbers(self, x: Any) -> tuple[Array, Array]:
        """The number of each value's category, int64 [rows, columns], 0 where it is unknown; and
        whether it is known.
        """
        known = self.categories_
        names, columns = columns_of(type(self).__name__, x)
        self._check_width(len(columns))
        pairs = [
            self._found(number, name, own, column)
            for number, (name, own, column) in enumerate(zip(names, known, columns, strict=True))
        ]
        return np.stack([at for at, _ in pairs], axis=1), np.stack([one for _, one in pairs], 1)

    def _found(self, number: int, name: Any, own: Array, column: Array) -> tuple[Array, Array]:
        """Where the values of a column stand among its categories, and which do at all."""
        owner = type(self).__name__
        if (own.dtype == object) != (column.dtype == object):
            kinds = ["texts" if one.dtype == object else "numbers" for one in (own, column)]
            raise DTypeError(
                f"{owner}: column {name!r} holds {kinds[1]}, its categories are {kinds[0]}"
            )
        order = np.argsort(own, kind="stable")
        at = order[np.searchsorted(own[order], column).clip(0, len(own) - 1)]
        there = np.asarray(own[at] == column, bool)
        if self.handle_unknown == "error" and not there.all():
            row = int(np.argmin(there))
            raise DataError(
                f"{owner}: column {name!r} holds {column[row]!r} in row {row}, which is none of "
                f"the {len(own)} values that it was fitted on; fit it on data that holds all of "
                "them, or say what stands for others with handle_unknown"
            )
        return at, there

    def _matches(self, x: Any) -> list[Tensor]:
        """For each column of numbers whether a row is of each category, bool [rows, categories]."""
        x = as_tensor(x)
        self._check_width(x.shape[-1] if x.ndim == 2 else x.ndim)
        matches = []
        for number in range(self.n_features_in_):
            own = self._fitted(f"categories{number}")
            if own.ndim == 2:
                raise UsageError(
                    f"{type(self).__name__}: the categories of column {number} are texts, which no "
                    "tensor holds; call transform(x) on the raw data first"
                )
            column = x[:, number : number + 1].astype(own.dtype)
            match = column == own
            if self.handle_unknown == "error":
                value = column[:, 0].astype(np.float64)
                name = f"{type(self).__name__}, column {number}"
                seen = where(match.any(1), _KNOWN, value)
                require_range(seen, name, "categories", _KNOWN, _KNOWN)
            matches.append(match)
        return matches


class OrdinalEncoder(_Encoder):
    """The number of each value's category, as an embedding takes it.

    As a layer it takes columns of numbers; texts are for `transform`.

    Args:
        categories: "auto": those of the training data, sorted; or a list for each column.
        handle_unknown: "error", or "use_encoded_value": others are `unknown_value`.
        unknown_value: a whole number that stands for none of the categories.

    Returns:
        int64 [rows, columns].

    Raises:
        DataError: a value that was not there in training, with its row. UsageError: used before
            `fit`. ShapeError: another number of columns.

    Example:
        >>> encoder = OrdinalEncoder().fit([["red", 3], ["blue", 5], ["red", 7]])
        >>> encoder.transform([["red", 7], ["blue", 3]]).tolist()
        [[1, 2], [0, 0]]
        >>> encoder.inverse_transform([[1, 0]]).tolist()
        [['red', 3]]
        >>> list(encoder.state_dict())
        ['categories0', 'categories1']
    """

    def __init__(
        self,
        *,
        categories: Any = "auto",
        handle_unknown: str = "error",
        unknown_value: int | None = None,
    ) -> None:
        super().__init__(categories, handle_unknown, ("error", "use_encoded_value"))
        if (unknown_value is None) == (handle_unknown == "use_encoded_value"):
            raise ArgumentError(
                "OrdinalEncoder: unknown_value and handle_unknown='use_encoded_value' belong "
                "together; give both or none"
            )
        self.unknown_value = (
            0 if unknown_value is None else whole_number("unknown_value", unknown_value)
        )

    def _learnt_from(self, columns: list[Array], names: list[Any]) -> dict[str, Array]:
        categories = super()._learnt_from(columns, names)
        most = max(len(own) for own in categories.values())
        if self.handle_unknown != "error" and 0 <= self.unknown_value < most:
            raise ArgumentError(
                f"OrdinalEncoder: unknown_value={self.unknown_value} is the number of a category, "
                f"there are up to {most} of them; give -1, or {most}"
            )
        return categories

    def forward(self, x: Any) -> Tensor:
        """The numbers of the categories of columns of numbers, int64 [rows, columns]."""
        columns = []
        for match in self._matches(x):
            own = match.astype(np.int32).argmax(1).astype(np.int64)
            columns.append(
                own
                if self.handle_unknown == "error"
                else where(match.any(1), own, np.int64(self.unknown_value))
            )
        return stack(columns, 1)

    def transform(self, x: Any) -> Array:
        """The numbers of the categories, int64 [rows, columns]."""
        at, known = self._numbers(x)
        return np.where(known, at, self.unknown_value)

    def inverse_transform(self, x: Any) -> Array:
        """The values that have these numbers; as objects, None for the unknown value."""
        known, given = self.categories_, np.asarray(x)
        self._check_width(given.shape[1])
        out = np.empty(given.shape, object)
        for number, own in enumerate(known):
            for row, at in enumerate(given[:, number].tolist()):
                if not 0 <= at < len(own) and (
                    self.handle_unknown == "error" or at != self.unknown_value
                ):
                    raise DataError(
                        f"OrdinalEncoder: {at} in row {row} of column {number} is none of the "
                        f"numbers 0..{len(own) - 1}"
                    )
                out[row, number] = own.tolist()[int(at)] if 0 <= at < len(own) else None
        return out


class OneHotEncoder(_Encoder):
    """A column of 0 and 1 for each category.

    As a layer it takes columns of numbers; texts are for `transform`.

    Args:
        categories: "auto": those of the training data, sorted; or a list for each column.
        drop: "first": the first category of each column has no column of its own; None.
        handle_unknown: "error", or "ignore": others are zeros in all columns.

    Returns:
        float32 [rows, categories of all columns].

    Raises:
        As `OrdinalEncoder`.

    Example:
        >>> encoder = OneHotEncoder().fit([["red"], ["blue"], ["red"]])
        >>> encoder.transform([["red"], ["blue"]]).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
        >>> encoder.get_feature_names_out(["colour"])
        ['colour_blue', 'colour_red']
    """

    def __init__(
        self, *, categories: Any = "auto", drop: str | None = None, handle_unknown: str = "error"
    ) -> None:
        super().__init__(categories, handle_unknown, ("error", "ignore"))
        if drop not in (None, "first"):
            raise ArgumentError(f"OneHotEncoder: drop must be None or 'first', it is {drop!r}")
        self.first = int(drop == "first")

    def forward(self, x: Any) -> Tensor:
        """Zeros and ones of columns of numbers, float32 [rows, categories]."""
        return concatenate([m[:, self.first :].astype(np.float32) for m in self._matches(x)], 1)

    def transform(self, x: Any) -> Array:
        """Zeros and ones, float32 [rows, categories]."""
        at, known = self._numbers(x)
        parts = []
        for number, own in enumerate(self.categories_):
            ones = at[:, number, None] == np.arange(self.first, len(own))
            parts.append(ones & known[:, number, None])
        return np.concatenate(parts, axis=1).astype(np.float32)

    def get_feature_names_out(self, input_features: Sequence[str] | None = None) -> list[str]:
        """Names of the columns that come out; x0, x1, ... without names of those that go in."""
        known = self.categories_
        names = [f"x{n}" for n in range(len(known))] if input_features is None else input_features
        self._check_width(len(names))
        return [
            f"{name}_{category}"
            for name, own in zip(names, known, strict=True)
            for category in own.tolist()[self.first :]
        ]


def _as_categories(owner: str, given: Any) -> Array:
    """The categories of a column that were given, each once."""
    _, (categories,) = columns_of(owner, np.array(list(given), object).reshape(-1, 1))
    if len(set(categories.tolist())) != len(categories):
        raise ArgumentError(f"{owner}: categories names one twice: {shown(given)}")
    return categories


def _bytes(categories: Array) -> Array:
    """Categories as numbers: texts as bytes [categories, longest], behind them zeros."""
    if categories.dtype != object:
        kind = {"b": np.int64, "i": np.int64, "u": np.int64, "f": np.float64}
        return categories.astype(kind[categories.dtype.kind])
    coded = [text.encode() for text in categories.tolist()]
    out = np.zeros((len(coded), max(map(len, coded), default=0) or 1), np.uint8)
    for row, text in zip(out, coded, strict=True):
        row[: len(text)] = np.frombuffer(text, np.uint8)
    return out


def _texts(stored: Array) -> Array:
    """The way back."""
    if stored.ndim == 1:
        return stored
    out = np.empty(len(stored), object)
    out[:] = [row.tobytes().rstrip(b"\0").decode() for row in stored]
    return out
