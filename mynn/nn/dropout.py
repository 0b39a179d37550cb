"""Dropout."""

from __future__ import annotations

from typing import Any

from mynn import functional
from mynn.errors import ArgumentError
from mynn.nn.module import Module
from mynn.random import Generator, default_generator
from mynn.tensor import Tensor


class _Dropout(Module):
    """What the layers share."""

    def __init__(
        self, p: float = 0.5, inplace: bool = False, *, generator: Generator | None = None
    ) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ArgumentError(f"{type(self).__name__}: p must lie in [0, 1], it is {p}")
        self.p = p
        self.inplace = inplace
        self.generator = generator

    def _options(self) -> tuple[Any, ...]:
        return (self.p, self.training, self.inplace)

    def _source(self) -> Generator:
        return self.generator or default_generator()

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """In training each value becomes 0 with probability p, and the others are divided by 1 - p.

    Args:
        p: probability of a 0, in [0, 1].
        generator: draws; the default one (`mynn.manual_seed`) where left out.

    Example:
        >>> from mynn import nn
        >>> nn.Dropout(0.5).eval()([1.0, 2.0]).tolist()
        [1.0, 2.0]

    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from
    overfitting", 2014.
    """

    def forward(self, input: Any) -> Tensor:
        """Any shape -> the same shape."""
        return functional.dropout(input, *self._options(), generator=self._source())


class Dropout1d(_Dropout):
    """In training whole channels of [N, C, L] are 0 with probability p; see `Dropout`."""

    def forward(self, input: Any) -> Tensor:
        """[N, C, ...] -> the same shape."""
        return functional.dropout1d(input, *self._options(), generator=self._source())


class Dropout2d(_Dropout):
    """In training whole channels of [N, C, H, W] are 0 with probability p; see `Dropout`."""

    def forward(self, input: Any) -> Tensor:
        """[N, C, ...] -> the same shape."""
        return functional.dropout2d(input, *self._options(), generator=self._source())


class Dropout3d(_Dropout):
    """In training whole channels of [N, C, D, H, W] are 0 with probability p; see `Dropout`."""

    def forward(self, input: Any) -> Tensor:
        """[N, C, ...] -> the same shape."""
        return functional.dropout3d(input, *self._options(), generator=self._source())


class AlphaDropout(_Dropout):
    """Dropout for `SELU`, which keeps mean 0 and variance 1: `functional.alpha_dropout`."""

    def forward(self, input: Any) -> Tensor:
        """[N, C, ...] -> the same shape."""
        return functional.alpha_dropout(input, *self._options(), generator=self._source())


class FeatureAlphaDropout(_Dropout):
    """`AlphaDropout` of whole channels: `functional.feature_alpha_dropout`."""

    def forward(self, input: Any) -> Tensor:
        """[N, C, ...] -> the same shape."""
        return functional.feature_alpha_dropout(input, *self._options(), generator=self._source())
