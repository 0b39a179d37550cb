"""Gradients of what was computed, under PyTorch's names."""

from __future__ import annotations

import importlib
from typing import Any

from mynn.autograd.gradients import Variable, backward, grad
from mynn.tensor import enable_grad, no_grad

__all__ = ["Variable", "backward", "enable_grad", "functional", "grad", "no_grad"]


def __getattr__(name: str) -> Any:
    if name == "functional":
        return importlib.import_module("mynn.autograd.functional")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
