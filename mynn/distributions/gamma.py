"""Distributions made of gamma variables; their samples come from NumPy's and have no gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.distributions.distribution import ABOVE_ZERO, Distribution, Elementwise
from mynn.errors import ShapeError, UsageError
from mynn.random import default_generator
from mynn.tensor import Tensor, as_tensor


def drawn_gamma(name: str, concentration: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Gamma variables of rate 1."""
    value = concentration.detach().value
    if value is None:
        raise UsageError(f"{name}: samples cannot be traced; draw outside, and give the samples")
    source = np.random.default_rng(default_generator().words(4))
    drawn = source.standard_gamma(np.broadcast_to(value, shape)).astype(value.dtype)
    return Tensor(np.maximum(drawn, np.finfo(value.dtype).tiny))


class Gamma(Elementwise):
    """Density rate^a x^(a - 1) e^(-rate x) / Gamma(a) for a = `concentration`; both above 0."""

    _parameters: tuple[str, ...] = ("concentration", "rate")
    concentration: Tensor
    rate: Tensor

    def __init__(self, concentration: Any, rate: Any, validate_args: bool | None = None) -> None:
        self._set(validate_args, concentration=concentration, rate=rate)
        self._require("concentration", ABOVE_ZERO)
        self._require("rate", ABOVE_ZERO)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        return ((self.concentration - 1) / self.rate).clip(min=0.0)

    @property
    def variance(self) -> Tensor:
        return self.concentration / self.rate**2

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._sample_shape(sample_shape)
        return drawn_gamma("Gamma", self.concentration, shape) / self.rate.detach()

    def log_prob(self, value: Any) -> Tensor:
        given = self._checked(value)
        a, rate = self.concentration, self.rate
        return a * rate.log() + (a - 1).xlogy(given) - rate * given - a.lgamma()

    def entropy(self) -> Tensor:
        a = self.concentration
        return a - self.rate.log() + a.lgamma() + (1 - a) * a.digamma()


class Beta(Elementwise):
    """Density x^(a - 1) (1 - x)^(b - 1) / B(a, b); a is `concentration1`, b `concentration0`."""

    _parameters = ("concentration1", "concentration0")
    concentration1: Tensor
    concentration0: Tensor

    def __init__(
        self, concentration1: Any, concentration0: Any, validate_args: bool | None = None
    ) -> None:
        self._set(validate_args, concentration1=concentration1, concentration0=concentration0)
        self._require("concentration1", ABOVE_ZERO)
        self._require("concentration0", ABOVE_ZERO)

    @property
    def mean(self) -> Tensor:
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def variance(self) -> Tensor:
        total = self.concentration1 + self.concentration0
        return self.concentration1 * self.concentration0 / (total**2 * (total + 1))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._sample_shape(sample_shape)
        a = drawn_gamma("Beta", self.concentration1, shape)
        return a / (a + drawn_gamma("Beta", self.concentration0, shape))

    def log_prob(self, value: Any) -> Tensor:
        given = self._checked(value)
        a, b = self.concentration1, self.concentration0
        return (a - 1).xlogy(given) + (b - 1).xlogy(1 - given) - _log_beta(a, b)

    def entropy(self) -> Tensor:
        a, b = self.concentration1, self.concentration0
        total = a + b
        own = (a - 1) * a.digamma() + (b - 1) * b.digamma()
        return _log_beta(a, b) - own + (total - 2) * total.digamma()


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    return a.lgamma() + b.lgamma() - (a + b).lgamma()


class Dirichlet(Distribution):
    """Probabilities [..., K] with the density prod x_k^(a_k - 1) / B(a) for a = `concentration`."""

    _parameters = ("concentration",)

    def __init__(self, concentration: Any, validate_args: bool | None = None) -> None:
        self.concentration = as_tensor(concentration).floating()
        if self.concentration.ndim < 1:
            raise ShapeError("Dirichlet: concentration is [..., K], it is a single number")
        shape = tuple(self.concentration.shape)
        super().__init__(shape[:-1], shape[-1:], validate_args)
        self._require("concentration", ABOVE_ZERO)

    @property
    def mean(self) -> Tensor:
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    @property
    def variance(self) -> Tensor:
        total = self.concentration.sum(-1, keepdim=True)
        return self.concentration * (total - self.concentration) / (total**2 * (total + 1))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        drawn = drawn_gamma("Dirichlet", self.concentration, self._sample_shape(sample_shape))
        return drawn / drawn.sum(-1, keepdim=True)

    def log_prob(self, value: Any) -> Tensor:
        given, a = self._checked(value), self.concentration
        return (a - 1).xlogy(given).sum(-1) + a.sum(-1).lgamma() - a.lgamma().sum(-1)

    def entropy(self) -> Tensor:
        a = self.concentration
        total, count = a.sum(-1), a.shape[-1]
        own = ((a - 1) * a.digamma()).sum(-1)
        return a.lgamma().sum(-1) - total.lgamma() - (count - total) * total.digamma() - own

    def expand(self, batch_shape: Any, _instance: Any = None) -> Dirichlet:
        """The same distribution with its parameters repeated to a larger batch shape."""
        given = self.concentration.broadcast_to((*batch_shape, *self._event_shape))
        return Dirichlet(given, validate_args=False)
