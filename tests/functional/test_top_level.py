"""Functions of layers under PyTorch's top-level names, with its positions of arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mynn

X = np.random.default_rng(0).normal(size=(2, 4, 4, 4))
CASES: dict[str, tuple[Any, ...]] = {
    "bilinear": (X[0, 0], X[0, 1], X[:3, :4, 0], X[0, 0, 0, :2]),
    "celu": (X, 0.7),
    "channel_shuffle": (X, 2),
    "conv3d": (X[None, :, :3], X[:, :, :2, :2][:, :, :, :2][:, :2, None], None, 2, 1),
    "conv_transpose3d": (X[None], X[:2, :2, :2, :2][:, :, None], None, 2, 0, 1, 1),
    "cosine_similarity": (X, X[::-1].copy(), 2),
    "hardshrink": (X, 0.3),
    "max_pool3d": (X, 2, 1),
    "pairwise_distance": (X[0, 0], X[1, 0], 1.0, 1e-6, True),
    "pdist": (X[0, 0], 1),
    "pixel_shuffle": (X, 2),
    "pixel_unshuffle": (X, 2),
    "prelu": (X, X[0, 0, 0]),
    "selu": (X,),
    "threshold": (X, 0.1, -2.0),
}


@pytest.mark.parametrize("name", CASES)
def test_is_pytorchs(name: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")

    def found(lib: Any) -> Any:
        args = [
            lib.tensor(np.array(one)) if isinstance(one, np.ndarray) else one for one in CASES[name]
        ]
        return getattr(lib, name)(*args).numpy()

    np.testing.assert_allclose(found(mynn), found(torch), rtol=1e-9, atol=1e-12)
