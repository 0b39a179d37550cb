"""What programs need around a training, under PyTorch's names."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["checkpoint", "data", "tensorboard"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"mynn.utils.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
