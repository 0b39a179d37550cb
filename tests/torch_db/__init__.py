"""PyTorch's own samples of operations, modules and optimisers, for all of them that are there."""

from __future__ import annotations

import importlib
import sys
import types
import unittest
import warnings
from typing import Any


def databases(name: str) -> Any:
    """A module of `torch.testing._internal`, such as `common_modules`."""
    if "expecttest" not in sys.modules:
        try:
            importlib.import_module("expecttest")
        except ImportError:  # PyTorch's test helpers want it, the samples do not
            stand_in = types.ModuleType("expecttest")
            stand_in.TestCase = unittest.TestCase  # type: ignore[attr-defined]
            sys.modules["expecttest"] = stand_in
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"torch.testing._internal.{name}")
