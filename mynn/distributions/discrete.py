"""Distributions of whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn import random
from mynn.distributions.distribution import ABOVE_ZERO, Distribution, Elementwise
from mynn.errors import ArgumentError
from mynn.functional.activation import sigmoid, softplus
from mynn.functional.drawing import poisson
from mynn.tensor import Tensor, as_tensor, no_grad


class OfProbability(Distribution):
    """A distribution with the parameter `probs`, or `logits` = log(probs / (1 - probs))."""

    _parameters: tuple[str, ...] = ("probs",)

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: Any = None) -> None:
        if (probs is None) == (logits is None):
            raise ArgumentError(f"{type(self).__name__}: give either probs or logits")
        given = as_tensor(probs if logits is None else logits).floating()
        super().__init__(tuple(given.shape), (), validate_args)
        if logits is None:
            self.probs = given
            self._require("probs", 0.0, 1.0)
            least = float(np.finfo(given.dtype).eps)
            inside = given.clip(least, 1 - least)
            self.logits = inside.log() - (-inside).log1p()
        else:
            self.logits, self.probs = given, sigmoid(given)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """The same distribution with its parameters repeated to a larger batch shape."""
        logits = self.logits.broadcast_to(tuple(batch_shape))
        return type(self)(logits=logits, validate_args=False)


class Bernoulli(OfProbability):
    """1 with the probability `probs`, otherwise 0.

    Example:
        >>> from mynn.distributions import Bernoulli
        >>> round(Bernoulli(0.25).log_prob(1.0).exp().item(), 4)
        0.25
    """

    has_enumerate_support = True

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def mode(self) -> Tensor:
        top = (self.probs >= 0.5).astype(self.probs.dtype)
        return (self.probs == 0.5).choose(np.nan, top)

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._sample_shape(sample_shape)
        with no_grad():
            unit = random.uniform(shape, dtype=self.probs.dtype)
            return (unit < self.probs.detach()).astype(self.probs.dtype)

    def log_prob(self, value: Any) -> Tensor:
        given = self._checked(value).astype(self.probs.dtype)
        return given * self.logits - softplus(self.logits)

    def entropy(self) -> Tensor:
        return softplus(self.logits) - self.logits * self.probs

    def enumerate_support(self, expand: bool = True) -> Tensor:
        both = as_tensor(np.arange(2, dtype=self.probs.dtype))
        values = both.reshape(2, *[1] * len(self.batch_shape))
        return values.broadcast_to((2, *self.batch_shape)) if expand else values


class Geometric(OfProbability):
    """How often the outcome of probability `probs` fails to come before it comes."""

    @property
    def mean(self) -> Tensor:
        return 1 / self.probs - 1

    @property
    def mode(self) -> Tensor:
        return self.probs * 0

    @property
    def variance(self) -> Tensor:
        return (1 / self.probs - 1) / self.probs

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._sample_shape(sample_shape)
        with no_grad():
            least = float(np.finfo(self.probs.dtype).tiny)
            unit = random.uniform(shape, dtype=self.probs.dtype).clip(min=least)
            return (unit.log() / (-self.probs.detach()).log1p()).floor()

    def log_prob(self, value: Any) -> Tensor:
        return self._checked(value) * (-self.probs).log1p() + self.probs.log()

    def entropy(self) -> Tensor:
        return (softplus(self.logits) - self.logits * self.probs) / self.probs


class Poisson(Elementwise):
    """The number of events of which `rate` are expected; `rate` >= 0. Samples are not traced."""

    _parameters = ("rate",)
    rate: Tensor

    def __init__(self, rate: Any, validate_args: bool | None = None) -> None:
        self._set(validate_args, rate=rate)
        self._require("rate", 0.0)

    @property
    def mean(self) -> Tensor:
        return self.rate

    @property
    def mode(self) -> Tensor:
        return self.rate.floor()

    @property
    def variance(self) -> Tensor:
        return self.rate

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return poisson(self.rate.detach().broadcast_to(self._sample_shape(sample_shape)))

    def log_prob(self, value: Any) -> Tensor:
        given = self._checked(value)
        rate = self.rate.clip(min=ABOVE_ZERO)
        return given.xlogy(rate) - self.rate - (given + 1.0).lgamma()
