"""Distributions with heavy tails, and of lifetimes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn import random
from mynn.distributions.distribution import ABOVE_ZERO, Elementwise
from mynn.distributions.gamma import Gamma, drawn_gamma
from mynn.tensor import Tensor

_EULER = 0.5772156649015329


class StudentT(Elementwise):
    """Density proportional to (1 + z^2 / df)^(-(df + 1) / 2) for z = (x - loc) / scale."""

    _parameters = ("df", "loc", "scale")
    df: Tensor
    loc: Tensor
    scale: Tensor

    def __init__(
        self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None
    ) -> None:
        self._set(validate_args, df=df, loc=loc, scale=scale)
        self._require("df", ABOVE_ZERO)
        self._require("scale", ABOVE_ZERO)

    @property
    def mean(self) -> Tensor:
        return (self.df > 1).choose(self.loc, np.nan)

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        two = self.df > 2
        value = self.scale * self.scale * self.df / two.choose(self.df - 2, 1.0)
        return two.choose(value, (self.df > 1).choose(np.inf, np.nan))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._sample_shape(sample_shape)
        noise = random.normal(shape, dtype=self.loc.dtype)
        squares = drawn_gamma("StudentT", self.df * 0.5, shape) * 2
        scaled = noise * (squares / self.df.detach()).rsqrt()
        return (self.loc + scaled * self.scale).detach()

    def log_prob(self, value: Any) -> Tensor:
        z = (self._checked(value) - self.loc) / self.scale
        half = self.df * 0.5
        constant = self.scale.log() + 0.5 * self.df.log() + 0.5 * math.log(math.pi)
        constant = constant + half.lgamma() - (half + 0.5).lgamma()
        return -(half + 0.5) * (z * z / self.df).log1p() - constant

    def entropy(self) -> Tensor:
        half = self.df * 0.5
        beta = half.lgamma() + math.lgamma(0.5) - (half + 0.5).lgamma()
        slope = (half + 0.5).digamma() - half.digamma()
        return self.scale.log() + (half + 0.5) * slope + 0.5 * self.df.log() + beta


class Chi2(Gamma):
    """The sum of the squares of `df` standard normal variables: Gamma(df / 2, 1 / 2)."""

    _parameters = ("df",)

    def __init__(self, df: Any, validate_args: bool | None = None) -> None:
        super().__init__(0.5 * df, 0.5, validate_args)

    @property
    def df(self) -> Tensor:
        """How many squares."""
        return self.concentration * 2


class HalfCauchy(Elementwise):
    """The absolute value of a Cauchy variable around 0."""

    has_rsample = True
    _parameters = ("scale",)
    scale: Tensor

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        self._set(validate_args, scale=scale)
        self._require("scale", ABOVE_ZERO)

    @property
    def mean(self) -> Tensor:
        """Infinite."""
        return self.scale.filled(np.inf)

    variance = mean

    @property
    def mode(self) -> Tensor:
        return self.scale * 0

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.icdf(random.uniform(self._sample_shape(sample_shape), dtype=self.scale.dtype))

    def log_prob(self, value: Any) -> Tensor:
        given = self._checked(value)
        z = given / self.scale
        inside = math.log(2 / math.pi) - self.scale.log() - (z * z).log1p()
        return (given >= 0).choose(inside, -np.inf)

    def cdf(self, value: Any) -> Tensor:
        return (self._checked(value) / self.scale).atan() * (2 / math.pi)

    def icdf(self, value: Any) -> Tensor:
        return self.scale * (self._checked(value) * (math.pi / 2)).tan()

    def entropy(self) -> Tensor:
        return (2 * math.pi * self.scale).log()


class Pareto(Elementwise):
    """Density alpha scale^alpha / x^(alpha + 1) for x >= scale."""

    has_rsample = True
    _parameters = ("scale", "alpha")
    scale: Tensor
    alpha: Tensor

    def __init__(self, scale: Any, alpha: Any, validate_args: bool | None = None) -> None:
        self._set(validate_args, scale=scale, alpha=alpha)
        self._require("scale", ABOVE_ZERO)
        self._require("alpha", ABOVE_ZERO)

    @property
    def mean(self) -> Tensor:
        a = self.alpha.clip(min=1.0)
        return a * self.scale / (a - 1)

    @property
    def mode(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        a = self.alpha.clip(min=2.0)
        return self.scale * self.scale * a / ((a - 1) ** 2 * (a - 2))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.icdf(random.uniform(self._sample_shape(sample_shape), dtype=self.scale.dtype))

    def log_prob(self, value: Any) -> Tensor:
        given = self._checked(value)
        inside = self.alpha.log() + self.alpha * self.scale.log() - (self.alpha + 1) * given.log()
        return (given >= self.scale).choose(inside, -np.inf)

    def cdf(self, value: Any) -> Tensor:
        return 1 - (self.scale / self._checked(value)) ** self.alpha

    def icdf(self, value: Any) -> Tensor:
        return self.scale * (1 - self._checked(value)) ** (-1 / self.alpha)

    def entropy(self) -> Tensor:
        return (self.scale / self.alpha).log() + 1 + 1 / self.alpha


class Weibull(Elementwise):
    """cdf 1 - e^-(x / scale)^k for k = `concentration` and x >= 0."""

    has_rsample = True
    _parameters = ("scale", "concentration")
    scale: Tensor
    concentration: Tensor

    def __init__(self, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self._set(validate_args, scale=scale, concentration=concentration)
        self._require("scale", ABOVE_ZERO)
        self._require("concentration", ABOVE_ZERO)

    @property
    def mean(self) -> Tensor:
        return self.scale * (1 + 1 / self.concentration).lgamma().exp()

    @property
    def mode(self) -> Tensor:
        k = self.concentration
        return self.scale * ((k - 1) / k).clip(min=0.0) ** (1 / k)

    @property
    def variance(self) -> Tensor:
        k = self.concentration
        second, first = (1 + 2 / k).lgamma().exp(), (2 * (1 + 1 / k).lgamma()).exp()
        return self.scale * self.scale * (second - first)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.icdf(random.uniform(self._sample_shape(sample_shape), dtype=self.scale.dtype))

    def log_prob(self, value: Any) -> Tensor:
        z, k = self._checked(value) / self.scale, self.concentration
        return (k / self.scale).log() + (k - 1) * z.log() - z**k

    def cdf(self, value: Any) -> Tensor:
        return 1 - (-((self._checked(value) / self.scale) ** self.concentration)).exp()

    def icdf(self, value: Any) -> Tensor:
        return self.scale * (-(-self._checked(value)).log1p()) ** (1 / self.concentration)

    def entropy(self) -> Tensor:
        k = self.concentration
        return _EULER * (1 - 1 / k) + (self.scale / k).log() + 1
