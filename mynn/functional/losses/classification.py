"""Losses of classification, with PyTorch's names, arguments and meaning.

Labels are compared with the class numbers 0, 1, 2... along the class axis, instead of gathering by
them: the mask is vector code in a kernel together with the rest of the loss.
"""

from __future__ import annotations

from typing import Any

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, DTypeError, ShapeError
from mynn.functional.activation import softplus
from mynn.functional.linear import linear
from mynn.functional.losses.common import check_reduction, matching, reduced, refuse_old_names
from mynn.functional.losses.labels import Labels, class_axis, class_weight
from mynn.tensor import Tensor, as_tensor
from mynn.tensor.checks import require_range


@recorded
@explained
def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    pos_weight: Any = None,
) -> Tensor:
    """-w (p t log s(x) + (1 - t) log(1 - s(x))) with the logistic function s; nothing overflows.

    Args:
        input: logits, any shape.
        target: probabilities from 0 to 1, of that shape; others are worth a warning, once for each
            line that calls.
        weight: factor w, broadcast to that shape.
        pos_weight: factor p of the positive part, broadcast to that shape.

    Example:
        >>> from mynn import functional as F
        >>> round(F.binary_cross_entropy_with_logits([0.0], [1.0]).item(), 4)
        0.6931
    """
    name = "binary_cross_entropy_with_logits"
    refuse_old_names(name, size_average, reduce)
    check_reduction(name, reduction)
    x, t = matching(name, input, target)
    if t.numel():
        require_range(t, name, "probabilities", 0.0, 1.0, warns=True)
    if pos_weight is None:
        loss = softplus(x) - x * t
    else:
        # log s(x) = -softplus(-x) and log(1 - s(x)) = -x - softplus(-x)
        p = as_tensor(pos_weight).astype(x.dtype)
        loss = (1.0 - t) * x + ((p - 1.0) * t + 1.0) * softplus(-x)
    if weight is not None:
        loss = loss * as_tensor(weight).astype(x.dtype)
    if loss.shape != x.shape:
        raise ShapeError(
            f"{name}: weights do not fit the input {x.shape}: the loss is {loss.shape}"
        )
    return reduced(loss, reduction)


