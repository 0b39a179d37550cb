"""Values put before and after the values of an axis."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ShapeError
from mynn.tensor import Tensor, as_tensor

MODES = ("constant", "reflect", "replicate", "circular")


@recorded
@explained
def pad(
    input: Any, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Values before and after those of the last axes; where a number is negative, values cut off.

    Args:
        input: any shape; but for "constant" [N, C, spatial..] or [C, spatial..] with as many
            spatial axes as `pad` has pairs.
        pad: two numbers for each axis from the last one on: (left, right, top, bottom, ...).
        mode: "constant", "reflect" (the values inside the edge, mirrored), "replicate" (the edge)
            or "circular" (from the other end).
        value: of the constant; 0 where left out.

    Example:
        >>> from mynn import functional as F
        >>> F.pad([[1.0, 2.0, 3.0]], (2, 1), mode="reflect").tolist()
        [[3.0, 2.0, 1.0, 2.0, 3.0, 2.0]]
    """
    x = as_tensor(input)
    counts = tuple(map(operator.index, pad))
    if mode not in MODES:
        raise ArgumentError(f"pad: mode must be one of {', '.join(MODES)}, it is {mode!r}")
    if len(counts) % 2 or len(counts) > 2 * x.ndim:
        raise ArgumentError(
            f"pad: pad must hold two numbers for each of at most {x.ndim} axes, it is {tuple(pad)}"
        )
    pairs = [(counts[i], counts[i + 1]) for i in range(0, len(counts), 2)]
    for number, (before, after) in enumerate(pairs):
        extent = x.shape[-1 - number]
        if extent + before + after < (0 if mode == "constant" else 1):
            raise ShapeError(
                f"pad: {(before, after)} cuts more off than axis {-1 - number} of {x.shape} has"
            )
    if mode == "constant":
        return _constant(x, pairs, value)
    if value not in (None, 0):
        raise ArgumentError(f"pad: value is for mode='constant', the mode is {mode!r}")
    if x.ndim - len(pairs) not in (1, 2) or len(pairs) > 3:
        raise ShapeError(
            f"pad: mode {mode!r} pads the last axes of [N, C, ..] or [C, ..]; an input of shape "
            f"{x.shape} does not fit {len(pairs)} pairs"
        )
    for number, (before, after) in enumerate(pairs):
        x = _ends(x, x.ndim - 1 - number, before, after, mode)
    return x


def _constant(x: Tensor, pairs: list[tuple[int, int]], value: float | None) -> Tensor:
    if any(min(pair) < 0 for pair in pairs):
        kept = [slice(None)] * x.ndim
        for number, (before, after) in enumerate(pairs):
            extent = x.shape[-1 - number]
            kept[-1 - number] = slice(max(-before, 0), extent - max(-after, 0))
        x = x[tuple(kept)]
    widths = [(0, 0)] * x.ndim
    for number, pair in enumerate(pairs):
        widths[-1 - number] = max(pair[0], 0), max(pair[1], 0)
    fill: Any = 0 if value is None else value
    if not any(map(any, widths)):
        return x + 0.0 if x.dtype.kind == "f" else x
    kinds = {"f": float, "b": bool}
    return x.pad(widths, kinds.get(x.dtype.kind, int)(fill))


def _ends(x: Tensor, axis: int, before: int, after: int, mode: str) -> Tensor:
    """One axis longer at both ends, or shorter."""
    n = x.shape[axis]
    most = {"reflect": n - 1, "circular": n, "replicate": None}[mode]
    if most is not None and max(before, after) > most:
        raise ShapeError(
            f"pad: mode {mode!r} can put at most {most} values at an end of axis {axis} of "
            f"{x.shape}, asked for are {(before, after)}"
        )
    whole = (slice(None),) * axis

    core = x[(*whole, slice(max(-before, 0), n - max(-after, 0)))]
    if mode == "circular":
        # What was cut off does not come back from the other end.
        x, n, before, after = core, core.shape[axis], max(before, 0), max(after, 0)

    def part(start: int, stop: int) -> Tensor:
        return x[(*whole, slice(start, stop))]

    def edge(place: int, count: int) -> Tensor:
        one = part(place, place + 1)
        return one.broadcast_to((*x.shape[:axis], count, *x.shape[axis + 1 :]))

    parts = [core]
    if before > 0:
        first = {
            "reflect": lambda: part(1, before + 1).flip((axis,)),
            "replicate": lambda: edge(0, before),
            "circular": lambda: part(n - before, n),
        }
        parts.insert(0, first[mode]())
    if after > 0:
        last = {
            "reflect": lambda: part(n - 1 - after, n - 1).flip((axis,)),
            "replicate": lambda: edge(n - 1, after),
            "circular": lambda: part(0, after),
        }
        parts.append(last[mode]())
    return parts[0].concatenate(parts[1:], axis) if len(parts) > 1 else parts[0]
