"""Losses: the scores and the targets that they compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mynn.core.types import Array
from tests.registry.entries import ONLY_MADE, Case, Draw, Entry

ROWS = (6, 4)
LABELS = np.array([0, 1, 2, 3, 1, 2])
TARGET = np.linspace(0.0, 1.0, 24, dtype=np.float32).reshape(ROWS)
WEIGHT = np.linspace(0.5, 2.0, 4, dtype=np.float32)
OLD = {"size_average": ONLY_MADE, "reduce": ONLY_MADE}
# Labels of each sample, up to the first -1.
SOME = np.array([[3, 0, -1, 1], [0, 1, 2, 3], [-1, 1, 2, 0], [2, 2, -1, -1], [1, -1, 0, 0]])
SOME = np.concatenate([SOME, [[0, 3, 1, -1]]])


def labels(generator: np.random.Generator) -> Array:
    return np.asarray(generator.integers(0, 4, 6))


def unit(generator: np.random.Generator) -> Array:
    return np.asarray(generator.uniform(0.05, 0.95, size=ROWS))


def positive(*shape: int) -> Draw:
    return lambda generator: generator.uniform(0.2, 2.0, shape)


def signs(*shape: int) -> Array:
    """1 and -1 in turn."""
    return np.where(np.arange(np.prod(shape)) % 2, -1.0, 1.0).astype(np.float32).reshape(shape)


def log_unit(generator: np.random.Generator) -> Array:
    return np.asarray(np.log(unit(generator)))


def entry(
    name: str,
    inputs: tuple[Any, ...],
    options: dict[str, Any] | None = None,
    smooth: bool = True,
    **others: Callable[[Any], Any],
) -> Entry:
    """A loss: plain, summed, and as told by further constructors."""
    made: dict[str, Callable[[Any], Any]] = {
        "plain": lambda nn: getattr(nn, name)(),
        "sum": lambda nn: getattr(nn, name)(reduction="sum"),
        **others,
    }
    return Entry(
        name,
        {key: Case(make, inputs, smooth) for key, make in made.items()},
        {"reduction": "sum", **(options or {})},
    )


REGRESSIONS = (
    entry("MSELoss", (ROWS, ROWS), OLD),
    entry("L1Loss", (ROWS, ROWS), OLD),
    entry(
        "SmoothL1Loss",
        (ROWS, ROWS),
        {**OLD, "beta": 0.3},
        beta=lambda nn: nn.SmoothL1Loss(beta=0.5),
        none=lambda nn: nn.SmoothL1Loss(reduction="none", beta=0.0),
    ),
    entry("HuberLoss", (ROWS, ROWS), {"delta": 0.3}, delta=lambda nn: nn.HuberLoss(delta=0.5)),
    entry(
        "PoissonNLLLoss",
        (positive(6, 4), positive(6, 4)),
        {**OLD, "log_input": False, "full": True, "eps": ONLY_MADE},
        full=lambda nn: nn.PoissonNLLLoss(full=True),
        rates=lambda nn: nn.PoissonNLLLoss(log_input=False, eps=1e-3),
    ),
    entry(
        "GaussianNLLLoss",
        (ROWS, ROWS, positive(6, 4)),
        {"full": True, "eps": 1.0},
        full=lambda nn: nn.GaussianNLLLoss(full=True),
    ),
)

CLASSIFICATIONS = (
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
            "ignored": Case(
                lambda nn: nn.CrossEntropyLoss(), (ROWS, np.array([0, -100, 2, 3, -100, 2]))
            ),
        },
        {**OLD, "reduction": "sum", "weight": WEIGHT, "ignore_index": 2, "label_smoothing": 0.3},
        guarded=Case(lambda nn: nn.CrossEntropyLoss(), (ROWS, LABELS)),
    ),
    Entry(
        "NLLLoss",
        {
            "plain": Case(lambda nn: nn.NLLLoss(), (ROWS, labels)),
            "image": Case(
                lambda nn: nn.NLLLoss(ignore_index=1, reduction="none"),
                ((2, 3, 2, 2), np.arange(8).reshape(2, 2, 2) % 3),
            ),
        },
        {**OLD, "reduction": "sum", "weight": WEIGHT, "ignore_index": 2},
        guarded=Case(lambda nn: nn.NLLLoss(), (ROWS, LABELS)),
    ),
    Entry(
        "LinearCrossEntropyLoss",
        {
            "plain": Case(lambda nn: nn.LinearCrossEntropyLoss(4, 4), (ROWS, labels)),
            "bias": Case(
                lambda nn: nn.LinearCrossEntropyLoss(
                    4, 3, out_features=(2,), bias=True, label_smoothing=0.2
                ),
                (ROWS, np.arange(12).reshape(6, 2) % 3),
            ),
        },
        {
            **dict.fromkeys(("in_features", "num_classes", "out_features", "bias"), ONLY_MADE),
            **dict.fromkeys(("device", "dtype", "options"), ONLY_MADE),
            "reduction": "sum",
            "weight": WEIGHT,
            "ignore_index": 2,
            "label_smoothing": 0.3,
        },
        guarded=Case(lambda nn: nn.LinearCrossEntropyLoss(4, 4), (ROWS, LABELS)),
    ),
    entry(
        "BCELoss",
        (unit, unit),
        {**OLD, "weight": WEIGHT},
        none=lambda nn: nn.BCELoss(reduction="none"),
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
    Entry(
        "KLDivLoss",
        {
            "sum": Case(lambda nn: nn.KLDivLoss(reduction="sum"), (log_unit, unit)),
            "batchmean": Case(lambda nn: nn.KLDivLoss(reduction="batchmean"), (log_unit, unit)),
            "log": Case(lambda nn: nn.KLDivLoss(None, None, "none", True), (log_unit, log_unit)),
        },
        {**OLD, "reduction": "batchmean", "log_target": True},
    ),
    Entry(
        "CTCLoss",
        {
            "plain": Case(
                lambda nn: nn.CTCLoss(),
                (
                    lambda g: np.log(g.uniform(0.1, 1, (6, 6, 4))),
                    np.array([[1, 2, 1], [1, 1, 2], [3, 0, 0], [2, 3, 1], [1, 3, 3], [2, 2, 2]]),
                    np.array([6, 6, 4, 5, 6, 6]),
                    np.array([3, 3, 1, 3, 2, 2]),
                ),
                apart="PyTorch adds e^x to the gradient, which log_softmax takes away again",
            )
        },
        {"blank": 3, "reduction": "sum", "zero_infinity": ONLY_MADE},
        guarded=Case(
            lambda nn: nn.CTCLoss(),
            (
                lambda g: np.log(g.uniform(0.1, 1, (4, 2, 5))),
                np.array([[1, 2, 0], [2, 4, 1]]),
                np.array([4, 4]),
                np.array([2, 1]),
            ),
        ),
    ),
)

MARGINS = (
    entry(
        "MarginRankingLoss",
        (ROWS, ROWS, signs(6, 4)),
        {**OLD, "margin": 0.4},
        margin=lambda nn: nn.MarginRankingLoss(0.5),
    ),
    entry("HingeEmbeddingLoss", (ROWS, signs(6, 4)), {**OLD, "margin": 0.4}),
    entry("SoftMarginLoss", (ROWS, signs(6, 4).astype(np.int64)), OLD),
    entry(
        "MultiMarginLoss",
        (ROWS, LABELS),
        {**OLD, "p": 2, "margin": 0.4, "weight": WEIGHT},
        squares=lambda nn: nn.MultiMarginLoss(p=2, margin=0.5, reduction="none"),
    ),
    entry("MultiLabelMarginLoss", (ROWS, SOME), OLD),
    entry("MultiLabelSoftMarginLoss", (ROWS, unit), {**OLD, "weight": WEIGHT}),
    entry(
        "CosineEmbeddingLoss",
        (ROWS, ROWS, signs(6).astype(np.int64)),
        {**OLD, "margin": -0.4},
        margin=lambda nn: nn.CosineEmbeddingLoss(-0.5),
    ),
    entry(
        "TripletMarginLoss",
        (ROWS, ROWS, ROWS),
        {**OLD, "margin": 3.0, "p": 3.0, "eps": 0.5, "swap": True},
        swap=lambda nn: nn.TripletMarginLoss(2.0, p=3, swap=True),
    ),
    entry(
        "TripletMarginWithDistanceLoss",
        (ROWS, ROWS, ROWS),
        {"distance_function": ONLY_MADE, "margin": 3.0, "swap": True},
        squares=lambda nn: nn.TripletMarginWithDistanceLoss(
            distance_function=lambda x, y: ((x - y) * (x - y)).sum(-1)
        ),
    ),
)

DISTANCES = (
    Entry(
        "CosineSimilarity",
        {
            "plain": Case(lambda nn: nn.CosineSimilarity(), (ROWS, ROWS)),
            "first": Case(lambda nn: nn.CosineSimilarity(dim=0, eps=0.5), (ROWS, ROWS)),
        },
        {"dim": 0, "eps": 5.0},
    ),
    Entry(
        "PairwiseDistance",
        {
            "plain": Case(lambda nn: nn.PairwiseDistance(), (ROWS, ROWS)),
            "ones": Case(lambda nn: nn.PairwiseDistance(1.0, keepdim=True), (ROWS, ROWS)),
        },
        {"p": ONLY_MADE, "eps": 0.5, "keepdim": True},
    ),
)

LOSSES: tuple[Entry, ...] = (*REGRESSIONS, *CLASSIFICATIONS, *MARGINS)
