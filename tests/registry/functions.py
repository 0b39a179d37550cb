"""Functions of `mynn.functional`, and of `mynn` itself where PyTorch has them at its top.

A case is called with a namespace: `mynn.functional`, or PyTorch's `torch.nn.functional` and, where
that lacks the name, `torch`. Weights that PyTorch wants without a gradient are detached.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.registry.activations import ACTIVATION_FUNCTIONS
from tests.registry.attention import ATTENTION_FUNCTIONS
from tests.registry.draws import KINKS, kinked, uniform
from tests.registry.entries import Case, Entry
from tests.registry.images import EMBEDDING_FUNCTIONS, IMAGE_FUNCTIONS
from tests.registry.layer_functions import LAYER_FUNCTIONS
from tests.registry.loss_functions import LOSSES

X, ROWS, IMAGE, SIGNAL = uniform(3, 4), uniform(4, 5), (2, 4, 6, 6), (2, 4, 9)
SCALE = uniform(4, low=0.2, high=2)
WEIGHT = uniform(3, low=0.5, high=2)
LABELS = np.array([0, 3, 1])
UNIT, SCORES = uniform(4, 3, low=0, high=1), uniform(4, 3)


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
    for entry in (
        *(
            *ACTIVATIONS,
            *ACTIVATION_FUNCTIONS,
            *LAYERS,
            *LAYER_FUNCTIONS,
            *ATTENTION_FUNCTIONS,
            *IMAGE_FUNCTIONS,
        ),
        *(*EMBEDDING_FUNCTIONS, *LOSSES, *JOINING),
    )
)
