"""What losses share: reductions, shapes that must match, labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.base import notices
from mynn.core.types import Shape
from mynn.errors import ArgumentError, DataError, DTypeError, ShapeError
from mynn.ops import movement
from mynn.tensor import Tensor, apply, as_tensor, broadcast
from mynn.tensor.checks import require_range

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


def reduced(loss: Tensor, reduction: str) -> Tensor:
    """The loss of each sample, their mean or their sum."""
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()


def matching(name: str, input: Any, target: Any, broadcasts: bool = False) -> tuple[Tensor, Tensor]:
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
    places: Tensor = apply(movement.iota, shape=shape, axis=axis, dtype=np.dtype(np.int32))
    return places == labels.unsqueeze(axis).broadcast_to(shape)
