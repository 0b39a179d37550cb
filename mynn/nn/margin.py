"""Losses with a margin as modules. Each one is the function of `mynn.functional.losses`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mynn.errors import ArgumentError
from mynn.functional.losses import margin as losses
from mynn.nn.distance import PairwiseDistance
from mynn.nn.loss import Loss, WeightedLoss
from mynn.tensor import Tensor


class MarginRankingLoss(Loss):
    """Mean of max(0, -t (x1 - x2) + margin), with t = 1 or -1."""

    def __init__(
        self,
        margin: float = 0.0,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1: Any, input2: Any, target: Any) -> Tensor:
        """Scores and targets of one shape -> []."""
        return losses.margin_ranking_loss(
            input1, input2, target, margin=self.margin, reduction=self.reduction
        )


class HingeEmbeddingLoss(Loss):
    """Mean of x where t is 1, of max(0, margin - x) where it is -1."""

    def __init__(
        self,
        margin: float = 1.0,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input: Any, target: Any) -> Tensor:
        """Distances and targets of one shape -> []."""
        return losses.hinge_embedding_loss(
            input, target, margin=self.margin, reduction=self.reduction
        )


class SoftMarginLoss(Loss):
    """Mean of log(1 + e^(-t x)), with t = 1 or -1."""

    def forward(self, input: Any, target: Any) -> Tensor:
        """Scores and targets of one shape -> []."""
        return losses.soft_margin_loss(input, target, reduction=self.reduction)


class MultiMarginLoss(WeightedLoss):
    """Scores of one class are to exceed the others: `functional.losses.multi_margin_loss`."""

    def __init__(
        self,
        p: int = 1,
        margin: float = 1.0,
        weight: Any = None,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        if p not in (1, 2):
            raise ArgumentError(f"MultiMarginLoss: p must be 1 or 2, it is {p}")
        self.p = p
        self.margin = margin

    def forward(self, input: Any, target: Any) -> Tensor:
        """Scores [N, C] and labels [N] -> []."""
        return losses.multi_margin_loss(
            input,
            target,
            p=self.p,
            margin=self.margin,
            weight=self.weight,
            reduction=self.reduction,
        )


class MultiLabelMarginLoss(Loss):
    """Scores of some classes are to exceed the others: `functional.losses`."""

    def forward(self, input: Any, target: Any) -> Tensor:
        """Scores [N, C] and labels [N, C] up to -1 -> []."""
        return losses.multilabel_margin_loss(input, target, reduction=self.reduction)


class MultiLabelSoftMarginLoss(WeightedLoss):
    """Binary cross-entropy of each class, averaged over the classes."""

    def forward(self, input: Any, target: Any) -> Tensor:
        """Scores and zeros or ones [N, C] -> []."""
        return losses.multilabel_soft_margin_loss(
            input, target, self.weight, reduction=self.reduction
        )


class CosineEmbeddingLoss(Loss):
    """Mean of 1 - cos(x1, x2) where t is 1, of max(0, cos(x1, x2) - margin) where it is -1."""

    def __init__(
        self,
        margin: float = 0.0,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.margin = margin

    def forward(self, input1: Any, input2: Any, target: Any) -> Tensor:
        """[N, D], [N, D] and [N] -> []."""
        return losses.cosine_embedding_loss(
            input1, input2, target, margin=self.margin, reduction=self.reduction
        )


class TripletMarginLoss(Loss):
    """Mean of max(0, d(a, p) - d(a, n) + margin): `functional.losses.triplet_margin_loss`."""

    def __init__(
        self,
        margin: float = 1.0,
        p: float = 2.0,
        eps: float = 1e-6,
        swap: bool = False,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        _check_margin(self, margin)
        self.margin = margin
        self.p = p
        self.eps = eps
        self.swap = swap

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Tensor:
        """Three of [N, D] -> []."""
        return losses.triplet_margin_loss(
            anchor,
            positive,
            negative,
            margin=self.margin,
            p=self.p,
            eps=self.eps,
            swap=self.swap,
            reduction=self.reduction,
        )


def _check_margin(loss: Loss, margin: float) -> None:
    if not margin > 0:
        raise ArgumentError(f"{type(loss).__name__}: margin must be above 0, it is {margin}")


class TripletMarginWithDistanceLoss(Loss):
    """`TripletMarginLoss` with any function of two tensors as the distance."""

    def __init__(
        self,
        *,
        distance_function: Callable[..., Any] | None = None,
        margin: float = 1.0,
        swap: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__(reduction=reduction)
        _check_margin(self, margin)
        chosen = PairwiseDistance() if distance_function is None else distance_function
        self.distance_function = chosen
        self.margin = margin
        self.swap = swap

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Tensor:
        """Three of [N, D] -> []."""
        return losses.triplet_margin_with_distance_loss(
            anchor,
            positive,
            negative,
            distance_function=self.distance_function,
            margin=self.margin,
            swap=self.swap,
            reduction=self.reduction,
        )
