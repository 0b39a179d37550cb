"""What measures share: parts that are added up over batches, and the value that comes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mynn.core.types import Array
from mynn.errors import ArgumentError, DTypeError, ShapeError, UsageError
from mynn.tensor import Tensor, as_tensor, no_grad
from mynn.tensor.checks import require_range
from mynn.trace import tracing

Parts = Mapping[str, Any]


class Metric:
    """A measure over many batches: means over samples, which the native loop adds up, and what is
    computed of them in the end.

    Called with outputs and targets it is the measure of these. In a step or a function that
    `fit` or `evaluate` take, return `metric.parts(outputs, targets)` under the name that the
    measure has in their `metrics=`.

    Example:
        >>> import numpy as np, mynn
        >>> f1 = mynn.metrics.F1()
        >>> measured = lambda y, t: {"f1": f1.parts(y, t)}
        >>> y, t = np.float32([0.9, 0.2, 0.8, 0.4]), np.array([1, 0, 0, 1])
        >>> mynn.evaluate(measured, (y, t), batch_size=2, metrics={"f1": f1})
        {'f1': 0.5}
    """

    def parts(self, input: Any, target: Any) -> dict[str, Tensor]:
        """Means over the samples of a batch: float64, single numbers or rows of them."""
        raise UsageError(f"{type(self).__name__} does not define parts")

    def value(self, parts: Mapping[str, Array], samples: int) -> Any:
        """The measure, from the means over so many samples."""
        raise UsageError(f"{type(self).__name__} does not define value")

    def __call__(self, input: Any, target: Any) -> Any:
        """The measure of these outputs and targets."""
        if tracing.active() is not None:
            raise UsageError(
                f"{type(self).__name__} has a value after the last batch alone: in a compiled "
                "function return its .parts(outputs, targets), and name it in metrics="
            )
        with no_grad():
            parts = self.parts(input, target)
        return self.value({name: part.numpy() for name, part in parts.items()}, len(input))

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({given})"


def double(x: Tensor) -> Tensor:
    """The values as float64."""
    return x.astype(np.float64)


def pair(name: str, input: Any, target: Any) -> tuple[Tensor, Tensor]:
    """Both as tensors, through which no gradient flows; with a row for each sample."""
    x, t = as_tensor(input).detach(), as_tensor(target).detach()
    if not x.ndim or not t.ndim or x.shape[0] != t.shape[0]:
        raise ShapeError(
            f"{name}: outputs of shape {x.shape} and targets of shape {t.shape} do not fit; both "
            "need a row for each sample"
        )
    if not x.shape[0]:
        raise ArgumentError(f"{name}: there are no samples")
    return x, t


def same_shape(name: str, input: Any, target: Any) -> tuple[Tensor, Tensor]:
    """Both as float64 [N, D]."""
    x, t = pair(name, input, target)
    if x.shape != t.shape:
        if x.numel() != t.numel() or max(x.ndim, t.ndim) > 2:
            raise ShapeError(
                f"{name}: outputs of shape {x.shape} and targets of shape {t.shape} do not fit; "
                "give one target for each output"
            )
        t = t.reshape(x.shape)
    return double(x).reshape((x.shape[0], -1)), double(t).reshape((x.shape[0], -1))


def binary(name: str, input: Any, target: Any) -> tuple[Tensor, Tensor] | None:
    """One score a sample, [N], and whether it is to be high; None where there are more scores."""
    x, t = pair(name, input, target)
    if x.ndim > 1 and x.numel() != x.shape[0]:
        return None
    if t.numel() != x.numel():
        raise ShapeError(
            f"{name}: targets of shape {t.shape} do not fit one score for each of {x.shape[0]} "
            "samples"
        )
    if t.dtype.kind == "f":
        require_range(t, name, "targets", 0.0, 1.0)
    elif t.dtype.kind != "b":
        require_range(t, name, "labels", 0, 1)
    return x.reshape((-1,)), t.reshape((-1,)) > 0.5 if t.dtype.kind == "f" else t.reshape(
        (-1,)
    ) != 0


def labelled(name: str, input: Any, target: Any) -> tuple[Tensor, Tensor]:
    """Scores [N, C] and labels [N]."""
    x, t = pair(name, input, target)
    if x.ndim != 2:
        raise ShapeError(
            f"{name}: outputs of shape {x.shape} are no scores [samples, classes]; reshape them"
        )
    if t.shape == x.shape:
        t = t.argmax(1)
    if t.ndim == 2 and t.shape[1] == 1:
        t = t.reshape((-1,))
    if t.ndim != 1:
        raise ShapeError(
            f"{name}: targets of shape {t.shape} do not fit scores {x.shape}; give a label for "
            "each row"
        )
    if t.dtype.kind not in "iu":
        raise DTypeError(
            f"{name}: targets must be labels, whole numbers, they are {t.dtype}; this is a measure "
            "of classes, for numbers there are R2 and MAE"
        )
    require_range(t, name, "labels", 0, x.shape[1] - 1)
    return x, t


def classes(labels: Tensor, count: int) -> Tensor:
    """True where a sample is of a class: [N, C]."""
    return labels.reshape((-1, 1)) == as_tensor(np.arange(count, dtype=labels.dtype))
