"""Measures of arrays that are there as a whole, as functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.core.types import Array
from mynn.errors import ShapeError
from mynn.metrics.counts import F1, ConfusionMatrix, Precision, Recall
from mynn.metrics.metric import binary
from mynn.metrics.numbers import MAE, MSE, R2, Perplexity, TopKAccuracy


def top_k_accuracy(input: Any, target: Any, k: int = 5) -> float:
    """The share of the samples whose class is among the `k` largest scores: `TopKAccuracy`."""
    return float(TopKAccuracy(k)(input, target))


def precision(
    input: Any, target: Any, average: str | None = "macro", threshold: float = 0.5
) -> Any:
    """Of the samples that are taken for a class, the share that belongs to it: `Precision`."""
    return Precision(average, threshold)(input, target)


def recall(input: Any, target: Any, average: str | None = "macro", threshold: float = 0.5) -> Any:
    """Of the samples of a class, the share that is taken for it: `Recall`."""
    return Recall(average, threshold)(input, target)


def f1_score(input: Any, target: Any, average: str | None = "macro", threshold: float = 0.5) -> Any:
    """The harmonic mean of precision and recall: `F1`."""
    return F1(average, threshold)(input, target)


def confusion_matrix(input: Any, target: Any, threshold: float = 0.5) -> Array:
    """How many samples of class i are taken for class j: `ConfusionMatrix`."""
    found: Array = ConfusionMatrix(threshold)(input, target)
    return found


def mean_absolute_error(input: Any, target: Any) -> float:
    """The mean absolute error: `MAE`."""
    return float(MAE()(input, target))


def mean_squared_error(input: Any, target: Any) -> float:
    """The mean squared error: `MSE`."""
    return float(MSE()(input, target))


def r2_score(input: Any, target: Any) -> float:
    """The share of the variance of the targets that the outputs explain: `R2`."""
    return float(R2()(input, target))


def perplexity(input: Any, target: Any, ignore_index: int = -100) -> float:
    """The exponential of the mean cross entropy: `Perplexity`."""
    return float(Perplexity(ignore_index)(input, target))


def roc_auc(input: Any, target: Any) -> float:
    """The area under the ROC curve, exactly: from the ranks of all scores.

    Args:
        input: one score for each sample.
        target: 0 and 1.

    Example:
        >>> import mynn
        >>> mynn.metrics.roc_auc([0.9, 0.8, 0.3, 0.1], [1, 0, 1, 0])
        0.75
    """
    both = binary("roc_auc", input, target)
    if both is None:
        raise ShapeError("roc_auc: give one score for each sample, that of class 1")
    scores, actual = both[0].numpy(), both[1].numpy()
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # equal scores share theirs
    high, low = int(actual.sum()), int((~actual).sum())
    if not high or not low:
        return float("nan")
    return float((ranks[actual].sum() - high * (high + 1) / 2) / (high * low))
