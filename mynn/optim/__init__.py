"""Optimisers, under PyTorch's names."""

from __future__ import annotations

from mynn.optim.adam import Adam, AdamW
from mynn.optim.optimizer import Optimizer
from mynn.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]
