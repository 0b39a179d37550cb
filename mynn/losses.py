"""Losses as functions of tensors, with PyTorch's names, arguments and meaning.

Labels are compared with the class numbers 0, 1, 2... along the class axis, instead of gathering by
them: the mask is vector code in a kernel together with the rest of the loss.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from mynn.arguments import explained
from mynn.errors import ArgumentError, DataError, DTypeError, ShapeError
from mynn.graph import Shape
from mynn.jit import notices
from mynn.ops import movement
from mynn.tensor import Tensor, apply, as_tensor
from mynn.tensor.checks import require_range
from mynn.tensor.operations import broadcast

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(name: str, reduction: str) -> None:
    """Raise `ArgumentError` unless the reduction is one of `REDUCTIONS`."""
    if reduction not in REDUCTIONS:
        raise ArgumentError(
            f'{name}: reduction must be "mean", "sum" or "none", it is {reduction!r}'
        )


def refuse_old_names(name: str, size_average: Any, reduce: Any) -> None:
    """Raise `ArgumentError` where PyTorch's names for `reduction` before 2018 are used."""
    if size_average is not None or reduce is not None:
        given = f"size_average={size_average!r}, reduce={reduce!r}"
        raise ArgumentError(
            f'{name}: {given}: write reduction="mean", "sum" or "none" by its name instead'
        )


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()


def _matching(
    name: str, input: Any, target: Any, broadcasts: bool = False
) -> tuple[Tensor, Tensor]:
    """Prediction and target of one shape, the target in the prediction's dtype.

    With `broadcasts` other shapes are repeated to a common one, with a warning, as in PyTorch.
    """
    x = as_tensor(input).floating()
    t = as_tensor(target).astype(x.dtype)
    if x.shape != t.shape and broadcasts and _fit(x.shape, t.shape):
        a, b = broadcast(x, t)
        notices.warn(
            name,
            f"{name}: the target has shape {t.shape}, the input {x.shape}: they are broadcast to "
            f"{a.shape}, which compares other pairs of values than one may expect; write "
            f"target.reshape({x.shape})",
            category=UserWarning,
        )
        return a, b
    if x.shape != t.shape:
        raise ShapeError(
            f"{name}: the input has shape {x.shape}, the target {t.shape}; they must be equal "
            "(reshape or broadcast one of them on purpose)"
        )
    if not x.numel():
        raise DataError(f"{name}: the input {x.shape} holds no values")
    return x, t


def _fit(a: Shape, b: Shape) -> bool:
    """Whether values of these shapes can be broadcast to one."""
    pairs = zip(reversed(a), reversed(b), strict=False)
    return all(m == n or 1 in (m, n) for m, n in pairs)


