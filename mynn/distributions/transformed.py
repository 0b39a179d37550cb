"""Distributions of transformed samples, and those that are made so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn import random
from mynn.distributions.categorical import Categorical, OneHotCategorical
from mynn.distributions.distribution import Distribution
from mynn.distributions.transforms import (
    ExpTransform,
    SigmoidTransform,
    Transform,
    sum_rightmost,
)
from mynn.errors import ArgumentError
from mynn.functional.activation import softplus
from mynn.functional.softmax import log_softmax
from mynn.tensor import Tensor, as_tensor


class TransformedDistribution(Distribution):
    """f(x) for x from `base_distribution`: log p(y) = log p(x) - log |dy / dx|.

    Args:
        transforms: one, or several, the first one first. `Independent` around the base makes its
            axes one event; `event_dim` of a transform does so too.

    Example:
        >>> from mynn.distributions import ExpTransform, Normal, TransformedDistribution
        >>> y = TransformedDistribution(Normal(0.0, 1.0), ExpTransform())
        >>> round(y.log_prob(1.0).item(), 4)
        -0.9189
    """

    def __init__(
        self,
        base_distribution: Distribution,
        transforms: Transform | Sequence[Transform],
        validate_args: bool | None = None,
    ) -> None:
        given = [transforms] if isinstance(transforms, Transform) else list(transforms)
        if not all(isinstance(one, Transform) for one in given):
            raise ArgumentError(
                f"transforms must be a Transform or a list of them, they are {transforms!r}"
            )
        shape = (*base_distribution.batch_shape, *base_distribution.event_shape)
        wanted = max((one.event_dim for one in given), default=0)
        event = max(len(base_distribution.event_shape), wanted)
        if event > len(shape):
            raise ArgumentError(
                f"transforms work on {event} axes, the base distribution has the shape {shape}"
            )
        split = len(shape) - event
        super().__init__(shape[:split], shape[split:], validate_args)
        self.base_dist, self.transforms = base_distribution, given
        self.has_rsample = base_distribution.has_rsample

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._moved(self.base_dist.sample(sample_shape)).detach()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._moved(self.base_dist.rsample(sample_shape))

    def _moved(self, x: Tensor) -> Tensor:
        for one in self.transforms:
            x = one(x)
        return x

    def log_prob(self, value: Any) -> Tensor:
        self._checked(value)
        event = len(self.event_shape)
        total: Any = 0.0
        y = value
        for one in reversed(self.transforms):
            x = one.inverse(y)
            stretch = one.log_abs_det_jacobian(x, y)
            total = total - sum_rightmost(stretch, event - one.event_dim)
            y = x
        inner = self.base_dist.log_prob(y)
        result: Tensor = total + sum_rightmost(inner, event - len(self.base_dist.event_shape))
        return result

    def cdf(self, value: Any) -> Tensor:
        for one in reversed(self.transforms):
            self._require_rising(one, "cdf")
            value = one.inverse(value)
        return self.base_dist.cdf(value)

    def icdf(self, value: Any) -> Tensor:
        for one in self.transforms:
            self._require_rising(one, "icdf")
        return self._moved(self.base_dist.icdf(value))

    def _require_rising(self, one: Transform, name: str) -> None:
        scale = getattr(one, "scale", 1.0)
        rising = one.bijective and bool(np.all(np.asarray(as_tensor(scale).detach()) > 0))
        if not rising or one.event_dim:
            raise self._absent(f"{name} through {one}, which does not keep the order of numbers")

    def expand(self, batch_shape: Any, _instance: Any = None) -> TransformedDistribution:
        """The same distribution with its parameters repeated to a larger batch shape."""
        count = len(self.event_shape) - len(self.base_dist.event_shape)
        inner = self.base_dist.batch_shape[len(self.base_dist.batch_shape) - count :]
        base = self.base_dist.expand((*batch_shape, *inner))
        return TransformedDistribution(base, self.transforms, validate_args=False)

    def __repr__(self) -> str:
        return f"TransformedDistribution({self.base_dist!r}, {self.transforms})"


class MixtureSameFamily(Distribution):
    """A component of `component_distribution`, drawn by `mixture_distribution`, draws the sample.

    The last axis of the batch shape of the components is that of the mixture, a `Categorical`.

    Example:
        >>> import mynn
        >>> from mynn.distributions import Categorical, MixtureSameFamily, Normal
        >>> two = Normal(mynn.tensor([-1.0, 1.0]), mynn.tensor([0.5, 0.5]))
        >>> MixtureSameFamily(Categorical(probs=[0.5, 0.5]), two).mean.item()
        0.0
    """

    def __init__(
        self,
        mixture_distribution: Categorical,
        component_distribution: Distribution,
        validate_args: bool | None = None,
    ) -> None:
        if not isinstance(mixture_distribution, Categorical):
            raise ArgumentError(
                f"the mixture must be a Categorical, it is {mixture_distribution!r}"
            )
        batch = component_distribution.batch_shape
        count = mixture_distribution.param_shape[-1]
        own = mixture_distribution.batch_shape
        if not batch or batch[-1] != count or (own and own != batch[:-1]):
            raise ArgumentError(
                f"the components have the batch shape {batch}; its last extent must be {count}, "
                f"and the others {own}, those of the mixture"
            )
        super().__init__(batch[:-1], component_distribution.event_shape, validate_args)
        self.mixture_distribution = mixture_distribution
        self.component_distribution = component_distribution

    def _spread(self, value: Any) -> Tensor:
        """A value with an axis for the components."""
        return self._checked(value).unsqueeze(-1 - len(self.event_shape))

    def _weights(self) -> Tensor:
        """The probabilities, with an axis for each one of the event."""
        shares = self.mixture_distribution.probs
        return shares.reshape((*shares.shape, *[1] * len(self.event_shape)))

    @property
    def mean(self) -> Tensor:
        axis = -1 - len(self.event_shape)
        return (self._weights() * self.component_distribution.mean).sum(axis)

    @property
    def variance(self) -> Tensor:
        axis, shares = -1 - len(self.event_shape), self._weights()
        within = (shares * self.component_distribution.variance).sum(axis)
        away = self.component_distribution.mean - self.mean.unsqueeze(axis)
        return within + (shares * away * away).sum(axis)

    def cdf(self, value: Any) -> Tensor:
        shares = self.mixture_distribution.probs
        return (self.component_distribution.cdf(self._spread(value)) * shares).sum(-1)

    def log_prob(self, value: Any) -> Tensor:
        each = self.component_distribution.log_prob(self._spread(value))
        result: Tensor = (each + log_softmax(self.mixture_distribution.logits, -1)).logsumexp(-1)
        return result

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape = tuple(sample_shape)
        chosen = self.mixture_distribution.expand(self.batch_shape).sample(shape)
        each = self.component_distribution.sample(shape)
        axis = len(shape) + len(self.batch_shape)
        index = chosen.reshape((*chosen.shape, *[1] * (1 + len(self.event_shape))))
        wide = index.broadcast_to((*each.shape[:axis], 1, *each.shape[axis + 1 :]))
        return each.gather(axis, wide).squeeze(axis).detach()

    def expand(self, batch_shape: Any, _instance: Any = None) -> MixtureSameFamily:
        """The same distribution with its parameters repeated to a larger batch shape."""
        count = self.mixture_distribution.param_shape[-1]
        return MixtureSameFamily(
            self.mixture_distribution.expand(batch_shape),
            self.component_distribution.expand((*batch_shape, count)),
            validate_args=False,
        )


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """`OneHotCategorical` whose samples have the gradient of the probabilities.

    Source: Y. Bengio, N. Leonard and A. Courville, "Estimating or propagating gradients through
    stochastic neurons for conditional computation" (2013).
    """

    has_rsample = True

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.sample(sample_shape) + (self.probs - self.probs.detach())


def _logits(name: str, probs: Any, logits: Any) -> Tensor:
    """log(p / (1 - p)) of the probabilities, or as it is given."""
    if (probs is None) == (logits is None):
        raise ArgumentError(f"{name}: give either probs or logits")
    if logits is not None:
        return as_tensor(logits).floating()
    given = as_tensor(probs).floating()
    least = float(np.finfo(given.dtype).eps)
    inside = given.clip(least, 1 - least)
    return inside.log() - (-inside).log1p()


class _LogitRelaxedBernoulli(Distribution):
    """(logits + logistic noise) / temperature."""

    has_rsample = True

    def __init__(self, temperature: Any, logits: Tensor) -> None:
        self.temperature, self.logits = as_tensor(temperature, like=logits), logits
        super().__init__(tuple(np.broadcast_shapes(logits.shape, self.temperature.shape)))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        eps = float(np.finfo(self.logits.dtype).eps)
        unit = random.uniform(self._sample_shape(sample_shape), dtype=self.logits.dtype)
        unit = unit.clip(eps, 1 - eps)
        return (unit.log() - (-unit).log1p() + self.logits) / self.temperature

    def log_prob(self, value: Any) -> Tensor:
        away = self.logits - self._checked(value) * self.temperature
        return self.temperature.log() + away - 2 * softplus(away)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        return _LogitRelaxedBernoulli(
            self.temperature, self.logits.broadcast_to(tuple(batch_shape))
        )


class RelaxedBernoulli(TransformedDistribution):
    """Numbers in 0..1 near 0 or 1, the nearer the lower `temperature`; samples have gradients.

    Source: C. J. Maddison, A. Mnih and Y. W. Teh, "The concrete distribution" (2017).
    """

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: Any = None
    ) -> None:
        scores = _logits("RelaxedBernoulli", probs, logits)
        super().__init__(
            _LogitRelaxedBernoulli(temperature, scores), SigmoidTransform(), validate_args
        )
        self.temperature, self.logits = temperature, scores


class _ExpRelaxedCategorical(Distribution):
    """Logarithms of shares."""

    has_rsample = True

    def __init__(self, temperature: Any, logits: Tensor) -> None:
        self.temperature, self.logits = as_tensor(temperature, like=logits), logits
        super().__init__(tuple(logits.shape[:-1]), tuple(logits.shape[-1:]))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        eps = float(np.finfo(self.logits.dtype).eps)
        unit = random.uniform(self._sample_shape(sample_shape), dtype=self.logits.dtype)
        gumbels = -(-(unit.clip(eps, 1 - eps).log())).log()
        return log_softmax((self.logits + gumbels) / self.temperature, -1)

    def log_prob(self, value: Any) -> Tensor:
        given, count = self._checked(value), self.event_shape[0]
        scores = self.logits - given * self.temperature
        scores = (scores - scores.logsumexp(-1, keepdim=True)).sum(-1)
        number = float(count)
        return scores + self.temperature.log() * (number - 1) + as_tensor(number).lgamma().item()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        shape = (*tuple(batch_shape), *self.event_shape)
        return _ExpRelaxedCategorical(self.temperature, self.logits.broadcast_to(shape))


class RelaxedOneHotCategorical(TransformedDistribution):
    """Shares of K classes, near one class the lower `temperature`; samples have gradients.

    Source: E. Jang, S. Gu and B. Poole, "Categorical reparameterization with Gumbel-softmax"
    (2017).
    """

    def __init__(
        self, temperature: Any, probs: Any = None, logits: Any = None, validate_args: Any = None
    ) -> None:
        scores = Categorical(probs, logits, validate_args).logits
        super().__init__(_ExpRelaxedCategorical(temperature, scores), ExpTransform(), validate_args)
        self.temperature, self.logits = temperature, scores
