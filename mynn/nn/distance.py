"""Distances and similarities as layers."""

from __future__ import annotations

from typing import Any

from mynn.functional import distance as functional
from mynn.nn.module import Module
from mynn.tensor import Tensor


class CosineSimilarity(Module):
    """x1 x2 / (max(|x1|, eps) max(|x2|, eps)) along `dim`."""

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps

    def forward(self, x1: Any, x2: Any) -> Tensor:
        """Two of one shape -> that without the axis `dim`."""
        return functional.cosine_similarity(x1, x2, self.dim, self.eps)


class PairwiseDistance(Module):
    """(sum of |x1 - x2 + eps|^p)^(1/p) along the last axis."""

    def __init__(self, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> None:
        super().__init__()
        self.norm = p
        self.eps = eps
        self.keepdim = keepdim

    def forward(self, x1: Any, x2: Any) -> Tensor:
        """Two of [N, D] -> [N]."""
        return functional.pairwise_distance(x1, x2, self.norm, self.eps, self.keepdim)