@explained
def mse_loss(
    input: Any,
    target: Any,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """Squared error (x - t)^2, averaged over all values.

    Args:
        input, target: any one shape.
        size_average, reduce: old names of `reduction`, refused.
        reduction: "mean" and "sum" give shape [], "none" the shape of the input.

    Raises:
        ShapeError: the shapes cannot be broadcast. Where they differ, a warning says so.

    Example:
        >>> from mynn import functional as F
        >>> F.mse_loss([1.0, 3.0], [0.0, 1.0]).item()
        2.5
    """
    refuse_old_names("mse_loss", size_average, reduce)
    check_reduction("mse_loss", reduction)
    x, t = _matching("mse_loss", input, target, broadcasts=True)
    difference = x - t
    return _reduced(difference * difference, reduction)


@explained
def softplus(input: Any, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta x)) / beta, exact for large and for small x; x where beta x > threshold.

    Equation for beta = 1: max(x, 0) + log(1 + e^-|x|); its gradient is sigmoid(x). The equation
    holds above the threshold too, so that one from 20 on, where both are x to 10 digits, is left
    out.
    """
    x = as_tensor(input).floating()
    scaled = x if beta == 1 else x * beta
    result = scaled.maximum(0.0) + (-scaled.abs()).exp().log1p()
    result = result if beta == 1 else result * (1 / beta)
    return result if threshold >= 20 else (scaled > threshold).choose(x, result)


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
    x, t = _matching(name, input, target)
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
    return _reduced(loss, reduction)


# -- labels ----------------------------------------------------------------------------------------


def integer_labels(
    name: str,
    labels: Tensor,
    num_classes: int,
    ignore_index: int | None = None,
    argument: str = "target",
) -> Tensor:
    """Labels as int32, held to the range 0..num_classes-1.

    Errors speak of an `argument` of the function `name`.

    Raises:
        DataError: a label out of range; from a program that was traced, when it runs.
    """
    if labels.dtype.kind not in "iub":
        raise DTypeError(
            f"{name}: {argument} must hold integer labels, it is {labels.spec}; convert it with "
            ".astype(np.int64)"
        )
    if labels.dtype.kind == "b":
        labels = labels.astype(np.int32)
    require_range(labels, name, "labels", 0, num_classes - 1, ignore_index)
    return labels.astype(np.int32)


def class_mask(labels: Tensor, shape: Shape, axis: int) -> Tensor:
    """True where the place along `axis` is the label. Labels: int32, `shape` without `axis`."""
    places = apply(movement.iota, shape=shape, axis=axis, dtype=np.dtype(np.int32))
    return places == labels.unsqueeze(axis).broadcast_to(shape)


def _class_axis(name: str, x: Tensor) -> int:
    """1, or 0 for a single sample [C]."""
    if not x.ndim:
        raise ShapeError(f"{name}: the input must be [N, C], [N, C, ...] or [C], its shape is ()")
    if not x.numel():
        raise DataError(f"{name}: the input {x.shape} holds no values")
    return min(1, x.ndim - 1)


def _class_weight(name: str, weight: Any, x: Tensor, axis: int) -> Tensor:
    """Weights [C] repeated to the shape of x."""
    w = as_tensor(weight).astype(x.dtype)
    if w.shape != (x.shape[axis],):
        raise ShapeError(f"{name}: weight must be [{x.shape[axis]}], one a class; it is {w.shape}")
    return w.reshape(tuple(n if i == axis else 1 for i, n in enumerate(x.shape))).broadcast_to(
        x.shape
    )


def _label_loss(
    name: str,
    z: Tensor,
    normaliser: Tensor | None,
    labels: Tensor,
    weight: Any,
    ignore_index: int | None,
    reduction: str,
    smoothing: float = 0.0,
) -> Tensor:
    """Mean, sum or list of w[t] (n - z[t]), where z - n are log-probabilities (n is 0 where None).

    With smoothing e: (1 - e) times that, plus e times the mean of w[c] (n - z[c]) over the classes.
    """
    axis = _class_axis(name, z)
    expected = z.shape[:axis] + z.shape[axis + 1 :]
    if labels.shape != expected:
        same = labels.numel() == prod(expected)
        hint = f"; make it so with target.reshape({expected})" if same else ""
        raise ShapeError(
            f"{name}: target must have shape {expected}, a label for each place of the input "
            f"{z.shape}; it has shape {labels.shape}{hint}"
        )
    count = z.shape[axis]
    labels = integer_labels(name, labels, count, ignore_index)
    mask = class_mask(labels, z.shape, axis)
    picked = mask.choose(z, 0.0).sum(axis)
    loss = -picked if normaliser is None else normaliser - picked
    spread = None if weight is None else _class_weight(name, weight, z, axis)
    chosen = None if spread is None else mask.choose(spread, 0.0).sum(axis)
    if chosen is not None:
        loss = loss * chosen
    if smoothing and normaliser is not None:
        if spread is None:
            even = normaliser - z.sum(axis) * (1 / count)
        else:
            even = (normaliser * spread.sum(axis) - (z * spread).sum(axis)) * (1 / count)
        loss = loss * (1 - smoothing) + even * smoothing
    valid = None if ignore_index is None else labels != ignore_index
    if valid is not None:
        loss = valid.choose(loss, 0.0)
    if reduction != "mean" or (chosen is None and valid is None):
        return _reduced(loss, reduction)
    counted = valid.astype(z.dtype) if chosen is None and valid is not None else chosen
    assert counted is not None
    if chosen is not None and valid is not None:
        counted = valid.choose(chosen, 0.0)
    return loss.sum() / counted.sum()


def _shifted(x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """z = x - max x, and n = log of the sum of e^z along `axis`: log softmax(x) = z - n."""
    z = x - x.detach().amax(axis, keepdims=True)
    return z, z.exp().sum(axis).log()


@explained
def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: None = None,
    ignore_index: int | None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """-w[t] x[t] for log-probabilities x and labels t, averaged with the weights w.

    Args:
        input: log-probabilities [N, C], [N, C, ...] or [C].
        target: integer labels [N], [N, ...] or [].
        weight: one factor a class, [C].
        ignore_index: a label whose samples count for nothing.

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
    return _label_loss("nll_loss", logp, None, as_tensor(target), weight, ignore_index, reduction)


@explained
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    size_average: None = None,
    ignore_index: int | None = None,
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
        ignore_index: a label whose samples count for nothing. PyTorch's default is -100; here none
            is ignored unless asked, so that a label out of range is always noticed.
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
    axis = _class_axis(name, x)
    z, normaliser = _shifted(x, axis)
    if q.shape != x.shape:
        return _label_loss(name, z, normaliser, q, weight, ignore_index, reduction, label_smoothing)
    if q.dtype.kind != "f":
        raise DTypeError(
            f"{name}: target has the shape of the input, so it must hold class probabilities, as "
            f"floats; it is {q.spec}. Labels need the shape {x.shape[:axis] + x.shape[axis + 1 :]}"
        )
    q = q.astype(x.dtype)
    if label_smoothing:
        q = q * (1 - label_smoothing) + label_smoothing / x.shape[axis]
    if weight is not None:
        q = q * _class_weight(name, weight, x, axis)
    return _reduced((q * (normaliser.unsqueeze(axis) - z)).sum(axis), reduction)
