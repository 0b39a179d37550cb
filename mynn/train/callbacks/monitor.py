"""What callbacks watch: a number of an epoch, and whether less or more of it is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mynn.base.arguments import in_range, nearest
from mynn.errors import ArgumentError, KeyNameError

# Measures of which more is better have such a word in their name.
_MORE = ("acc", "auc", "f1", "precision", "recall", "r2")


class Monitor:
    """The number of an epoch that callbacks compare.

    Args:
        owner: who watches, for errors.
        name: "val_loss" and the like.
        mode: "min", "max", or "auto": by the name.
        min_delta: by how much more is better.
    """

    def __init__(self, owner: str, name: str, mode: str, min_delta: float = 0.0) -> None:
        if not isinstance(name, str):
            raise ArgumentError(f'{owner}: monitor must be a name such as "loss", it is {name!r}')
        if mode not in ("auto", "min", "max"):
            raise ArgumentError(f'{owner}: mode must be "auto", "min" or "max", it is {mode!r}')
        self.owner, self.name = owner, name
        self.more = mode == "max" or (mode == "auto" and any(w in name.lower() for w in _MORE))
        self.delta = in_range(f"{owner}: min_delta", min_delta, 0.0)

    @property
    def worst(self) -> float:
        """What every number is better than."""
        return -math.inf if self.more else math.inf

    def value(self, logs: Mapping[str, Any]) -> float:
        """The number in what an epoch measured."""
        if self.name not in logs:
            close = nearest(self.name, logs)
            hint = f"did you mean {close!r}?" if close else "return it from the step by that name"
            raise KeyNameError(
                f"{self.owner}: the epoch has no {self.name!r}, it has {', '.join(logs)}; {hint}"
            )
        found = logs[self.name]
        if np.ndim(found):
            raise ArgumentError(
                f"{self.owner}: {self.name!r} is an array of shape {np.shape(found)}, it cannot be "
                "compared; watch a single number"
            )
        return float(found)

    def better(self, value: float, best: float) -> bool:
        """Whether a number is better; NaN never is."""
        return value > best + self.delta if self.more else value < best - self.delta
