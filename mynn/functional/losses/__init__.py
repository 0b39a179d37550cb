"""Losses as functions: of regression, of classification."""

from __future__ import annotations

from mynn.functional.losses.classification import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    nll_loss,
)
from mynn.functional.losses.common import (
    check_reduction,
    class_mask,
    integer_labels,
    refuse_old_names,
)
from mynn.functional.losses.regression import mse_loss

__all__ = [
    "binary_cross_entropy_with_logits",
    "check_reduction",
    "class_mask",
    "cross_entropy",
    "integer_labels",
    "mse_loss",
    "nll_loss",
    "refuse_old_names",
]
