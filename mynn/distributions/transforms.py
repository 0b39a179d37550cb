"""Transforms: functions with an inverse, and the logarithm of how much they stretch.

A transform works on values whose last `event_dim` axes belong together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn.base.arguments import whole_number
from mynn.errors import ArgumentError, UsageError
from mynn.functional.activation import sigmoid, softplus
from mynn.functional.softmax import softmax
from mynn.tensor import Tensor, as_tensor


def sum_rightmost(x: Any, axes: int) -> Any:
    """The sum over so many of the last axes."""
    return x.sum(tuple(range(-axes, 0))) if axes else x


class Transform:
    """y = f(x) with an inverse and log |dy / dx|; `transform.inv` is the other way round.

    - `cache_size`: 1 keeps the last x and y, so that the inverse of that y is that x, unrounded.
    """

    bijective = True
    event_dim = 0

    def __init__(self, cache_size: int = 0) -> None:
        if cache_size not in (0, 1):
            raise ArgumentError(f"cache_size must be 0 or 1, it is {cache_size}")
        self.cache_size = cache_size
        self._last: tuple[Any, Any] | None = None

    def __call__(self, x: Any) -> Tensor:
        """f(x)."""
        given = as_tensor(x)
        if self._last is not None and self._last[0] is x:
            found: Tensor = self._last[1]
            return found
        y = self._call(given)
        if self.cache_size:
            self._last = given, y
        return y

    def inverse(self, y: Any) -> Tensor:
        """The x with f(x) = y."""
        if self._last is not None and self._last[1] is y:
            found: Tensor = self._last[0]
            return found
        x = self._inverse(as_tensor(y))
        if self.cache_size:
            self._last = x, y
        return x

    @property
    def inv(self) -> Transform:
        """The inverse as a transform."""
        return _Inverse(self)

    def _call(self, x: Tensor) -> Tensor:
        raise UsageError(f"{type(self).__name__} has no _call; define it in the class")

    def _inverse(self, y: Tensor) -> Tensor:
        raise UsageError(f"{type(self).__name__} has no inverse")

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        """log |dy / dx|, summed over the last `event_dim` axes."""
        raise UsageError(f"{type(self).__name__} has no log_abs_det_jacobian")

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class _Inverse(Transform):
    def __init__(self, of: Transform) -> None:
        super().__init__()
        self._of, self.event_dim, self.bijective = of, of.event_dim, of.bijective

    def __call__(self, x: Any) -> Tensor:
        return self._of.inverse(x)

    def inverse(self, y: Any) -> Tensor:
        return self._of(y)

    @property
    def inv(self) -> Transform:
        return self._of

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        return -self._of.log_abs_det_jacobian(y, x)


class ComposeTransform(Transform):
    """Several transforms, the first one first."""

    def __init__(self, parts: Sequence[Transform], cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.parts = list(parts)
        self.event_dim = max((part.event_dim for part in self.parts), default=0)
        self.bijective = all(part.bijective for part in self.parts)

    def _call(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x

    def _inverse(self, y: Tensor) -> Tensor:
        for part in reversed(self.parts):
            y = part.inverse(y)
        return y

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        total: Any = 0.0
        for number, part in enumerate(self.parts):
            after = y if number == len(self.parts) - 1 else part(x)
            stretch = part.log_abs_det_jacobian(x, after)
            total = total + sum_rightmost(stretch, self.event_dim - part.event_dim)
            x = after
        result: Tensor = total if self.parts else as_tensor(x) * 0
        return result


identity_transform = ComposeTransform([])


class IndependentTransform(Transform):
    """A transform whose last `reinterpreted_batch_ndims` axes count as one event."""

    def __init__(
        self, base_transform: Transform, reinterpreted_batch_ndims: int, cache_size: int = 0
    ) -> None:
        super().__init__(cache_size)
        self.base_transform = base_transform
        count = whole_number("reinterpreted_batch_ndims", reinterpreted_batch_ndims)
        self.reinterpreted_batch_ndims = count
        self.event_dim = base_transform.event_dim + count
        self.bijective = base_transform.bijective

    def _call(self, x: Tensor) -> Tensor:
        return self.base_transform(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.base_transform.inverse(y)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        stretch = self.base_transform.log_abs_det_jacobian(x, y)
        summed: Tensor = sum_rightmost(stretch, self.reinterpreted_batch_ndims)
        return summed


class AffineTransform(Transform):
    """y = loc + scale x.

    Example:
        >>> AffineTransform(1.0, 2.0)([0.0, 1.0]).tolist()
        [1.0, 3.0]
    """

    def __init__(self, loc: Any, scale: Any, event_dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.loc, self.scale, self.event_dim = loc, scale, event_dim

    def _call(self, x: Tensor) -> Tensor:
        result: Tensor = self.loc + x * self.scale
        return result

    def _inverse(self, y: Tensor) -> Tensor:
        result: Tensor = (y - self.loc) / self.scale
        return result

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        given = as_tensor(x)
        stretch = as_tensor(self.scale, like=given).abs().log().broadcast_to(given.shape)
        summed: Tensor = sum_rightmost(stretch, self.event_dim)
        return summed


class ExpTransform(Transform):
    """y = e^x."""

    def _call(self, x: Tensor) -> Tensor:
        return x.exp()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        return as_tensor(x)


class PowerTransform(Transform):
    """y = x^exponent for x > 0."""

    def __init__(self, exponent: Any, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.exponent = as_tensor(exponent)

    def _call(self, x: Tensor) -> Tensor:
        return x**self.exponent

    def _inverse(self, y: Tensor) -> Tensor:
        return y ** (1.0 / self.exponent)

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        return (self.exponent * as_tensor(y) / as_tensor(x)).abs().log()


class SigmoidTransform(Transform):
    """y = 1 / (1 + e^-x)."""

    def _call(self, x: Tensor) -> Tensor:
        limits = np.finfo(x.dtype)
        return sigmoid(x).clip(float(limits.tiny), 1.0 - float(limits.eps))

    def _inverse(self, y: Tensor) -> Tensor:
        limits = np.finfo(y.dtype)
        inside = y.clip(float(limits.tiny), 1.0 - float(limits.eps))
        return inside.log() - (-inside).log1p()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        given = as_tensor(x)
        return -softplus(-given) - softplus(given)


class TanhTransform(Transform):
    """y = tanh x."""

    def _call(self, x: Tensor) -> Tensor:
        return x.tanh()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.atanh()

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        given = as_tensor(x)
        return 2.0 * (math.log(2.0) - given - softplus(-2.0 * given))


class SoftplusTransform(Transform):
    """y = log(1 + e^x)."""

    def _call(self, x: Tensor) -> Tensor:
        return softplus(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return (-(-y).expm1()).log() + y

    def log_abs_det_jacobian(self, x: Any, y: Any) -> Tensor:
        return -softplus(-as_tensor(x))


class AbsTransform(Transform):
    """y = |x|, of which y is taken for the x that it came from."""

    bijective = False

    def _call(self, x: Tensor) -> Tensor:
        return x.abs()

    def _inverse(self, y: Tensor) -> Tensor:
        return y


class SoftmaxTransform(Transform):
    """y = softmax x along the last axis; the inverse is log y."""

    bijective = False
    event_dim = 1

    def _call(self, x: Tensor) -> Tensor:
        return softmax(x, -1)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()
