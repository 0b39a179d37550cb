"""Measures of classification."""

from __future__ import annotations

from typing import Any

from mynn.base.arguments import explained
from mynn.errors import DTypeError, ShapeError
from mynn.tensor import Tensor, as_tensor
from mynn.tensor.checks import require_range


@explained
def accuracy(input: Any, target: Any) -> Tensor:
    """Share of the samples whose largest score stands at the right class.

    A float32 from 0 to 1, through which no gradient flows.

    Args:
        input: scores (logits or probabilities) [N, C] or [N, C, ...].
        target: labels [N] or [N, ...], or scores of the shape of `input` (one-hot, class
            probabilities).

    Raises:
        ShapeError: they do not fit. DTypeError: labels that are floats. DataError: a label outside
            0..C-1.

    Example:
        >>> from mynn import functional as F
        >>> F.accuracy([[0.1, 0.9], [0.8, 0.2]], [1, 1]).item()
        0.5
    """
    scores, labels = as_tensor(input).detach(), as_tensor(target).detach()
    axis = min(1, scores.ndim - 1)
    if axis < 0 or scores.shape[axis] < 2:
        raise ShapeError(
            f"accuracy: scores of shape {scores.shape} do not hold two or more classes in axis 1; "
            "for one score a sample compare it with the threshold yourself"
        )
    if labels.shape == scores.shape:
        labels = labels.argmax(axis)
    elif labels.shape != scores.shape[:axis] + scores.shape[axis + 1 :]:
        raise ShapeError(
            f"accuracy: scores {scores.shape} and labels {labels.shape} do not fit; there must be "
            "a label for each row of scores"
        )
    elif labels.dtype.kind == "f":
        raise DTypeError(
            f"accuracy: labels must be whole numbers, they are {labels.dtype}; this is a measure "
            "of classes: convert labels with .astype(np.int64), for numbers there are R2 and MAE"
        )
    elif labels.dtype.kind != "b":
        require_range(labels, "accuracy", "labels", 0, scores.shape[axis] - 1)
    return (scores.argmax(axis) == labels).mean()
