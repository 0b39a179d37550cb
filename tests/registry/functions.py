"""Functions of `mynn.functional`, and of `mynn` itself where PyTorch has them at its top.

A case is called with a namespace: `mynn.functional`, or PyTorch's `torch.nn.functional` and, where
that lacks the name, `torch`. Weights that PyTorch wants without a gradient are detached.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from tests.registry.activations import ACTIVATION_FUNCTIONS
from tests.registry.draws import KINKS, distribution, kinked, labels, uniform
from tests.registry.entries import Case, Entry

X, ROWS, IMAGE, SIGNAL = uniform(3, 4), uniform(4, 5), (2, 4, 6, 6), (2, 4, 9)
SCALE = uniform(4, low=0.2, high=2)
WEIGHT = uniform(3, low=0.5, high=2)
LABELS = np.array([0, 3, 1])
UNIT, SCORES = uniform(4, 3, low=0, high=1), uniform(4, 3)
NO_INDICES = {"return_indices": "not there yet"}
LABEL = {"ignore_index": "None: a label of -100 is an error that names it"}


ACTIVATIONS = (
    Entry("relu", {"plain": Case(lambda F, x: F.relu(x), (ROWS,)), "kinks": kinked("relu")}),
    Entry(
        "leaky_relu",
        {
            "plain": Case(lambda F, x: F.leaky_relu(x), (ROWS,)),
            "slope": Case(lambda F, x: F.leaky_relu(x, negative_slope=0.2), (ROWS,)),
            "kinks": kinked("leaky_relu"),
        },
    ),
    Entry(
        "tanh", {"plain": Case(lambda F, x: F.tanh(x), (uniform(3, 17),)), "kinks": kinked("tanh")}
    ),
    Entry(
        "sigmoid",
        {
            "plain": Case(lambda F, x: F.sigmoid(x), (uniform(3, 17, low=-8, high=8),)),
            "kinks": kinked("sigmoid"),
        },
    ),
    Entry(
        "logistic",
        {
            "plain": Case(
                lambda F, x: F.logistic(x), (ROWS,), theirs=lambda torch, x: torch.sigmoid(x)
            )
        },
    ),
    Entry("silu", {"plain": Case(lambda F, x: F.silu(x), (uniform(2, 3, 4),))}),
    Entry(
        "softplus",
        {
            "plain": Case(lambda F, x: F.softplus(x), (uniform(5, 5, low=-15, high=15),)),
            "beta": Case(lambda F, x: F.softplus(x, beta=2.0), (uniform(5),)),
            "threshold": Case(lambda F, x: F.softplus(x, 2, 1), (X,), smooth=False),
        },
    ),
    Entry(
        "gelu",
        {
            "plain": Case(lambda F, x: F.gelu(x), (ROWS,)),
            "tanh": Case(lambda F, x: F.gelu(x, approximate="tanh"), (ROWS,)),
        },
    ),
    Entry(
        "softmax",
        {
            "plain": Case(lambda F, x: F.softmax(x, -1), (ROWS,)),
            "first": Case(lambda F, x: F.softmax(x, 0), (uniform(4, 3, 2),)),
            "named": Case(lambda F, x: F.softmax(x, dim=-2), (SIGNAL,)),
            "number": Case(lambda F, x: F.softmax(x.sum(), 0), (X,)),
        },
        differs={"_stacklevel": "private"},
    ),
    Entry(
        "log_softmax",
        {
            "plain": Case(lambda F, x: F.log_softmax(x, 1), (uniform(4, 5, 2),)),
            "first": Case(lambda F, x: F.log_softmax(x, 0), (X,)),
        },
        differs={"_stacklevel": "private"},
    ),
    Entry(
        "logsumexp",
        {
            "plain": Case(lambda F, x: F.logsumexp(x, 1), (uniform(3, 4, 2),)),
            "axes": Case(lambda F, x: F.logsumexp(x, (0, 2), True), (uniform(3, 4, 2),)),
            "kinks": Case(
                lambda F, x: F.logsumexp(x, dim=-1, keepdim=True), (KINKS,), smooth=False
            ),
        },
    ),
)

LAYERS = (
    Entry(
        "linear",
        {
            "plain": Case(lambda F, x, w, b: F.linear(x, w, b), ((3, 4), (5, 4), (5,))),
            "vector": Case(lambda F, x, w: F.linear(x, w), ((4,), (2, 4))),
            "vector, bias": Case(lambda F, x, w, b: F.linear(x, w, b), ((4,), (5, 4), (5,))),
            "sequence": Case(lambda F, x, w, b: F.linear(x, w, b), ((2, 3, 4), (5, 4), (5,))),
        },
    ),
    Entry(
        "dropout",
        {
            "not training": Case(lambda F, x: F.dropout(x, 0.4, False), (X,)),
            "all": Case(lambda F, x: F.dropout(x, p=1.0), (X,)),
        },
    ),
    Entry(
        "conv1d",
        {
            "plain": Case(
                lambda F, x, w, b: F.conv1d(x, w, b, stride=2, padding=1, dilation=2, groups=2),
                ((2, 4, 9), (6, 2, 3), (6,)),
            ),
            "by position": Case(
                lambda F, x, w: F.conv1d(x, w, None, 2, 1, 1, 2), (SIGNAL, (4, 2, 3))
            ),
        },
    ),
    Entry(
        "conv2d",
        {
            "plain": Case(
                lambda F, x, w, b: F.conv2d(x, w, b, (1, 2), 1, (2, 1), 2),
                (IMAGE, (4, 2, 3, 3), (4,)),
            ),
            "same": Case(
                lambda F, x, w: F.conv2d(x, w, padding="same"), ((2, 3, 5, 4), (2, 3, 3, 2))
            ),
        },
    ),
    Entry(
        "conv_transpose1d",
        {
            "plain": Case(
                lambda F, x, w, b: F.conv_transpose1d(x, w, b, 2, 1, 1, 2, 2),
                ((2, 4, 5), (4, 3, 3), (6,)),
            )
        },
    ),
    Entry(
        "conv_transpose2d",
        {
            "plain": Case(
                lambda F, x, w: F.conv_transpose2d(x, w, None, 2, 1, 1, 1, 1),
                (IMAGE, (4, 2, 3, 3)),
            ),
            "single": Case(
                lambda F, x, w: F.conv_transpose2d(x, w, stride=2, output_padding=1),
                ((3, 4, 3), (3, 2, 3, 2)),
            ),
        },
    ),
    Entry(
        "max_pool1d",
        {"plain": Case(lambda F, x: F.max_pool1d(x, 3, 2, 1, 2, True), ((2, 3, 11),))},
        differs=NO_INDICES,
    ),
    Entry(
        "max_pool2d",
        {"plain": Case(lambda F, x: F.max_pool2d(x, (3, 2), ceil_mode=True), ((2, 7, 5),))},
        differs=NO_INDICES,
    ),
    Entry(
        "avg_pool1d",
        {"plain": Case(lambda F, x: F.avg_pool1d(x, 4, 3, 2, True, False), ((2, 3, 11),))},
    ),
    Entry(
        "avg_pool2d",
        {"plain": Case(lambda F, x: F.avg_pool2d(x, 3, 2, 1, False, True, -4), ((2, 7, 5),))},
    ),
    Entry(
        "adaptive_avg_pool1d",
        {"plain": Case(lambda F, x: F.adaptive_avg_pool1d(x, 5), ((2, 3, 11),))},
    ),
    Entry(
        "adaptive_avg_pool2d",
        {"plain": Case(lambda F, x: F.adaptive_avg_pool2d(x, (3, None)), ((2, 7, 5),))},
    ),
    Entry(
        "adaptive_max_pool1d",
        {"plain": Case(lambda F, x: F.adaptive_max_pool1d(x, 5), ((2, 3, 11),))},
        differs=NO_INDICES,
    ),
    Entry(
        "adaptive_max_pool2d",
        {"plain": Case(lambda F, x: F.adaptive_max_pool2d(x, (3, 5)), ((2, 7, 5),))},
        differs=NO_INDICES,
    ),
    Entry(
        "batch_norm",
        {
            "plain": Case(
                lambda F, x, w, b: F.batch_norm(x, None, None, w, b, True, eps=1e-3),
                ((4, 3, 5), (3,), (3,)),
            ),
            "no weight": Case(
                lambda F, x, b: F.batch_norm(x, None, None, None, b, True), ((4, 3, 5), (3,))
            ),
            "running": Case(
                lambda F, x, m, v, w, b: F.batch_norm(
                    x, m.detach(), v.detach(), w, b, False, 0.3, 1e-3
                ),
                (IMAGE, SCALE, SCALE, SCALE, SCALE),
                smooth=False,
            ),
        },
    ),
    Entry(
        "layer_norm",
        {
            "plain": Case(
                lambda F, x, w, b: F.layer_norm(x, (3, 5), w, b), ((4, 3, 5), (3, 5), (3, 5))
            ),
            "eps": Case(lambda F, x, w, b: F.layer_norm(x, (4,), w, b, 1e-3), (X, SCALE, SCALE)),
        },
    ),
    Entry("rms_norm", {"plain": Case(lambda F, x, w: F.rms_norm(x, (5,), w), ((4, 3, 5), (5,)))}),
    Entry(
        "group_norm",
        {
            "plain": Case(lambda F, x, w: F.group_norm(x, 2, w), ((4, 6, 5), (6,))),
            "eps": Case(lambda F, x, w, b: F.group_norm(x, 2, w, b, 1e-3), (IMAGE, SCALE, SCALE)),
        },
    ),
)


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
def target(name: str, *inputs: Any, **options: Any) -> Case:
    return Case(lambda F, x, t: getattr(F, name)(x, t.detach(), **options), inputs, smooth=False)


SIX, EIGHT = ((6, 4), labels(6, classes=4)), ((8, 3), labels(8, classes=3))
BCE = "binary_cross_entropy_with_logits"

LOSSES = (
    Entry(
        "mse_loss",
        {
            "plain": loss("mse_loss", SCORES, SCORES),
            "sum": loss("mse_loss", SCORES, SCORES, reduction="sum"),
            "none": Case(lambda F, x, t: F.mse_loss(x, t, None, None, "none"), (SCORES, SCORES)),
        },
        differs={"weight": "not there yet"},
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
        differs=LABEL,
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
        differs=LABEL,
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
)

JOINING = (
    Entry(
        "cat",
        {
            "plain": Case(lambda F, x, y: F.cat([x, y], dim=-1), ((2, 3), (2, 18))),
            "with integers": Case(
                lambda F, x, y: F.cat([x, y], dim=-2),
                (X, LABELS[None].repeat(4, 0).T.copy()),
            ),
        },
    ),
    Entry("concatenate", {"plain": Case(lambda F, x, y: F.concatenate((x, y), axis=0), (X, X))}),
    Entry(
        "stack",
        {
            "plain": Case(lambda F, x, y: F.stack((x, y)), (X, X)),
            "last": Case(lambda F, x, y: F.stack([x, y], dim=-1), ((2, 3), (2, 3))),
        },
    ),
    Entry(
        "where",
        {
            "plain": Case(lambda F, x, y: F.where(x > 0, x, y), ((3, 4), (4,))),
            "number": Case(lambda F, x: F.where(condition=x > 0, input=x, other=0.5), (X,)),
        },
    ),
    Entry(
        "maximum",
        {
            "plain": Case(lambda F, x, y: F.maximum(x, y), ((9,), (9,))),
            "kinks": Case(
                lambda F, x, y: F.maximum(x, other=y), (KINKS, KINKS[::-1].copy()), smooth=False
            ),
        },
    ),
    Entry(
        "minimum",
        {
            "plain": Case(lambda F, x, y: F.minimum(x, y), ((9,), (9,))),
            "kinks": Case(
                lambda F, x, y: F.minimum(x, y), (KINKS, np.zeros_like(KINKS)), smooth=False
            ),
        },
    ),
    Entry(
        "one_hot",
        {
            "plain": Case(lambda F, x: F.one_hot(x, 5), (LABELS,), smooth=False),
            "named": Case(
                lambda F, x: F.one_hot(x, num_classes=4), (LABELS.reshape(3, 1),), smooth=False
            ),
        },
    ),
)

# Functions that PyTorch has at its top, and those that it has not.
TOP = {"cat", "concatenate", "logsumexp", "maximum", "minimum", "stack", "where"}
OURS = {"accuracy", "logistic"}


def _twin(name: str) -> str | None:
    return None if name in OURS else "torch" if name in TOP else "torch.nn.functional"


FUNCTIONS: tuple[Entry, ...] = tuple(
    replace(entry, twin=_twin(entry.name))
    for entry in (*ACTIVATIONS, *ACTIVATION_FUNCTIONS, *LAYERS, *LOSSES, *JOINING)
)
