"""Distributions over classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.base.recording import recorded
from mynn.distributions.distribution import Distribution
from mynn.errors import ArgumentError, ShapeError
from mynn.functional.drawing import multinomial
from mynn.functional.joining import one_hot
from mynn.functional.softmax import log_softmax, softmax
from mynn.tensor import Tensor, as_tensor
from mynn.tensor.checks import require_range


@recorded
def _log_of(probs: Tensor) -> Tensor:
    """Logarithms of probabilities that are normalised; of 0 that of the least float."""
    least = float(np.finfo(probs.dtype).eps)
    return probs.clip(least, 1 - least).log()


@recorded
def _picked(logits: Tensor, value: Tensor, classes: int, checks: bool) -> Tensor:
    labels = value.astype(np.int64)
    if checks:
        require_range(labels, "Categorical: value", "parameter", 0, classes - 1)
    shape = np.broadcast_shapes(tuple(labels.shape), tuple(logits.shape[:-1]))
    spread = logits.broadcast_to((*shape, classes))
    return spread.gather(-1, labels.broadcast_to(shape).unsqueeze(-1)).squeeze(-1)


class Categorical(Distribution):
    """The class k of 0..K-1 with the probability `probs[..., k]`.

    Give `probs` [..., K], at least 0, which are divided by their sum, or `logits`, of which the
    softmax is taken.

    Example:
        >>> from mynn.distributions import Categorical
        >>> choice = Categorical(probs=[0.25, 0.75])
        >>> round(choice.log_prob(1).exp().item(), 4), round(choice.entropy().item(), 4)
        (0.75, 0.5623)
    """

    has_enumerate_support = True
    _parameters = ("probs",)

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: Any = None) -> None:
        if (probs is None) == (logits is None):
            raise ArgumentError(f"{type(self).__name__}: give either probs or logits")
        self._given = as_tensor(probs if logits is None else logits).floating()
        self._by_probs = logits is None
        if self._given.ndim < 1:
            raise ShapeError(f"{type(self).__name__}: the last axis is that of the classes")
        super().__init__(tuple(self._given.shape[:-1]), (), validate_args)
        self._classes = int(self._given.shape[-1])
        if self._by_probs:
            self.probs = self._given
            self._require("probs", 0.0)
            self.probs = self._given / self._given.sum(-1, keepdim=True)
        elif self._validates:
            self.logits = self._given
            self._require("logits", -float(np.finfo(self._given.dtype).max))
            del self.logits

    def __getattr__(self, name: str) -> Any:
        # Of probs and logits the one that was not given is made when it is asked for.
        if name == "probs" and "_given" in self.__dict__:
            self.probs = softmax(self._given, -1)
            return self.probs
        if name == "logits" and "_given" in self.__dict__:
            self.logits = _log_of(self.probs) if self._by_probs else log_softmax(self._given, -1)
            return self.logits
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape of `probs`."""
        return tuple(self._given.shape)

    @property
    def mean(self) -> Tensor:
        """NaN: classes are no numbers."""
        return self.probs.sum(-1) * np.nan

    @property
    def variance(self) -> Tensor:
        """NaN: classes are no numbers."""
        return self.probs.sum(-1) * np.nan

    @property
    def mode(self) -> Tensor:
        best: Tensor = self.probs.argmax(-1)
        return best

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Classes, int64, of the shape sample_shape + batch_shape."""
        shape = self._sample_shape(sample_shape)[: len(tuple(sample_shape)) + len(self.batch_shape)]
        rows = self.probs.detach().reshape(-1, self._classes)
        count = int(np.prod(tuple(sample_shape), dtype=int))
        drawn = multinomial(rows, max(count, 1), replacement=True)
        return drawn.T[:count].reshape(shape)

    def log_prob(self, value: Any) -> Tensor:
        return _picked(self.logits, self._checked(value), self._classes, self._validates)

    def entropy(self) -> Tensor:
        logits = self.logits
        return -(logits.clip(min=float(np.finfo(logits.dtype).min)) * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        values = as_tensor(np.arange(self._classes)).reshape(-1, *[1] * len(self.batch_shape))
        return values.broadcast_to((self._classes, *self.batch_shape)) if expand else values

    def expand(self, batch_shape: Any, _instance: Any = None) -> Categorical:
        """The same distribution with its parameters repeated to a larger batch shape."""
        given = self._given.broadcast_to((*batch_shape, self._classes))
        if self._by_probs:
            return type(self)(probs=given, validate_args=False)
        return type(self)(logits=given, validate_args=False)


class OneHotCategorical(Categorical):
    """`Categorical` whose samples are vectors of K numbers, a 1 at the class and 0 elsewhere."""

    def __init__(self, probs: Any = None, logits: Any = None, validate_args: Any = None) -> None:
        super().__init__(probs, logits, validate_args)
        self._event_shape = (self._classes,)

    @property
    def mean(self) -> Tensor:
        return self.probs

    @property
    def variance(self) -> Tensor:
        return self.probs * (1 - self.probs)

    @property
    def mode(self) -> Tensor:
        return one_hot(self.probs.argmax(-1), self._classes).astype(self.probs.dtype)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Vectors of the dtype of `probs`, of the shape sample_shape + batch_shape + [K]."""
        drawn = super().sample(sample_shape)
        return one_hot(drawn, self._classes).astype(self.probs.dtype)

    def log_prob(self, value: Any) -> Tensor:
        given = self._checked(value)
        return _picked(self.logits, given.argmax(-1), self._classes, self._validates)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        eye = as_tensor(np.eye(self._classes, dtype=self.probs.dtype))
        values = eye.reshape(self._classes, *[1] * len(self.batch_shape), self._classes)
        shape = (self._classes, *self.batch_shape, self._classes)
        return values.broadcast_to(shape) if expand else values
