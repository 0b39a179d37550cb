"""PyTorch's own samples of operations, modules and optimisers, for all of them that are there."""

from __future__ import annotations

import importlib
import random
import sys
import types
import unittest
import warnings
from typing import Any

import numpy as np


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
        importlib.import_module("torch").set_num_threads(1)
        return importlib.import_module(f"torch.testing._internal.{name}")


def reseed(number: int) -> None:
    """As `torch.manual_seed` for tensors of this processor, without its 8 ms for devices."""
    torch: Any = sys.modules["torch"]
    torch.default_generator.manual_seed(number)
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 (PyTorch draws from it)
