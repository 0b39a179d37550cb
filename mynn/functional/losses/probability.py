"""Losses that compare probabilities."""

from __future__ import annotations

from typing import Any

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ShapeError
from mynn.functional.losses.common import REDUCTIONS, matching, reduced, refuse_old_names
from mynn.functional.losses.common import check_reduction as _check_reduction
from mynn.tensor import Tensor, as_tensor
from mynn.tensor.checks import require_range

# Below this x (1 - x) the slope of the cross-entropy no longer grows.
_FLAT = 1e-12
# No logarithm counts less.
_LOWEST = -100.0


@recorded
@explained
def binary_cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """-w (t log x + (1 - t) log(1 - x)) for probabilities x and t; each log is at least -100.

    Args:
        input: probabilities from 0 to 1; for logits there is `binary_cross_entropy_with_logits`.
        target: probabilities of the same shape.
        weight: factor w, broadcast to that shape.

    Raises:
        DataError: an input outside 0..1.

    Example:
        >>> from mynn import functional as F
        >>> round(F.binary_cross_entropy([0.5], [1.0]).item(), 4)
        0.6931
    """
    name = "binary_cross_entropy"
    refuse_old_names(name, size_average, reduce)
    _check_reduction(name, reduction)
    x, t = matching(name, input, target)
    require_range(x, name, "inputs", 0.0, 1.0)
    # At both ends the slope is held to (x - t) / 1e-12, as in PyTorch.
    fixed = x.detach()
    edge = fixed * (1.0 - fixed) < _FLAT
    inner = edge.choose(0.5, x)
    log_x = edge.choose(fixed.log().maximum(_LOWEST), inner.log())
    log_rest = edge.choose((-fixed).log1p().maximum(_LOWEST), (-inner).log1p())
    slope = ((fixed - t.detach()) * (1.0 / _FLAT)).detach()
    loss = edge.choose((x - fixed) * slope, 0.0) - t * log_x - (1.0 - t) * log_rest
    if weight is not None:
        loss = loss * as_tensor(weight).astype(x.dtype)
        if loss.shape != x.shape:
            raise ShapeError(f"{name}: weight does not fit the input {x.shape}: it is {loss.shape}")
    return reduced(loss, reduction)


@recorded
@explained
def kl_div(
    input: Any,
    target: Any,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    log_target: bool = False,
) -> Tensor:
    """t (log t - x): the Kullback-Leibler divergence of x from t, value by value.

    Args:
        input: log-probabilities x.
        target: probabilities t of a shape that broadcasts; with `log_target` their logarithms.
        reduction: "mean" over all values, "batchmean" the sum over the first extent (which is the
            divergence), "sum" or "none".
    """
    refuse_old_names("kl_div", size_average, reduce)
    if reduction not in (*REDUCTIONS, "batchmean"):
        raise ArgumentError(
            f'kl_div: reduction must be "mean", "batchmean", "sum" or "none", it is {reduction!r}'
        )
    x = as_tensor(input).floating()
    t = as_tensor(target).astype(x.dtype)
    if log_target:
        loss = t.exp() * (t - x)
    else:
        nothing = t == 0
        loss = nothing.choose(0.0, t * nothing.choose(1.0, t).log()) - t * x
    if reduction == "batchmean":
        return loss.sum() * (1.0 / x.shape[0]) if x.ndim else loss.sum()
    return reduced(loss, reduction)
