"""Losses: the scores and the targets that they compare."""

from __future__ import annotations

import numpy as np

from mynn.core.types import Array
from tests.registry.entries import ONLY_MADE, Case, Entry

ROWS = (6, 4)
LABELS = np.array([0, 1, 2, 3, 1, 2])
TARGET = np.linspace(0.0, 1.0, 24, dtype=np.float32).reshape(ROWS)
WEIGHT = np.linspace(0.5, 2.0, 4, dtype=np.float32)
OLD = {"size_average": ONLY_MADE, "reduce": ONLY_MADE}


def labels(generator: np.random.Generator) -> Array:
    return np.asarray(generator.integers(0, 4, 6))


def unit(generator: np.random.Generator) -> Array:
    return np.asarray(generator.uniform(size=ROWS))


LOSSES: tuple[Entry, ...] = (
    Entry(
        "MSELoss",
        {
            "plain": Case(lambda nn: nn.MSELoss(), (ROWS, ROWS)),
            "sum": Case(lambda nn: nn.MSELoss(reduction="sum"), (ROWS, ROWS)),
        },
        {**OLD, "reduction": "sum"},
    ),
    Entry(
        "CrossEntropyLoss",
        {
            "plain": Case(lambda nn: nn.CrossEntropyLoss(), (ROWS, labels)),
            "options": Case(
                lambda nn: nn.CrossEntropyLoss(
                    ignore_index=2, reduction="none", label_smoothing=0.1
                ),
                (ROWS, labels),
            ),
        },
        {**OLD, "reduction": "sum", "weight": WEIGHT, "ignore_index": 2, "label_smoothing": 0.3},
        guarded=Case(lambda nn: nn.CrossEntropyLoss(), (ROWS, LABELS)),
        differs={"ignore_index": "None: a label of -100 is an error that names it"},
    ),
    Entry(
        "NLLLoss",
        {"plain": Case(lambda nn: nn.NLLLoss(), (ROWS, labels))},
        {**OLD, "reduction": "sum", "weight": WEIGHT, "ignore_index": 2},
        guarded=Case(lambda nn: nn.NLLLoss(), (ROWS, LABELS)),
        differs={"ignore_index": "None: a label of -100 is an error that names it"},
    ),
    Entry(
        "BCEWithLogitsLoss",
        {
            "plain": Case(lambda nn: nn.BCEWithLogitsLoss(), (ROWS, unit)),
            "none": Case(lambda nn: nn.BCEWithLogitsLoss(reduction="none"), (ROWS, unit)),
        },
        {**OLD, "reduction": "sum", "weight": WEIGHT, "pos_weight": WEIGHT},
        guarded=Case(lambda nn: nn.BCEWithLogitsLoss(), (ROWS, TARGET)),
    ),
)
