"""Scalers: columns brought to one size, by what was seen of the training data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn.base.arguments import checked, flag, shown
from mynn.core.types import Array
from mynn.data.fitted import Fitted, columns_of
from mynn.errors import ArgumentError, DTypeError
from mynn.tensor import Tensor, as_tensor

_EPS = float(np.finfo(np.float64).eps)


class _Scaler(Fitted):
    """A scaler is (x - shift) / scale or x * scale + shift, in float64, column by column."""

    @property
    def n_features_in_(self) -> int:
        return len(self._value("scale"))

    @property
    def scale_(self) -> Array:
        """By what each column is divided or multiplied, float64 [columns]."""
        return self._value("scale")

    def forward(self, x: Any) -> Tensor:
        """The scaled columns, [..., columns], in the dtype of x; float32 for whole numbers."""
        x = as_tensor(x)
        self._fitted("scale")
        if not x.ndim or x.shape[-1] != self.n_features_in_:
            self._check_width(x.shape[-1] if x.ndim else 0)
        dtype = x.floating().dtype
        own = [self._fitted(name).astype(np.float64) for name in self.learnt[:2]]
        scaled: Tensor = self._scaled(x.astype(np.float64), *own).astype(dtype)
        return scaled

    def transform(self, x: Any) -> Array:
        """The scaled data [rows, columns], float64; float32 where all of it is."""
        array, dtype = self._numbers(x)
        own = [self._value(name) for name in self.learnt[:2]]
        return np.asarray(self._scaled(array, *own), dtype)

    def inverse_transform(self, x: Any) -> Array:
        """What `transform` makes this of."""
        array, dtype = self._numbers(x)
        own = [self._value(name) for name in self.learnt[:2]]
        return np.asarray(self._unscaled(array, *own), dtype)

    def _numbers(self, x: Any) -> tuple[Array, Any]:
        self._fitted("scale")
        names, columns = columns_of(type(self).__name__, x)
        self._check_width(len(columns))
        single = all(column.dtype == np.float32 for column in columns)
        return self._stacked(columns, names), np.float32 if single else np.float64

    def _stacked(self, columns: list[Array], names: list[Any]) -> Array:
        """Columns of numbers as float64 [rows, columns]."""
        for name, column in zip(names, columns, strict=True):
            if column.dtype == object:
                raise DTypeError(
                    f"{type(self).__name__}: column {name!r} holds texts such as {column[0]!r}; "
                    "make numbers of it with OneHotEncoder or OrdinalEncoder, or leave it out"
                )
        return np.stack([column.astype(np.float64) for column in columns], axis=1)

    def _scaled(self, x: Any, first: Any, second: Any) -> Any:
        raise NotImplementedError

    def _unscaled(self, x: Any, first: Any, second: Any) -> Any:
        raise NotImplementedError


class StandardScaler(_Scaler):
    """(x - mean) / standard deviation, column by column, as they are in the training data.

    A layer like any other once it is fitted: `mean`, `scale` (and `var`) are buffers, float64
    [columns], and lie in the state dict. Columns that are constant have scale 1.

    Args:
        with_mean: whether the mean is subtracted.
        with_std: whether it is divided by the standard deviation (of the population: by n).

    Raises:
        UsageError: used before `fit`. ShapeError: another number of columns. DataError: no rows, a
            value that is missing or not finite. DTypeError: a column of texts.

    Example:
        >>> import numpy as np
        >>> from mynn import nn
        >>> x = np.array([[1.0, 200.0], [3.0, 400.0]], np.float32)
        >>> scaler = StandardScaler().fit(x)
        >>> scaler.transform(x).tolist()
        [[-1.0, -1.0], [1.0, 1.0]]
        >>> net = nn.Sequential(scaler, nn.Linear(2, 1))
        >>> list(net.state_dict())[:3]
        ['0.mean', '0.scale', '0.var']
    """

    learnt = ("mean", "scale", "var")

    @checked
    def __init__(self, *, with_mean: bool = True, with_std: bool = True) -> None:
        super().__init__()
        self.with_mean = flag("StandardScaler: with_mean", with_mean)
        self.with_std = flag("StandardScaler: with_std", with_std)

    @property
    def mean_(self) -> Array:
        """The means of the columns, float64 [columns]."""
        return self._value("mean")

    @property
    def var_(self) -> Array:
        """Their variances."""
        return self._value("var")

    def _learnt_from(self, columns: list[Array], names: list[Any]) -> dict[str, Array]:
        x = self._stacked(columns, names)
        mean, var = x.mean(0), x.var(0)
        # What rounding alone leaves of a constant column.
        least = len(x) * _EPS * var + (len(x) * mean * _EPS) ** 2
        scale = np.where(var <= least, 1.0, np.sqrt(var)) if self.with_std else np.ones_like(var)
        return {"mean": mean, "scale": scale, "var": var}

    def _scaled(self, x: Any, mean: Any, scale: Any) -> Any:
        return (x - mean) / scale if self.with_mean else x / scale

    def _unscaled(self, x: Any, mean: Any, scale: Any) -> Any:
        return x * scale + mean if self.with_mean else x * scale


class MinMaxScaler(_Scaler):
    """Columns brought to a range: x * scale + min, so that the training data fills it.

    A layer as `StandardScaler` is; `min`, `scale`, `data_min`, `data_max` are its buffers.

    Args:
        feature_range: the least and the largest value.
        clip: whether other data is held to the range too.

    Example:
        >>> import numpy as np
        >>> scaler = MinMaxScaler().fit(np.array([[0.0], [50.0], [200.0]]))
        >>> scaler.transform([[100.0], [300.0]]).tolist()
        [[0.5], [1.5]]
    """

    learnt = ("min", "scale", "data_min", "data_max")

    @checked
    def __init__(self, feature_range: Sequence[float] = (0, 1), *, clip: bool = False) -> None:
        super().__init__()
        if (
            not isinstance(feature_range, Sequence)
            or len(feature_range) != 2
            or not feature_range[0] < feature_range[1]
        ):
            raise ArgumentError(
                "MinMaxScaler: feature_range must be two numbers, the smaller one first, it is "
                f"{shown(feature_range)}"
            )
        self.low, self.high = (float(value) for value in feature_range)
        self.clip = flag("MinMaxScaler: clip", clip)

    @property
    def min_(self) -> Array:
        """What is added, float64 [columns]."""
        return self._value("min")

    @property
    def data_min_(self) -> Array:
        """The least value of each column of the training data."""
        return self._value("data_min")

    @property
    def data_max_(self) -> Array:
        """The largest value."""
        return self._value("data_max")

    def _learnt_from(self, columns: list[Array], names: list[Any]) -> dict[str, Array]:
        x = self._stacked(columns, names)
        low, high = x.min(0), x.max(0)
        scale = (self.high - self.low) / np.where(high - low < 10 * _EPS, 1.0, high - low)
        return {"min": self.low - low * scale, "scale": scale, "data_min": low, "data_max": high}

    def _scaled(self, x: Any, least: Any, scale: Any) -> Any:
        found = x * scale + least
        return found.clip(self.low, self.high) if self.clip else found

    def _unscaled(self, x: Any, least: Any, scale: Any) -> Any:
        return (x - least) / scale
