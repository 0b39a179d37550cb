"""Distributions of real numbers that are made from uniform ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn import random
from mynn.distributions.distribution import ABOVE_ZERO, Elementwise, LocationScale
from mynn.errors import DataError
from mynn.tensor import Tensor, as_tensor
from mynn.tensor.view import value_of

_EULER = 0.5772156649015329


class Uniform(Elementwise):
    """Evenly spread over [low, high)."""

    has_rsample = True
    _parameters = ("low", "high")
    low: Tensor
    high: Tensor

    def __init__(self, low: Any, high: Any, validate_args: bool | None = None) -> None:
        self._set(validate_args, low=low, high=high)
        low, high = value_of(self.low), value_of(self.high)
        known = low is not None and high is not None
        if self._validates and known and not bool(np.all(low < high)):
            raise DataError("Uniform: low must be below high everywhere")

    @property
    def mean(self) -> Tensor:
        return (self.low + self.high) / 2

    @property
    def mode(self) -> Tensor:
        """NaN: no value is more likely than another."""
        return self.low * np.nan

    @property
    def variance(self) -> Tensor:
        return (self.high - self.low) ** 2 / 12

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        unit = random.uniform(self._sample_shape(sample_shape), dtype=self.low.dtype)
        return self.low + unit * (self.high - self.low)

    def log_prob(self, value: Any) -> Tensor:
        given = self._checked(value)
        inside = (given >= self.low) & (given < self.high)
        return inside.choose(-(self.high - self.low).log(), -np.inf)

    def cdf(self, value: Any) -> Tensor:
        return ((self._checked(value) - self.low) / (self.high - self.low)).clip(0.0, 1.0)

    def icdf(self, value: Any) -> Tensor:
        return self._checked(value) * (self.high - self.low) + self.low

    def entropy(self) -> Tensor:
        return (self.high - self.low).log()


class Exponential(Elementwise):
    """Density rate e^(-rate x) for x >= 0; `rate` > 0."""

    has_rsample = True
    _parameters = ("rate",)
    rate: Tensor

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        self._set(validate_args, rate=rate)
        self._require("rate", ABOVE_ZERO)

    @property
    def mean(self) -> Tensor:
        return 1 / self.rate

    @property
    def mode(self) -> Tensor:
        return self.rate * 0

    @property
    def variance(self) -> Tensor:
        return self.rate**-2

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        unit = random.uniform(self._sample_shape(sample_shape), dtype=self.rate.dtype)
        return -(-unit).log1p() / self.rate

    def log_prob(self, value: Any) -> Tensor:
        given = self._checked(value)
        return (given >= 0).choose(self.rate.log() - self.rate * given, -np.inf)

    def cdf(self, value: Any) -> Tensor:
        return 1 - (-self.rate * self._checked(value)).exp()

    def icdf(self, value: Any) -> Tensor:
        return -(-self._checked(value)).log1p() / self.rate

    def entropy(self) -> Tensor:
        return 1 - self.rate.log()


class Laplace(LocationScale):
    """Density e^(-|x - loc| / scale) / (2 scale); `scale` > 0."""

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return self.scale * math.sqrt(2)

    @property
    def variance(self) -> Tensor:
        return 2 * self.scale * self.scale

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        unit = random.uniform(self._sample_shape(sample_shape), dtype=self.loc.dtype)
        return self.icdf(unit.clip(min=float(np.finfo(self.loc.dtype).tiny)))

    def log_prob(self, value: Any) -> Tensor:
        return -(self._checked(value) - self.loc).abs() / self.scale - (2 * self.scale).log()

    def cdf(self, value: Any) -> Tensor:
        away = self._checked(value) - self.loc
        return 0.5 - 0.5 * away.sign() * (-away.abs() / self.scale).expm1()

    def icdf(self, value: Any) -> Tensor:
        term = self._checked(value) - 0.5
        return self.loc - self.scale * term.sign() * (-2 * term.abs()).log1p()

    def entropy(self) -> Tensor:
        return 1 + (2 * self.scale).log()


class Cauchy(LocationScale):
    """Density 1 / (pi scale (1 + ((x - loc) / scale)^2)); mean and variance do not exist."""

    @property
    def mean(self) -> Tensor:
        return self.loc * np.nan

    @property
    def variance(self) -> Tensor:
        return self.loc * 0 + np.inf

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        unit = random.uniform(self._sample_shape(sample_shape), dtype=self.loc.dtype)
        return self.icdf(unit)

    def log_prob(self, value: Any) -> Tensor:
        z = (self._checked(value) - self.loc) / self.scale
        return -math.log(math.pi) - self.scale.log() - (z * z).log1p()

    def cdf(self, value: Any) -> Tensor:
        return ((self._checked(value) - self.loc) / self.scale).atan() / math.pi + 0.5

    def icdf(self, value: Any) -> Tensor:
        return (math.pi * (self._checked(value) - 0.5)).tan() * self.scale + self.loc

    def entropy(self) -> Tensor:
        return math.log(4 * math.pi) + self.scale.log()


class Gumbel(LocationScale):
    """The largest of many: P(x <= v) = e^(-e^(-(v - loc) / scale)); `scale` > 0."""

    @property
    def mean(self) -> Tensor:
        return self.loc + self.scale * _EULER

    @property
    def stddev(self) -> Tensor:
        return math.pi / math.sqrt(6) * self.scale

    @property
    def variance(self) -> Tensor:
        return self.stddev**2

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        unit = random.uniform(self._sample_shape(sample_shape), dtype=self.loc.dtype)
        kind = np.finfo(self.loc.dtype)
        return self.icdf(unit.clip(float(kind.tiny), 1 - float(kind.eps)))

    def log_prob(self, value: Any) -> Tensor:
        y = (self.loc - self._checked(value)) / self.scale
        return y - y.exp() - self.scale.log()

    def cdf(self, value: Any) -> Tensor:
        return (-((self.loc - self._checked(value)) / self.scale).exp()).exp()

    def icdf(self, value: Any) -> Tensor:
        return self.loc - self.scale * (-as_tensor(value).log()).log()

    def entropy(self) -> Tensor:
        return self.scale.log() + (1 + _EULER)
