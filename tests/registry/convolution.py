"""Convolutions."""

from __future__ import annotations

from tests.registry.entries import DROP, ONLY_MADE, Case, Entry

IMAGE, SIGNAL = (2, 4, 6, 6), (2, 4, 9)
CONV = {
    "in_channels": ONLY_MADE,
    "out_channels": ONLY_MADE,
    "kernel_size": ONLY_MADE,
    "stride": (2, 2),
    "padding": (0, 0),
    "dilation": (2, 2),
    "groups": 2,
    "bias": DROP,
    "padding_mode": ONLY_MADE,
    "device": ONLY_MADE,
    "dtype": ONLY_MADE,
}
CONV_1D = {
    key: value[:1] if isinstance(value, tuple) else value  # as the layer keeps them
    for key, value in CONV.items()
}

CONVOLUTIONS: tuple[Entry, ...] = (
    Entry(
        "Conv1d",
        {
            "plain": Case(lambda nn: nn.Conv1d(3, 4, 3), ((2, 3, 9),)),
            "all": Case(lambda nn: nn.Conv1d(4, 6, 2, 2, 1, 3, 2, False), ((3, 4, 11),)),
            "same": Case(lambda nn: nn.Conv1d(2, 3, 4, padding="same", dilation=2), ((2, 2, 9),)),
            "single": Case(lambda nn: nn.Conv1d(2, 3, 3), ((2, 7),)),
        },
        CONV_1D,
        guarded=Case(lambda nn: nn.Conv1d(4, 4, 3, padding=1), (SIGNAL,)),
    ),
    Entry(
        "Conv2d",
        {
            "plain": Case(lambda nn: nn.Conv2d(3, 4, 3), ((2, 3, 6, 7),)),
            "5x5": Case(lambda nn: nn.Conv2d(1, 8, 5), ((2, 1, 8, 9),)),
            "1x1": Case(lambda nn: nn.Conv2d(5, 3, 1), ((2, 5, 4, 3),)),
            "1x1 stride": Case(lambda nn: nn.Conv2d(3, 2, 1, stride=2), ((2, 3, 5, 6),)),
            "1x1 padded": Case(lambda nn: nn.Conv2d(3, 2, 1, stride=2, padding=1), ((2, 3, 4, 4),)),
            "whole": Case(lambda nn: nn.Conv2d(3, 5, (4, 6)), ((2, 3, 4, 6),)),
            "stride": Case(lambda nn: nn.Conv2d(3, 4, 3, stride=(2, 3)), ((2, 3, 8, 9),)),
            "gaps": Case(lambda nn: nn.Conv2d(2, 3, 2, stride=3), ((2, 2, 7, 9),)),
            "padding": Case(lambda nn: nn.Conv2d(3, 4, 3, padding=(2, 1)), ((2, 3, 5, 4),)),
            "wide padding": Case(
                lambda nn: nn.Conv2d(2, 3, 2, padding=3, stride=2), ((1, 2, 3, 4),)
            ),
            "same": Case(lambda nn: nn.Conv2d(2, 3, (3, 4), padding="same"), ((2, 2, 5, 6),)),
            "valid": Case(lambda nn: nn.Conv2d(2, 3, 3, padding="valid"), ((2, 2, 5, 6),)),
            "dilation": Case(
                lambda nn: nn.Conv2d(2, 3, 3, dilation=(2, 1), padding=1), ((2, 2, 7, 5),)
            ),
            "groups": Case(lambda nn: nn.Conv2d(4, 6, 3, groups=2), ((2, 4, 5, 6),)),
            "depthwise": Case(lambda nn: nn.Conv2d(4, 4, 3, padding=1, groups=4), ((2, 4, 5, 5),)),
            "multiplier": Case(lambda nn: nn.Conv2d(3, 6, 3, 2, 1, groups=3), ((2, 3, 6, 5),)),
            "all": Case(
                lambda nn: nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 2), (1, 2), 2, False),
                ((2, 4, 7, 6),),
            ),
            "single": Case(lambda nn: nn.Conv2d(2, 3, 3), ((2, 5, 6),)),
            "reflect": Case(
                lambda nn: nn.Conv2d(2, 3, 3, padding=(2, 1), padding_mode="reflect"),
                ((2, 2, 5, 6),),
            ),
            "circular": Case(
                lambda nn: nn.Conv2d(2, 3, (3, 2), padding="same", padding_mode="circular"),
                ((2, 2, 5, 6),),
            ),
            "vector": Case(lambda nn: nn.Conv2d(3, 17, 3, padding=1), ((2, 3, 5, 19),)),
        },
        CONV,
        guarded=Case(lambda nn: nn.Conv2d(4, 4, 3, padding=1), (IMAGE,)),
    ),
    Entry(
        "ConvTranspose1d",
        {
            "plain": Case(lambda nn: nn.ConvTranspose1d(3, 4, 3), ((2, 3, 5),)),
            "all": Case(lambda nn: nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, 2, False, 2), ((2, 4, 5),)),
        },
        {**CONV_1D, "output_padding": (1,)},
        guarded=Case(lambda nn: nn.ConvTranspose1d(4, 4, 3, stride=3, padding=1), (SIGNAL,)),
    ),
    Entry(
        "ConvTranspose2d",
        {
            "plain": Case(lambda nn: nn.ConvTranspose2d(3, 4, 3), ((2, 3, 4, 5),)),
            "stride": Case(lambda nn: nn.ConvTranspose2d(3, 2, 4, 2, 1), ((2, 3, 4, 3),)),
            "gaps": Case(lambda nn: nn.ConvTranspose2d(2, 3, 2, 3), ((2, 2, 3, 3),)),
            "output padding": Case(
                lambda nn: nn.ConvTranspose2d(2, 3, 3, (2, 3), 1, (1, 2)), ((2, 2, 4, 3),)
            ),
            "cut": Case(lambda nn: nn.ConvTranspose2d(2, 3, 2, 1, 2), ((2, 2, 6, 5),)),
            "groups": Case(
                lambda nn: nn.ConvTranspose2d(4, 6, 3, 2, padding=1, groups=2), ((2, 4, 3, 4),)
            ),
            "dilation": Case(
                lambda nn: nn.ConvTranspose2d(2, 2, 2, 2, 1, output_padding=2, dilation=3),
                ((1, 2, 4, 4),),
            ),
            "single": Case(lambda nn: nn.ConvTranspose2d(2, 3, 3), ((2, 3, 4),)),
        },
        {**CONV, "output_padding": (1, 1)},
        guarded=Case(lambda nn: nn.ConvTranspose2d(4, 4, 3, stride=3, padding=1), (IMAGE,)),
    ),
    Entry(
        "Conv3d",
        {
            "plain": Case(lambda nn: nn.Conv3d(2, 3, 2), ((2, 2, 3, 4, 3),)),
            "all": Case(
                lambda nn: nn.Conv3d(4, 2, (2, 1, 2), 2, 1, (1, 2, 1), 2, False, "circular"),
                ((1, 4, 3, 4, 3),),
            ),
        },
        {**CONV, "stride": (2, 2, 2), "padding": (0, 0, 0), "dilation": (2, 2, 2)},
        guarded=Case(lambda nn: nn.Conv3d(4, 4, 3, padding=1), ((1, 4, 5, 5, 5),)),
    ),
    Entry(
        "ConvTranspose3d",
        {
            "plain": Case(lambda nn: nn.ConvTranspose3d(2, 3, 2), ((2, 2, 2, 3, 2),)),
            "all": Case(
                lambda nn: nn.ConvTranspose3d(2, 2, 2, 2, 1, 1, 2, True, 2), ((1, 2, 3, 2, 2),)
            ),
        },
        {
            **CONV,
            "stride": (2, 2, 2),
            "padding": (0, 0, 0),
            "dilation": (2, 2, 2),
            "output_padding": (1, 1, 1),
        },
        guarded=Case(
            lambda nn: nn.ConvTranspose3d(4, 4, 3, stride=3, padding=1), ((1, 4, 2, 2, 2),)
        ),
    ),
)
