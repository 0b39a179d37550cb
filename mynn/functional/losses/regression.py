"""Losses of regression, with PyTorch's names, arguments and meaning."""

from __future__ import annotations

from typing import Any

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.functional.losses.common import check_reduction, matching, reduced, refuse_old_names
from mynn.tensor import Tensor


@recorded
@explained
def mse_loss(
    input: Any,
    target: Any,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """Squared error (x - t)^2, averaged over all values.

    Args:
        input, target: any one shape.
        size_average, reduce: old names of `reduction`, refused.
        reduction: "mean" and "sum" give shape [], "none" the shape of the input.

    Raises:
        ShapeError: the shapes cannot be broadcast. Where they differ, a warning says so.

    Example:
        >>> from mynn import functional as F
        >>> F.mse_loss([1.0, 3.0], [0.0, 1.0]).item()
        2.5
    """
    refuse_old_names("mse_loss", size_average, reduce)
    check_reduction("mse_loss", reduction)
    x, t = matching("mse_loss", input, target, broadcasts=True)
    difference = x - t
    return reduced(difference * difference, reduction)
