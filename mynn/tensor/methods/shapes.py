"""Shapes, as methods: parts along an axis, repeats, axes in another order.

All of them are slices, reshapes, transpositions and the like, so that gradients and native code
come with those. Methods that give several tensors give a tuple.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from mynn.base.arguments import explained, one_by_one, whole_number
from mynn.base.recording import recorded
from mynn.errors import ArgumentError, IndexRangeError, ShapeError, UsageError
from mynn.ops.rules import normalize_axes
from mynn.tensor.gradients.history import array_of
from mynn.tensor.methods.indexing import is_known
from mynn.tensor.methods.movement import Movement
from mynn.tensor.promotion import as_tensor, same_dtype
from mynn.tensor.value import Value

T = TypeVar("T", bound="Shapes[Any]")


class Shapes(Movement[T]):
    """Parts, repeats and orders of axes."""

    __slots__ = ()

    # -- parts along an axis -----------------------------------------------------------------------

    @recorded
    @explained
    def select(self: T, dim: int, index: int) -> T:
        """The entry at `index` of axis `dim`, which disappears."""
        axis = axis_of("select", self, dim)
        return self[(*(slice(None),) * axis, whole_number("select: index", index))]

    @recorded
    @explained
    def narrow(self: T, dim: int, start: Any, length: int) -> T:
        """`length` entries of axis `dim`, from `start` on."""
        if isinstance(start, Value):
            if start.ndim or start.dtype.kind not in "iu":
                raise ShapeError(
                    f"narrow: start must be one integer, it is a tensor of {start.dtype} and shape "
                    f"{start.shape}"
                )
            start = as_tensor(start).item()
        axis, first = axis_of("narrow", self, dim), whole_number("narrow: start", start)
        extent = self.shape[axis]
        if not -extent <= first <= extent:
            raise IndexRangeError(
                f"narrow: start must lie in {-extent}..{extent} for axis {axis} of {self.shape}, "
                f"it is {first}"
            )
        first += extent if first < 0 else 0
        if length < 0 or first + length > extent:
            raise ShapeError(
                f"narrow: start {first} and length {length} reach past axis {axis} of {self.shape}"
            )
        return self[(*(slice(None),) * axis, slice(first, first + length))]

    @explained
    def unbind(self: T, dim: int = 0) -> tuple[T, ...]:
        """The entries along axis `dim`."""
        axis = axis_of("unbind", self, dim)
        return tuple(self[(*(slice(None),) * axis, i)] for i in range(self.shape[axis]))

    @explained
    def split(self: T, split_size: Any, dim: int = 0) -> tuple[T, ...]:
        """Parts of `split_size` entries along axis `dim`, the last maybe smaller; or of the sizes
        that a list says.

        Example:
            >>> from mynn import Tensor
            >>> [part.tolist() for part in Tensor([1, 2, 3]).split(2)]
            [[1, 2], [3]]
        """
        axis = axis_of("split", self, dim)
        extent = self.shape[axis]
        if isinstance(split_size, Sequence):
            sizes = [int(n) for n in split_size]
            if sum(sizes) != extent or min(sizes, default=0) < 0:
                raise ShapeError(
                    f"split: sizes {sizes} must sum to the extent {extent} of axis {axis}"
                )
            return _parts(self, axis, np.cumsum(sizes)[:-1].tolist() if sizes else [])
        size = whole_number("split: split_size", split_size)
        if size < 0 or (size == 0 and extent):
            raise ArgumentError(f"split: split_size must be positive, it is {size}")
        return _parts(self, axis, range(size, extent, size) if size else [])

    split_with_sizes = split

    @explained
    def chunk(self: T, chunks: int, dim: int = 0) -> tuple[T, ...]:
        """At most `chunks` parts of one size along axis `dim`, the last maybe smaller."""
        if whole_number("chunk: chunks", chunks) < 1:
            raise ArgumentError(f"chunk: chunks must be at least 1, it is {chunks}")
        axis = axis_of("chunk", self, dim)
        size = -(-self.shape[axis] // chunks)
        if not size:
            return (self,) * chunks
        return _parts(self, axis, range(size, self.shape[axis], size))

    @explained
    def tensor_split(
        self: T,
        indices_or_sections: Any = None,
        dim: int = 0,
        *,
        indices: Any = None,
        sections: Any = None,
    ) -> tuple[T, ...]:
        """Parts along axis `dim`: as many as a number says, or cut before the given indices."""
        given = next(
            (one for one in (indices_or_sections, indices, sections) if one is not None), None
        )
        axis = axis_of("tensor_split", self, dim)
        extent = self.shape[axis]
        if isinstance(given, Value | np.ndarray):
            if not is_known(given):
                raise UsageError(
                    "tensor_split in a traced function: indices as a tensor make shapes that "
                    "depend on values; give a list"
                )
            given = as_tensor(given)
            given = (given.node.value if given._value is None else array_of(given)).tolist()
        if isinstance(given, Sequence) and not isinstance(given, str):
            return _parts(self, axis, [int(n) for n in given])
        count = whole_number("tensor_split: sections", given)
        if count < 1:
            raise ArgumentError(f"tensor_split: sections must be at least 1, it is {count}")
        small, larger = divmod(extent, count)
        sizes = [small + 1] * larger + [small] * (count - larger)
        return _parts(self, axis, np.cumsum(sizes)[:-1].tolist())

    @explained
    def hsplit(self: T, split_size_or_sections: Any) -> tuple[T, ...]:
        """`tensor_split` along the second axis, or along the only one."""
        return _even("hsplit", self, split_size_or_sections, 0 if self.ndim == 1 else 1, 1)

    @explained
    def vsplit(self: T, split_size_or_sections: Any) -> tuple[T, ...]:
        """`tensor_split` along the first of two or more axes."""
        return _even("vsplit", self, split_size_or_sections, 0, 2)

    @explained
    def dsplit(self: T, split_size_or_sections: Any) -> tuple[T, ...]:
        """`tensor_split` along the third axis."""
        return _even("dsplit", self, split_size_or_sections, 2, 3)

    @recorded
    @explained
    def unfold(self: T, dimension: int, size: int, step: int) -> T:
        """Windows of `size` entries along an axis, `step` apart; they stand on a new last axis."""
        if not self.ndim:
            return self.reshape(1)[:size]
        axis = axis_of("unfold", self, dimension)
        if size < 0 or size > self.shape[axis]:
            raise ShapeError(
                f"unfold: size must lie in 0..{self.shape[axis]} for axis {axis} of {self.shape}, "
                f"it is {size}"
            )
        if step < 1:
            raise ArgumentError(f"unfold: step must be at least 1, it is {step}")
        if not size:
            count = self.shape[axis] // step + 1
            shape = (*self.shape[:axis], count, *self.shape[axis + 1 :], 0)
            return self.reshape(-1)[:0].reshape(shape)
        return self.windows((axis,), (size,), (step,), (1,))

    # -- repeats -----------------------------------------------------------------------------------

    @recorded
    @explained
    def expand(self: T, *sizes: Any) -> T:
        """Repeated along axes of extent 1, and new first axes, up to `sizes`; -1 keeps an extent.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([[1.0], [2.0]]).expand(-1, 3)
            tensor([[1., 1., 1.],
                    [2., 2., 2.]])
        """
        target = extents_of(sizes)
        more = len(target) - self.ndim
        if more < 0:
            raise ShapeError(f"expand: {self.shape} has more axes than {tuple(target)}")
        full: list[Any] = []
        for place, n in enumerate(target):
            own = self.shape[place - more] if place >= more else None
            if n == -1 and own is None:
                raise ShapeError(f"expand: -1 keeps an extent, the new axis {place} has none")
            if own not in (None, 1, n) and n != -1:
                raise ShapeError(
                    f"expand: {self.shape} cannot be expanded to {tuple(target)}: axis {place} has "
                    f"extent {own}; only an extent of 1 is repeated"
                )
            full.append(own if n == -1 else n)
        return self.broadcast_to(full)

    @recorded
    @explained
    def expand_as(self: T, other: Any) -> T:
        """`expand` to the shape of another tensor."""
        return self.expand(as_tensor(other).shape)

    @recorded
    @explained
    def repeat(self: T, *repeats: Any) -> T:
        """Copies side by side: as many along each axis as `repeats` says; new axes come first."""
        counts = extents_of(repeats)
        if len(counts) < self.ndim or min(counts, default=0) < 0:
            raise ShapeError(
                f"repeat: give a number for each of the {self.ndim} axes of {self.shape}, none "
                f"below 0; they are {tuple(counts)}"
            )
        shape = (1,) * (len(counts) - self.ndim) + self.shape
        pairs = [(count, n) for count, n in zip(counts, shape, strict=True)]
        apart = self.reshape(tuple(n for _, extent in pairs for n in (1, extent)))
        wide = apart.broadcast_to(tuple(n for pair in pairs for n in pair))
        return wide.reshape(tuple(count * n for count, n in pairs))

    @recorded
    @explained
    def tile(self: T, *dims: Any) -> T:
        """Like `repeat`; axes that `dims` does not name, the first ones, are not repeated."""
        counts = extents_of(dims)
        return self.repeat((*(1,) * (self.ndim - len(counts)), *counts))

    @recorded
    @explained
    def repeat_interleave(
        self: T, repeats: Any, dim: int | None = None, *, output_size: int | None = None
    ) -> T:
        """Each entry of axis `dim` several times, one after the other; flattened without `dim`."""
        if dim is None:
            return self.reshape(-1).repeat_interleave(repeats, 0, output_size=output_size)
        x = self if self.ndim else self.reshape(1)
        axis = axis_of("repeat_interleave", x, dim)
        if isinstance(repeats, int | np.integer):
            if repeats < 0:
                raise ArgumentError(f"repeat_interleave: repeats must be 0 or more, not {repeats}")
            shape = (*x.shape[: axis + 1], int(repeats), *x.shape[axis + 1 :])
            merged = (*x.shape[:axis], x.shape[axis] * int(repeats), *x.shape[axis + 1 :])
            return x.unsqueeze(axis + 1).broadcast_to(shape).reshape(merged)
        counts = as_tensor(repeats)
        if not is_known(counts):
            raise UsageError(
                "repeat_interleave in a traced function: repeats as a tensor make a shape that "
                "depends on values; give a number, or a list"
            )
        known = np.asarray(counts.node.value if counts._value is None else array_of(counts))
        if known.dtype.kind not in "iu" or known.ndim > 1 or (known < 0).any():
            raise ArgumentError("repeat_interleave: repeats must be integers [K], 0 or more")
        if known.size not in (1, x.shape[axis]):
            raise ShapeError(
                f"repeat_interleave: {known.size} repeats do not fit axis {axis} of {x.shape}"
            )
        places = np.repeat(np.arange(x.shape[axis]), known.reshape(-1))
        return x.gather_rows(places, axis, clip=True)

    # -- orders of axes ----------------------------------------------------------------------------

    @recorded
    @explained
    def movedim(self: T, source: Any, destination: Any) -> T:
        """Axes moved to other places; the others stay in their order."""
        start, end = (one if isinstance(one, Sequence) else (one,) for one in (source, destination))
        if len(start) != len(end):
            raise ShapeError(f"movedim: {source} and {destination} name different numbers of axes")
        old = [axis_of("movedim", self, one) for one in start] if self.ndim else []
        new = [axis_of("movedim", self, one) for one in end] if self.ndim else []
        if len({*old}) < len(old) or len({*new}) < len(new):
            raise ShapeError(f"movedim: an axis is named twice in {source} or {destination}")
        rest = iter([axis for axis in range(self.ndim) if axis not in old])
        places = dict(zip(new, old, strict=True))
        order = tuple(places[i] if i in places else next(rest) for i in range(self.ndim))
        return self.permute(order)

    moveaxis = movedim

    @recorded
    @explained
    def swapdims(self: T, dim0: int, dim1: int) -> T:
        """Two axes exchanged."""
        return self.swapaxes(dim0, dim1)

    @recorded
    @explained
    def t(self: T) -> T:
        """A matrix transposed; a tensor of fewer axes as it is."""
        if self.ndim > 2:
            raise ShapeError(f"t: transposes matrices, the tensor has shape {self.shape}")
        return self.transpose() if self.ndim == 2 else self.reshape(self.shape)

    @property
    def mH(self: T) -> T:
        """The last two axes exchanged."""
        return self.mT

    @property
    def H(self: T) -> T:
        """A matrix transposed."""
        return self.t()

    @property
    def mT(self: T) -> T:
        """The last two axes exchanged."""
        if self.ndim < 2:
            raise ShapeError(f"mT: needs two axes or more, the tensor has shape {self.shape}")
        return self.swapaxes(-1, -2)

    @recorded
    @explained
    def roll(self: T, shifts: Any, dims: Any = None) -> T:
        """Entries moved on by `shifts` along `dims`; what leaves at the end comes in at the start.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([1, 2, 3]).roll(1)
            tensor([3, 1, 2])
        """
        steps = tuple(shifts) if isinstance(shifts, Sequence) else (int(shifts),)
        axes = () if dims is None else tuple(dims) if isinstance(dims, Sequence) else (dims,)
        if not axes:
            if len(steps) != 1:
                raise ShapeError(f"roll: shifts {steps} without dims; name an axis for each")
            return self.reshape(-1).roll(steps, 0).reshape(self.shape)
        if len(steps) != len(axes):
            raise ShapeError(f"roll: shifts {steps} and dims {axes} must be equally many")
        x = self
        for step, dim in zip(steps, axes, strict=True):
            axis = axis_of("roll", x, dim)
            cut = -step % x.shape[axis] if x.shape[axis] else 0
            if cut:
                lead = (slice(None),) * axis
                x = x[(*lead, slice(cut, None))].concatenate([x[(*lead, slice(cut))]], axis)
        return x

    @recorded
    @explained
    def fliplr(self: T) -> T:
        """Order reversed along the second axis."""
        return self.flip(axis_of("fliplr", self, 1))

    @recorded
    @explained
    def flipud(self: T) -> T:
        """Order reversed along the first axis."""
        return self.flip(axis_of("flipud", self, 0))

    @recorded
    @explained
    def rot90(self: T, k: int = 1, dims: Sequence[int] = (0, 1)) -> T:
        """Turned by k quarters from the first to the second of two axes."""
        axes = [axis_of("rot90", self, one) for one in dims]
        if len({*axes}) != 2 or len(axes) != 2:
            raise ShapeError(f"rot90: dims must name two axes, they are {tuple(dims)}")
        a, b = axes
        if k % 4 == 2:
            return self.flip((a, b))
        if k % 4 == 0:
            return self.reshape(self.shape)
        return self.flip(b).swapaxes(a, b) if k % 4 == 1 else self.swapaxes(a, b).flip(b)

    # -- other shapes ------------------------------------------------------------------------------

    @recorded
    @explained
    def view_as(self: T, other: Any) -> T:
        """The same values under the shape of another tensor."""
        return self.reshape(as_tensor(other).shape)

    @recorded
    @explained
    def reshape_as(self: T, other: Any) -> T:
        """The same values under the shape of another tensor."""
        return self.reshape(as_tensor(other).shape)

    @recorded
    @explained
    def ravel(self: T) -> T:
        """All values along one axis."""
        return self.reshape(-1)

    @recorded
    @explained
    def unflatten(self: T, dim: int, sizes: Sequence[int]) -> T:
        """Axis `dim` as several of these extents, of which one may be -1."""
        axis, wanted = axis_of("unflatten", self, dim), [int(n) for n in sizes]
        known = math.prod(n for n in wanted if n != -1)
        if wanted.count(-1) == 1 and known and self.shape[axis] % known == 0:
            wanted[wanted.index(-1)] = self.shape[axis] // known
        if not wanted or math.prod(wanted) != self.shape[axis] or min(wanted) < 0:
            raise ShapeError(
                f"unflatten: sizes {tuple(sizes)} do not multiply to the extent "
                f"{self.shape[axis]} of axis {axis}"
            )
        return self.reshape((*self.shape[:axis], *wanted, *self.shape[axis + 1 :]))

    @recorded
    @explained
    def select_scatter(self: T, src: Any, dim: int, index: int) -> T:
        """A copy with other values at `index` of axis `dim`."""
        axis = axis_of("select_scatter", self, dim)
        extent = self.shape[axis]
        if not -extent <= index < extent:
            raise IndexRangeError(f"select_scatter: index {index} is out of range for {extent}")
        first = index % extent
        values = as_tensor(src, like=self)
        wanted = (*self.shape[:axis], *self.shape[axis + 1 :])
        if values.shape != wanted:
            raise ShapeError(f"select_scatter: src has shape {values.shape}, must be {wanted}")
        return self.slice_scatter(values.unsqueeze(axis), axis, first, first + 1)

    @recorded
    @explained
    def slice_scatter(
        self: T,
        src: Any,
        dim: int = 0,
        start: int | None = None,
        end: int | None = None,
        step: int = 1,
    ) -> T:
        """A copy with other values at start:end:step of axis `dim`."""
        axis = axis_of("slice_scatter", self, dim)
        first, stop, step = slice(start, end, step).indices(self.shape[axis])
        count = len(range(first, stop, step))
        wanted = (*self.shape[:axis], count, *self.shape[axis + 1 :])
        values = as_tensor(src, like=self)
        if values.shape != wanted:
            raise ShapeError(f"slice_scatter: src has shape {values.shape}, must be {wanted}")
        starts, stops, steps = [0] * self.ndim, list(self.shape), [1] * self.ndim
        starts[axis], steps[axis] = first, step
        stops[axis] = first + (count - 1) * step + 1 if count else first
        return self.update_slice(values, starts, stops, steps)

    @recorded
    @explained
    def kron(self: T, other: Any) -> T:
        """The Kronecker product: blocks of `other`, each times one value of x."""
        a, b = same_dtype(self, other)
        axes = max(a.ndim, b.ndim)
        left = (1,) * (axes - a.ndim) + a.shape
        right = (1,) * (axes - b.ndim) + b.shape
        a = a.reshape(tuple(n for one in left for n in (one, 1)))
        b = b.reshape(tuple(n for one in right for n in (1, one)))
        shape = tuple(n * m for n, m in zip(left, right, strict=True))
        product: T = (a * b).reshape(shape)
        return product


def axis_of(name: str, x: Any, dim: Any) -> int:
    """One axis of a tensor that has some."""
    axes = normalize_axes(whole_number(f"{name}: dim", dim), x.ndim, name)
    if not axes:
        raise ShapeError(f"{name}: the tensor has no axes; reshape it to (1,)")
    return axes[0]


def extents_of(given: tuple[Any, ...]) -> list[int]:
    """Numbers that were given one by one or as one sequence."""
    return [whole_number("a size", n) for n in one_by_one(given)]


def _parts(x: T, axis: int, cuts: Sequence[int]) -> tuple[T, ...]:
    """The parts of an axis between cuts; a cut before the one before it leaves nothing."""
    lead, extent = (slice(None),) * axis, x.shape[axis]
    places = [0, *(min(n if n >= 0 else max(n + extent, 0), extent) for n in cuts), extent]
    return tuple(x[(*lead, slice(low, max(low, high)))] for low, high in itertools.pairwise(places))


def _even(name: str, x: T, given: Any, axis: int, least: int) -> tuple[T, ...]:
    if x.ndim < least:
        raise ShapeError(f"{name}: needs {least} axes or more, the tensor has shape {x.shape}")
    if isinstance(given, int) and (given < 1 or x.shape[axis] % given):
        raise ShapeError(
            f"{name}: the extent {x.shape[axis]} of axis {axis} does not divide into {given} parts"
        )
    return x.tensor_split(given, axis)
