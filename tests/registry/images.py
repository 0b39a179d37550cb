"""Padding, other sizes, channels and places exchanged, windows as columns: layers and functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.registry.entries import ONLY_MADE, Case, Entry

SIGNAL, IMAGE, VOLUME = (2, 4, 9), (2, 4, 6, 6), (2, 2, 4, 3, 5)
SHAPES = {1: SIGNAL, 2: IMAGE, 3: VOLUME}
PADS = {1: (2, 1), 2: (1, 2, 0, 3), 3: (1, 0, 2, 1, 1, 1)}
NEGATIVE = {1: (-1, 2), 2: (2, -1, 0, 1), 3: (1, -1, 0, 0, -1, 1)}


def padding(kind: str, rank: int) -> Entry:
    name = f"{kind}Pad{rank}d"
    value = (1.5,) if kind == "Constant" else ()
    pads = PADS if kind in ("Constant", "Zero", "Replication") else {1: (2, 1), 2: (1, 2, 0, 1)}
    given = pads.get(rank, (1, 1, 2, 1, 1, 1))
    cases = {
        "plain": Case(lambda nn: getattr(nn, name)(given, *value), (SHAPES[rank],)),
        "one": Case(lambda nn: getattr(nn, name)(1, *value), (SHAPES[rank][1:],)),
    }
    options: dict[str, Any] = {"padding": (0, 1) * rank}
    if value:
        options["value"] = -2.0
    return Entry(name, cases, options, alike=rank != 2 or kind == "Zero")


PADDINGS = tuple(
    padding(kind, rank)
    for kind in ("Constant", "Zero", "Reflection", "Replication", "Circular")
    for rank in (1, 2, 3)
)

REARRANGEMENTS = (
    Entry(
        "Upsample",
        {
            "plain": Case(lambda nn: nn.Upsample(scale_factor=2), (IMAGE,)),
            "size": Case(lambda nn: nn.Upsample((4, 9)), (IMAGE,)),
            "bilinear": Case(
                lambda nn: nn.Upsample(scale_factor=(1.5, 0.7), mode="bilinear"), (IMAGE,)
            ),
            "corners": Case(lambda nn: nn.Upsample(13, None, "linear", True), (SIGNAL,)),
            "bicubic": Case(lambda nn: nn.Upsample((7, 4), mode="bicubic"), (IMAGE,)),
            "trilinear": Case(lambda nn: nn.Upsample(scale_factor=2, mode="trilinear"), (VOLUME,)),
        },
        {
            "size": ONLY_MADE,
            "scale_factor": 3.0,
            "mode": "bilinear",
            "align_corners": ONLY_MADE,
            "recompute_scale_factor": ONLY_MADE,
        },
    ),
    Entry(
        "UpsamplingNearest2d",
        {"plain": Case(lambda nn: nn.UpsamplingNearest2d(scale_factor=3), (IMAGE,))},
        {"size": ONLY_MADE, "scale_factor": 2.0},
    ),
    Entry(
        "UpsamplingBilinear2d",
        {"plain": Case(lambda nn: nn.UpsamplingBilinear2d(size=(9, 4)), (IMAGE,))},
        {"size": (5, 5), "scale_factor": ONLY_MADE},
    ),
    Entry(
        "PixelShuffle",
        {"plain": Case(lambda nn: nn.PixelShuffle(2), (IMAGE,))},
        {"upscale_factor": 1},
    ),
    Entry(
        "PixelUnshuffle",
        {"plain": Case(lambda nn: nn.PixelUnshuffle(3), (IMAGE,))},
        {"downscale_factor": 2},
    ),
    Entry(
        "ChannelShuffle", {"plain": Case(lambda nn: nn.ChannelShuffle(2), (IMAGE,))}, {"groups": 1}
    ),
    Entry(
        "Unfold",
        {
            "plain": Case(lambda nn: nn.Unfold(3), (IMAGE,)),
            "all": Case(lambda nn: nn.Unfold((2, 3), 2, (1, 0), (1, 2)), (IMAGE,)),
        },
        {"kernel_size": 2, "dilation": 2, "padding": 1, "stride": 2},
    ),
    Entry(
        "Fold",
        {
            "plain": Case(lambda nn: nn.Fold((4, 5), 2), ((2, 12, 12),)),
            "all": Case(lambda nn: nn.Fold((5, 6), (2, 3), (2, 1), (1, 0), 2), ((2, 12, 6),)),
        },
        {
            "output_size": (5, 4),
            "kernel_size": ONLY_MADE,
            "dilation": ONLY_MADE,
            "padding": ONLY_MADE,
            "stride": ONLY_MADE,
        },
    ),
    Entry(
        "Unflatten",
        {
            "plain": Case(lambda nn: nn.Unflatten(1, (2, 2)), (IMAGE,)),
            "last": Case(lambda nn: nn.Unflatten(-1, (3, -1)), (IMAGE,)),
        },
        {"dim": ONLY_MADE, "unflattened_size": (4, 1)},
    ),
)

IMAGE_LAYERS = (*PADDINGS, *REARRANGEMENTS)


def call(name: str, *shapes: Any, smooth: bool = True, **options: Any) -> Case:
    """A function with options."""
    return Case(lambda F, *xs: getattr(F, name)(*xs, **options), shapes, smooth)


GRID = Case(
    lambda F, x, t: F.grid_sample(
        x, F.affine_grid(t * 0.4, (2, 4, 3, 4), align_corners=False), align_corners=False
    ),
    (IMAGE, (2, 2, 3)),
    smooth=False,
)


def sampled(**options: Any) -> Case:
    return Case(lambda F, x, g: F.grid_sample(x, g, **options), (IMAGE, (2, 3, 4, 2)), smooth=False)


IMAGE_FUNCTIONS = (
    Entry(
        "pad",
        {
            "plain": call("pad", IMAGE, pad=(1, 2, 0, 3), value=0.5),
            "negative": call("pad", IMAGE, pad=(-1, 2, 1, -2)),
            "reflect": call("pad", IMAGE, pad=(1, 2, 0, 3), mode="reflect"),
            "replicate": call("pad", SIGNAL, pad=(3, 1), mode="replicate"),
            "circular": call("pad", VOLUME, pad=(1, 2, 0, 1, 2, 0), mode="circular"),
        },
    ),
    Entry(
        "interpolate",
        {
            "plain": call("interpolate", IMAGE, scale_factor=2),
            "size": call("interpolate", IMAGE, size=(4, 9)),
            "exact": call("interpolate", SIGNAL, size=5, mode="nearest-exact"),
            "area": call("interpolate", IMAGE, size=(4, 3), mode="area"),
            "bicubic": call("interpolate", IMAGE, size=(4, 9), mode="bicubic", align_corners=True),
            "recomputed": call(
                "interpolate",
                IMAGE,
                scale_factor=1.4,
                mode="bilinear",
                align_corners=False,
                recompute_scale_factor=True,
            ),
        },
    ),
    # PyTorch warns of the three old names.
    Entry(
        "upsample",
        {
            "plain": Case(
                lambda F, x: F.upsample(x, scale_factor=2),
                (IMAGE,),
                theirs=lambda torch, x: torch.nn.functional.interpolate(x, scale_factor=2),
            )
        },
    ),
    Entry(
        "upsample_nearest",
        {
            "plain": Case(
                lambda F, x: F.upsample_nearest(x, (9, 12)),
                (IMAGE,),
                theirs=lambda torch, x: torch.nn.functional.interpolate(x, (9, 12)),
            )
        },
    ),
    Entry(
        "upsample_bilinear",
        {
            "plain": Case(
                lambda F, x: F.upsample_bilinear(x, scale_factor=2),
                (IMAGE,),
                theirs=lambda torch, x: torch.nn.functional.interpolate(
                    x, None, 2, "bilinear", True
                ),
            )
        },
    ),
    Entry(
        "affine_grid",
        {
            "plain": call("affine_grid", (2, 2, 3), size=(2, 1, 3, 4), align_corners=False),
            "corners": call("affine_grid", (2, 3, 4), size=(2, 1, 3, 2, 4), align_corners=True),
        },
    ),
    Entry(
        "grid_sample",
        {
            "plain": GRID,
            "border": sampled(padding_mode="border", align_corners=True),
            "reflection": sampled(padding_mode="reflection", align_corners=False),
            "nearest": sampled(mode="nearest", align_corners=False),
            "bicubic": sampled(mode="bicubic", align_corners=True),
        },
    ),
    Entry("pixel_shuffle", {"plain": call("pixel_shuffle", IMAGE, upscale_factor=2)}),
    Entry("pixel_unshuffle", {"plain": call("pixel_unshuffle", IMAGE, downscale_factor=3)}),
    Entry("channel_shuffle", {"plain": call("channel_shuffle", IMAGE, groups=2)}),
    Entry(
        "native_channel_shuffle",
        {
            "plain": Case(
                lambda F, x: F.native_channel_shuffle(x, 4),
                (IMAGE,),
                theirs=lambda torch, x: torch.nn.functional.channel_shuffle(x, 4),
            )
        },
    ),
    Entry(
        "unfold",
        {
            "plain": call("unfold", IMAGE, kernel_size=(2, 3), stride=2, padding=1),
            "single": call("unfold", IMAGE[1:], kernel_size=2, dilation=2),
        },
    ),
    Entry(
        "fold",
        {
            "plain": call(
                "fold", (2, 12, 9), output_size=(4, 4), kernel_size=2, stride=2, padding=1
            ),
            "single": call("fold", (8, 6), output_size=(3, 4), kernel_size=2),
        },
    ),
)

LABELS = np.array([[0, 3, 1], [2, 3, 3]])
EMBEDDING = {
    "max_norm": 1.5,
    "norm_type": ONLY_MADE,
    "scale_grad_by_freq": ONLY_MADE,
    "sparse": ONLY_MADE,
}
MADE = dict.fromkeys(("num_embeddings", "embedding_dim", "_weight", "device", "dtype"), ONLY_MADE)
EMBEDDINGS = (
    Entry(
        "Embedding",
        {
            "plain": Case(lambda nn: nn.Embedding(4, 3), (LABELS,)),
            "padding": Case(lambda nn: nn.Embedding(4, 3, padding_idx=-1), (LABELS,), smooth=False),
            "often": Case(
                lambda nn: nn.Embedding(4, 3, scale_grad_by_freq=True), (LABELS,), smooth=False
            ),
        },
        {
            **MADE,
            **EMBEDDING,
            "padding_idx": ONLY_MADE,
            "_freeze": ONLY_MADE,
            "norm_type": ONLY_MADE,
        },
        indices=True,
    ),
    Entry(
        "EmbeddingBag",
        {
            "plain": Case(lambda nn: nn.EmbeddingBag(4, 3), (LABELS,)),
            "sum": Case(lambda nn: nn.EmbeddingBag(4, 3, mode="sum", padding_idx=3), (LABELS,)),
            "max": Case(lambda nn: nn.EmbeddingBag(4, 3, mode="max"), (LABELS,)),
            "offsets": Case(
                lambda nn: nn.EmbeddingBag(4, 3, include_last_offset=True),
                (LABELS.reshape(-1), np.array([0, 2, 2, 6])),
            ),
        },
        {
            **MADE,
            **EMBEDDING,
            "norm_type": ONLY_MADE,
            "mode": "sum",
            "include_last_offset": ONLY_MADE,
            "padding_idx": 3,
        },
        indices=True,
    ),
)

EMBEDDING_FUNCTIONS = (
    Entry(
        "embedding",
        {
            "plain": Case(lambda F, w: F.embedding(_labels(w, LABELS), w), ((4, 3),)),
            "padding": Case(
                lambda F, w: F.embedding(_labels(w, LABELS), w, 3), ((4, 3),), smooth=False
            ),
        },
    ),
    Entry(
        "embedding_bag",
        {
            "plain": Case(lambda F, w: F.embedding_bag(_labels(w, LABELS), w), ((4, 3),)),
            "weights": Case(
                lambda F, w, s: F.embedding_bag(
                    _labels(w, LABELS), w, per_sample_weights=s, mode="sum"
                ),
                ((4, 3), (2, 3)),
            ),
            "max": Case(
                lambda F, w: F.embedding_bag(
                    _labels(w, LABELS[0]), w, _labels(w, [0, 1]), mode="max"
                ),
                ((4, 3),),
            ),
        },
    ),
)


def _labels(like: Any, values: Any) -> Any:
    """Whole numbers as a tensor of the toolbox that `like` is of."""
    if type(like).__module__.partition(".")[0] == "torch":
        import torch

        return torch.tensor(np.asarray(values))
    return np.asarray(values)
