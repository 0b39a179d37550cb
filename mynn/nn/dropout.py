"""Dropout."""

from __future__ import annotations

from typing import Any

from mynn import functional
from mynn.errors import ArgumentError
from mynn.nn.module import Module
from mynn.random import Generator, default_generator
from mynn.tensor import Tensor


class Dropout(Module):
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

    def __init__(
        self, p: float = 0.5, inplace: bool = False, *, generator: Generator | None = None
    ) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ArgumentError(f"Dropout: p must lie in [0, 1], it is {p}")
        self.p = float(p)
        self.inplace = inplace
        self.generator = generator

    def forward(self, input: Any) -> Tensor:
        """Any shape -> the same shape."""
        generator = self.generator or default_generator()
        return functional.dropout(input, self.p, self.training, self.inplace, generator=generator)

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return f"p={self.p}, inplace={self.inplace}"
