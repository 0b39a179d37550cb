"""Weights that are computed from other parameters whenever they are read."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from mynn.base.arguments import explained
from mynn.errors import ArgumentError
from mynn.nn.module import Module
from mynn.random import host_generator
from mynn.tensor import Parameter, Tensor, no_grad

Layer = TypeVar("Layer", bound=Module)


def parameter_of(module: Module, name: str) -> Parameter:
    """A parameter of a module that is to be computed from others."""
    found = module._parameters.get(name)
    if found is None:
        known = ", ".join(module._parameters) or "none"
        raise ArgumentError(
            f"{type(module).__name__} has no parameter {name!r} to compute from others; it has "
            f"{known}"
        )
    return found


class WeightNorm:
    """w = g v / |v|, the norm over all axes but `dim`."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = dim

    def size(self, v: Any) -> Any:
        """|v|, with extents of 1."""
        if self.dim is None:
            return (v * v).sum().sqrt()
        axes = tuple(axis for axis in range(v.ndim) if axis != self.dim % v.ndim)
        return (v * v).sum(axes, keepdim=True).sqrt()

    def __call__(self, module: Any) -> Tensor:
        """The weight as it is now."""
        g, v = getattr(module, f"{self.name}_g"), getattr(module, f"{self.name}_v")
        found: Tensor = v * (g / self.size(v))
        return found


@explained
def weight_norm(module: Layer, name: str = "weight", dim: int | None = 0) -> Layer:
    """Train the length and the direction of a weight apart: w = g v / |v|.

    Args:
        module: a layer; it is changed, and returned.
        name: its parameter, in whose place `name_g` and `name_v` are trained.
        dim: the axis along which there are lengths of their own; None: one for all.

    Source: Salimans and Kingma, "Weight normalization", 2016.
    """
    weight = parameter_of(module, name)
    rule = WeightNorm(name, dim)
    with no_grad():
        size = rule.size(weight.detach()).numpy()
    replace(module, name, {f"{name}_g": Parameter(size), f"{name}_v": weight}, rule)
    return module


@explained
def remove_weight_norm(module: Layer, name: str = "weight") -> Layer:
    """Make the weight a parameter again, with the values that it has now."""
    restore(module, name, WeightNorm, (f"{name}_g", f"{name}_v"), "weight_norm")
    return module


class SpectralNorm:
    """w / s with the largest singular value s, from vectors u and v that follow it."""

    def __init__(self, name: str, n_power_iterations: int, dim: int, eps: float) -> None:
        self.name = name
        self.n_power_iterations = n_power_iterations
        self.dim = dim
        self.eps = eps

    def matrix(self, weight: Any) -> Any:
        """The weight as a matrix, its axis `dim` as the rows."""
        order = (self.dim, *(axis for axis in range(weight.ndim) if axis != self.dim))
        turned = weight.permute(order) if self.dim else weight
        return turned.reshape((weight.shape[self.dim], -1))

    def iterate(self, module: Any, args: Any) -> None:
        """Before `forward` in training: u and v come nearer to the singular vectors."""
        if not module.training:
            return
        with no_grad():
            m = self.matrix(getattr(module, f"{self.name}_orig").detach())
            u = getattr(module, f"{self.name}_u")
            left: Any = u.detach()
            right: Any = None
            for _ in range(self.n_power_iterations):
                right = self._unit(left @ m)
                left = self._unit(m @ right)
            if right is not None:
                getattr(module, f"{self.name}_v").assign(right)
                u.assign(left)

    def _unit(self, x: Any) -> Any:
        return x / (x * x).sum().sqrt().maximum(self.eps)

    def __call__(self, module: Any) -> Tensor:
        """The weight as it is now."""
        weight = getattr(module, f"{self.name}_orig")
        u = getattr(module, f"{self.name}_u").detach()
        v = getattr(module, f"{self.name}_v").detach()
        found: Tensor = weight / (u @ (self.matrix(weight) @ v))
        return found


@explained
def spectral_norm(
    module: Layer,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Layer:
    """Divide a weight by its largest singular value, found by power iterations while it trains.

    Args:
        module: a layer; it is changed, and returned.
        name: its parameter, in whose place `name_orig` is trained.
        n_power_iterations: how many there are before each call in training.
        eps: the least norm that is divided by.
        dim: the axis of the outputs; 1 for transposed convolutions, otherwise 0, where left out.

    Source: Miyato et al., "Spectral normalization for generative adversarial networks", 2018.
    """
    weight = parameter_of(module, name)
    if n_power_iterations < 1:
        raise ArgumentError(
            f"spectral_norm: n_power_iterations must be at least 1, it is {n_power_iterations}"
        )
    axis = int(getattr(module, "transposed", False)) if dim is None else dim
    rule = SpectralNorm(name, n_power_iterations, axis, eps)
    matrix = rule.matrix(weight.detach()).numpy()
    source = host_generator()
    vectors = [source.standard_normal(n).astype(weight.dtype) for n in matrix.shape]
    replace(module, name, {f"{name}_orig": weight}, rule)
    for end, vector in zip("uv", vectors, strict=True):
        module.register_buffer(f"{name}_{end}", vector / np.linalg.norm(vector))
    handle = module.register_forward_pre_hook(rule.iterate)
    object.__setattr__(module, "_spectral", handle)
    return module


@explained
def remove_spectral_norm(module: Layer, name: str = "weight") -> Layer:
    """Make the weight a parameter again, with the values that it has now."""
    restore(module, name, SpectralNorm, (f"{name}_orig",), "spectral_norm")
    for end in "uv":
        del module._buffers[f"{name}_{end}"]
    module.__dict__.pop("_spectral").remove()
    return module


def replace(module: Module, name: str, parameters: dict[str, Parameter], rule: Any) -> None:
    """Put parameters in the place of one, which is computed by a rule from now on."""
    if name in module.__dict__.get("_computed", {}):
        raise ArgumentError(f"{type(module).__name__}.{name} is computed from others already")
    delattr(module, name)
    for key, parameter in parameters.items():
        module.register_parameter(key, parameter)
    computed = {**module.__dict__.get("_computed", {}), name: rule}
    object.__setattr__(module, "_computed", computed)
    module._edited()


def restore(module: Any, name: str, kind: Any, parts: tuple[str, ...], what: str) -> None:
    """Put a parameter of the value of now in the place of those that it is computed from."""
    computed = dict(module.__dict__.get("_computed", {}))
    rule: Any = computed.pop(name, None)
    if not isinstance(rule, kind):
        raise ArgumentError(f"{type(module).__name__}.{name} has no {what} to remove")
    with no_grad():
        value = rule(module).detach().numpy()
    for part in parts:
        delattr(module, part)
    object.__setattr__(module, "_computed", computed)
    module.register_parameter(name, Parameter(value))
