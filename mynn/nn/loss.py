"""Losses as modules. Each one is the function of `mynn.functional.losses` with its options."""

from __future__ import annotations

from typing import Any

from mynn.errors import ArgumentError
from mynn.functional import losses
from mynn.nn.module import Module
from mynn.tensor import Tensor


class _Loss(Module):
    def __init__(
        self, size_average: None = None, reduce: None = None, reduction: str = "mean"
    ) -> None:
        super().__init__()
        losses.refuse_old_names(type(self).__name__, size_average, reduce)
        losses.check_reduction(type(self).__name__, reduction)
        self.reduction = reduction


class MSELoss(_Loss):
    """Mean (or sum, or every one) of (x - t)^2; see `mynn.functional.losses.mse_loss`.

    Example:
        >>> from mynn import nn
        >>> nn.MSELoss()([1.0, 3.0], [0.0, 1.0]).item()
        2.5
    """

    def forward(self, input: Any, target: Any) -> Tensor:
        """Prediction and target of one shape -> []."""
        return losses.mse_loss(input, target, reduction=self.reduction)


class NLLLoss(_Loss):
    """Mean of -w[t] x[t] for log-probabilities x and labels t: `mynn.functional.nll_loss`."""

    def __init__(
        self,
        weight: Any = None,
        size_average: None = None,
        ignore_index: int | None = None,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input: Any, target: Any) -> Tensor:
        """Log-probabilities [N, C, ...] and labels [N, ...] -> []."""
        return losses.nll_loss(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )


class CrossEntropyLoss(_Loss):
    """Mean of -log softmax(x)[t] for logits x and labels, or class probabilities, t.

    See `mynn.functional.losses.cross_entropy`.

    Example:
        >>> from mynn import nn
        >>> round(nn.CrossEntropyLoss()([[0.0, 0.0]], [1]).item(), 4)
        0.6931
    """

    def __init__(
        self,
        weight: Any = None,
        size_average: None = None,
        ignore_index: int | None = None,
        reduce: None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        if not 0 <= label_smoothing <= 1:
            raise ArgumentError(
                f"CrossEntropyLoss: label_smoothing must lie in [0, 1], it is {label_smoothing}"
            )
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index
        self.label_smoothing = float(label_smoothing)

    def forward(self, input: Any, target: Any) -> Tensor:
        """Logits [N, C, ...] and labels [N, ...] -> []."""
        return losses.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )


class BCEWithLogitsLoss(_Loss):
    """Mean of -(t log s(x) + (1 - t) log(1 - s(x))) with the logistic function s.

    See `mynn.functional.losses.binary_cross_entropy_with_logits`.
    """

    def __init__(
        self,
        weight: Any = None,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
        pos_weight: Any = None,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Any, target: Any) -> Tensor:
        """Logits and probabilities of one shape -> []."""
        return losses.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )
