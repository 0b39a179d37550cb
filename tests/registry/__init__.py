"""Every public layer, loss, optimiser and function, once: how it is made, with which options, what
it is called with, what PyTorch has for it.

Tests of all of them are made from it, and the list of features in the documents. What a new layer
needs is an entry; `tests/nn/test_conformance.py` fails without one.
"""

from __future__ import annotations

from tests.registry.entries import Case, Draw, Entry
from tests.registry.functions import FUNCTIONS
from tests.registry.layers import LAYERS
from tests.registry.losses import LOSSES
from tests.registry.optimizers import OPTIMIZERS, SOLVERS, SPARSE

MODULES = (*LAYERS, *LOSSES)

__all__ = [
    "FUNCTIONS",
    "LAYERS",
    "LOSSES",
    "MODULES",
    "OPTIMIZERS",
    "SOLVERS",
    "SPARSE",
    "Case",
    "Draw",
    "Entry",
]
