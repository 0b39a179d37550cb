"""Labels as the target of a loss: checked, compared with the class numbers, weighted, ignored."""

from __future__ import annotations

from math import prod
from typing import Any

from mynn.base.dataclass import dataclass
from mynn.errors import DataError, ShapeError
from mynn.functional.losses.common import class_mask, integer_labels, reduced
from mynn.tensor import Tensor, as_tensor


def class_axis(name: str, x: Tensor) -> int:
    """The axis of the classes: 1, or 0 for a single sample [C]."""
    if not x.ndim:
        raise ShapeError(f"{name}: the input must be [N, C], [N, C, ...] or [C], its shape is ()")
    if not x.numel():
        raise DataError(f"{name}: the input {x.shape} holds no values")
    return min(1, x.ndim - 1)


def class_weight(name: str, weight: Any, x: Tensor, axis: int) -> Tensor:
    """Weights [C] repeated to the shape of x."""
    w = as_tensor(weight).astype(x.dtype)
    if w.shape != (x.shape[axis],):
        raise ShapeError(f"{name}: weight must be [{x.shape[axis]}], one a class; it is {w.shape}")
    return w.reshape(tuple(n if i == axis else 1 for i, n in enumerate(x.shape))).broadcast_to(
        x.shape
    )


@dataclass(frozen=True)
class Labels:
    """Labels for values [N, C, ...].

    - `axis`: that of the classes; `mask`: [N, C, ...], true at the labels.
    - `spread`: the weights of the classes, [N, C, ...]; None where all are 1.
    - `valid`: [N, ...], false at labels that are ignored; None where none is.
    """

    axis: int
    mask: Tensor
    spread: Tensor | None
    valid: Tensor | None

    @staticmethod
    def of(name: str, target: Any, x: Tensor, weight: Any, ignore_index: int | None) -> Labels:
        """Labels [N, ...] for the values x [N, C, ...] of the loss `name`.

        Raises:
            ShapeError: another shape. DTypeError: no integers. DataError: a label outside 0..C-1.
        """
        axis, labels = class_axis(name, x), as_tensor(target)
        expected = x.shape[:axis] + x.shape[axis + 1 :]
        if labels.shape != expected:
            same = labels.numel() == prod(expected)
            hint = f"; make it so with target.reshape({expected})" if same else ""
            raise ShapeError(
                f"{name}: target must have shape {expected}, a label for each place of the input "
                f"{x.shape}; it has shape {labels.shape}{hint}"
            )
        labels = integer_labels(name, labels, x.shape[axis], ignore_index)
        spread = None if weight is None else class_weight(name, weight, x, axis)
        valid = None if ignore_index is None else labels != ignore_index
        return Labels(axis, class_mask(labels, x.shape, axis), spread, valid)

    def pick(self, values: Tensor) -> Tensor:
        """The value at each label: [N, C, ...] -> [N, ...]."""
        return self.mask.choose(values, 0.0).sum(self.axis)

    def weighted(self, loss: Tensor) -> Tensor:
        """A loss a sample, times the weight of its label."""
        return loss if self.spread is None else loss * self.pick(self.spread)

    def reduced(self, loss: Tensor, reduction: str) -> Tensor:
        """The loss of each sample, their sum, or their mean: with weights the weighted one. Labels
        that are ignored count for nothing.
        """
        if self.valid is not None:
            loss = self.valid.choose(loss, 0.0)
        if reduction != "mean" or (self.spread is None and self.valid is None):
            return reduced(loss, reduction)
        if self.spread is None:
            assert self.valid is not None
            counted = self.valid.astype(loss.dtype)
        else:
            counted = self.pick(self.spread)
            counted = counted if self.valid is None else self.valid.choose(counted, 0.0)
        return loss.sum() / counted.sum()
