"""Optimisers, under PyTorch's names. Those that are rare are imported when they are used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mynn.optim.adam import Adam, AdamW
from mynn.optim.optimizer import Optimizer
from mynn.optim.sgd import SGD

if TYPE_CHECKING:
    from mynn.optim.adafactor import Adafactor
    from mynn.optim.adagrad import Adadelta, Adagrad
    from mynn.optim.adam_variants import Adamax, NAdam, RAdam
    from mynn.optim.asgd import ASGD
    from mynn.optim.lamb import LAMB
    from mynn.optim.lbfgs import LBFGS
    from mynn.optim.lion import Lion
    from mynn.optim.muon import Muon
    from mynn.optim.rmsprop import RMSprop
    from mynn.optim.rprop import Rprop
    from mynn.optim.sparse_adam import SparseAdam

__all__ = [
    "ASGD",
    "LAMB",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "LevenbergMarquardt",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SparseAdam",
]

_FILES = {
    "ASGD": "asgd",
    "LAMB": "lamb",
    "LBFGS": "lbfgs",
    "Adadelta": "adagrad",
    "Adafactor": "adafactor",
    "Adagrad": "adagrad",
    "Adamax": "adam_variants",
    "LevenbergMarquardt": "levenberg_marquardt",
    "Lion": "lion",
    "Muon": "muon",
    "NAdam": "adam_variants",
    "RAdam": "adam_variants",
    "RMSprop": "rmsprop",
    "Rprop": "rprop",
    "SparseAdam": "sparse_adam",
}


def __getattr__(name: str) -> Any:
    if name in ("lr_scheduler", "swa_utils"):
        return importlib.import_module(f"mynn.optim.{name}")
    if name in _FILES:
        return getattr(importlib.import_module(f"mynn.optim.{_FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
