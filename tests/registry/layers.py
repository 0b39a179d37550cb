"""Layers, but for those with windows and normalisation."""

from __future__ import annotations

from mynn.random import Generator
from tests.registry.activations import ACTIVATION_LAYERS
from tests.registry.attention import ATTENTIONS
from tests.registry.convolution import CONVOLUTIONS
from tests.registry.entries import DROP, ONLY_MADE, Case, Entry
from tests.registry.images import EMBEDDINGS, IMAGE_LAYERS
from tests.registry.losses import DISTANCES
from tests.registry.normalization import NORMALIZATIONS
from tests.registry.pooling import POOLINGS
from tests.registry.recurrent import RECURRENT

ROWS = (6, 4)

LAYERS: tuple[Entry, ...] = (
    Entry(
        "Linear",
        {
            "plain": Case(lambda nn: nn.Linear(3, 4), ((5, 3),)),
            "one": Case(lambda nn: nn.Linear(3, 1), ((5, 3),)),
            "no bias": Case(lambda nn: nn.Linear(3, 4, bias=False), ((5, 3),)),
            "vector": Case(lambda nn: nn.Linear(3, 4), ((3,),)),
            "sequence": Case(lambda nn: nn.Linear(3, 4), ((2, 5, 3),)),
        },
        {
            "in_features": 5,
            "out_features": ONLY_MADE,
            "bias": DROP,
            "device": ONLY_MADE,
            "dtype": ONLY_MADE,
        },
    ),
    Entry(
        "Flatten",
        {
            "plain": Case(lambda nn: nn.Flatten(), ((2, 3, 4),)),
            "some": Case(lambda nn: nn.Flatten(start_dim=0, end_dim=1), ((2, 3, 4),)),
        },
        {"start_dim": 2, "end_dim": 2},
        guarded=Case(lambda nn: nn.Flatten(), ((2, 4, 6, 6),)),
    ),
    Entry(
        "Identity",
        {"plain": Case(lambda nn: nn.Identity(54, unused=True), (ROWS,))},
        {"args": ONLY_MADE, "kwargs": ONLY_MADE},
    ),
    Entry(
        "Dropout",
        {
            "eval": Case(lambda nn: nn.Dropout(0.5).eval(), (ROWS,)),
            "of nothing": Case(lambda nn: nn.Dropout(p=0.0), (ROWS,)),
        },
        {"p": 0.9, "inplace": ONLY_MADE, "generator": Generator(5)},
        guarded=Case(lambda nn: nn.Dropout(), (ROWS,)),
    ),
    *(
        Entry(
            name,
            {
                "eval": Case(lambda nn, n=name: getattr(nn, n)(0.5).eval(), (shape,)),
                "of nothing": Case(lambda nn, n=name: getattr(nn, n)(p=0.0), (shape,)),
            },
            {"p": 0.9, "inplace": ONLY_MADE, "generator": Generator(5)},
            alike=name in ("Dropout1d", "Dropout3d"),
            guarded=Case(lambda nn, n=name: getattr(nn, n)(), (shape,)),
        )
        for name, shape in (
            ("Dropout1d", (6, 4, 3)),
            ("Dropout2d", (6, 4, 3, 2)),
            ("Dropout3d", (6, 4, 3, 2, 2)),
            ("AlphaDropout", ROWS),
            ("FeatureAlphaDropout", (6, 4, 3)),
        )
    ),
    Entry(
        "Bilinear",
        {
            "plain": Case(lambda nn: nn.Bilinear(3, 4, 5), ((6, 3), (6, 4))),
            "no bias": Case(lambda nn: nn.Bilinear(3, 4, 5, bias=False), ((2, 3), (2, 4))),
        },
        {
            **dict.fromkeys(("in1_features", "in2_features", "out_features"), ONLY_MADE),
            **dict.fromkeys(("device", "dtype"), ONLY_MADE),
            "bias": DROP,
        },
    ),
    Entry(
        "ModuleDict",
        {
            "plain": Case(
                lambda nn: nn.Sequential(
                    *nn.ModuleDict({"a": nn.Linear(3, 2), "b": nn.Tanh()}).values()
                ),
                ((5, 3),),
            )
        },
        {"modules": ONLY_MADE},
    ),
    Entry(
        "Sequential",
        {
            "plain": Case(
                lambda nn: nn.Sequential(
                    *(nn.Flatten(), nn.Linear(6, 18), nn.Tanh(), nn.Linear(18, 4)),
                    *(nn.ReLU(), nn.Linear(4, 2)),
                ),
                ((5, 2, 3),),
            ),
            "nested": Case(
                lambda nn: nn.Sequential(
                    nn.Sequential(nn.Linear(3, 4), nn.GELU()), nn.Linear(4, 2)
                ),
                ((5, 3),),
            ),
        },
        {"modules": ONLY_MADE},
        differs={"args": "called modules"},
    ),
    Entry(
        "ModuleList",
        {
            "plain": Case(
                lambda nn: nn.Sequential(*nn.ModuleList([nn.Linear(3, 2), nn.Tanh()])), ((5, 3),)
            )
        },
        {"modules": ONLY_MADE},
        differs={"modules": "() is as empty as None"},
    ),
    Entry("Tanh", {"plain": Case(lambda nn: nn.Tanh(), (ROWS,))}),
    Entry("Sigmoid", {"plain": Case(lambda nn: nn.Sigmoid(), (ROWS,))}),
    Entry(
        "ReLU",
        {"plain": Case(lambda nn: nn.ReLU(), (ROWS,))},
        {"inplace": ONLY_MADE},
    ),
    Entry(
        "LeakyReLU",
        {
            "plain": Case(lambda nn: nn.LeakyReLU(), (ROWS,)),
            "slope": Case(lambda nn: nn.LeakyReLU(negative_slope=0.3), (ROWS,)),
        },
        {"negative_slope": 0.5, "inplace": ONLY_MADE},
    ),
    Entry(
        "SiLU",
        {"plain": Case(lambda nn: nn.SiLU(), (ROWS,))},
        {"inplace": ONLY_MADE},
    ),
    Entry(
        "GELU",
        {
            "plain": Case(lambda nn: nn.GELU(), (ROWS,)),
            "tanh": Case(lambda nn: nn.GELU(approximate="tanh"), (ROWS,)),
        },
        {"approximate": "tanh"},
    ),
    Entry(
        "Softplus",
        {
            "plain": Case(lambda nn: nn.Softplus(), (ROWS,)),
            "beta": Case(lambda nn: nn.Softplus(beta=3.0), (ROWS,)),
            "threshold": Case(lambda nn: nn.Softplus(2.0, 1.0), (ROWS,), smooth=False),
        },
        {"beta": 3.0, "threshold": 0.5},
    ),
    Entry(
        "Softmax",
        {
            "plain": Case(lambda nn: nn.Softmax(dim=-1), (ROWS,)),
            "middle": Case(lambda nn: nn.Softmax(dim=1), ((2, 3, 4),)),
        },
        {"dim": 0},
        guarded=Case(lambda nn: nn.Softmax(dim=1), (ROWS,)),
    ),
    Entry(
        "LogSoftmax",
        {"plain": Case(lambda nn: nn.LogSoftmax(dim=1), (ROWS,))},
        {"dim": 0},
    ),
    *ACTIVATION_LAYERS,
    *ATTENTIONS,
    *RECURRENT,
    *DISTANCES,
    *EMBEDDINGS,
    *IMAGE_LAYERS,
    *CONVOLUTIONS,
    *POOLINGS,
    *NORMALIZATIONS,
)
