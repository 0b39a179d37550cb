"""Normal distributions, and those made of them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn import linalg, random
from mynn.base.recording import recorded
from mynn.distributions.distribution import (
    ABOVE_ZERO,
    HALF_LOG_2PI,
    Distribution,
    Elementwise,
    LocationScale,
)
from mynn.errors import ArgumentError, ShapeError
from mynn.tensor import Tensor, as_tensor


@recorded
def _log_density(value: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    z = (value - loc) / scale
    return -0.5 * z * z - scale.log() - HALF_LOG_2PI


class Normal(LocationScale):
    """Density e^(-(x - loc)^2 / (2 scale^2)) / (scale sqrt(2 pi)); `scale` > 0.

    Example:
        >>> from mynn.distributions import Normal
        >>> round(Normal(0.0, 1.0).log_prob(0.0).item(), 4)
        -0.9189
    """

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def stddev(self) -> Tensor:
        return self.scale

    @property
    def variance(self) -> Tensor:
        return self.scale * self.scale

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noise = random.normal(self._sample_shape(sample_shape), dtype=self.loc.dtype)
        return self.loc + noise * self.scale

    def log_prob(self, value: Any) -> Tensor:
        return _log_density(self._checked(value), self.loc, self.scale)

    def cdf(self, value: Any) -> Tensor:
        z = (self._checked(value) - self.loc) / (self.scale * math.sqrt(2))
        return 0.5 * (1 + z.erf())

    def icdf(self, value: Any) -> Tensor:
        return self.loc + self.scale * (2 * self._checked(value) - 1).erfinv() * math.sqrt(2)

    def entropy(self) -> Tensor:
        return 0.5 + HALF_LOG_2PI + self.scale.log()


class LogNormal(LocationScale):
    """e to the power of a normal variable; `loc` and `scale` are those of the logarithm."""

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        super().__init__(loc, scale, validate_args)
        self.base_dist = Normal(self.loc, self.scale, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return (self.loc + self.scale * self.scale / 2).exp()

    @property
    def mode(self) -> Tensor:
        return (self.loc - self.scale * self.scale).exp()

    @property
    def variance(self) -> Tensor:
        square = self.scale * self.scale
        return square.expm1() * (2 * self.loc + square).exp()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.base_dist.rsample(sample_shape).exp()

    def log_prob(self, value: Any) -> Tensor:
        logarithm = self._checked(value).log()
        return self.base_dist.log_prob(logarithm) - logarithm

    def cdf(self, value: Any) -> Tensor:
        return self.base_dist.cdf(self._checked(value).log())

    def icdf(self, value: Any) -> Tensor:
        return self.base_dist.icdf(value).exp()

    def entropy(self) -> Tensor:
        return self.base_dist.entropy() + self.loc


class HalfNormal(Elementwise):
    """The absolute value of a normal variable of mean 0."""

    has_rsample = True
    _parameters = ("scale",)
    scale: Tensor

    def __init__(self, scale: Any, validate_args: bool | None = None) -> None:
        self._set(validate_args, scale=scale)
        self._require("scale", ABOVE_ZERO)
        self._base = Normal(self.scale * 0, self.scale, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def mode(self) -> Tensor:
        return self.scale * 0

    @property
    def variance(self) -> Tensor:
        return self.scale * self.scale * (1 - 2 / math.pi)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._base.rsample(sample_shape).abs()

    def log_prob(self, value: Any) -> Tensor:
        given = self._checked(value)
        return (given >= 0).choose(self._base.log_prob(given) + math.log(2), -np.inf)

    def cdf(self, value: Any) -> Tensor:
        return 2 * self._base.cdf(value) - 1

    def icdf(self, value: Any) -> Tensor:
        return self._base.icdf((as_tensor(value) + 1) / 2)

    def entropy(self) -> Tensor:
        return self._base.entropy() - math.log(2)


class MultivariateNormal(Distribution):
    """Normal vectors [..., n] of mean `loc` and a covariance [..., n, n].

    Give one of `covariance_matrix`, `precision_matrix` (its inverse) and `scale_tril` (L, lower
    triangular with positive diagonal, where L L^T is the covariance).

    Example:
        >>> import numpy as np
        >>> from mynn.distributions import MultivariateNormal
        >>> normal = MultivariateNormal(np.zeros(2, np.float32), np.eye(2, dtype=np.float32))
        >>> round(normal.log_prob([0.0, 0.0]).item(), 4)
        -1.8379
    """

    has_rsample = True
    _parameters = ("loc", "scale_tril")

    def __init__(
        self,
        loc: Any,
        covariance_matrix: Any = None,
        precision_matrix: Any = None,
        scale_tril: Any = None,
        validate_args: bool | None = None,
    ) -> None:
        given = (covariance_matrix, precision_matrix, scale_tril)
        if sum(one is not None for one in given) != 1:
            raise ArgumentError(
                "MultivariateNormal: give one of covariance_matrix, precision_matrix, scale_tril"
            )
        mean = as_tensor(loc).floating()
        matrix = as_tensor(next(one for one in given if one is not None)).astype(mean.dtype)
        if mean.ndim < 1 or matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
            raise ShapeError(
                f"MultivariateNormal: loc is [..., n] and the matrix [..., n, n], they have shapes "
                f"{tuple(mean.shape)} and {tuple(matrix.shape)}"
            )
        size = matrix.shape[-1]
        if mean.shape[-1] not in (1, size):
            raise ShapeError(
                f"MultivariateNormal: loc has {mean.shape[-1]} elements, the matrix "
                f"{tuple(matrix.shape)}"
            )
        if scale_tril is None:
            covariance = matrix if precision_matrix is None else linalg.inv(matrix)
            matrix = linalg.cholesky(covariance)
        batch = np.broadcast_shapes(tuple(mean.shape[:-1]), tuple(matrix.shape[:-2]))
        super().__init__(batch, (size,), validate_args)
        self.loc = mean.broadcast_to((*batch, size))
        self.scale_tril = matrix.broadcast_to((*batch, size, size))
        self.diagonal: Tensor = self.scale_tril.diagonal(dim1=-2, dim2=-1)
        self._require("diagonal", ABOVE_ZERO)

    @property
    def covariance_matrix(self) -> Tensor:
        """L L^T."""
        return self.scale_tril @ self.scale_tril.mT

    @property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        return linalg.inv(self.covariance_matrix)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def mode(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        found: Tensor = (self.scale_tril * self.scale_tril).sum(-1)
        return found

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noise = random.normal(self._sample_shape(sample_shape), dtype=self.loc.dtype)
        found: Tensor = self.loc + (self.scale_tril @ noise.unsqueeze(-1)).squeeze(-1)
        return found

    def log_prob(self, value: Any) -> Tensor:
        away = (self._checked(value) - self.loc).unsqueeze(-1)
        shape = (*away.shape[:-2], *self.scale_tril.shape[-2:])
        whitened = linalg.solve_triangular(self.scale_tril.broadcast_to(shape), away, upper=False)
        square: Tensor = (whitened * whitened).sum((-2, -1))
        found: Tensor = -0.5 * square - self.half_log_det() - self._event_shape[0] * HALF_LOG_2PI
        return found

    def entropy(self) -> Tensor:
        found: Tensor = self.half_log_det() + self._event_shape[0] * (0.5 + HALF_LOG_2PI)
        return found

    def half_log_det(self) -> Tensor:
        """Half the logarithm of the determinant of the covariance."""
        half: Tensor = self.diagonal.log().sum(-1)
        return half

    def expand(self, batch_shape: Any, _instance: Any = None) -> MultivariateNormal:
        """The same distribution with its parameters repeated to a larger batch shape."""
        size = self._event_shape[0]
        tril = self.scale_tril.broadcast_to((*batch_shape, size, size))
        loc = self.loc.broadcast_to((*batch_shape, size))
        return MultivariateNormal(loc, scale_tril=tril, validate_args=False)
