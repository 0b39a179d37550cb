"""Dropout."""

from __future__ import annotations

from typing import Any

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError
from mynn.functional.activation import placed
from mynn.random import Generator, chosen
from mynn.tensor import Tensor, as_tensor


@recorded
@explained
def dropout(
    input: Any,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """In training each value is 0 with probability p, the others are divided by 1 - p; else x.

    Args:
        input: any shape.
        p: in [0, 1].
        generator: draws the values to drop; the default one where left out.

    Raises:
        ArgumentError: p outside [0, 1].

    Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from
    overfitting", 2014.
    """
    if not 0 <= p <= 1:
        raise ArgumentError(f"dropout: p must lie in [0, 1], it is {p}")
    x = as_tensor(input).floating()
    if not training or p == 0:
        return x
    if p == 1:
        return placed("dropout", input, x * 0.0, inplace)
    dropped = chosen(p, x.shape, generator)
    kept = x * dropped.choose(x.dtype.type(0), x.dtype.type(1 / (1 - p)))
    return placed("dropout", input, kept, inplace)