def _shifted(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """z = x - max x, and n = log of the sum of e^z along `axis`: log softmax(x) = z - n."""
    z = x - x.detach().amax(axis, keepdims=True)
    return z, z.exp().sum(axis).log()


@recorded
@explained
def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: None = None,
    ignore_index: int | None = -100,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """-w[t] x[t] for log-probabilities x and labels t, averaged with the weights w.

    Args:
        input: log-probabilities [N, C], [N, C, ...] or [C].
        target: integer labels [N], [N, ...] or [].
        weight: one factor a class, [C].
        ignore_index: a label whose samples count for nothing; None: every label counts.

    Raises:
        DataError: a label outside 0..C-1.

    Example:
        >>> from mynn import functional as F
        >>> F.nll_loss([[-0.5, -1.0]], [1]).item()
        1.0
    """
    refuse_old_names("nll_loss", size_average, reduce)
    check_reduction("nll_loss", reduction)
    logp = as_tensor(input).floating()
    labels = Labels.of("nll_loss", target, logp, weight, ignore_index)
    return labels.reduced(labels.weighted(-labels.pick(logp)), reduction)


@recorded
@explained
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: None = None,
    ignore_index: int | None = -100,
    reduce: None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-sum over the classes c of w[c] q[c] log softmax(x)[c], where q is the target distribution.

    Args:
        input: logits [N, C], [N, C, ...] or [C].
        target: integer labels [N], [N, ...] or [] (q is 1 at the label), or probabilities q of the
            input's shape.
        weight: one factor a class, [C].
        ignore_index: a label whose samples count for nothing; None: every label counts.
        reduction: "mean" divides by the number of samples, with labels by the sum of their weights.
        label_smoothing: e in [0, 1]: q becomes (1 - e) q + e / C.

    Raises:
        DataError: a label outside 0..C-1.

    Example:
        >>> from mynn import functional as F
        >>> round(F.cross_entropy([[0.0, 0.0]], [1]).item(), 4)
        0.6931

    Source for smoothing: Szegedy et al., "Rethinking the Inception architecture", 2016.
    """
    name = "cross_entropy"
    refuse_old_names(name, size_average, reduce)
    check_reduction(name, reduction)
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"{name}: label_smoothing must lie in [0, 1], it is {label_smoothing}")
    x, q = as_tensor(input).floating(), as_tensor(target)
    axis = class_axis(name, x)
    z, normaliser = _shifted(x, axis)
    if q.shape != x.shape:
        labels = Labels.of(name, q, z, weight, ignore_index)
        loss = labels.weighted(normaliser - labels.pick(z))
        if label_smoothing:
            even = _even(labels, z, normaliser)
            loss = loss * (1 - label_smoothing) + even * label_smoothing
        return labels.reduced(loss, reduction)
    if q.dtype.kind != "f":
        raise DTypeError(
            f"{name}: target has the shape of the input, so it must hold class probabilities, as "
            f"floats; it is {q.spec}. Labels need the shape {x.shape[:axis] + x.shape[axis + 1 :]}"
        )
    if ignore_index is not None and ignore_index >= 0:
        raise ArgumentError(
            f"{name}: ignore_index={ignore_index} is for labels, the target holds probabilities; "
            "leave it out"
        )
    q = q.astype(x.dtype)
    if label_smoothing:
        q = q * (1 - label_smoothing) + label_smoothing / x.shape[axis]
    if weight is not None:
        q = q * class_weight(name, weight, x, axis)
    return reduced((q * (normaliser.unsqueeze(axis) - z)).sum(axis), reduction)


def _even(labels: Labels, z: Tensor, normaliser: Tensor) -> Tensor:
    """The mean over the classes c of w[c] (n - z[c])."""
    share = 1 / z.shape[labels.axis]
    if labels.spread is None:
        return normaliser - z.sum(labels.axis) * share
    total = normaliser * labels.spread.sum(labels.axis)
    return (total - (z * labels.spread).sum(labels.axis)) * share


@recorded
@explained
def linear_cross_entropy(
    input: Any,
    linear_weight: Any,
    target: Any,
    *,
    linear_bias: Any = None,
    weight: Any = None,
    reduction: str = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: Any = None,
) -> Tensor:
    """`cross_entropy` of the logits x W^T + b.

    Args:
        input: [N, F] or [F].
        linear_weight: W, [C, ..., F]; linear_bias: b, [C, ...] or None.
        options: how PyTorch cuts the product into pieces; without a meaning here.
    """
    name = "linear_cross_entropy"
    x, w = as_tensor(input), as_tensor(linear_weight)
    if x.ndim not in (1, 2) or w.ndim < 2 or x.shape[-1] != w.shape[-1]:
        raise ShapeError(
            f"{name}: the input must be [N, F] or [F] and linear_weight [C, ..., F], they are "
            f"{x.shape} and {w.shape}"
        )
    if w.ndim > 2 and x.ndim == 1:
        raise ShapeError(f"{name}: a weight of shape {w.shape} needs a batch of inputs [N, F]")
    if linear_bias is not None and as_tensor(linear_bias).shape != w.shape[:-1]:
        raise ShapeError(f"{name}: linear_bias must have shape {w.shape[:-1]}")
    bias = None if linear_bias is None else as_tensor(linear_bias).reshape(-1)
    logits = linear(x, w.reshape((-1, w.shape[-1])), bias)
    logits = logits.reshape((*x.shape[:-1], *w.shape[:-1]))
    if as_tensor(target).shape == logits.shape and ignore_index is not None:
        raise ArgumentError(f"{name}: ignore_index is for labels, the target holds probabilities")
    return cross_entropy(
        logits,
        target,
        weight,
        ignore_index=-100 if ignore_index is None else ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
