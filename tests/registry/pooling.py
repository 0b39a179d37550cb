"""Pooling."""

from __future__ import annotations

import numpy as np

from mynn.core.types import Array
from mynn.random import Generator
from tests.registry.entries import ONLY_MADE, Case, Entry

IMAGE, ODD, SIGNAL, LONG = (2, 4, 6, 6), (2, 4, 8, 8), (2, 4, 9), (2, 4, 10)
POOL = {"kernel_size": 2, "stride": 1, "padding": 0, "ceil_mode": True}
MAX_POOL = {**POOL, "dilation": 2, "return_indices": ONLY_MADE}
AVERAGE_POOL = {**POOL, "count_include_pad": False}

VOLUME = (2, 2, 4, 5, 4)
SIZES = {2: (3, 4), 3: (2, 3, 2)}


def places(rank: int) -> Array:
    """Indices into images of extent 4, one in each window of 2."""
    shape = (4,) * rank
    index = np.arange(4**rank).reshape(shape)[(slice(None, None, 2),) * rank]
    return np.stack([index[None], index[None] + 1])


POOLINGS: tuple[Entry, ...] = (
    Entry(
        "MaxPool1d",
        {
            "plain": Case(lambda nn: nn.MaxPool1d(2), ((2, 3, 8),)),
            "all": Case(lambda nn: nn.MaxPool1d(3, 2, 1, 2, ceil_mode=True), ((2, 3, 10),)),
            "single": Case(lambda nn: nn.MaxPool1d(2), ((3, 8),)),
        },
        MAX_POOL,
        guarded=Case(lambda nn: nn.MaxPool1d(3, stride=2, padding=1), (LONG,)),
    ),
    Entry(
        "MaxPool2d",
        {
            "plain": Case(lambda nn: nn.MaxPool2d(2), ((2, 3, 6, 8),)),
            "rest": Case(lambda nn: nn.MaxPool2d(2), ((2, 3, 7, 5),)),
            "overlap": Case(lambda nn: nn.MaxPool2d(3, 2), ((2, 3, 7, 9),)),
            "padding": Case(lambda nn: nn.MaxPool2d(3, 2, 1), ((2, 3, 6, 7),)),
            "stride 1": Case(lambda nn: nn.MaxPool2d(3, 1, 1), ((2, 2, 4, 5),)),
            "gaps": Case(lambda nn: nn.MaxPool2d(2, 3), ((2, 2, 8, 6),)),
            "mixed": Case(lambda nn: nn.MaxPool2d((2, 3), (2, 1)), ((2, 3, 6, 7),)),
            "dilation": Case(lambda nn: nn.MaxPool2d(2, 2, 0, (2, 3)), ((2, 2, 6, 7),)),
            "ceil": Case(lambda nn: nn.MaxPool2d(2, ceil_mode=True), ((2, 3, 5, 6),)),
            "ceil padding": Case(lambda nn: nn.MaxPool2d(3, 2, 1, ceil_mode=True), ((2, 3, 6, 7),)),
            "ceil outside": Case(lambda nn: nn.MaxPool2d(2, 3, 1, ceil_mode=True), ((1, 2, 5, 6),)),
            "single": Case(lambda nn: nn.MaxPool2d(2), ((3, 6, 8),)),
        },
        MAX_POOL,
        guarded=Case(lambda nn: nn.MaxPool2d(3, stride=2, padding=1), (ODD,)),
    ),
    Entry(
        "AvgPool1d",
        {
            "plain": Case(lambda nn: nn.AvgPool1d(2), ((2, 3, 8),)),
            "all": Case(lambda nn: nn.AvgPool1d(3, 2, 1, True, False), ((2, 3, 8),)),
        },
        AVERAGE_POOL,
        guarded=Case(lambda nn: nn.AvgPool1d(3, stride=2, padding=1), (LONG,)),
    ),
    Entry(
        "AvgPool2d",
        {
            "plain": Case(lambda nn: nn.AvgPool2d(2), ((2, 3, 6, 8),)),
            "overlap": Case(lambda nn: nn.AvgPool2d(3, 2), ((2, 3, 7, 8),)),
            "padding": Case(lambda nn: nn.AvgPool2d(3, 2, 1), ((2, 3, 7, 8),)),
            "not padding": Case(
                lambda nn: nn.AvgPool2d(3, 2, 1, count_include_pad=False), ((2, 3, 7, 8),)
            ),
            "ceil": Case(lambda nn: nn.AvgPool2d(3, 2, 1, ceil_mode=True), ((2, 3, 6, 8),)),
            "ceil not padding": Case(
                lambda nn: nn.AvgPool2d((2, 3), 2, (1, 0), True, False), ((2, 3, 7, 8),)
            ),
            "divisor": Case(lambda nn: nn.AvgPool2d(2, divisor_override=3), ((2, 3, 6, 8),)),
            "single": Case(lambda nn: nn.AvgPool2d(2), ((3, 6, 8),)),
        },
        {**AVERAGE_POOL, "divisor_override": 7},
        guarded=Case(lambda nn: nn.AvgPool2d(3, stride=2, padding=1), (ODD,)),
    ),
    Entry(
        "AdaptiveAvgPool1d",
        {
            "plain": Case(lambda nn: nn.AdaptiveAvgPool1d(4), ((2, 3, 8),)),
            "uneven": Case(lambda nn: nn.AdaptiveAvgPool1d(3), ((2, 3, 8),)),
        },
        {"output_size": 2},
        guarded=Case(lambda nn: nn.AdaptiveAvgPool1d(3), (SIGNAL,)),
    ),
    Entry(
        "AdaptiveAvgPool2d",
        {
            "plain": Case(lambda nn: nn.AdaptiveAvgPool2d((2, 3)), ((2, 3, 6, 9),)),
            "uneven": Case(lambda nn: nn.AdaptiveAvgPool2d((4, 3)), ((2, 3, 6, 8),)),
            "wider": Case(lambda nn: nn.AdaptiveAvgPool2d((7, 4)), ((2, 3, 3, 8),)),
            "global": Case(lambda nn: nn.AdaptiveAvgPool2d(1), ((2, 3, 5, 7),)),
            "none": Case(lambda nn: nn.AdaptiveAvgPool2d((None, 2)), ((2, 3, 5, 6),)),
            "identity": Case(lambda nn: nn.AdaptiveAvgPool2d((5, 6)), ((2, 3, 5, 6),)),
            "single": Case(lambda nn: nn.AdaptiveAvgPool2d(2), ((3, 5, 6),)),
        },
        {"output_size": (2, 1)},
        guarded=Case(lambda nn: nn.AdaptiveAvgPool2d(3), (IMAGE,)),
    ),
    Entry(
        "AdaptiveMaxPool1d",
        {
            "plain": Case(lambda nn: nn.AdaptiveMaxPool1d(3), ((2, 3, 7),)),
        },
        {"output_size": 2, "return_indices": ONLY_MADE},
        guarded=Case(lambda nn: nn.AdaptiveMaxPool1d(3), (SIGNAL,)),
    ),
    Entry(
        "AdaptiveMaxPool2d",
        {
            "plain": Case(lambda nn: nn.AdaptiveMaxPool2d((2, 3)), ((2, 3, 6, 9),)),
            "uneven": Case(lambda nn: nn.AdaptiveMaxPool2d((4, 3)), ((2, 3, 6, 8),)),
            "global": Case(lambda nn: nn.AdaptiveMaxPool2d(1), ((2, 3, 5, 7),)),
        },
        {"output_size": (2, 1), "return_indices": ONLY_MADE},
        guarded=Case(lambda nn: nn.AdaptiveMaxPool2d(3), (IMAGE,)),
    ),
    Entry(
        "MaxPool3d",
        {
            "plain": Case(lambda nn: nn.MaxPool3d(2), (VOLUME,)),
            "indices": Case(
                lambda nn: nn.MaxPool3d(2, (1, 2, 1), 1, return_indices=True), (VOLUME,)
            ),
        },
        MAX_POOL,
        guarded=Case(lambda nn: nn.MaxPool3d(3, stride=2, padding=1), ((1, 2, 4, 4, 4),)),
    ),
    Entry(
        "AvgPool3d",
        {"plain": Case(lambda nn: nn.AvgPool3d(2, 1, 1, True, False), (VOLUME,))},
        {**AVERAGE_POOL, "divisor_override": 7},
        guarded=Case(lambda nn: nn.AvgPool3d(3, stride=2, padding=1), ((1, 2, 4, 4, 4),)),
    ),
    Entry(
        "AdaptiveAvgPool3d",
        {"plain": Case(lambda nn: nn.AdaptiveAvgPool3d((2, 3, 2)), (VOLUME,))},
        {"output_size": 2},
        guarded=Case(lambda nn: nn.AdaptiveAvgPool3d(3), (VOLUME,)),
    ),
    Entry(
        "AdaptiveMaxPool3d",
        {
            "plain": Case(lambda nn: nn.AdaptiveMaxPool3d((2, 3, 2)), (VOLUME,)),
            "indices": Case(lambda nn: nn.AdaptiveMaxPool3d(2, True), (VOLUME,)),
        },
        {"output_size": 2, "return_indices": ONLY_MADE},
        guarded=Case(lambda nn: nn.AdaptiveMaxPool3d(3), (VOLUME,)),
    ),
    *(
        Entry(
            f"LPPool{rank}d",
            {
                "plain": Case(lambda nn, r=rank: getattr(nn, f"LPPool{r}d")(2, 2), (shape,)),
                "ceil": Case(
                    lambda nn, r=rank: getattr(nn, f"LPPool{r}d")(2, 2, 3, ceil_mode=True),
                    (shape,),
                ),
            },
            {"norm_type": 1, "kernel_size": 3, "stride": 1, "ceil_mode": ONLY_MADE},
            alike=rank != 2,
            guarded=Case(lambda nn, r=rank: getattr(nn, f"LPPool{r}d")(4, 2), (shape,)),
        )
        for rank, shape in ((1, SIGNAL), (2, IMAGE), (3, (1, 2, 4, 4, 4)))
    ),
    *(
        Entry(
            f"MaxUnpool{rank}d",
            {
                "plain": Case(
                    lambda nn, r=rank: getattr(nn, f"MaxUnpool{r}d")(2),
                    ((2, 1, *(2,) * rank), places(rank)),
                )
            },
            {"kernel_size": ONLY_MADE, "stride": ONLY_MADE, "padding": ONLY_MADE},
            alike=rank != 2,
        )
        for rank in (1, 2, 3)
    ),
    *(
        Entry(
            f"FractionalMaxPool{rank}d",
            {
                "plain": Case(
                    lambda nn, r=rank: getattr(nn, f"FractionalMaxPool{r}d")(
                        1, output_size=SIZES[r]
                    ),
                    ((2, 1, *SIZES[rank]),),
                    apart="" if rank == 2 else "PyTorch wants more room there",
                )
            },
            {
                **dict.fromkeys(("output_size", "output_ratio", "return_indices"), ONLY_MADE),
                **dict.fromkeys(("kernel_size", "_random_samples"), ONLY_MADE),
                "generator": Generator(5),
            },
            guarded=Case(
                lambda nn, r=rank: getattr(nn, f"FractionalMaxPool{r}d")(2, output_ratio=0.5),
                ((2, 3, *(7,) * rank),),
            ),
        )
        for rank in (2, 3)
    ),
)
