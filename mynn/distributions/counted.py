"""Distributions of counts among a number of tries."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn import random
from mynn.base.arguments import whole_number
from mynn.distributions.categorical import Categorical
from mynn.distributions.discrete import OfProbability
from mynn.distributions.distribution import Distribution
from mynn.distributions.gamma import drawn_gamma
from mynn.errors import ArgumentError
from mynn.functional.activation import sigmoid, softplus
from mynn.functional.drawing import poisson
from mynn.functional.joining import one_hot
from mynn.tensor import Tensor, as_tensor, no_grad


class _Tries(OfProbability):
    """Tries of one probability, and a number of them."""

    _parameters = ("total_count", "probs")

    def __init__(self, total_count: Any, probs: Any, logits: Any, validate_args: Any) -> None:
        super().__init__(probs, logits, validate_args)
        count = as_tensor(total_count).astype(self.logits.dtype)
        shape = tuple(np.broadcast_shapes(count.shape, self.logits.shape))
        self.total_count = count.broadcast_to(shape)
        self.logits, self.probs = self.logits.broadcast_to(shape), self.probs.broadcast_to(shape)
        self._batch_shape = shape
        self._require("total_count", 0.0)


class Binomial(_Tries):
    """How many of `total_count` tries, each of probability `probs`, succeed.

    Example:
        >>> from mynn.distributions import Binomial
        >>> round(Binomial(2, 0.5).log_prob(1.0).exp().item(), 4)
        0.5
    """

    has_enumerate_support = True

    def __init__(
        self,
        total_count: Any = 1,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(total_count, probs, logits, validate_args)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.probs

    @property
    def mode(self) -> Tensor:
        return ((self.total_count + 1) * self.probs).floor().minimum(self.total_count)

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def _most(self) -> int:
        return int(self.total_count.detach().amax().item()) if self.total_count.numel() else 0

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._sample_shape(sample_shape)
        with no_grad():
            most = self._most()
            unit = random.uniform((most, *shape), dtype=self.probs.dtype)
            number = as_tensor(np.arange(most)).reshape((most, *[1] * len(shape)))
            won = (unit < self.probs.detach()) & (number < self.total_count.detach())
            return won.astype(self.probs.dtype).sum(0)

    def log_prob(self, value: Any) -> Tensor:
        k, n = self._checked(value).astype(self.logits.dtype), self.total_count
        ways = (n + 1.0).lgamma() - (k + 1.0).lgamma() - (n - k + 1.0).lgamma()
        return ways + k * self.logits - n * softplus(self.logits)

    def entropy(self) -> Tensor:
        values = self.enumerate_support(False)
        each = self.log_prob(values)
        return -(each.exp() * each).sum(0)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        most = self._most()
        if bool((self.total_count.detach() != most).any().item()):
            raise ArgumentError(
                "Binomial: enumerate_support and entropy need the same total_count everywhere"
            )
        values = as_tensor(np.arange(most + 1, dtype=self.probs.dtype))
        values = values.reshape((most + 1, *[1] * len(self.batch_shape)))
        return values.broadcast_to((most + 1, *self.batch_shape)) if expand else values

    def expand(self, batch_shape: Any, _instance: Any = None) -> Binomial:
        """The same distribution with its parameters repeated to a larger batch shape."""
        shape = tuple(batch_shape)
        count, logits = self.total_count.broadcast_to(shape), self.logits.broadcast_to(shape)
        return Binomial(count, logits=logits, validate_args=False)


class NegativeBinomial(_Tries):
    """How many tries of probability `probs` succeed before `total_count` of them have failed."""

    def __init__(
        self,
        total_count: Any,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(total_count, probs, logits, validate_args)

    @property
    def mean(self) -> Tensor:
        return self.total_count * self.logits.exp()

    @property
    def mode(self) -> Tensor:
        return ((self.total_count - 1) * self.logits.exp()).floor().clip(min=0.0)

    @property
    def variance(self) -> Tensor:
        return self.mean / sigmoid(-self.logits)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._sample_shape(sample_shape)
        rate = drawn_gamma("NegativeBinomial", self.total_count, shape)
        return poisson(rate * self.logits.detach().exp())

    def log_prob(self, value: Any) -> Tensor:
        k, n = self._checked(value).astype(self.logits.dtype), self.total_count
        chance = -n * softplus(self.logits) - k * softplus(-self.logits)
        none: Tensor = n + k == 0
        ways = none.choose(1.0, n + k).lgamma() - (k + 1.0).lgamma() - n.lgamma()
        return chance + none.choose(0.0, ways)

    def expand(self, batch_shape: Any, _instance: Any = None) -> NegativeBinomial:
        """The same distribution with its parameters repeated to a larger batch shape."""
        shape = tuple(batch_shape)
        count, logits = self.total_count.broadcast_to(shape), self.logits.broadcast_to(shape)
        return NegativeBinomial(count, logits=logits, validate_args=False)


class Multinomial(Distribution):
    """How often each of K classes is drawn in `total_count` draws; see `Categorical`."""

    _parameters = ("probs",)

    def __init__(
        self,
        total_count: int = 1,
        probs: Any = None,
        logits: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        self.total_count = whole_number("Multinomial: total_count", total_count)
        self._categorical = Categorical(probs, logits, validate_args)
        super().__init__(
            self._categorical.batch_shape, self._categorical.param_shape[-1:], validate_args
        )

    @property
    def probs(self) -> Tensor:
        """The probabilities of the classes."""
        shares: Tensor = self._categorical.probs
        return shares

    @property
    def logits(self) -> Tensor:
        """Their logarithms."""
        scores: Tensor = self._categorical.logits
        return scores

    @property
    def mean(self) -> Tensor:
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        return self.total_count * self.probs * (1 - self.probs)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        drawn = self._categorical.sample((self.total_count, *tuple(sample_shape)))
        classes = self.event_shape[0]
        return one_hot(drawn, classes).sum(0).astype(self.probs.dtype)

    def log_prob(self, value: Any) -> Tensor:
        given = self._checked(value)
        scores = (given == 0).choose(0.0, self.logits)
        ways = (given.sum(-1) + 1.0).lgamma() - (given + 1.0).lgamma().sum(-1)
        return ways + (scores * given).sum(-1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Multinomial:
        """The same distribution with its parameters repeated to a larger batch shape."""
        logits = self.logits.broadcast_to((*tuple(batch_shape), *self.event_shape))
        return Multinomial(self.total_count, logits=logits, validate_args=False)
