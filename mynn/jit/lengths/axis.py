"""Where the rows of a batch lie in a value: along which axis, and how they follow each other there.

A value that depends on the size of the batch has one axis whose extent is a multiple of it. The
elements along this axis are counted by (before, row, after):

    x [B, T, C]                   axis 0, after 1
    x.reshape(B * T, C)           axis 0, after T:  element i belongs to row i // T
    x.transpose(1, 0, 2)          axis 1, after 1
      .reshape(T * B, C)          axis 0, after 1:  element i belongs to row i % B

What is repeated along the axis, a bias say, may be counted in any way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from mynn.base.dataclass import dataclass
from mynn.core.types import Shape


class NotAlike(Exception):
    """Batches of these sizes need programs of their own; the text says why."""


@dataclass(frozen=True)
class Rows:
    """The rows of a value lie along `axis`, `after` elements of it each time; None where any number
    will do, since all elements along the axis are the same.
    """

    axis: int
    after: int | None

    def along(self, axis: int) -> Rows:
        """The same along another axis."""
        return Rows(axis, self.after)


@dataclass(frozen=True)
class Sizes:
    """The numbers of rows of a whole batch and of a smaller one.

    Example:
        >>> sizes = Sizes(64, 40)
        >>> sizes.first_axis((64, 8), (40, 8))
        Rows(axis=0, after=1)
        >>> sizes.reshaped(Rows(0, 1), (64, 8, 3), (512, 3))
        Rows(axis=0, after=8)
    """

    whole: int
    fewer: int

    def axis_of(self, whole: Shape, fewer: Shape) -> int | None:
        """The axis along which a shape differs between the sizes; None where it does not."""
        if whole == fewer:
            return None
        differing = [
            n for n, pair in enumerate(zip(whole, fewer, strict=False)) if len({*pair}) > 1
        ]
        if len(whole) != len(fewer) or len(differing) > 1:
            raise NotAlike(f"shapes {whole} and {fewer} differ along more than one axis")
        axis = differing[0]
        if whole[axis] % self.whole or fewer[axis] * self.whole != whole[axis] * self.fewer:
            raise NotAlike(f"shapes {whole} and {fewer} do not differ as the batches do")
        return axis

    def first_axis(self, whole: Shape, fewer: Shape) -> Rows | None:
        """Where the rows of values lie that are counted in order along the axis."""
        axis = self.axis_of(whole, fewer)
        return None if axis is None else Rows(axis, whole[axis] // self.whole)

    def repeated(self, whole: Shape, fewer: Shape) -> Rows | None:
        """Where those lie of values that are the same all along the axis."""
        axis = self.axis_of(whole, fewer)
        if axis is None:
            return None
        return Rows(axis, 1 if whole[axis] == self.whole else None)

    def smaller(self, shape: Shape, rows: Rows | None) -> Shape:
        """What a shape of whole batches is for the smaller one."""
        if rows is None:
            return shape
        extent = shape[rows.axis] // self.whole * self.fewer
        return (*shape[: rows.axis], extent, *shape[rows.axis + 1 :])

    def reshaped(self, rows: Rows, old: Shape, new: Shape) -> Rows:
        """Where the rows lie in the same values under another shape."""
        if not math.prod(new):
            raise NotAlike("there are no elements")
        extent, inside = old[rows.axis], math.prod(old[rows.axis + 1 :])
        low = inside if rows.after is None else inside * rows.after
        high = low * (extent if rows.after is None else self.whole)
        stride = 1
        for axis in reversed(range(len(new))):
            if low % stride == 0 and (stride * new[axis]) % high == 0 and new[axis] > 1:
                if rows.after is not None:
                    return Rows(axis, low // stride)
                if stride == low and new[axis] == extent:
                    return Rows(axis, None)
            stride *= new[axis]
        raise NotAlike(f"shape {new} takes the rows of {old} apart")


def agreed(every: Iterable[Rows | None]) -> Rows | None:
    """Where the rows of values lie whose elements are combined one by one."""
    found = {rows for rows in every if rows is not None}
    if not found:
        return None
    counted = {rows for rows in found if rows.after is not None}
    if len({rows.axis for rows in found}) > 1 or len(counted) > 1:
        raise NotAlike("rows of one value lie otherwise than those of another")
    return next(iter(counted or found))


def moved(rows: Rows, axes: Sequence[int]) -> Rows:
    """Where rows lie when axis i of the result is axis `axes[i]` of the value."""
    return rows.along(list(axes).index(rows.axis))


def reduced(rows: Rows, axes: Sequence[int]) -> Rows:
    """Where they lie when some other axes are gone."""
    return rows.along(rows.axis - sum(axis < rows.axis for axis in axes))
