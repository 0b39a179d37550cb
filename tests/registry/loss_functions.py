"""Losses as functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.registry.draws import distribution, labels, uniform
from tests.registry.entries import Case, Entry

X = uniform(3, 4)
SCALE, WEIGHT = uniform(4, low=0.2, high=2), uniform(3, low=0.5, high=2)
LABELS = np.array([0, 3, 1])
UNIT, SCORES = uniform(4, 3, low=0, high=1), uniform(4, 3)
POSITIVE = uniform(4, 3, low=0.2, high=2)
SOME = np.array([[0, -1, 2, 1], [3, 0, 1, -1], [2, 2, -1, 0]])
SIGNS = np.where(np.arange(12) % 2, -1.0, 1.0).reshape(4, 3)


def loss(name: str, *inputs: Any, smooth: bool = True, **options: Any) -> Case:
    """A loss of scores and targets, with options."""
    return Case(lambda F, x, t: getattr(F, name)(x, t, **options), inputs, smooth)


def weighted(name: str, *inputs: Any, key: str = "weight", **options: Any) -> Case:
    """The same with a weight for each of three classes, a constant."""
    return Case(
        lambda F, x, t, w: getattr(F, name)(x, t, **{key: w.detach()}, **options),
        (*inputs, WEIGHT),
        smooth=False,
    )


# Targets that are floats get a gradient here and none in PyTorch's table of what is differentiable.
def target(name: str, *inputs: Any, rounded: float = 0.0, **options: Any) -> Case:
    return Case(
        lambda F, x, t: getattr(F, name)(x, t.detach(), **options),
        inputs,
        smooth=False,
        rounded=rounded,
    )


SIX, EIGHT = ((6, 4), labels(6, classes=4)), ((8, 3), labels(8, classes=3))
BCE = "binary_cross_entropy_with_logits"

LOSSES = (
    Entry(
        "mse_loss",
        {
            "plain": loss("mse_loss", SCORES, SCORES),
            "sum": loss("mse_loss", SCORES, SCORES, reduction="sum"),
            "none": Case(lambda F, x, t: F.mse_loss(x, t, None, None, "none"), (SCORES, SCORES)),
            "weight": Case(
                lambda F, x, t, w: F.mse_loss(x, t, weight=w), (SCORES, SCORES, POSITIVE)
            ),
        },
    ),
    Entry(
        "binary_cross_entropy_with_logits",
        {
            "plain": loss(BCE, SCORES, UNIT),
            "target": target(BCE, SCORES, UNIT),
            "weight": weighted(BCE, SCORES, UNIT, reduction="sum"),
            "pos_weight": weighted(BCE, SCORES, UNIT, key="pos_weight", reduction="none"),
            "by position": Case(
                lambda F, x, t, w: F.binary_cross_entropy_with_logits(
                    x, t.detach(), w.detach(), None, None, "sum", w.detach()
                ),
                (SCORES, UNIT, WEIGHT),
                smooth=False,
            ),
        },
    ),
    Entry(
        "cross_entropy",
        {
            "plain": loss("cross_entropy", *SIX),
            "sum": loss("cross_entropy", *SIX, reduction="sum"),
            "none": loss("cross_entropy", *SIX, reduction="none"),
            "one": loss("cross_entropy", (5,), labels(classes=5)),
            "image": loss("cross_entropy", (2, 3, 4, 2), labels(2, 4, 2, classes=3)),
            "smooth": loss("cross_entropy", *SIX, label_smoothing=0.2),
            "ignore": loss("cross_entropy", *EIGHT, ignore_index=1),
            "ignore smooth": loss("cross_entropy", *EIGHT, ignore_index=1, label_smoothing=0.1),
            "probabilities": loss("cross_entropy", (6, 4), distribution(6, 4)),
            "probabilities smooth": loss(
                "cross_entropy",
                (3, 4, 2),
                distribution(3, 4, 2),
                label_smoothing=0.3,
                reduction="sum",
            ),
            "probabilities mean": loss(
                "cross_entropy", (3, 4, 2), distribution(3, 4, 2), reduction="mean"
            ),
            "own": Case(lambda F, x: F.cross_entropy(x, x.exp(), reduction="none"), (X,)),
            "weight": weighted("cross_entropy", *EIGHT),
            "weight smooth": weighted("cross_entropy", *EIGHT, label_smoothing=0.25),
            "weight sum": weighted(
                "cross_entropy", (8, 3, 2), labels(8, 2, classes=3), reduction="sum"
            ),
            "weight ignore": weighted("cross_entropy", *EIGHT, ignore_index=2),
            "weight ignore smooth": weighted(
                "cross_entropy", *EIGHT, ignore_index=2, label_smoothing=0.25
            ),
            "weight probabilities": weighted(
                "cross_entropy", (4, 3), distribution(4, 3), label_smoothing=0.1
            ),
            "by position": Case(
                lambda F, x, t, w: F.cross_entropy(x, t, w.detach(), None, -100, None, "mean", 0.1),
                (X, LABELS, SCALE),
                smooth=False,
            ),
        },
    ),
    Entry(
        "nll_loss",
        {
            "plain": loss("nll_loss", *SIX),
            "ignore": loss("nll_loss", *EIGHT, ignore_index=0),
            "weight": weighted("nll_loss", *EIGHT),
            "weight none": weighted("nll_loss", *EIGHT, reduction="none"),
            "by position": Case(
                lambda F, x, t, w: F.nll_loss(x, t, w.detach(), None, 3, None, "sum"),
                (X, LABELS, SCALE),
                smooth=False,
            ),
        },
    ),
    Entry(
        "accuracy",
        {
            "plain": Case(
                lambda F, x, t: F.accuracy(x, t),
                SIX,
                smooth=False,
                theirs=lambda torch, x, t: (x.argmax(1) == t).float().mean(),
            )
        },
    ),
    Entry(
        "l1_loss",
        {
            "plain": loss("l1_loss", SCORES, SCORES),
            "weight": Case(
                lambda F, x, t, w: F.l1_loss(x, t, weight=w), (SCORES, SCORES, POSITIVE)
            ),
        },
    ),
    Entry(
        "smooth_l1_loss",
        {"plain": loss("smooth_l1_loss", SCORES, SCORES, beta=0.5, reduction="none")},
    ),
    Entry(
        "huber_loss",
        {
            "plain": loss("huber_loss", SCORES, SCORES, delta=0.5),
            "weight": Case(
                lambda F, x, t, w: F.huber_loss(x, t, weight=w), (SCORES, SCORES, POSITIVE)
            ),
        },
    ),
    Entry(
        "poisson_nll_loss",
        {"plain": loss("poisson_nll_loss", SCORES, POSITIVE, full=True, reduction="sum")},
    ),
    Entry(
        "gaussian_nll_loss",
        {
            "plain": Case(
                lambda F, x, t, v: F.gaussian_nll_loss(x, t, v, True), (SCORES, SCORES, POSITIVE)
            ),
            "number": Case(lambda F, x, t: F.gaussian_nll_loss(x, t, 0.5), (SCORES, SCORES)),
            "column": Case(
                lambda F, x, t, v: F.gaussian_nll_loss(x, t, v, eps=1.0),
                (SCORES, SCORES, uniform(4, low=0.1, high=2)),
                smooth=False,
            ),
        },
    ),
    Entry(
        "binary_cross_entropy",
        {
            "plain": loss("binary_cross_entropy", UNIT, UNIT),
            "ends": target(
                "binary_cross_entropy",
                np.array([0.0, 1.0, 0.0, 1.0, 1e-20]),
                np.array([0.0, 1.0, 1.0, 0.0, 0.5]),
                reduction="none",
                rounded=1e-8,
            ),
            "weight": weighted("binary_cross_entropy", UNIT, UNIT, reduction="sum"),
        },
    ),
    Entry(
        "kl_div",
        {
            "plain": loss("kl_div", SCORES, UNIT, reduction="batchmean"),
            "log": loss("kl_div", SCORES, SCORES, reduction="sum", log_target=True),
            "zeros": target("kl_div", SCORES, SIGNS.clip(0), reduction="none"),
        },
    ),
    Entry(
        "ctc_loss",
        {
            "plain": Case(
                lambda F, x, t: F.ctc_loss(
                    F.log_softmax(x, -1), t, (5, 4, 3), (2, 3, 3), zero_infinity=True
                ),
                ((5, 3, 4), np.array([[1, 2, 0], [1, 3, 2], [1, 1, 1]])),
            ),
            "joined": Case(
                lambda F, x, t: F.ctc_loss(
                    F.log_softmax(x, -1), t, (5, 4, 3), (2, 1, 3), blank=3, reduction="none"
                ),
                ((5, 3, 4), np.array([1, 2, 0, 0, 1, 2])),
                smooth=False,
            ),
            "single": Case(
                lambda F, x, t: F.ctc_loss(F.log_softmax(x, -1), t, (5,), (2,), reduction="sum"),
                ((5, 4), np.array([1, 2])),
            ),
        },
    ),
    Entry(
        "linear_cross_entropy",
        {
            "plain": Case(
                lambda F, x, w, b, t: F.linear_cross_entropy(x, w, t, linear_bias=b),
                ((3, 4), (5, 4), (5,), LABELS),
            )
        },
    ),
    Entry(
        "margin_ranking_loss",
        {
            "plain": Case(
                lambda F, x, y, t: F.margin_ranking_loss(x, y, t.detach(), 0.5),
                (SCORES, SCORES, SIGNS),
                smooth=False,
            )
        },
    ),
    Entry(
        "hinge_embedding_loss", {"plain": target("hinge_embedding_loss", SCORES, SIGNS, margin=0.5)}
    ),
    Entry("soft_margin_loss", {"plain": target("soft_margin_loss", SCORES, SIGNS)}),
    Entry(
        "multilabel_soft_margin_loss",
        {"plain": weighted("multilabel_soft_margin_loss", SCORES, UNIT)},
    ),
    Entry(
        "multi_margin_loss",
        {
            "plain": loss("multi_margin_loss", *EIGHT, margin=0.5),
            "weight": weighted("multi_margin_loss", *EIGHT, p=2, reduction="none"),
        },
    ),
    Entry(
        "multilabel_margin_loss",
        {
            "plain": loss(
                "multilabel_margin_loss", X, np.array([[0, -1, 2, 1], [3, 0, 1, -1]] * 2)[:3]
            ),
            "single": loss("multilabel_margin_loss", (4,), np.array([2, 2, -1, 0])),
        },
    ),
    Entry(
        "cosine_embedding_loss",
        {
            "plain": Case(
                lambda F, x, y, t: F.cosine_embedding_loss(x, y, t, -0.5),
                (SCORES, SCORES, np.array([1, -1, -1, 1])),
            )
        },
    ),
    Entry(
        "triplet_margin_loss",
        {
            "plain": Case(
                lambda F, x, y, z: F.triplet_margin_loss(x, y, z, 2.0, swap=True),
                (SCORES, SCORES, SCORES),
            )
        },
    ),
    Entry(
        "triplet_margin_with_distance_loss",
        {
            "plain": Case(
                lambda F, x, y, z: F.triplet_margin_with_distance_loss(x, y, z, margin=2.0),
                (SCORES, SCORES, SCORES),
            )
        },
    ),
    Entry(
        "cosine_similarity",
        {
            "plain": Case(lambda F, x, y: F.cosine_similarity(x, y), (SCORES, SCORES)),
            "broadcast": Case(
                lambda F, x, y: F.cosine_similarity(x, y, dim=-1, eps=5.0),
                ((2, 4, 3), (3,)),
                smooth=False,
            ),
        },
    ),
    Entry(
        "pairwise_distance",
        {
            "plain": Case(lambda F, x, y: F.pairwise_distance(x, y), (SCORES, SCORES)),
            "cubes": Case(lambda F, x, y: F.pairwise_distance(x, y, 3.0, 0.1, True), (X, X)),
            "largest": Case(
                lambda F, x, y: F.pairwise_distance(x, y, p=float("inf")), (X, X), smooth=False
            ),
        },
    ),
    Entry(
        "pdist",
        {
            "plain": Case(lambda F, x: F.pdist(x), (SCORES,)),
            "ones": Case(lambda F, x: F.pdist(x, p=1.0), (SCORES,), smooth=False),
        },
    ),
    Entry(
        "normalize",
        {
            "plain": Case(lambda F, x: F.normalize(x), (SCORES,)),
            "cubes": Case(lambda F, x: F.normalize(x, 3.0, dim=0, eps=0.5), (SCORES,)),
        },
        differs={"out": "results are returned"},
    ),
)
