"""Images of another size."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from mynn.base.arguments import explained
from mynn.base.recording import recorded
from mynn.core.types import Array
from mynn.errors import ArgumentError, ShapeError
from mynn.functional.adaptive_pooling import adaptive_mean
from mynn.functional.conv import per_axis
from mynn.tensor import Tensor, as_tensor

# Modes, and for how many spatial axes they are.
MODES = {
    "nearest": (1, 2, 3),
    "nearest-exact": (1, 2, 3),
    "linear": (1,),
    "bilinear": (2,),
    "bicubic": (2,),
    "trilinear": (3,),
    "area": (1, 2, 3),
}
_CUBIC = -0.75


@recorded
@explained
def interpolate(
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """The input with other spatial extents, its values interpolated axis by axis.

    Args:
        input: [N, C, L], [N, C, H, W] or [N, C, D, H, W].
        size: extents of the result; a number or one for each spatial axis.
        scale_factor: by what the extents are multiplied, instead of `size`.
        mode: "nearest", "nearest-exact", "linear" (one axis), "bilinear" or "bicubic" (two),
            "trilinear" (three), or "area" (means, as of adaptive pooling).
        align_corners: for the linear and cubic modes, whether the outermost values stay at the
            corners; otherwise values are the middles of equal parts.
        recompute_scale_factor: whether places are computed from the extents, not from
            scale_factor.
        antialias: must be False.

    Example:
        >>> from mynn import functional as F
        >>> F.interpolate([[[1.0, 2.0]]], scale_factor=2).tolist()
        [[[1.0, 1.0, 2.0, 2.0]]]
    """
    x = as_tensor(input).floating()
    rank = x.ndim - 2
    if mode not in MODES:
        raise ArgumentError(f"interpolate: mode must be one of {', '.join(MODES)}, it is {mode!r}")
    if rank not in MODES[mode]:
        raise ShapeError(
            f"interpolate: mode {mode!r} takes {' or '.join(map(str, MODES[mode]))} spatial axes, "
            f"an input [N, C, ..] of shape {x.shape} has {rank}"
        )
    smooth = mode in ("linear", "bilinear", "bicubic", "trilinear")
    if align_corners is not None and not smooth:
        raise ArgumentError(
            f"interpolate: align_corners is for linear and cubic modes, the mode is {mode!r}"
        )
    if antialias:
        raise ArgumentError(
            "interpolate: antialias=True is not supported; blur the input first, or use mode='area'"
        )
    extents, scales = _extents(x, size, scale_factor, bool(recompute_scale_factor))
    if not x.numel():
        raise ShapeError(f"interpolate: an input of shape {x.shape} holds no values")
    if mode == "area":
        return adaptive_mean(x, extents)
    for axis, (extent, scale) in enumerate(zip(extents, scales, strict=True), 2):
        if mode.startswith("nearest"):
            x = _nearest(x, axis, extent, scale, 0.5 if mode == "nearest-exact" else 0.0)
        elif mode == "bicubic":
            x = _cubic(x, axis, _places(x, axis, extent, scale, bool(align_corners)))
        else:
            places = _places(x, axis, extent, scale, bool(align_corners)).clip(0)
            x = _linear(x, axis, places)
    return x


def _extents(
    x: Tensor, size: Any, scale_factor: Any, recompute: bool
) -> tuple[tuple[int, ...], list[float | None]]:
    """The new extents, and for each axis the factor that was given."""
    rank = x.ndim - 2
    if (size is None) == (scale_factor is None):
        raise ArgumentError(
            f"interpolate: give size or scale_factor, one of them; they are {size!r} and "
            f"{scale_factor!r}"
        )
    if size is not None:
        if recompute:
            raise ArgumentError("interpolate: recompute_scale_factor needs scale_factor, not size")
        return per_axis("interpolate", "size", size, rank), [None] * rank
    many = isinstance(scale_factor, tuple | list)
    factors = [float(f) for f in (scale_factor if many else (scale_factor,) * rank)]
    if len(factors) != rank or min(factors) <= 0:
        raise ArgumentError(
            f"interpolate: scale_factor must be a number above 0 or {rank} of them, it is "
            f"{scale_factor!r}"
        )
    extents = tuple(math.floor(n * f) for n, f in zip(x.shape[2:], factors, strict=True))
    if min(extents) < 1:
        raise ShapeError(
            f"interpolate: scale_factor={scale_factor} leaves nothing of the shape {x.shape}"
        )
    return extents, [None] * rank if recompute else list(factors)


def _nearest(x: Tensor, axis: int, extent: int, scale: float | None, middle: float) -> Tensor:
    n = x.shape[axis]
    if extent == n:
        return x
    if extent % n == 0 and scale in (None, extent / n):
        times = extent // n
        wide = x.unsqueeze(axis + 1)
        repeated = wide.broadcast_to((*x.shape[: axis + 1], times, *x.shape[axis + 1 :]))
        return repeated.reshape((*x.shape[:axis], extent, *x.shape[axis + 1 :]))
    step = np.float32(n / extent if scale is None else 1 / scale)
    places = np.floor((np.arange(extent, dtype=np.float32) + np.float32(middle)) * step)
    return x.gather_rows(np.minimum(places.astype(np.int64), n - 1), axis)


def _places(x: Tensor, axis: int, extent: int, scale: float | None, corners: bool) -> Array:
    """Where the values of the result lie among those of the input."""
    n = x.shape[axis]
    index = np.arange(extent)
    if corners:
        return index * ((n - 1) / (extent - 1) if extent > 1 else 0.0)
    step = n / extent if scale is None else 1 / scale
    return np.asarray((index + 0.5) * step - 0.5)


def _beside(weights: Array, x: Tensor, axis: int) -> Array:
    """Factors along an axis, in the dtype and with the axes of x."""
    return weights.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - axis - 1))


def _linear(x: Tensor, axis: int, places: Array) -> Tensor:
    n = x.shape[axis]
    low = np.minimum(np.floor(places).astype(np.int64), n - 1)
    share = _beside(np.clip(places - low, 0, 1), x, axis)
    first = x.gather_rows(low, axis)
    second = x.gather_rows(np.minimum(low + 1, n - 1), axis)
    return first * (1 - share) + second * share


def _cubic(x: Tensor, axis: int, places: Array) -> Tensor:
    n = x.shape[axis]
    low = np.floor(places).astype(np.int64)
    total: Any = None
    for offset, weights in zip(range(-1, 3), cubic_weights(places - low), strict=True):
        picked = x.gather_rows(np.clip(low + offset, 0, n - 1), axis)
        part = picked * _beside(weights, x, axis)
        total = part if total is None else total + part
    found: Tensor = total
    return found


def cubic_weights(t: Any) -> tuple[Any, Any, Any, Any]:
    """Keys' weights of the four values around a place, which lies t behind the second one."""
    a = _CUBIC

    def near(s: Any) -> Any:
        return ((a + 2) * s - (a + 3)) * s * s + 1

    def far(s: Any) -> Any:
        return ((a * s - 5 * a) * s + 8 * a) * s - 4 * a

    return far(t + 1), near(t), near(1 - t), far(2 - t)


