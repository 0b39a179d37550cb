"""Losses of regression, with PyTorch's names, arguments and meaning.

`size_average` and `reduce` are old names of `reduction`, refused everywhere.
"""

from __future__ import annotations

import math
from typing import Any

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ShapeError
from mynn.functional.losses.common import check_reduction, matching, reduced, refuse_old_names
from mynn.tensor import Tensor, as_tensor
from mynn.tensor.checks import require_range


def _weighted(name: str, loss: Tensor, weight: Any, reduction: str, mean: str) -> Tensor:
    """A loss times weights of its shape; `mean` says by what the mean divides."""
    if weight is None:
        return reduced(loss, reduction)
    w = as_tensor(weight).astype(loss.dtype)
    if w.shape != loss.shape:
        raise ShapeError(
            f"{name}: weight has shape {w.shape}, it must be that of the input, {loss.shape}"
        )
    loss = loss * w
    if reduction == "mean" and mean == "weights":
        return loss.sum() / w.sum()
    return reduced(loss, reduction)


@recorded
@explained
def mse_loss(
    input: Any,
    target: Any,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Tensor:
    """Squared error (x - t)^2, averaged over all values.

    Args:
        input, target: any one shape.
        size_average, reduce: old names of `reduction`, refused.
        reduction: "mean" and "sum" give shape [], "none" the shape of the input.
        weight: factors of that shape; "mean" divides by their sum.

    Raises:
        ShapeError: the shapes cannot be broadcast. Where they differ, a warning says so.

    Example:
        >>> from mynn import functional as F
        >>> F.mse_loss([1.0, 3.0], [0.0, 1.0]).item()
        2.5
    """
    refuse_old_names("mse_loss", size_average, reduce)
    check_reduction("mse_loss", reduction)
    x, t = matching("mse_loss", input, target, broadcasts=True)
    difference = x - t
    return _weighted("mse_loss", difference * difference, weight, reduction, "weights")


@recorded
@explained
def l1_loss(
    input: Any,
    target: Any,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    weight: Any = None,
) -> Tensor:
    """Absolute error |x - t|, averaged over all values; the arguments are those of `mse_loss`.

    Example:
        >>> from mynn import functional as F
        >>> F.l1_loss([1.0, 3.0], [0.0, 1.0]).item()
        1.5
    """
    refuse_old_names("l1_loss", size_average, reduce)
    check_reduction("l1_loss", reduction)
    x, t = matching("l1_loss", input, target, broadcasts=True)
    return _weighted("l1_loss", (x - t).abs(), weight, reduction, "weights")


@recorded
@explained
def smooth_l1_loss(
    input: Any,
    target: Any,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    beta: float = 1.0,
) -> Tensor:
    """d^2 / (2 beta) where |d| < beta, otherwise |d| - beta / 2, with d = x - t.

    Source: Girshick, "Fast R-CNN", 2015.
    """
    refuse_old_names("smooth_l1_loss", size_average, reduce)
    check_reduction("smooth_l1_loss", reduction)
    if not beta >= 0:
        raise ArgumentError(f"smooth_l1_loss: beta must be at least 0, it is {beta}")
    x, t = matching("smooth_l1_loss", input, target, broadcasts=True)
    d = x - t
    if beta == 0:
        return reduced(d.abs(), reduction)
    loss = (d.abs() < beta).choose(d * d * (0.5 / beta), d.abs() - 0.5 * beta)
    return reduced(loss, reduction)


@recorded
@explained
def huber_loss(
    input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None
) -> Tensor:
    """d^2 / 2 where |d| <= delta, otherwise delta (|d| - delta / 2), with d = x - t.

    `weight` has the shape of the input; "mean" is that of the weighted values.

    Source: Huber, "Robust estimation of a location parameter", 1964.
    """
    check_reduction("huber_loss", reduction)
    if not delta > 0:
        raise ArgumentError(f"huber_loss: delta must be above 0, it is {delta}")
    x, t = matching("huber_loss", input, target, broadcasts=True)
    d = x - t
    loss = (d.abs() <= delta).choose(d * d * 0.5, (d.abs() - 0.5 * delta) * delta)
    return _weighted("huber_loss", loss, weight, reduction, "values")


@recorded
@explained
def poisson_nll_loss(
    input: Any,
    target: Any,
    log_input: bool = True,
    full: bool = False,
    size_average: None = None,
    eps: float = 1e-8,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """-log p(t) of a Poisson distribution, without the terms that do not depend on the input.

    Equation: e^x - t x for the logarithm x of the rate; with log_input=False x - t log(x + eps)
    for the rate x. `full` adds Stirling's t log t - t + log(2 pi t) / 2 where t > 1.
    """
    refuse_old_names("poisson_nll_loss", size_average, reduce)
    check_reduction("poisson_nll_loss", reduction)
    x, t = matching("poisson_nll_loss", input, target, broadcasts=True)
    loss = x.exp() - t * x if log_input else x - t * (x + eps).log()
    if full:
        above = t > 1
        many = above.choose(t, 1.0)
        stirling = many * many.log() - many + (many * (2 * math.pi)).log() * 0.5
        loss = loss + above.choose(stirling, 0.0)
    return reduced(loss, reduction)


@recorded
@explained
def gaussian_nll_loss(
    input: Any,
    target: Any,
    var: Any,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """(log v + (x - t)^2 / v) / 2: -log p(t) of the normal distribution N(x, v).

    Args:
        input, target: means x and values t of shapes that broadcast.
        var: v: a number, the shape of the input, or that with a last axis of 1 or without it.
        full: whether log(2 pi) / 2 is added.
        eps: v is not taken below it; the gradient of v is as if it were not held.

    Raises:
        DataError: a negative v. ShapeError: a shape that does not fit.
    """
    check_reduction("gaussian_nll_loss", reduction)
    x = as_tensor(input).floating()
    t, v = as_tensor(target).astype(x.dtype), as_tensor(var, like=x).astype(x.dtype)
    if not isinstance(var, int | float) and v.shape != x.shape:
        if v.shape == x.shape[:-1]:
            v = v.unsqueeze(-1)
        differing = [n for m, n in zip(v.shape, x.shape, strict=False) if m != n]
        if v.ndim != x.ndim or sum(differing) != sum(differing[:1]):
            raise ShapeError(
                f"gaussian_nll_loss: var has shape {v.shape}, it must be a number or fit the input "
                f"{x.shape}: the same shape, or 1 in one axis"
            )
    if not eps > 0:
        raise ArgumentError(f"gaussian_nll_loss: eps must be above 0, it is {eps}")
    require_range(v, "gaussian_nll_loss", "variances", 0.0, math.inf)
    constant = v.detach()
    v = v + (constant.maximum(eps) - constant)
    d = x - t
    loss = (v.log() + d * d / v) * 0.5
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduced(loss, reduction)
