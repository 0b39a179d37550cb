"""Gradients of what was computed, under PyTorch's names."""

from __future__ import annotations

import importlib
from typing import Any

from mynn.autograd.gradcheck import gradcheck, gradgradcheck
from mynn.autograd.gradients import Variable, backward, grad
from mynn.tensor import enable_grad, no_grad
from mynn.tensor.gradients.grad_mode import inference_mode, set_grad_enabled

__all__ = [
    "Function",
    "Variable",
    "backward",
    "detect_anomaly",
    "enable_grad",
    "function",
    "functional",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "inference_mode",
    "no_grad",
    "set_detect_anomaly",
    "set_grad_enabled",
]

_MODULES = ("function", "functional")
_HOMES = {
    "Function": "function",
    "detect_anomaly": "anomaly",
    "set_detect_anomaly": "anomaly",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"mynn.autograd.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"mynn.autograd.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
