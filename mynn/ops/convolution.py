"""Convolution: windows of the input times a kernel.

It is a composite of `pad`, `windows` and `contract`. Its NumPy meaning and what the compiler makes
of it are one function, `_composite`, applied to arrays or to nodes. The windows are a view of the
input, not a copy. The gradients are convolutions and contractions again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from mynn.core.graph import Node, apply, constant
from mynn.core.primitive import Primitive, Sample
from mynn.core.types import Shape, Type
from mynn.errors import DTypeError, ShapeError
from mynn.ops.batches import moved, shaped
from mynn.ops.contraction import contract
from mynn.ops.movement import Axes, broadcast_to, concatenate, pad, reshape, slice_, transpose
from mynn.ops.rules import FLOAT, require_kind, uniform
from mynn.ops.windows import windows

Padding = tuple[tuple[int, int], ...]


def _infer_conv(
    x: Type, w: Type, strides: Axes, padding: Padding, dilations: Axes, groups: int
) -> Type:
    require_kind("conv", x, FLOAT)
    if x.dtype != w.dtype:
        raise DTypeError(f"conv: dtypes {x.dtype} and {w.dtype} differ")
    rank = len(x.shape) - 2
    if rank < 0 or len(w.shape) != rank + 2:
        raise ShapeError(
            f"conv: an input of shape {x.shape} and a weight of shape {w.shape} do not fit; they "
            "must be [N, C, spatial..] and [O, C / groups, kernel..]"
        )
    if not len(strides) == len(padding) == len(dilations) == rank:
        raise ShapeError(
            f"conv: strides {strides}, padding {padding} and dilations {dilations} must have "
            f"{rank} entries each, one for each spatial axis of {x.shape}"
        )
    if min((1, *strides, *dilations, *w.shape[2:])) < 1 or min((0, *sum(padding, ()))) < 0:
        raise ShapeError(
            f"conv: strides {strides}, dilations {dilations} and the kernel {w.shape[2:]} must be "
            f"at least 1, padding {padding} at least 0"
        )
    if groups < 1 or x.shape[1] % groups or w.shape[0] % groups:
        raise ShapeError(
            f"conv: {groups} groups divide neither or only one of the {x.shape[1]} input and "
            f"{w.shape[0]} output channels"
        )
    if min((1, *x.shape[2:])) < 1:
        raise ShapeError(f"conv: the spatial axes of an input of shape {x.shape} are empty")
    if x.shape[1] != w.shape[1] * groups:
        raise ShapeError(
            f"conv: an input of shape {x.shape} has {x.shape[1]} channels; a weight of shape "
            f"{w.shape} with groups={groups} takes {w.shape[1] * groups}"
        )
    extents = []
    for axis, (k, s, d) in enumerate(zip(w.shape[2:], strides, dilations, strict=True)):
        room = x.shape[2 + axis] + sum(padding[axis]) - d * (k - 1) - 1
        if room < 0:
            raise ShapeError(
                f"conv: a kernel that spans {d * (k - 1) + 1} values does not fit in spatial axis "
                f"{axis} of {x.shape} with padding {padding[axis]}; pad more, or take a smaller "
                "kernel"
            )
        extents.append(room // s + 1)
    return x.with_shape((x.shape[0], w.shape[0], *extents))


def _composite(
    run: Callable[..., Any],
    x: Any,
    w: Any,
    strides: Axes,
    padding: Padding,
    dilations: Axes,
    groups: int,
) -> Any:
    """[N, spatial.. | C, kernel..] times [C, kernel.. | O], with a batch axis for groups."""
    rank = len(padding)
    split = int(groups > 1)
    inside, outside = w.shape[1], w.shape[0] // groups
    if split:
        x = run(reshape, x, shape=(x.shape[0], groups, inside, *x.shape[2:]))
        w = run(reshape, w, shape=(groups, outside, inside, *w.shape[2:]))
    first = 2 + split
    last = 1 + split + rank
    if any(map(any, padding)):
        widths = (*((0, 0, 0),) * first, *((low, high, 0) for low, high in padding))
        x = run(pad, x, widths=widths, value=0.0)
    spatial = tuple(range(first, first + rank))
    kernel = tuple(range(first + rank, first + 2 * rank))
    sizes = w.shape[first:]
    x = run(windows, x, axes=spatial, sizes=sizes, strides=strides, dilations=dilations)
    x = run(transpose, x, axes=(*range(split, -1, -1), *spatial, first - 1, *kernel))
    w = run(transpose, w, axes=(*range(split), *range(1 + split, 1 + last), split))
    y = run(contract, x, w, batch=split, summed=1 + rank)
    y = run(transpose, y, axes=(*range(split, -1, -1), last, *range(1 + split, last)))
    if split:
        y = run(reshape, y, shape=(y.shape[0], groups * outside, *y.shape[3:]))
    return y


def transposed_conv(
    g: Any,
    w: Any,
    extents: Shape,
    strides: Axes,
    padding: Padding,
    dilations: Axes,
    groups: int,
) -> Any:
    """The gradient of `conv` for its input, whose spatial extents are `extents`.

    It is a convolution itself: of g [N, O, ..], spread out by the strides, with the kernel flipped
    and its channels exchanged. `w` and the other parameters are those of the convolution. `g` and
    `w` are values with operators.
    """
    widths = []
    sizes = zip(extents, g.shape[2:], w.shape[2:], strict=True)
    for (n, o, k), s, (low, _), d in zip(sizes, strides, padding, dilations, strict=True):
        widths.append((d * (k - 1) - low, n - 1 + low - (o - 1) * s, s - 1))
    pads = tuple((max(low, 0), max(high, 0)) for low, high, _ in widths)
    if any(s > 1 for s in strides):
        spread = zip(pads, widths, strict=True)
        g = g.pad(((0, 0, 0), (0, 0, 0), *((*ends, inner) for ends, (*_, inner) in spread)), 0)
        pads = ((0, 0),) * len(pads)
    if any(min(low, high) < 0 for low, high, _ in widths):
        kept = zip(g.shape[2:], widths, strict=True)
        g = g[(..., *(slice(max(-low, 0), n - max(-high, 0)) for n, (low, high, _) in kept))]
    w = w.flip(tuple(range(2, len(w.shape))))
    kernel = w.shape[2:]
    inside, outside = w.shape[1], w.shape[0] // groups
    w = w.reshape((groups, outside, inside, *kernel)) if groups > 1 else w
    first = int(groups > 1)
    w = w.permute((*range(first), first + 1, first, *range(first + 2, len(w.shape))))
    w = w.reshape((groups * inside, outside, *kernel))
    return g.conv(w, (1,) * len(kernel), pads, dilations, groups)


def _kernel_gradient(
    g: Any, x: Any, w: Any, strides: Axes, padding: Padding, dilations: Axes, groups: int
) -> Any:
    """[C, kernel.. | N, spatial..] times [N, spatial.. | O], with a batch axis for groups."""
    rank = len(padding)
    split = int(groups > 1)
    if split:
        x = x.reshape((x.shape[0], groups, w.shape[1], *x.shape[2:]))
        g = g.reshape((g.shape[0], groups, w.shape[0] // groups, *g.shape[2:]))
    first = 2 + split
    if any(map(any, padding)):
        x = x.pad((*((0, 0),) * first, *padding), 0)
    spatial = tuple(range(first, first + rank))
    kernel = tuple(range(first + rank, first + 2 * rank))
    x = x.windows(spatial, w.shape[2:], strides, dilations)
    x = x.permute((*range(1, 1 + split), first - 1, *kernel, 0, *spatial))
    g = g.permute((*range(1, 1 + split), 0, *spatial, first - 1))
    y = x.contract(g, split, 1 + rank)
    y = y.permute((*range(split), len(y.shape) - 1, *range(split, len(y.shape) - 1)))
    return y.reshape(w.shape)


def _conv_vjp(g: Any, y: Any, x: Any, w: Any, **params: Any) -> tuple[Any, Any]:
    return (
        transposed_conv(g, w, x.shape[2:], **params),
        _kernel_gradient(g, x, w, **params),
    )


def _on_arrays(primitive: Primitive, *arrays: Any, **params: Any) -> Any:
    return primitive.numpy(*arrays, **params)


def _numpy_conv(x: Any, w: Any, **params: Any) -> Any:
    return _composite(_on_arrays, x, w, **params)


def _expand_conv(x: Node, w: Node, **params: Any) -> Node:
    if x.primitive is pad and x.params["value"] == 0 and set(params["strides"]) == {1}:
        batch, channels, *spatial = x.params["widths"]
        if not any((*batch, *channels)) and any(inner for *_, inner in spatial):
            return _in_phases(x.inputs[0], w, tuple(spatial), **params)
    y: Node = _composite(apply, x, w, **params)
    return y


class _Phase(NamedTuple):
    """How one in `stride` results along an axis is made: number u of them is the sum over t of
    x[u + start + t dilation] w[first + t step].
    """

    first: int
    step: int
    taps: int
    start: int
    dilation: int

    @property
    def reach(self) -> int:
        """Values behind number u that are the last under the kernel."""
        return self.start + (self.taps - 1) * self.dilation


def _phases(low: int, stride: int, dilation: int, kernel: int) -> list[_Phase | None]:
    """Of values that stand `stride` apart, the first at `low`, zeros around; result i is number
    i // stride of phase i % stride. None is all zeros.
    """
    common = math.gcd(stride, dilation)
    step = stride // common
    phases: list[_Phase | None] = []
    for phase in range(stride):
        hits = [j for j in range(min(step, kernel)) if (phase + j * dilation - low) % stride == 0]
        if hits:
            start = (phase + hits[0] * dilation - low) // stride
            taps = -(-(kernel - hits[0]) // step)
            phases.append(_Phase(hits[0], step, taps, start, dilation // common))
        else:
            phases.append(None)
    return phases


def _in_phases(
    x: Node,
    w: Node,
    widths: tuple[tuple[int, int, int], ...],
    strides: Axes,
    padding: Padding,
    dilations: Axes,
    groups: int,
) -> Node:
    """The convolution of `x` with zeros between its values, as strided ones have it as gradient.

    Nothing is multiplied by the zeros: results with the same place between the values are a
    convolution of `x` itself with those weights that meet values there.

    Along an axis with one zero between two values and three weights:
        y[0], y[2].. = x[0] w[1], x[1] w[1]..
        y[1], y[3].. = x[0] w[0] + x[1] w[2], x[1] w[0] + x[2] w[2]..
    """
    each, room, counts, extents = [], [], [], []
    for axis, ((low, high, inner), (before, after)) in enumerate(zip(widths, padding, strict=True)):
        n, kernel, dilation, stride = (
            x.shape[2 + axis],
            w.shape[2 + axis],
            dilations[axis],
            inner + 1,
        )
        low, high = low + before, high + after
        extent = low + (n - 1) * stride + 1 + high - dilation * (kernel - 1)
        count = -(-extent // stride)
        phases = _phases(low, stride, dilation, kernel)
        first = min(phase.start for phase in phases if phase is not None)
        last = max(phase.reach for phase in phases if phase is not None) + count
        each.append(phases)
        room.append((max(0, -first), max(0, last - n), 0))
        counts.append(count)
        extents.append(extent)
    x = apply(pad, x, widths=((0, 0, 0), (0, 0, 0), *room), value=0.0)
    start = [before for before, *_ in room]
    plain = (1,) * len(extents)

    def made(chosen: tuple[_Phase | None, ...]) -> Node:
        """The results of these phases, with an axis of 1 behind each."""
        shape = (x.shape[0], w.shape[0], *(n for count in counts for n in (count, 1)))
        if None in chosen:
            zero = constant(np.zeros((1,) * len(shape), x.dtype))
            return apply(broadcast_to, zero, shape=shape)
        some = [phase for phase in chosen if phase is not None]
        places = [
            slice(at + p.start, at + p.reach + n)
            for at, p, n in zip(start, some, counts, strict=True)
        ]
        part = _cut(x, places)
        weights = _cut(w, [slice(p.first, None, p.step) for p in some])
        steps = tuple(p.dilation for p in some)
        none = ((0, 0),) * len(some)
        y: Node = _composite(apply, part, weights, plain, none, steps, groups)
        return apply(reshape, y, shape=shape)

    def joined(chosen: tuple[_Phase | None, ...]) -> Node:
        axis = len(chosen)
        if axis == len(each):
            return made(chosen)
        parts = [joined((*chosen, phase)) for phase in each[axis]]
        return apply(concatenate, *parts, axis=3 + 2 * axis) if len(parts) > 1 else parts[0]

    y = joined(())
    whole = [count * len(phases) for count, phases in zip(counts, each, strict=True)]
    y = apply(reshape, y, shape=(*y.shape[:2], *whole))
    return _cut(y, [slice(extent) for extent in extents])


def _cut(x: Node, spatial: Sequence[slice]) -> Node:
    """Slices of the spatial axes."""
    ranges = [part.indices(n) for part, n in zip(spatial, x.shape[2:], strict=True)]
    starts, stops, steps = zip((0, x.shape[0], 1), (0, x.shape[1], 1), *ranges, strict=True)
    return apply(slice_, x, starts=starts, stops=stops, steps=steps)


def _batch_conv(
    size: int, mapped: tuple[bool, bool], x: Node, w: Node, groups: int, **params: Any
) -> Node:
    """One kernel for all examples sees them as more samples; kernels of their own are groups."""
    if not mapped[1]:
        y = apply(conv, shaped(x, size * x.shape[1], *x.shape[2:]), w, groups=groups, **params)
        return shaped(y, size, x.shape[1], *y.shape[1:])
    outside = w.shape[1]
    if mapped[0]:
        x = moved(x, 0, 1)
        x = shaped(x, x.shape[0], size * x.shape[2], *x.shape[3:])
        w = shaped(w, size * outside, *w.shape[2:])
        y = apply(conv, x, w, groups=size * groups, **params)
        return moved(shaped(y, y.shape[0], size, outside, *y.shape[2:]), 1, 0)
    # [B, groups, O, ..] -> [groups, B, O, ..]: a group has the outputs of all examples.
    each = outside // groups
    w = moved(shaped(w, size, groups, each, *w.shape[2:]), 0, 1)
    w = shaped(w, groups * size * each, *w.shape[3:])
    y = apply(conv, x, w, groups=groups, **params)
    y = moved(shaped(y, y.shape[0], groups, size, each, *y.shape[2:]), 2, 0)
    return shaped(y, size, y.shape[1], outside, *y.shape[4:])


def _conv_samples(rng: np.random.Generator) -> list[Sample]:
    cases: tuple[tuple[Shape, Shape, Axes, Padding, Axes, int], ...] = (
        ((2, 3, 8), (4, 3, 3), (1,), ((0, 0),), (1,), 1),
        ((1, 1, 7), (1, 1, 2), (2,), ((1, 0),), (2,), 1),
        ((2, 2, 5, 6), (3, 2, 3, 2), (1, 1), ((1, 1), (0, 1)), (1, 1), 1),
        ((1, 2, 7, 8), (17, 2, 3, 3), (2, 3), ((1, 1), (2, 2)), (1, 1), 1),
        ((2, 1, 6, 5), (2, 1, 2, 3), (1, 2), ((2, 1), (2, 0)), (2, 1), 1),
        ((2, 4, 5, 5), (6, 2, 2, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), 2),
        ((1, 3, 6, 4), (6, 1, 3, 3), (2, 1), ((1, 1), (1, 1)), (1, 1), 3),
        ((3, 5, 4, 3), (2, 5, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
        ((1, 2, 4, 4), (2, 2, 1, 1), (2, 3), ((1, 2), (3, 0)), (1, 1), 1),
        ((2, 2, 5), (4, 1, 5), (4,), ((3, 3),), (1,), 2),
        ((1, 2, 3, 4, 3), (2, 2, 2, 2, 2), (1, 2, 1), ((0, 0), (1, 0), (1, 1)), (1, 1, 2), 1),
    )
    return [
        Sample(
            (uniform(rng, -2, 2, x), uniform(rng, -2, 2, w)),
            {"strides": strides, "padding": padding, "dilations": dilations, "groups": groups},
        )
        for x, w, strides, padding, dilations, groups in cases
    ]


# x [N, C, spatial..], w [O, C / groups, kernel..] -> y [N, O, spatial..]. `padding` holds zeros
# (before, after) each spatial axis. With one group:
#     y[n, o, i..] = sum over c, j.. of x[n, c, (i s + j d - before)..] w[o, c, j..]
# With more, channels are split into as many parts, and each part of O sees its part of C alone.
conv = Primitive(
    "conv",
    _infer_conv,
    _numpy_conv,
    _conv_vjp,
    _conv_samples,
    _expand_conv,
    batch=_batch_conv,
)

PRIMITIVES = (conv,)