@explained
def upsample(
    input: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """`interpolate` under its old name."""
    return interpolate(input, size, scale_factor, mode, align_corners)


@explained
def upsample_nearest(input: Any, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode="nearest"."""
    return interpolate(input, size, scale_factor, "nearest")


@explained
def upsample_bilinear(input: Any, size: Any = None, scale_factor: Any = None) -> Tensor:
    """`interpolate` with mode="bilinear" and align_corners=True."""
    return interpolate(input, size, scale_factor, "bilinear", True)


# -- grids -----------------------------------------------------------------------------------------


@recorded
@explained
def affine_grid(theta: Any, size: Any, align_corners: bool | None = None) -> Tensor:
    """Places for `grid_sample`: A p for each place p of an image, from -1 to 1 in each axis.

    Args:
        theta: matrices A, [N, 2, 3] or [N, 3, 4].
        size: the shape of the result of sampling, (N, C, H, W) or (N, C, D, H, W).
        align_corners: whether -1 and 1 are the middles of the outermost values, or their edges.

    Returns:
        [N, H, W, 2] or [N, D, H, W, 3]: x, y(, z) of each place.
    """
    a = as_tensor(theta)
    shape = tuple(map(operator.index, size))
    rank = len(shape) - 2
    if rank not in (2, 3) or a.shape != (shape[0], rank, rank + 1) or a.dtype.kind != "f":
        raise ShapeError(
            f"affine_grid: theta must be floats [N, 2, 3] for a size of 4 numbers, [N, 3, 4] for "
            f"one of 5; they are {a.spec} and {shape}"
        )
    axes = []
    for n in shape[2:]:
        line = np.linspace(-1, 1, n) if n > 1 else np.zeros(n)
        axes.append(line if align_corners else line * ((n - 1) / n))
    mesh = np.meshgrid(*axes, indexing="ij")
    points = np.stack([*reversed(mesh), np.ones_like(mesh[0])], -1).reshape(-1, rank + 1)
    grid: Tensor = as_tensor(points.astype(a.dtype)) @ a.transpose(1, 2)
    return grid.reshape((shape[0], *shape[2:], rank))


@recorded
@explained
def grid_sample(
    input: Any,
    grid: Any,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """The input at places of a grid: y[n, c, i..] = x[n, c, at grid[n, i..]].

    Args:
        input: [N, C, H, W] or [N, C, D, H, W].
        grid: [N, H', W', 2] or [N, D', H', W', 3]: x, y(, z) from -1 to 1.
        mode: "bilinear" (of three axes too), "nearest" or "bicubic" (of two axes).
        padding_mode: what is outside: "zeros", "border" (the nearest value) or "reflection".
        align_corners: whether -1 and 1 are the middles of the outermost values, or their edges.

    Returns:
        [N, C, H', W'] or [N, C, D', H', W'].
    """
    x = as_tensor(input).floating()
    g = as_tensor(grid).astype(x.dtype)
    rank = x.ndim - 2
    if rank not in (2, 3) or g.ndim != x.ndim or g.shape[-1] != rank or g.shape[0] != x.shape[0]:
        raise ShapeError(
            f"grid_sample: an input [N, C, H, W] needs a grid [N, H', W', 2], one of three spatial "
            f"axes [N, D', H', W', 3]; they are {x.shape} and {g.shape}"
        )
    if mode not in ("bilinear", "nearest", "bicubic") or (mode == "bicubic" and rank == 3):
        raise ArgumentError(
            f'grid_sample: mode must be "bilinear", "nearest" or, for two axes, "bicubic"; it is '
            f"{mode!r}"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ArgumentError(
            'grid_sample: padding_mode must be "zeros", "border" or "reflection", it is '
            f"{padding_mode!r}"
        )
    sampler = _Sampler(x, padding_mode, bool(align_corners))
    places = []
    for axis in range(rank):
        n = x.shape[2 + axis]
        p = g[..., rank - 1 - axis]
        p = (p + 1) * ((n - 1) / 2) if align_corners else ((p + 1) * n - 1) * 0.5
        places.append(p if mode == "bicubic" else sampler.inside(p, n))
    return sampler.sample(places, mode)


class _Sampler:
    """An image whose values are picked at places that are computed."""

    def __init__(self, x: Tensor, padding_mode: str, corners: bool) -> None:
        self.x = x
        self.padding_mode = padding_mode
        self.corners = corners
        order = (0, *range(2, x.ndim), 1)
        self.rows = x.permute(order).reshape((-1, x.shape[1]))

    def inside(self, p: Tensor, n: int) -> Tensor:
        """A place that is held to the image, but for zeros outside."""
        if self.padding_mode == "zeros":
            return p
        if self.padding_mode == "reflection":
            low, span = (0.0, n - 1.0) if self.corners else (-0.5, float(n))
            if span == 0:
                p = p * 0.0
            else:
                size = (p - low).abs()
                flips = (size.detach() * (1 / span)).floor()
                extra = size - flips * span
                odd = (flips * 0.5).floor() * 2.0 != flips
                p = odd.choose(span - extra, extra) + low
        return p.clip(0.0, n - 1.0)

    def pick(self, index: list[Tensor]) -> Tensor:
        """Values [N, places.., C] at whole places; 0 outside."""
        extents = self.x.shape[2:]
        batch = self.x.shape[0]
        count = math.prod(extents)
        shape = index[0].shape
        flat: Any = np.arange(batch).reshape(-1, *(1,) * (len(shape) - 1)) * count
        valid: Any = None
        for axis, (i, n) in enumerate(zip(index, extents, strict=True)):
            within = (i >= 0) & (i <= n - 1)
            valid = within if valid is None else valid & within
            whole = within.choose(i, i.detach().clip(0.0, n - 1.0)).detach().astype(np.int64)
            flat = whole * math.prod(extents[axis + 1 :]) + flat
        values = self.rows.gather_rows(flat, 0, clip=True)
        found: Tensor = valid.unsqueeze(-1).choose(values, 0.0)
        return found

    def sample(self, places: list[Tensor], mode: str) -> Tensor:
        """[N, C, places..]."""
        if mode == "nearest":
            total = self.pick([_rounded(p.detach()) for p in places])
        else:
            total = self._blend(places, mode)
        return total.permute((0, total.ndim - 1, *range(1, total.ndim - 1)))

    def _blend(self, places: list[Tensor], mode: str) -> Tensor:
        lows = [p.detach().floor() for p in places]
        shares = [p - low for p, low in zip(places, lows, strict=True)]
        if mode == "bicubic":
            weights: list[Any] = [cubic_weights(t) for t in shares]
            offsets = range(-1, 3)
        else:
            weights = [(1 - t, t) for t in shares]
            offsets = range(2)
        total: Any = None
        for choice in np.ndindex(*(len(offsets),) * len(places)):
            index = [low + float(offsets[i]) for low, i in zip(lows, choice, strict=True)]
            if mode == "bicubic":
                extents = self.x.shape[2:]
                index = [self.inside(i, n) for i, n in zip(index, extents, strict=True)]
                index = [_rounded(i) for i in index]
            factor = weights[0][choice[0]]
            for axis in range(1, len(places)):
                factor = factor * weights[axis][choice[axis]]
            part = self.pick(index) * factor.unsqueeze(-1)
            total = part if total is None else total + part
        found: Tensor = total
        return found


def _rounded(p: Tensor) -> Tensor:
    """The nearest whole number, of two as near the even one."""
    low = p.floor()
    fraction = p - low
    even = (low * 0.5).floor() * 2.0 == low
    up = (fraction > 0.5) | ((fraction == 0.5) & ~even)
    return up.choose(low + 1.0, low)
