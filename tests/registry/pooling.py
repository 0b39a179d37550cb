"""Pooling."""

from __future__ import annotations

from tests.registry.entries import ONLY_MADE, Case, Entry

IMAGE, ODD, SIGNAL, LONG = (2, 4, 6, 6), (2, 4, 8, 8), (2, 4, 9), (2, 4, 10)
POOL = {"kernel_size": 2, "stride": 1, "padding": 0, "ceil_mode": True}
MAX_POOL = {**POOL, "dilation": 2, "return_indices": ONLY_MADE}
AVERAGE_POOL = {**POOL, "count_include_pad": False}

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
)
