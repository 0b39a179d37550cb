"""Parametrizations under PyTorch's names: `weight_norm`, `spectral_norm`, `orthogonal`."""

from __future__ import annotations

from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.errors import ArgumentError
from mynn.nn.module import Module
from mynn.nn.utils.orthogonal import orthogonal
from mynn.nn.utils.parametrize import register_parametrization
from mynn.nn.utils.weights import SpectralNorm, WeightNorm
from mynn.random import host_generator
from mynn.tensor import Tensor, no_grad


class _WeightNorm(Module):
    """w = g v / |v| from original0 = g and original1 = v."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim
        self._rule = WeightNorm("weight", dim)

    def forward(self, weight_g: Any, weight_v: Any) -> Tensor:
        """Lengths and directions -> the weight."""
        found: Tensor = weight_v * (weight_g / self._rule.size(weight_v))
        return found

    def right_inverse(self, weight: Any) -> tuple[Tensor, Any]:
        """The weight -> its lengths and itself."""
        return self._rule.size(weight.detach()), weight


@explained
def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train the length and the direction of a weight apart; see `nn.utils.weight_norm`."""
    return register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


class _SpectralNorm(Module):
    """w / s with the largest singular value s of the original."""

    def __init__(
        self, weight: Any, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        super().__init__()
        if n_power_iterations < 1:
            raise ArgumentError(
                f"spectral_norm: n_power_iterations must be at least 1, it is {n_power_iterations}"
            )
        self.dim = dim
        self.eps = eps
        self.n_power_iterations = n_power_iterations
        self._rule = SpectralNorm("weight", n_power_iterations, dim, eps)
        if weight.ndim < 2:
            return
        rows, columns = self._rule.matrix(weight.detach()).shape
        source = host_generator()
        for name, extent in (("_u", rows), ("_v", columns)):
            vector = source.standard_normal(extent).astype(weight.dtype)
            self.register_buffer(name, vector / np.linalg.norm(vector))
        for _ in range(15):
            self._iterate(weight)

    def right_inverse(self, weight: Any) -> Any:
        """The weight itself: what is assigned is the original, which is divided by s."""
        return weight

    def _iterate(self, weight: Any) -> None:
        with no_grad():
            m = self._rule.matrix(weight.detach())
            u: Any = self._u.detach()
            v: Any = self._v.detach()
            for _ in range(self.n_power_iterations):
                u = self._rule._unit(m @ v)
                v = self._rule._unit(u @ m)
            self._u.assign(u)
            self._v.assign(v)

    def forward(self, weight: Any) -> Tensor:
        """The original -> the weight."""
        if weight.ndim < 2:
            found: Tensor = weight / (weight * weight).sum().sqrt().maximum(self.eps)
            return found
        if self.training:
            self._iterate(weight)
        u, v = self._u.detach(), self._v.detach()
        found = weight / (u @ (self._rule.matrix(weight) @ v))
        return found


@explained
def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divide a weight by its largest singular value; see `nn.utils.spectral_norm`.

    The power iterations run whenever the weight is read in training.
    """
    weight = module._parameters.get(name)
    if weight is None:
        raise ArgumentError(f"{type(module).__name__} has no parameter {name!r}")
    axis = int(getattr(module, "transposed", False)) if dim is None else dim
    made = _SpectralNorm(weight, n_power_iterations, axis, eps)
    return register_parametrization(module, name, made)


__all__ = ["orthogonal", "spectral_norm", "weight_norm"]
