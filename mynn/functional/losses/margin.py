"""Losses that want scores or distances to differ by a margin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ShapeError
from mynn.functional.activation import logsigmoid, softplus
from mynn.functional.distance import cosine, pairwise_distance
from mynn.functional.losses.common import check_reduction, matching, reduced, refuse_old_names
from mynn.functional.losses.labels import Labels, class_axis
from mynn.ops import movement
from mynn.tensor import Tensor, apply, as_tensor, broadcast, same_dtype
from mynn.tensor.checks import require_range


def _checked(name: str, size_average: Any, reduce: Any, reduction: str) -> None:
    refuse_old_names(name, size_average, reduce)
    check_reduction(name, reduction)


@recorded
@explained
def margin_ranking_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0.0,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, -t (x1 - x2) + margin): x1 is to be the larger where t is 1, x2 where it is -1."""
    name = "margin_ranking_loss"
    _checked(name, size_average, reduce, reduction)
    a, b = same_dtype(input1, input2, floating=True)
    t = as_tensor(target).astype(a.dtype)
    if not a.ndim == b.ndim == t.ndim:
        raise ShapeError(
            f"{name}: input1, input2 and target must have as many axes, their shapes are "
            f"{a.shape}, {b.shape} and {t.shape}; reshape them"
        )
    return reduced((t * (b - a) + margin).clip(0.0), reduction)


