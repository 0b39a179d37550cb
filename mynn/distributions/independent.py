"""Several distributions as one: their samples are one event."""

from __future__ import annotations

from typing import Any

from mynn.base.arguments import whole_number
from mynn.distributions.distribution import Distribution
from mynn.errors import ArgumentError
from mynn.tensor import Tensor


class Independent(Distribution):
    """`base_distribution` with its last batch axes as axes of the event: log_prob sums over them.

    Example:
        >>> import numpy as np
        >>> from mynn.distributions import Independent, Normal
        >>> several = Normal(np.zeros(3, np.float32), np.ones(3, np.float32))
        >>> Independent(several, 1).log_prob(np.zeros(3, np.float32)).shape
        ()
    """

    def __init__(
        self,
        base_distribution: Distribution,
        reinterpreted_batch_ndims: int,
        validate_args: bool | None = None,
    ) -> None:
        count = whole_number("reinterpreted_batch_ndims", reinterpreted_batch_ndims)
        batch = base_distribution.batch_shape
        if not 0 <= count <= len(batch):
            raise ArgumentError(
                f"reinterpreted_batch_ndims must lie in 0..{len(batch)}, the number of batch axes "
                f"of {base_distribution}; it is {count}"
            )
        split = len(batch) - count
        event = (*batch[split:], *base_distribution.event_shape)
        super().__init__(batch[:split], event, validate_args)
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, count
        self.has_rsample = base_distribution.has_rsample

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean

    @property
    def mode(self) -> Tensor:
        return self.base_dist.mode

    @property
    def variance(self) -> Tensor:
        return self.base_dist.variance

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape)

    def log_prob(self, value: Any) -> Tensor:
        return self._summed(self.base_dist.log_prob(value))

    def entropy(self) -> Tensor:
        return self._summed(self.base_dist.entropy())

    def _summed(self, values: Tensor) -> Tensor:
        axes = tuple(range(-self.reinterpreted_batch_ndims, 0))
        return values.sum(axes) if axes else values

    def expand(self, batch_shape: Any, _instance: Any = None) -> Independent:
        """The same distribution with its parameters repeated to a larger batch shape."""
        inner = self.base_dist.batch_shape[len(self.batch_shape) :]
        base = self.base_dist.expand((*batch_shape, *inner))
        return Independent(base, self.reinterpreted_batch_ndims, validate_args=False)

    def __repr__(self) -> str:
        return f"Independent({self.base_dist!r}, {self.reinterpreted_batch_ndims})"
