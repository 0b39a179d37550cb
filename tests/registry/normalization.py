"""Normalisation."""

from __future__ import annotations

from tests.registry.entries import DROP, ONLY_MADE, Case, Entry

IMAGE, SIGNAL, ROWS = (2, 4, 6, 6), (2, 4, 9), (6, 4)
SHAPES = {1: SIGNAL, 2: IMAGE, 3: (2, 4, 2, 3, 2)}
FIRST = "PyTorch never takes the first channel out of its sums"
NORM = {
    "num_features": 5,
    "eps": 0.5,
    "momentum": 0.7,
    "affine": ONLY_MADE,
    "track_running_stats": False,
    "device": ONLY_MADE,
    "dtype": ONLY_MADE,
    "bias": DROP,
}

NORMALIZATIONS: tuple[Entry, ...] = (
    Entry(
        "BatchNorm1d",
        {
            "plain": Case(lambda nn: nn.BatchNorm1d(3), ((5, 3),)),
            "spatial": Case(lambda nn: nn.BatchNorm1d(3), ((4, 3, 5),)),
        },
        NORM,
        guarded=Case(lambda nn: nn.BatchNorm1d(4), (ROWS,)),
    ),
    Entry(
        "BatchNorm2d",
        {
            "plain": Case(lambda nn: nn.BatchNorm2d(3), ((4, 3, 5, 2),)),
            "options": Case(lambda nn: nn.BatchNorm2d(3, 1e-2, 0.3), ((4, 3, 5, 2),)),
            "cumulative": Case(lambda nn: nn.BatchNorm2d(3, momentum=None), ((4, 3, 5, 2),)),
            "no weights": Case(lambda nn: nn.BatchNorm2d(3, affine=False), ((4, 3, 5, 2),)),
            "untracked": Case(
                lambda nn: nn.BatchNorm2d(3, track_running_stats=False), ((4, 3, 5, 2),)
            ),
            "untracked eval": Case(
                lambda nn: nn.BatchNorm2d(3, track_running_stats=False).eval(), ((4, 3, 5, 2),)
            ),
            "eval": Case(lambda nn: nn.BatchNorm2d(3).eval(), ((4, 3, 5, 2),)),
            "one sample": Case(lambda nn: nn.BatchNorm2d(3), ((1, 3, 2, 2),)),
        },
        NORM,
        guarded=Case(lambda nn: nn.BatchNorm2d(4), (IMAGE,)),
    ),
    Entry(
        "LayerNorm",
        {
            "plain": Case(lambda nn: nn.LayerNorm(7), ((5, 7),)),
            "sequence": Case(lambda nn: nn.LayerNorm(7, 1e-3), ((2, 5, 7),)),
            "many": Case(lambda nn: nn.LayerNorm((3, 4, 5)), ((2, 3, 4, 5),)),
            "no weights": Case(lambda nn: nn.LayerNorm(7, elementwise_affine=False), ((5, 7),)),
            "no bias": Case(lambda nn: nn.LayerNorm(7, bias=False), ((5, 7),)),
            "vector": Case(lambda nn: nn.LayerNorm(7), ((7,),)),
        },
        {
            "normalized_shape": (6, 4),
            "eps": 0.5,
            "elementwise_affine": ONLY_MADE,
            "bias": DROP,
            "device": ONLY_MADE,
            "dtype": ONLY_MADE,
        },
        guarded=Case(lambda nn: nn.LayerNorm(4), (ROWS,)),
    ),
    Entry(
        "GroupNorm",
        {
            "plain": Case(lambda nn: nn.GroupNorm(2, 6), ((3, 6, 4, 5),)),
            "one": Case(lambda nn: nn.GroupNorm(1, 4), ((3, 4, 5),)),
            "instance": Case(lambda nn: nn.GroupNorm(4, 4, 1e-3), ((3, 4, 5),)),
            "no weights": Case(lambda nn: nn.GroupNorm(2, 4, affine=False), ((3, 4),)),
        },
        {
            "num_groups": 4,
            "num_channels": 6,
            "eps": 0.5,
            "affine": ONLY_MADE,
            "device": ONLY_MADE,
            "dtype": ONLY_MADE,
            "bias": DROP,
        },
        guarded=Case(lambda nn: nn.GroupNorm(2, 4), (SIGNAL,)),
    ),
    Entry(
        "RMSNorm",
        {
            "plain": Case(lambda nn: nn.RMSNorm(7), ((5, 7),)),
            "many": Case(lambda nn: nn.RMSNorm((4, 5), 1e-3), ((2, 3, 4, 5),)),
            "no weights": Case(lambda nn: nn.RMSNorm(7, elementwise_affine=False), ((5, 7),)),
        },
        {
            "normalized_shape": (6, 4),
            "eps": 0.5,
            "elementwise_affine": ONLY_MADE,
            "device": ONLY_MADE,
            "dtype": ONLY_MADE,
        },
        guarded=Case(lambda nn: nn.RMSNorm(4), (ROWS,)),
    ),
    Entry(
        "BatchNorm3d",
        {"plain": Case(lambda nn: nn.BatchNorm3d(2), ((2, 2, 2, 3, 2),))},
        NORM,
        guarded=Case(lambda nn: nn.BatchNorm3d(4), ((2, 4, 2, 2, 3),)),
    ),
    *(
        Entry(
            f"InstanceNorm{rank}d",
            {
                "plain": Case(
                    lambda nn, r=rank: getattr(nn, f"InstanceNorm{r}d")(4), (SHAPES[rank],)
                ),
                "all": Case(
                    lambda nn, r=rank: getattr(nn, f"InstanceNorm{r}d")(4, 1e-3, 0.3, True, True),
                    (SHAPES[rank],),
                ),
                "eval": Case(
                    lambda nn, r=rank: getattr(nn, f"InstanceNorm{r}d")(
                        4, affine=True, track_running_stats=True
                    ).eval(),
                    (SHAPES[rank],),
                ),
                "single": Case(
                    lambda nn, r=rank: getattr(nn, f"InstanceNorm{r}d")(4), (SHAPES[rank][1:],)
                ),
            },
            {**NORM, "track_running_stats": ONLY_MADE},
            alike=rank != 2,
            guarded=Case(
                lambda nn, r=rank: getattr(nn, f"InstanceNorm{r}d")(4, 1e-5, 0.1, True, True),
                (SHAPES[rank],),
            ),
        )
        for rank in (1, 2, 3)
    ),
    Entry(
        "LocalResponseNorm",
        {
            "plain": Case(lambda nn: nn.LocalResponseNorm(2), (IMAGE,)),
            "all": Case(lambda nn: nn.LocalResponseNorm(3, 0.5, 0.6, 2.0), (SIGNAL,)),
        },
        {"size": 3, "alpha": 0.5, "beta": 0.5, "k": 2.0},
        guarded=Case(lambda nn: nn.LocalResponseNorm(2, 0.2), (IMAGE,)),
    ),
    Entry(
        "CrossMapLRN2d",
        {"plain": Case(lambda nn: nn.CrossMapLRN2d(3, 0.5), (IMAGE,), apart=FIRST)},
        {"size": 1, "alpha": 0.1, "beta": 0.5, "k": 2.0},
        guarded=Case(lambda nn: nn.CrossMapLRN2d(3, 0.2), (IMAGE,)),
    ),
)
