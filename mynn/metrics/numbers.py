"""Measures of numbers and probabilities: errors, R2, perplexity; accuracy over many batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mynn.base.arguments import positive, whole_number
from mynn.core.types import Array
from mynn.errors import ArgumentError, DTypeError, ShapeError
from mynn.metrics.classification import accuracy
from mynn.metrics.metric import Metric, double, labelled, pair, same_shape
from mynn.tensor import Tensor, as_tensor
from mynn.tensor.checks import require_range


class _Mean(Metric):
    """Measures that are a mean over samples."""

    def value(self, parts: Mapping[str, Array], samples: int) -> float:
        """The mean."""
        return float(parts["mean"])


class Accuracy(_Mean):
    """The share of the samples whose largest score stands at the right class: `accuracy`."""

    def parts(self, input: Any, target: Any) -> dict[str, Tensor]:
        """The share of this batch."""
        return {"mean": double(accuracy(input, target))}


class TopKAccuracy(_Mean):
    """The share of the samples whose class is among the `k` largest scores.

    Args:
        k: at least 1, at most the number of classes.

    Example:
        >>> import mynn
        >>> mynn.metrics.TopKAccuracy(k=2)([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], [1, 2])
        0.5
    """

    def __init__(self, k: int = 5) -> None:
        self.k = positive("TopKAccuracy: k", k)

    def parts(self, input: Any, target: Any) -> dict[str, Tensor]:
        """The share of this batch."""
        x, t = labelled("TopKAccuracy", input, target)
        if self.k > x.shape[1]:
            raise ArgumentError(
                f"TopKAccuracy: k is {self.k}, there are {x.shape[1]} classes; give a smaller k"
            )
        own = x.gather(1, t.astype(np.int64).reshape((-1, 1)))
        return {"mean": double(double(x > own).sum(1) < self.k).mean()}


class MAE(_Mean):
    """The mean absolute error.

    Example:
        >>> import mynn
        >>> mynn.metrics.MAE()([1.0, 2.0], [1.0, 4.0])
        1.0
    """

    def parts(self, input: Any, target: Any) -> dict[str, Tensor]:
        """That of this batch."""
        x, t = same_shape("MAE", input, target)
        return {"mean": (x - t).abs().mean()}


class MSE(_Mean):
    """The mean squared error.

    Example:
        >>> import mynn
        >>> mynn.metrics.MSE()([1.0, 2.0], [1.0, 4.0])
        2.0
    """

    def parts(self, input: Any, target: Any) -> dict[str, Tensor]:
        """That of this batch."""
        x, t = same_shape("MSE", input, target)
        return {"mean": ((x - t) * (x - t)).mean()}


class R2(Metric):
    """The share of the variance of the targets that the outputs explain: 1 - residual / total.

    With several targets a sample it is the mean over them. Where a target is the same for all
    samples it is 1 if the outputs are right, otherwise 0.

    Example:
        >>> import mynn
        >>> round(mynn.metrics.R2()([1.0, 2.0, 3.0], [1.0, 2.0, 4.0]), 6)
        0.785714
    """

    def parts(self, input: Any, target: Any) -> dict[str, Tensor]:
        """Means of squared errors, targets and squared targets, for each target."""
        x, t = same_shape("R2", input, target)
        return {
            "residual": ((x - t) * (x - t)).mean(0),
            "target": t.mean(0),
            "square": (t * t).mean(0),
        }

    def value(self, parts: Mapping[str, Array], samples: int) -> float:
        """The mean over targets."""
        residual, mean, square = (
            np.atleast_1d(parts[name]) for name in ("residual", "target", "square")
        )
        total = np.maximum(square - mean * mean, 0)
        total = np.where(total <= 1e-14 * square, 0, total)  # what is left of equal targets
        constant = np.where(residual > 0, 0.0, 1.0)
        explained = 1 - np.divide(residual, total, out=np.zeros_like(total), where=total > 0)
        return float(np.where(total > 0, explained, constant).mean())


class Perplexity(Metric):
    """The exponential of the mean cross entropy of the right class.

    Args:
        ignore_index: labels that do not count.

    Outputs are logits [N, C] with labels [N], or [N, C, T] with [N, T], as for `cross_entropy`.

    Example:
        >>> import mynn
        >>> round(mynn.metrics.Perplexity()([[0.0, 0.0], [0.0, 0.0]], [0, 1]), 6)
        2.0
    """

    def __init__(self, ignore_index: int = -100) -> None:
        self.ignore_index = whole_number("Perplexity: ignore_index", ignore_index)

    def parts(self, input: Any, target: Any) -> dict[str, Tensor]:
        """The cross entropy of the labels that count, a sample, and how many they are."""
        x, t = pair("Perplexity", input, target)
        if x.ndim < 2 or t.shape != (x.shape[0], *x.shape[2:]):
            raise ShapeError(
                f"Perplexity: outputs of shape {x.shape} and labels of shape {t.shape} do not "
                "fit; there must be a label for each row of logits [N, C] or [N, C, T]"
            )
        if t.dtype.kind not in "iu":
            raise DTypeError(f"Perplexity: targets must be labels, they are {t.dtype}")
        count = x.shape[1]
        require_range(t, "Perplexity", "labels", 0, count - 1, self.ignore_index)
        x = double(x)
        x = x - x.amax(1, keepdims=True)
        shape = (1, count, *([1] * (x.ndim - 2)))
        places = as_tensor(np.arange(count, dtype=t.dtype).reshape(shape))
        own = (t.unsqueeze(1) == places).choose(x, np.float64(0)).sum(1)
        counts = t != self.ignore_index
        entropy = counts.choose(x.exp().sum(1).log() - own, np.float64(0))
        rows = float(x.shape[0])
        return {"entropy": entropy.sum() / rows, "tokens": double(counts).sum() / rows}

    def value(self, parts: Mapping[str, Array], samples: int) -> float:
        """The perplexity; NaN where no label counts."""
        tokens = float(parts["tokens"])
        return float(np.exp(float(parts["entropy"]) / tokens)) if tokens > 0 else float("nan")
