"""Helpers for parameters: gradients clipped, vectors of all values, other forms of weights."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from mynn.nn.utils import parametrizations, parametrize
from mynn.nn.utils.clip import (
    clip_grad_norm,
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)
from mynn.nn.utils.fusion import (
    fuse_conv_bn_eval,
    fuse_conv_bn_weights,
    fuse_linear_bn_eval,
    fuse_linear_bn_weights,
)
from mynn.nn.utils.vector import parameters_to_vector, vector_to_parameters
from mynn.nn.utils.weights import (
    remove_spectral_norm,
    remove_weight_norm,
    spectral_norm,
    weight_norm,
)

__all__ = [
    "clip_grad_norm",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "fuse_conv_bn_eval",
    "fuse_conv_bn_weights",
    "fuse_linear_bn_eval",
    "fuse_linear_bn_weights",
    "get_total_norm",
    "parameters_to_vector",
    "parametrizations",
    "parametrize",
    "remove_spectral_norm",
    "remove_weight_norm",
    "skip_init",
    "spectral_norm",
    "vector_to_parameters",
    "weight_norm",
]

Made = TypeVar("Made")


def skip_init(module_cls: Callable[..., Made], *args: Any, **kwargs: Any) -> Made:
    """A module of that class; its initial values are drawn all the same, which costs little."""
    return module_cls(*args, **kwargs)


def __getattr__(name: str) -> Any:
    """`prune`, `rnn` and `stateless`, when they are first asked for."""
    if name in ("prune", "rnn", "stateless"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