@recorded
@explained
def hinge_embedding_loss(
    input: Any,
    target: Any,
    margin: float = 1.0,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """x where t is 1, max(0, margin - x) where it is -1, for distances x."""
    _checked("hinge_embedding_loss", size_average, reduce, reduction)
    x = as_tensor(input).floating()
    t = as_tensor(target)
    loss = (t != 1).choose((margin - x).clip(0.0), 0.0) + (t != -1).choose(x, 0.0)
    return reduced(loss, reduction)


@recorded
@explained
def soft_margin_loss(
    input: Any,
    target: Any,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """log(1 + e^(-t x)) for scores x and targets t of 1 or -1; nothing overflows."""
    _checked("soft_margin_loss", size_average, reduce, reduction)
    x, t = matching("soft_margin_loss", input, target, broadcasts=True)
    return reduced(softplus(-t * x), reduction)


@recorded
@explained
def multilabel_soft_margin_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over the last axis of -w (t log s(x) + (1 - t) log s(-x)), with the logistic s.

    Args:
        input: scores [..., C].
        target: 1 for each label of a sample, otherwise 0: [..., C].
        weight: factor w of each class, [C].
    """
    _checked("multilabel_soft_margin_loss", size_average, reduce, reduction)
    x, t = matching("multilabel_soft_margin_loss", input, target)
    loss = -(t * logsigmoid(x) + (1.0 - t) * logsigmoid(-x))
    if weight is not None:
        loss = loss * as_tensor(weight).astype(x.dtype)
    return reduced(loss.mean(-1), reduction)


@recorded
@explained
def multi_margin_loss(
    input: Any,
    target: Any,
    p: int = 1,
    margin: float = 1.0,
    weight: Any = None,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """The sum over the classes c other than t of w[t] max(0, margin - x[t] + x[c])^p, over C.

    Args:
        input: scores [N, C] or [C].
        target: labels [N] or [].
        p: 1 or 2.
        weight: factor of each class, [C].
    """
    name = "multi_margin_loss"
    _checked(name, size_average, reduce, reduction)
    if p not in (1, 2):
        raise ArgumentError(f"{name}: p must be 1 or 2, it is {p}")
    x = as_tensor(input).floating()
    if x.ndim > 2:
        raise ShapeError(f"{name}: the input must be [N, C] or [C], its shape is {x.shape}")
    t = as_tensor(target)
    x = x if x.ndim else x.reshape(1)
    if x.ndim < 2 and t.ndim == 1:
        x = x.reshape((1, max(x.numel(), 1)))
    labels = Labels.of(name, t, x, weight, None)
    z = (margin - labels.pick(x).unsqueeze(labels.axis) + x).clip(0.0)
    z = z * z if p == 2 else z
    z = z if labels.spread is None else z * labels.pick(labels.spread).unsqueeze(labels.axis)
    return reduced(labels.mask.choose(0.0, z).mean(class_axis(name, x)), reduction)


@recorded
@explained
def multilabel_margin_loss(
    input: Any,
    target: Any,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """The sum over labels t and over classes c that are none of max(0, 1 - x[t] + x[c]), over C.

    Args:
        input: scores [N, C] or [C].
        target: of the same shape: the labels of each sample, up to the first -1.
    """
    name = "multilabel_margin_loss"
    _checked(name, size_average, reduce, reduction)
    x, t = as_tensor(input).floating(), as_tensor(target)
    if x.shape != t.shape or x.ndim > 2 or not x.numel():
        raise ShapeError(
            f"{name}: input and target must both be [N, C] or [C], they are {x.shape} and {t.shape}"
        )
    count = x.shape[-1] if x.ndim else 1
    rows, labels = x.reshape((-1, count)), t.reshape((-1, count)).astype(np.int64)
    require_range(labels, name, "labels", 0, count - 1, -1)
    # [N, K]: the labels before the first -1; [N, K, C]: which class each of them is.
    valid = (labels < 0).astype(np.int64).cumsum(1) == 0
    shape = (*labels.shape, count)
    classes: Tensor = apply(movement.iota, shape=shape, axis=2, dtype=np.dtype(np.int64))
    mask = (classes == labels.unsqueeze(2)) & valid.unsqueeze(2)
    others = mask.astype(x.dtype).sum(1) == 0
    own = mask.choose(rows.unsqueeze(1), 0.0).sum(2)
    z = (1.0 - own.unsqueeze(2) + rows.unsqueeze(1)).clip(0.0)
    counted = valid.unsqueeze(2) & others.unsqueeze(1)
    loss = counted.choose(z, 0.0).sum((1, 2)) * (1.0 / count)
    return reduced(loss if x.ndim == 2 else loss.reshape(()), reduction)


@recorded
@explained
def cosine_embedding_loss(
    input1: Any,
    input2: Any,
    target: Any,
    margin: float = 0.0,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """1 - cos(x1, x2) where t is 1, max(0, cos(x1, x2) - margin) where it is -1.

    Args:
        input1, input2: [N, D] or [D].
        target: [N] or [].
    """
    name = "cosine_embedding_loss"
    _checked(name, size_average, reduce, reduction)
    a, b = same_dtype(input1, input2, floating=True)
    t = as_tensor(target)
    if a.ndim not in (1, 2) or a.ndim != b.ndim or t.ndim != a.ndim - 1:
        raise ShapeError(
            f"{name}: inputs [N, D] want a target [N], inputs [D] one of shape []; they are "
            f"{a.shape}, {b.shape} and {t.shape}"
        )
    similarity = cosine(a, b, -1)
    away = (t == -1).choose((similarity - margin).clip(0.0), 0.0)
    return reduced((t == 1).choose(1.0 - similarity, away), reduction)


@recorded
@explained
def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """max(0, d(a, p) - d(a, n) + margin) with the distance d of `pairwise_distance`.

    Args:
        anchor, positive, negative: a, p and n, [N, D] or [D].
        margin: above 0.
        p, eps: those of the distance.
        swap: whether d(p, n) stands for d(a, n) where it is the smaller.

    Source: Balntas et al., "Learning shallow convolutional feature descriptors with triplet
    losses", 2016.
    """
    _checked("triplet_margin_loss", size_average, reduce, reduction)

    def distance(x: Any, y: Any) -> Tensor:
        return pairwise_distance(x, y, p, eps)

    return _triplet(
        "triplet_margin_loss", (anchor, positive, negative), distance, margin, swap, reduction
    )


@explained
def triplet_margin_with_distance_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    distance_function: Callable[[Any, Any], Any] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """`triplet_margin_loss` with any function of two tensors as the distance."""
    name = "triplet_margin_with_distance_loss"
    check_reduction(name, reduction)
    distance = pairwise_distance if distance_function is None else distance_function
    return _triplet(name, (anchor, positive, negative), distance, margin, swap, reduction)


def _triplet(
    name: str,
    triplet: tuple[Any, Any, Any],
    distance: Callable[[Any, Any], Any],
    margin: float,
    swap: bool,
    reduction: str,
) -> Tensor:
    if not margin > 0:
        raise ArgumentError(f"{name}: margin must be above 0, it is {margin}")
    a, p, n = (as_tensor(one).floating() for one in triplet)
    if not a.ndim == p.ndim == n.ndim:
        raise ShapeError(
            f"{name}: anchor, positive and negative must have as many axes, their shapes are "
            f"{a.shape}, {p.shape} and {n.shape}"
        )
    a, p, n = broadcast(a, p, n, name=name)
    near, far = distance(a, p), distance(a, n)
    if swap:
        far = far.minimum(distance(p, n))
    return reduced((near - far + margin).clip(0.0), reduction)
