"""Losses of regression and classification as modules.

Each one is the function of `mynn.functional.losses` with its options.
"""

from __future__ import annotations

import math
from typing import Any

from mynn.errors import ArgumentError
from mynn.functional import losses
from mynn.nn.linear import Linear
from mynn.nn.module import Module
from mynn.tensor import Tensor


class Loss(Module):
    """What losses share: `reduction`, and its old names, which are refused."""

    def __init__(
        self, size_average: None = None, reduce: None = None, reduction: str = "mean"
    ) -> None:
        super().__init__()
        losses.refuse_old_names(type(self).__name__, size_average, reduce)
        self._check_reduction(reduction)
        self.reduction = reduction

    def _check_reduction(self, reduction: str) -> None:
        losses.check_reduction(type(self).__name__, reduction)


class WeightedLoss(Loss):
    """A loss with a weight, which is a buffer."""

    def __init__(
        self,
        weight: Any = None,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


class MSELoss(Loss):
    """Mean (or sum, or every one) of (x - t)^2; see `mynn.functional.losses.mse_loss`.

    Example:
        >>> from mynn import nn
        >>> nn.MSELoss()([1.0, 3.0], [0.0, 1.0]).item()
        2.5
    """

    def forward(self, input: Any, target: Any) -> Tensor:
        """Prediction and target of one shape -> []."""
        return losses.mse_loss(input, target, reduction=self.reduction)


class L1Loss(Loss):
    """Mean of |x - t|; see `mynn.functional.losses.l1_loss`."""

    def forward(self, input: Any, target: Any) -> Tensor:
        """Prediction and target of one shape -> []."""
        return losses.l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(Loss):
    """Mean of d^2 / (2 beta) where |d| < beta, otherwise of |d| - beta / 2; d = x - t."""

    def __init__(
        self,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
        beta: float = 1.0,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.beta = beta

    def forward(self, input: Any, target: Any) -> Tensor:
        """Prediction and target of one shape -> []."""
        return losses.smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(Loss):
    """Mean of d^2 / 2 where |d| <= delta, otherwise of delta (|d| - delta / 2); d = x - t."""

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.delta = delta

    def forward(self, input: Any, target: Any) -> Tensor:
        """Prediction and target of one shape -> []."""
        return losses.huber_loss(input, target, self.reduction, self.delta)


class PoissonNLLLoss(Loss):
    """-log p(t) of a Poisson distribution: `mynn.functional.losses.poisson_nll_loss`."""

    def __init__(
        self,
        log_input: bool = True,
        full: bool = False,
        size_average: None = None,
        eps: float = 1e-8,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_input = log_input
        self.full = full
        self.eps = eps

    def forward(self, log_input: Any, target: Any) -> Tensor:
        """Logarithms of rates (or rates) and counts of one shape -> []."""
        return losses.poisson_nll_loss(
            log_input, target, self.log_input, self.full, eps=self.eps, reduction=self.reduction
        )


class GaussianNLLLoss(Loss):
    """-log p(t) of a normal distribution: `mynn.functional.losses.gaussian_nll_loss`."""

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.full = full
        self.eps = eps

    def forward(self, input: Any, target: Any, var: Any) -> Tensor:
        """Means, values and variances -> []."""
        return losses.gaussian_nll_loss(
            input, target, var, full=self.full, eps=self.eps, reduction=self.reduction
        )


class NLLLoss(WeightedLoss):
    """Mean of -w[t] x[t] for log-probabilities x and labels t: `mynn.functional.nll_loss`."""

    def __init__(
        self,
        weight: Any = None,
        size_average: None = None,
        ignore_index: int = -100,
        reduce: None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
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


class CrossEntropyLoss(WeightedLoss):
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
        ignore_index: int = -100,
        reduce: None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        _check_smoothing(self, label_smoothing)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

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


def _check_smoothing(loss: Module, label_smoothing: float) -> None:
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(
            f"{type(loss).__name__}: label_smoothing must lie in [0, 1], it is {label_smoothing}"
        )


class LinearCrossEntropyLoss(WeightedLoss):
    """`CrossEntropyLoss` of a `Linear` layer's outputs, which it holds as `linear`.

    Args:
        in_features: extent of the last axis of x.
        num_classes: C.
        out_features: further extents of the logits, [N, C, *out_features].
        bias: whether the linear layer has one.
        options: without a meaning here.
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: Any = None,
        dtype: Any = None,
        reduction: str = "mean",
        weight: Any = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        options: Any = None,
    ) -> None:
        super().__init__(weight, reduction=reduction)
        _check_smoothing(self, label_smoothing)
        if self.weight is not None and self.weight.shape != (num_classes,):
            raise ArgumentError(
                f"LinearCrossEntropyLoss: weight must be [{num_classes}], one a class; it is "
                f"{self.weight.shape}"
            )
        self.num_classes = num_classes
        self.out_features = out_features
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        outputs = math.prod(out_features, start=num_classes)
        self.linear = Linear(in_features, outputs, bias, device, dtype)
        self.options = options

    def forward(self, input: Any, target: Any) -> Tensor:
        """[N, in_features] and labels [N, ...] -> []."""
        shape = (self.num_classes, *self.out_features)
        bias = self.linear.bias
        return losses.linear_cross_entropy(
            input,
            self.linear.weight.reshape((*shape, self.linear.in_features)),
            target,
            linear_bias=None if bias is None else bias.reshape(shape),
            reduction=self.reduction,
            weight=self.weight,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            options=self.options,
        )

    def extra_repr(self) -> str:
        """As in PyTorch."""
        return (
            f"in_features={self.linear.in_features}, num_classes={self.num_classes}, "
            f"out_features={self.out_features}, bias={self.linear.bias is not None}, "
            f"reduction={self.reduction}, ignore_index={self.ignore_index}, "
            f"label_smoothing={self.label_smoothing}, options={self.options}"
        )


class BCELoss(WeightedLoss):
    """Mean of -w (t log x + (1 - t) log(1 - x)) for probabilities x and t.

    See `mynn.functional.losses.binary_cross_entropy`.
    """

    def forward(self, input: Any, target: Any) -> Tensor:
        """Probabilities of one shape -> []."""
        return losses.binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(WeightedLoss):
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
        super().__init__(weight, size_average, reduce, reduction)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input: Any, target: Any) -> Tensor:
        """Logits and probabilities of one shape -> []."""
        return losses.binary_cross_entropy_with_logits(
            input, target, self.weight, reduction=self.reduction, pos_weight=self.pos_weight
        )


class KLDivLoss(Loss):
    """t (log t - x) for log-probabilities x: `mynn.functional.losses.kl_div`.

    `reduction` may be "batchmean" too, which is the divergence.
    """

    def __init__(
        self,
        size_average: None = None,
        reduce: None = None,
        reduction: str = "mean",
        log_target: bool = False,
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.log_target = log_target

    def _check_reduction(self, reduction: str) -> None:
        if reduction != "batchmean":
            super()._check_reduction(reduction)

    def forward(self, input: Any, target: Any) -> Tensor:
        """Log-probabilities and probabilities of one shape -> []."""
        return losses.kl_div(input, target, reduction=self.reduction, log_target=self.log_target)


class CTCLoss(Loss):
    """Labels without their places in time: `mynn.functional.losses.ctc_loss`."""

    def __init__(
        self, blank: int = 0, reduction: str = "mean", zero_infinity: bool = False
    ) -> None:
        super().__init__(reduction=reduction)
        self.blank = blank
        self.zero_infinity = zero_infinity

    def forward(
        self, log_probs: Any, targets: Any, input_lengths: Any, target_lengths: Any
    ) -> Tensor:
        """Log-probabilities [T, N, C], labels [N, S] and both lengths [N] -> []."""
        found: Tensor = losses.ctc_loss(
            log_probs,
            targets,
            input_lengths,
            target_lengths,
            self.blank,
            self.reduction,
            self.zero_infinity,
        )
        return found
