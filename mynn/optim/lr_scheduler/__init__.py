"""Schedules of the learning rate, under PyTorch's names.

A schedule is arithmetic on numbers that are state: the count of its steps, the rates of the
optimiser's groups. Called eagerly, `step()` computes with Python's floats, as PyTorch does. Called
in a compiled step, it computes with tensors, so that it runs with the step in the native loop.
"""

from __future__ import annotations

from mynn.optim.lr_scheduler.base import LRScheduler
from mynn.optim.lr_scheduler.composed import ChainedScheduler, SequentialLR
from mynn.optim.lr_scheduler.cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from mynn.optim.lr_scheduler.cyclic import CyclicLR, OneCycleLR
from mynn.optim.lr_scheduler.factors import (
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from mynn.optim.lr_scheduler.plateau import ReduceLROnPlateau

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]
