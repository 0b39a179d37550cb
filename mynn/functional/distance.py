"""Distances and similarities of vectors, norms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ShapeError
from mynn.ops.rules import normalize_axes
from mynn.tensor import Tensor, as_tensor, broadcast, same_dtype


def norm(x: Tensor, p: float, axis: int, keepdim: bool = False) -> Tensor:
    """(sum of |x|^p)^(1/p) along an axis; where it is 0 its gradient is 0."""
    size = x.abs()
    if p == math.inf:
        return size.amax(axis, keepdim=keepdim)
    if p == -math.inf:
        return size.amin(axis, keepdim=keepdim)
    if p == 0:
        return (x != 0).astype(x.dtype).sum(axis, keepdim=keepdim)
    if p == 1:
        return size.sum(axis, keepdim=keepdim)
    if p == 2:
        total = (x * x).sum(axis, keepdim=keepdim)
    else:
        total = _power(size, p).sum(axis, keepdim=keepdim)
    nothing = total == 0
    root = nothing.choose(1.0, total)
    return nothing.choose(0.0, root.sqrt() if p == 2 else root ** (1 / p))


def _power(size: Tensor, p: float) -> Tensor:
    """|x|^p, whose gradient is 0 where x is."""
    nothing = size == 0
    return nothing.choose(0.0, nothing.choose(1.0, size) ** p)


def cosine(a: Tensor, b: Tensor, axis: int) -> Tensor:
    """x1 x2 / sqrt((x1^2 + e) (x2^2 + e)) along an axis, with e = 1e-12."""
    tiny = 1e-12
    a, b = broadcast(a, b, name="cosine_embedding_loss")
    product = (a * b).sum(axis)
    return product / (((a * a).sum(axis) + tiny) * ((b * b).sum(axis) + tiny)).sqrt()


@recorded
@explained
def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 x2 / (max(|x1|, eps) max(|x2|, eps)) along `dim`; shapes broadcast.

    Example:
        >>> from mynn import functional as F
        >>> F.cosine_similarity([[3.0, 4.0]], [[6.0, 8.0]]).tolist()
        [1.0]
    """
    a, b = broadcast(*same_dtype(x1, x2, floating=True), name="cosine_similarity")
    axis = normalize_axes(dim, a.ndim, "cosine_similarity")
    if not axis:
        return cosine_similarity(a.reshape(1), b.reshape(1), 0, eps)
    first, second = (_at_least(norm(x, 2, axis[0], True), eps) for x in (a, b))
    return ((a / first) * (b / second)).sum(axis[0])


def _at_least(x: Tensor, eps: float) -> Tensor:
    """max(x, eps), with the gradient of x everywhere."""
    fixed = x.detach()
    return x + (fixed.maximum(eps) - fixed)


@recorded
@explained
def pairwise_distance(
    x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """(sum of |x1 - x2 + eps|^p)^(1/p) along the last axis; shapes broadcast."""
    a, b = same_dtype(x1, x2, floating=True)
    if not max(a.ndim, b.ndim):
        raise ShapeError("pairwise_distance: numbers have no axis; give vectors [..., D]")
    return norm(a - b + eps, p, -1, keepdim)


@recorded
@explained
def pdist(input: Any, p: float = 2.0) -> Tensor:
    """The distances of all pairs of rows, [N, D] -> [N (N - 1) / 2], in the order (0, 1), (0, 2)..

    Args:
        input: [N, D].
        p: of the norm, at least 0.
    """
    x = as_tensor(input).floating()
    if x.ndim != 2:
        raise ShapeError(f"pdist: the input must be [N, D], its shape is {x.shape}")
    if not p >= 0:
        raise ArgumentError(f"pdist: p must be at least 0, it is {p}")
    first, second = np.triu_indices(x.shape[0], 1)
    if not first.size:
        return x.reshape(-1)[:0]
    return norm(x.gather_rows(first, 0) - x.gather_rows(second, 0), p, -1)


@recorded
@explained
def normalize(input: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """x / max(|x|, eps) with the p-norm along `dim`.

    Example:
        >>> from mynn import functional as F
        >>> F.normalize([[3.0, 4.0]]).tolist()
        [[0.6000000238418579, 0.800000011920929]]
    """
    x = as_tensor(input).floating()
    axis = normalize_axes(dim, x.ndim, "normalize")
    if not axis:
        return x / x.abs().clip(eps)
    return x / norm(x, p, axis[0], True).clip(eps)
