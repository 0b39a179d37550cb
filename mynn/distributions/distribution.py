"""What distributions share: shapes, checked parameters, samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn.base.arguments import shown
from mynn.errors import ArgumentError, ShapeError, UsageError
from mynn.tensor import Tensor, as_tensor, broadcast, no_grad
from mynn.tensor.checks import require_range

# The least number above 0 that a parameter may be.
ABOVE_ZERO = float(np.finfo(np.float32).tiny)
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def parameters(*values: Any) -> tuple[Tensor, ...]:
    """Parameters as float tensors of one shape and dtype."""
    tensors = [as_tensor(value).floating() for value in values]
    dtype = np.result_type(*[tensor.dtype for tensor in tensors])
    numbers = [not isinstance(value, Tensor | np.ndarray) for value in values]
    if any(numbers) and not all(numbers):  # a Python number takes the dtype of the tensors
        kinds = [t.dtype for t, number in zip(tensors, numbers, strict=True) if not number]
        dtype = np.result_type(*kinds)
    return tuple(broadcast(*[tensor.astype(dtype) for tensor in tensors]))


class Distribution:
    """The base of all distributions.

    - `batch_shape`: the shape of the parameters, each of which is a distribution of its own;
      `event_shape`: the shape of one sample of one of them.
    - `has_rsample`: whether gradients go through samples to the parameters (`rsample`).

    `validate_args=False` takes parameters as they are; otherwise those out of range are an error
    that names the value. In a trace the check becomes a part of the program.
    """

    has_rsample = False
    has_enumerate_support = False
    _parameters: tuple[str, ...] = ()

    def __init__(
        self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None
    ) -> None:
        self._batch_shape, self._event_shape = tuple(batch_shape), tuple(event_shape)
        self._validates = validate_args is not False

    def _require(self, name: str, low: float, high: float = math.inf) -> None:
        """Raise where a parameter lies out of range."""
        if self._validates:
            given: Tensor = getattr(self, name)
            top = min(high, float(np.finfo(given.dtype).max))
            require_range(given, f"{type(self).__name__}: {name}", "parameter", low, top)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """The shape of the parameters."""
        return self._batch_shape

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one sample of one distribution."""
        return self._event_shape

    @property
    def mean(self) -> Tensor:
        """The expected value."""
        raise self._absent("mean")

    @property
    def mode(self) -> Tensor:
        """The value of the largest probability or density."""
        raise self._absent("mode")

    @property
    def variance(self) -> Tensor:
        """The expected square of the distance from the mean."""
        raise self._absent("variance")

    @property
    def stddev(self) -> Tensor:
        """The root of the variance."""
        return self.variance.sqrt()

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples of the shape sample_shape + batch_shape + event_shape, with gradients."""
        raise UsageError(
            f"{type(self).__name__} has no gradients through its samples; use sample(), and "
            "log_prob for a score function"
        )

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Samples of the shape sample_shape + batch_shape + event_shape, without gradients."""
        with no_grad():
            return self.rsample(sample_shape).detach()

    def log_prob(self, value: Any) -> Tensor:
        """The logarithm of the probability or density at `value`."""
        raise self._absent("log_prob")

    def cdf(self, value: Any) -> Tensor:
        """The probability of at most `value`."""
        raise self._absent("cdf")

    def icdf(self, value: Any) -> Tensor:
        """The number below which a sample lies with the probability `value`."""
        raise self._absent("icdf")

    def entropy(self) -> Tensor:
        """The expected -log_prob, in nats."""
        raise self._absent("entropy")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values that there are, along the first axis."""
        raise self._absent("enumerate_support")

    def perplexity(self) -> Tensor:
        """e to the entropy."""
        return self.entropy().exp()

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """The same distribution with its parameters repeated to a larger batch shape."""
        raise self._absent("expand")

    def _absent(self, name: str) -> UsageError:
        return UsageError(f"{type(self).__name__} has no {name}")

    def _sample_shape(self, sample_shape: Any) -> tuple[int, ...]:
        """The whole shape of samples."""
        if isinstance(sample_shape, int):
            raise ArgumentError(
                f"sample_shape must be a tuple, it is {shown(sample_shape)}; write "
                f"({sample_shape},)"
            )
        return (*tuple(sample_shape), *self._batch_shape, *self._event_shape)

    def _checked(self, value: Any) -> Tensor:
        """A value to be judged: its shape must go with that of the distribution."""
        given = as_tensor(value)
        axes = len(self._event_shape)
        if axes and tuple(given.shape[given.ndim - axes :]) != self._event_shape:
            raise ShapeError(
                f"{type(self).__name__}: a value has shape {tuple(given.shape)}, its last axes "
                f"must be {self._event_shape}"
            )
        own = self._batch_shape
        batch = tuple(given.shape[: given.ndim - axes])
        for mine, other in zip(reversed(own), reversed(batch), strict=False):
            if mine != other and 1 not in (mine, other):
                raise ShapeError(
                    f"{type(self).__name__}: a value of shape {tuple(given.shape)} does not go "
                    f"with batch_shape {own} and event_shape {self._event_shape}"
                )
        return given

    def __repr__(self) -> str:
        shown_ = [
            f"{name}: {one.item() if one.numel() == 1 else tuple(one.shape)}"
            for name in self._parameters
            for one in [getattr(self, name)]
        ]
        return f"{type(self).__name__}({', '.join(shown_)})"


class Elementwise(Distribution):
    """A distribution of numbers, whose parameters all have the batch shape."""

    def _set(self, validate_args: bool | None, **given: Any) -> None:
        made = parameters(*given.values())
        for name, one in zip(given, made, strict=True):
            setattr(self, name, one)
        Distribution.__init__(self, tuple(made[0].shape), (), validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Distribution:
        """The same distribution with its parameters repeated to a larger batch shape."""
        made: Any = type(self)
        parts = {
            name: getattr(self, name).broadcast_to(tuple(batch_shape)) for name in self._parameters
        }
        return made(**parts, validate_args=False)  # type: ignore[no-any-return]


class LocationScale(Elementwise):
    """A distribution that `loc` moves and `scale` > 0 stretches; samples have gradients."""

    has_rsample = True
    _parameters = ("loc", "scale")
    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Any, scale: Any, validate_args: bool | None = None) -> None:
        self._set(validate_args, loc=loc, scale=scale)
        self._require("scale", ABOVE_ZERO)

    @property
    def mode(self) -> Tensor:
        return self.loc
