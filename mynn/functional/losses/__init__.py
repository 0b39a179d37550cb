"""Losses as functions: of regression, of classification."""

from __future__ import annotations

from typing import Any

from mynn.base import lazy_imports
from mynn.functional.losses.classification import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    linear_cross_entropy,
    nll_loss,
)
from mynn.functional.losses.common import (
    check_reduction,
    class_mask,
    integer_labels,
    refuse_old_names,
)
from mynn.functional.losses.probability import (
    binary_cross_entropy,
    kl_div,
)
from mynn.functional.losses.regression import (
    gaussian_nll_loss,
    huber_loss,
    l1_loss,
    mse_loss,
    poisson_nll_loss,
    smooth_l1_loss,
)

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "check_reduction",
    "class_mask",
    "cosine_embedding_loss",
    "cross_entropy",
    "ctc_loss",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "huber_loss",
    "integer_labels",
    "kl_div",
    "l1_loss",
    "linear_cross_entropy",
    "margin_ranking_loss",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nll_loss",
    "poisson_nll_loss",
    "refuse_old_names",
    "smooth_l1_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]

# Rooms that come when somebody asks for one of their names.
_MODULES = {
    "ctc": "ctc_loss",
    "margin": (
        "cosine_embedding_loss hinge_embedding_loss margin_ranking_loss "
        "multi_margin_loss multilabel_margin_loss multilabel_soft_margin_loss "
        "soft_margin_loss triplet_margin_loss triplet_margin_with_distance_loss"
    ),
}


def __getattr__(name: str) -> Any:
    """A name of a room that has not been asked for yet."""
    return lazy_imports.find(__name__, _MODULES, name)
