"""Functions that choose between tensors or join them: results written into a tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn
from mynn.errors import ShapeError


@pytest.mark.parametrize("mode", ["at once", "tape"])
@pytest.mark.parametrize(
    "call",
    [
        lambda a, b, **into: mynn.where(a > 0, a, b, **into),
        lambda a, b, **into: mynn.maximum(a, b, **into),
        lambda a, b, **into: mynn.minimum(a, b, **into),
        lambda a, b, **into: mynn.cat([a[:1], b[1:]], **into),
        lambda a, b, **into: mynn.stack([a[0], b[0]], **into),
    ],
)
def test_results_written_into_a_tensor(mode: Any, call: Any) -> None:
    with mynn.eager(mode):
        for _ in range(3):
            a, b = mynn.tensor([[1.0, -2.0], [0.5, 3.0]]), mynn.tensor([[0.0, 4.0], [-1.0, 2.0]])
            into = mynn.zeros(2, 2)
            assert call(a, b, out=into) is into
            np.testing.assert_array_equal(into.numpy(), call(a, b).numpy())
            with pytest.raises(ShapeError, match="out has shape"):
                call(a, b, out=mynn.zeros(3))
