"""Measures of classes that come from counts: precision, recall, F1, the confusion matrix, AUC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mynn.base.arguments import number, positive
from mynn.core.types import Array
from mynn.errors import ArgumentError, ShapeError
from mynn.metrics.metric import Metric, binary, classes, double, labelled
from mynn.tensor import Tensor

_AVERAGES = ("binary", "macro", "micro", "weighted", None)


class _Counted(Metric):
    """Measures of the samples of a class, of those taken for it, and of those that are both."""

    def __init__(self, average: str | None = "macro", threshold: float = 0.5) -> None:
        if average not in _AVERAGES:
            raise ArgumentError(
                f"{type(self).__name__}: average must be one of "
                f"{', '.join(map(repr, _AVERAGES))}, it is {average!r}"
            )
        self.average = average
        self.threshold = number(f"{type(self).__name__}: threshold", threshold)

    def parts(self, input: Any, target: Any) -> dict[str, Tensor]:
        """Shares of the samples, for each class: hits, predicted, actual."""
        name = type(self).__name__
        both = binary(name, input, target)
        if both is not None:
            predicted, actual = (x.reshape((-1, 1)) for x in (both[0] > self.threshold, both[1]))
        else:
            x, t = labelled(name, input, target)
            predicted, actual = (classes(one, x.shape[1]) for one in (x.argmax(1), t))
        return {
            "hits": double(predicted & actual).mean(0),
            "predicted": double(predicted).mean(0),
            "actual": double(actual).mean(0),
        }

    def ratio(self, hits: Array, predicted: Array, actual: Array) -> Array:
        """The measure of each class."""
        raise NotImplementedError

    def value(self, parts: Mapping[str, Array], samples: int) -> Any:
        """The measure; a class that is nowhere counts 0."""
        each = [np.atleast_1d(parts[name]) for name in ("hits", "predicted", "actual")]
        count = len(each[0])
        if self.average == "binary" and count > 2:
            raise ArgumentError(
                f"{type(self).__name__}: average='binary' is for two classes, there are {count}; "
                'give "macro", "micro", "weighted" or None'
            )
        if self.average == "micro" and count > 1:
            return float(self.ratio(*(one.sum(keepdims=True) for one in each))[0])
        ratios = self.ratio(*each)
        if count == 1 or self.average == "binary":
            return float(ratios[-1])
        if self.average is None:
            return ratios
        weights = each[2] if self.average == "weighted" else None
        return float(np.average(ratios, weights=weights))


def _share(x: Array, y: Array) -> Array:
    """x / y, and 0 where y is."""
    return np.divide(x, y, out=np.zeros_like(x, np.float64), where=y > 0)


class Precision(_Counted):
    """Of the samples that are taken for a class, the share that belongs to it.

    Args:
        average: over classes: "macro" their mean, "weighted" by their samples, "micro" of all
            counts together, "binary" that of class 1, None an array of all.
        threshold: with one score a sample, what is above it is taken for class 1: 0.5 of
            probabilities, 0 of logits.

    Outputs are scores [N, C] with labels [N], or one score for each sample with 0 and 1. A class
    that no sample is taken for counts 0.

    Example:
        >>> import mynn
        >>> mynn.metrics.Precision()([0.9, 0.8, 0.3], [1, 0, 1])
        0.5
    """

    def ratio(self, hits: Array, predicted: Array, actual: Array) -> Array:
        """hits / predicted."""
        return _share(hits, predicted)


class Recall(_Counted):
    """Of the samples of a class, the share that is taken for it.

    Args:
        average, threshold: as for `Precision`.

    Example:
        >>> import mynn
        >>> mynn.metrics.Recall()([0.9, 0.8, 0.3], [1, 0, 1])
        0.5
    """

    def ratio(self, hits: Array, predicted: Array, actual: Array) -> Array:
        """hits / actual."""
        return _share(hits, actual)


class F1(_Counted):
    """The harmonic mean of precision and recall.

    Args:
        average, threshold: as for `Precision`.

    Example:
        >>> import mynn
        >>> mynn.metrics.F1(average=None)([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], [0, 0, 1])
        array([0.66666667, 0.66666667])
    """

    def ratio(self, hits: Array, predicted: Array, actual: Array) -> Array:
        """2 hits / (predicted + actual)."""
        return _share(2 * hits, predicted + actual)


class ConfusionMatrix(Metric):
    """How many samples of class i (rows) are taken for class j (columns): int64 [C, C].

    Args:
        threshold: with one score a sample, what is above it is taken for class 1.

    Example:
        >>> import mynn
        >>> mynn.metrics.ConfusionMatrix()([0.9, 0.8, 0.3], [1, 0, 1])
        array([[0, 1],
               [1, 1]])
    """

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = number("ConfusionMatrix: threshold", threshold)

    def parts(self, input: Any, target: Any) -> dict[str, Tensor]:
        """The share of the samples in each place, row after row."""
        both = binary("ConfusionMatrix", input, target)
        if both is not None:
            found, actual = (x.astype(np.int64) for x in (both[0] > self.threshold, both[1]))
            count = 2
        else:
            x, actual = labelled("ConfusionMatrix", input, target)
            found, count = x.argmax(1), x.shape[1]
        rows, columns = double(classes(actual, count)), double(classes(found, count))
        return {"counts": (rows.T @ columns).reshape((-1,)) / float(rows.shape[0])}

    def value(self, parts: Mapping[str, Array], samples: int) -> Array:
        """The matrix."""
        shares = np.asarray(parts["counts"])
        count = round(len(shares) ** 0.5)
        return np.asarray(np.rint(shares * samples), np.int64).reshape(count, count)


class AUC(Metric):
    """The area under the ROC curve: how likely a sample of class 1 has a higher score than one of
    class 0.

    Args:
        bins: scores are counted in so many bins between `low` and `high`; within a bin they count
            as equal.
        low, high: the range of the scores; what lies outside counts as at its ends.

    Outputs are one score for each sample. Without both classes it is NaN. `roc_auc` is exact, for
    arrays that are there as a whole.

    Example:
        >>> import mynn
        >>> mynn.metrics.AUC()([0.9, 0.8, 0.3, 0.1], [1, 0, 1, 0])
        0.75
    """

    def __init__(self, bins: int = 1000, low: float = 0.0, high: float = 1.0) -> None:
        self.bins = positive("AUC: bins", bins)
        self.low, self.high = number("AUC: low", low), number("AUC: high", high)
        if not self.low < self.high:
            raise ArgumentError(f"AUC: low must be below high, they are {low} and {high}")

    def parts(self, input: Any, target: Any) -> dict[str, Tensor]:
        """Shares of the samples of both classes in each bin."""
        both = binary("AUC", input, target)
        if both is None:
            raise ShapeError(
                f"AUC: outputs of shape {tuple(np.shape(input))} are not one score for each "
                "sample; give the score of class 1"
            )
        scores, actual = double(both[0]), double(both[1])
        place = ((scores - self.low) * (self.bins / (self.high - self.low))).floor()
        index = place.clip(0, self.bins - 1).astype(np.int64)
        empty, share = Tensor.from_value(np.zeros(self.bins)), 1.0 / scores.shape[0]
        return {
            "positive": empty.index_add(0, index, actual * share),
            "negative": empty.index_add(0, index, (1.0 - actual) * share),
        }

    def value(self, parts: Mapping[str, Array], samples: int) -> float:
        """The area."""
        positive, negative = (np.asarray(parts[name]) for name in ("positive", "negative"))
        above = positive[::-1].cumsum()[::-1] - positive / 2
        pairs = positive.sum() * negative.sum()
        return float((negative * above).sum() / pairs) if pairs > 0 else float("nan")
