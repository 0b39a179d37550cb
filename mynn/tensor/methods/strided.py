"""Values by strides, and sums back to a shape, as methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from mynn.base.arguments import explained, whole_number
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, ShapeError, UsageError
from mynn.ops import movement
from mynn.tensor.methods.scans import Scans
from mynn.tensor.methods.shapes import extents_of
from mynn.tensor.promotion import as_tensor

T = TypeVar("T", bound="Strided[Any]")


class Strided(Scans[T]):
    """Places by strides."""

    __slots__ = ()

    @recorded
    @explained
    def as_strided(
        self: T, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
    ) -> T:
        """y[i, j, ..] is the value of x at storage_offset + i stride[0] + j stride[1] + ..

        Values are counted row by row. The result is a copy: what is changed in it in place does
        not change x.

        Raises:
            UsageError: x is a slice or a transposition of another tensor, in whose memory PyTorch
                would count.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([1.0, 2.0, 3.0, 4.0]).as_strided((3, 2), (1, 1)).tolist()
            [[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]]
        """
        view = self._view
        if view is not None and any(p is not movement.reshape for p, _ in view.steps):
            raise UsageError(
                "as_strided: the tensor is a view of another one, in whose memory places would "
                "count; use x.clone().as_strided(...)"
            )
        if len(size) != len(stride):
            raise ShapeError(
                f"as_strided: size {tuple(size)} and stride {tuple(stride)} must have one length"
            )
        offset = whole_number("as_strided: storage_offset", storage_offset or 0)
        if offset < 0 or min((*size, *stride), default=0) < 0:
            raise ArgumentError(
                f"as_strided: size {tuple(size)}, stride {tuple(stride)} and storage_offset "
                f"{offset} must be 0 or more"
            )
        places = np.full(tuple(size), offset, np.int64)
        for axis, (extent, step) in enumerate(zip(size, stride, strict=True)):
            places += (np.arange(extent) * step).reshape(-1, *(1,) * (len(size) - axis - 1))
        if places.size and places.max() >= self.numel():
            raise ShapeError(
                f"as_strided: the last place is {places.max()}, the tensor {self.shape} has "
                f"{self.numel()} values"
            )
        if not places.size:
            return as_tensor(np.zeros(tuple(size), self.dtype))
        picked: T = self.reshape(-1).gather_rows(as_tensor(places), 0)
        return picked

    @recorded
    @explained
    def sum_to_size(self: T, *size: Any) -> T:
        """Sums that leave the extents `size`, which x would be broadcast from."""
        wanted = tuple(extents_of(size))
        before = self.ndim - len(wanted)
        fits = before >= 0 and all(
            n in (m, 1) for n, m in zip(wanted, self.shape[before:], strict=True)
        )
        if not fits:
            raise ShapeError(f"sum_to_size: {wanted} cannot be broadcast to {self.shape}")
        kept = enumerate(zip(wanted, self.shape[before:], strict=True), before)
        axes: tuple[int, ...] | None = (*range(before), *(axis for axis, (n, m) in kept if n != m))
        x: Any = self
        if not wanted:
            axes = None  # as in PyTorch, a sum of bools even where there is one
        summed: T = (x.sum(axes) if axes != () else x).reshape(wanted)
        return summed

    def narrow_copy(self: T, dim: int, start: Any, length: int) -> T:
        """`narrow` in memory of its own."""
        part: Any = self.narrow(dim, start, length)
        copy: T = part.clone()
        return copy
