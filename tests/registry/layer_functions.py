"""Functions of layers with windows along any number of axes, of dropout and of attention."""

from __future__ import annotations

from typing import Any

from tests.registry.entries import Case, Entry
from tests.registry.images import call
from tests.registry.pooling import places

SIGNAL, IMAGE, VOLUME = (2, 4, 9), (2, 4, 6, 6), (2, 2, 4, 3, 5)
SHAPES = {1: SIGNAL, 2: IMAGE, 3: VOLUME}


def pooled(rank: int) -> tuple[Entry, ...]:
    """Pooling along one, two or three axes."""
    shape = SHAPES[rank]
    return (
        Entry(
            f"max_pool{rank}d",
            {
                "plain": call(f"max_pool{rank}d", shape, kernel_size=2, ceil_mode=True),
                "indices": call(
                    f"max_pool{rank}d",
                    shape,
                    kernel_size=2,
                    stride=1,
                    padding=1,
                    return_indices=True,
                ),
            },
        ),
        Entry(
            f"adaptive_max_pool{rank}d",
            {
                "plain": call(f"adaptive_max_pool{rank}d", shape, output_size=2),
                "indices": call(
                    f"adaptive_max_pool{rank}d", shape, output_size=2, return_indices=True
                ),
            },
        ),
        Entry(
            f"lp_pool{rank}d",
            {
                "plain": call(f"lp_pool{rank}d", shape, norm_type=2, kernel_size=2, ceil_mode=True),
            },
        ),
        Entry(
            f"max_unpool{rank}d",
            {
                "plain": Case(
                    lambda F, x, i: getattr(F, f"max_unpool{rank}d")(x, i, 2),
                    ((2, 1, *(2,) * rank), places(rank)),
                )
            },
        ),
    )


def fractional(rank: int) -> Entry:
    name = f"fractional_max_pool{rank}d"
    return Entry(
        name,
        {
            "plain": Case(
                lambda F, x: getattr(F, name)(
                    x, 2, output_size=2, return_indices=True, _random_samples=_half(x, rank)
                ),
                ((2, 3, *(5,) * rank),),
            )
        },
        differs={
            "args": "each by its name",
            "kwargs": "each by its name",
        },
    )


def _half(x: Any, rank: int) -> Any:
    return x.detach().reshape(2, 3, -1)[:, :, :rank] * 0.0 + 0.4


LAYER_FUNCTIONS: tuple[Entry, ...] = (
    *(entry for rank in (1, 2, 3) for entry in pooled(rank)),
    fractional(2),
    fractional(3),
    Entry(
        "avg_pool3d",
        {"plain": call("avg_pool3d", VOLUME, kernel_size=2, stride=1, padding=1, ceil_mode=True)},
    ),
    Entry("adaptive_avg_pool3d", {"plain": call("adaptive_avg_pool3d", VOLUME, output_size=2)}),
    Entry(
        "conv3d",
        {
            "plain": Case(
                lambda F, x, w, b: F.conv3d(x, w, b, 2, 1), (VOLUME, (3, 2, 2, 3, 2), (3,))
            )
        },
    ),
    Entry(
        "conv_transpose3d",
        {
            "plain": Case(
                lambda F, x, w, b: F.conv_transpose3d(x, w, b, 2, 1, 1),
                (VOLUME, (2, 3, 2, 2, 2), (3,)),
            )
        },
    ),
    Entry(
        "instance_norm",
        {
            "plain": Case(
                lambda F, x, w, b: F.instance_norm(x, None, None, w, b), (IMAGE, (4,), (4,))
            ),
            "running": Case(
                lambda F, x, m: F.instance_norm(
                    x, m.detach(), (m * m).detach() + 0.5, use_input_stats=False
                ),
                (SIGNAL, (4,)),
                smooth=False,
            ),
        },
    ),
    Entry(
        "local_response_norm",
        {"plain": call("local_response_norm", IMAGE, size=3, alpha=0.5, beta=0.6, k=2.0)},
    ),
    *(
        Entry(
            name,
            {
                "plain": call(name, SHAPES[rank], p=0.4, training=False),
                "all": call(name, SHAPES[rank], p=1.0, training=True),
            },
        )
        for name, rank in (
            ("dropout1d", 1),
            ("dropout2d", 2),
            ("dropout3d", 3),
            ("alpha_dropout", 1),
            ("feature_alpha_dropout", 2),
        )
    ),
    Entry(
        "bilinear",
        {
            "plain": Case(
                lambda F, x, y, w, b: F.bilinear(x, y, w, b), ((6, 3), (6, 4), (5, 3, 4), (5,))
            ),
            "sequence": Case(
                lambda F, x, y, w: F.bilinear(x, y, w), ((2, 3, 3), (2, 3, 4), (2, 3, 4))
            ),
        },
    ),
)
