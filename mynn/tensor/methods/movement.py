"""Values at other positions, as methods: reshape, transpose, slices, windows, take, scatter..."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from mynn.base import recording
from mynn.base.arguments import as_index, explained, one_by_one
from mynn.base.recording import recorded
from mynn.core.types import Array
from mynn.errors import ArgumentError, DTypeError, LengthError, ShapeError
from mynn.ops import gather, movement, windows
from mynn.ops.rules import normalize_axes
from mynn.tensor.argument_aliases import one_of, required
from mynn.tensor.checks import require_range
from mynn.tensor.gradients.grad_mode import grad_enabled
from mynn.tensor.methods.conversion import Conversion
from mynn.tensor.methods.indexing import Pick, Plan, merged, require_indices
from mynn.tensor.methods.indexing import plan as indexing_plan
from mynn.tensor.promotion import alias, apply, as_tensor, broadcast
from mynn.tensor.value import Step, Value
from mynn.tensor.view import can_view, look, own_memory, value_of
from mynn.trace import tracing

T = TypeVar("T", bound="Movement[Any]")

# So many entries that a loop goes over are many.
_MANY = 8


class Movement(Conversion[T]):
    """The same values under another shape, in another order, or some of them."""

    __slots__ = ()

    @recorded
    @explained
    def reshape(self, *shape: Any) -> T:
        """The same values in row-major order under another shape; one extent may be -1.

        The extent -1 is what the others leave of the values. Eagerly the result looks at the same
        memory.

        Raises:
            ShapeError: the shapes hold different numbers of values.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]).reshape(3, -1)
            tensor([[1., 2.],
                    [3., 4.],
                    [5., 6.]])
        """
        target: list[Any] = [as_index(n) for n in one_by_one(shape)]
        if None in target or target.count(-1) > 1:
            raise ShapeError(
                f"reshape: a shape must be whole numbers with at most one -1, it is {shape}"
            )
        if target.count(-1) == 1:
            known = math.prod(n for n in target if n != -1)
            if known == 0 or self.numel() % known:
                raise ShapeError(f"reshape: {self.shape} does not divide into {tuple(target)}")
            target[target.index(-1)] = self.numel() // known
        shape = tuple(target)
        if shape == self.shape:
            return alias(self)
        y = apply(movement.reshape, self, shape=shape)
        if not can_view(self, shape):
            own_memory(y, self)
        return y

    @recorded
    @explained
    def view(self, *shape: Any) -> T:
        """The same memory under another shape; one extent may be -1. `reshape` copies if it must.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([1, 2, 3, 4]).view(2, -1).shape
            (2, 2)
        """
        given = shape[0] if len(shape) == 1 else None
        if isinstance(given, type | np.dtype | str):
            raise ArgumentError(
                f"view: the bits of {self.dtype} as {given!r} are not to be had; convert the "
                "values with .astype, or use x.numpy().view"
            )
        result = self.reshape(*shape)
        if self.numel() and not can_view(self, result.shape):
            raise ShapeError(
                f"view: {self.shape} in this order in memory cannot be looked at as "
                f"{result.shape}; use .reshape(), which copies"
            )
        return result

    @recorded
    @explained
    def flatten(self: T, start_dim: int = 0, end_dim: int = -1) -> T:
        """Axes `start_dim`..`end_dim` merged into one.

        Example:
            >>> import numpy as np
            >>> from mynn import Tensor
            >>> Tensor(np.zeros((8, 3, 4, 5))).flatten(1).shape
            (8, 60)
        """
        if not self.shape:
            return self.reshape(1)
        start, end = (
            normalize_axes(axis, self.ndim, "flatten")[0] for axis in (start_dim, end_dim)
        )
        if start > end:
            raise ShapeError(f"flatten: start_dim {start_dim} lies after end_dim {end_dim}")
        if start == end:
            return self
        middle = math.prod(self.shape[start : end + 1])
        return self.reshape((*self.shape[:start], middle, *self.shape[end + 1 :]))

    @recorded
    @explained
    def transpose(self: T, *dims: int, dim0: int | None = None, dim1: int | None = None) -> T:
        """Two axes exchanged; without arguments all reversed. `permute` takes a whole order.

        Example:
            >>> import numpy as np
            >>> from mynn import Tensor
            >>> Tensor(np.zeros((2, 3, 4))).transpose(0, -1).shape
            (4, 3, 2)
        """
        given = [*dims, *(one for one in (dim0, dim1) if one is not None)]
        if not given:
            return self.permute(tuple(reversed(range(self.ndim))))
        axes = [as_index(one) for one in given]
        if len(axes) != 2 or axes[0] is None or axes[1] is None:
            raise ArgumentError(
                f"transpose: it exchanges two axes, transpose(dim0, dim1), and was given "
                f"{', '.join(map(repr, given))}; permute takes a whole order of the {self.ndim} "
                "axes"
            )
        return _exchanged(self, "transpose", axes[0], axes[1])

    @recorded
    @explained
    def swapaxes(self: T, axis0: int, axis1: int) -> T:
        """Two axes exchanged."""
        return _exchanged(self, "swapaxes", axis0, axis1)

    @recorded
    @explained
    def permute(self, *dims: Any) -> T:
        """The axes in another order, each named once: `permute(2, 0, 1)`, `permute((2, 0, 1))`.

        Axis i of the result is axis `dims[i]` of the tensor.

        Example:
            >>> import numpy as np
            >>> from mynn import Tensor
            >>> Tensor(np.zeros((8, 3, 28, 32))).permute(0, 2, 3, 1).shape
            (8, 28, 32, 3)
        """
        order = dims[0] if len(dims) == 1 and not isinstance(dims[0], int) else dims
        order = tuple(normalize_axes(dim, self.ndim, "permute")[0] for dim in order)
        return apply(movement.transpose, self, axes=order)

    @recorded
    @explained
    def broadcast_to(self: T, size: Sequence[int]) -> T:
        """Repeated along axes of extent 1, and along new leading axes, up to `size`.

        The gradient is summed over what was repeated.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([1.0, 2.0]).broadcast_to((2, 2))
            tensor([[1., 2.],
                    [1., 2.]])
        """
        target = tuple(int(n) for n in size)
        if target == self.shape:
            return alias(self)
        if len(target) < self.ndim:
            raise ShapeError(f"broadcast_to: {self.shape} cannot be repeated to {target}")
        x = self
        if len(target) > x.ndim:
            x = x.reshape((1,) * (len(target) - x.ndim) + x.shape)
        return x if x.shape == target else apply(movement.broadcast_to, x, shape=target)

    @recorded
    @explained
    def unsqueeze(self, dim: int | None = None, *, axis: int | None = None) -> T:
        """A new axis of extent 1 at `dim`; a negative one counts from behind the last axis.

        Example:
            >>> import numpy as np
            >>> from mynn import Tensor
            >>> x = Tensor(np.zeros((3, 4)))
            >>> x.unsqueeze(0).shape, x.unsqueeze(-1).shape
            ((1, 3, 4), (3, 4, 1))
        """
        position = normalize_axes(required("unsqueeze", dim, axis), self.ndim + 1, "unsqueeze")[0]
        return self.reshape((*self.shape[:position], 1, *self.shape[position:]))

    @recorded
    @explained
    def squeeze(self, dim: Any = None, *, axis: Any = None) -> T:
        """Axes of extent 1 removed: all of them, or those named; named longer ones stay.

        Example:
            >>> import numpy as np
            >>> from mynn import Tensor
            >>> x = Tensor(np.zeros((1, 3, 1)))
            >>> x.squeeze().shape, x.squeeze(0).shape, x.squeeze(1).shape
            ((3,), (3, 1), (1, 3, 1))
        """
        axes = normalize_axes(one_of("squeeze", dim, axis), self.ndim, "squeeze")
        kept = tuple(n for i, n in enumerate(self.shape) if not (n == 1 and i in axes))
        return self.reshape(kept)

    @recorded
    @explained
    def flip(self, *order: Any, dims: Any = None, axis: Any = None) -> T:
        """Order reversed along the axes: `flip(0, 1)` or `flip((0, 1))`."""
        named = order[0] if len(order) == 1 else order or dims
        axes = required("flip", named, axis)
        return apply(movement.flip, self, axes=normalize_axes(axes, self.ndim, "flip"))

    def pad(self, widths: Sequence[Sequence[int]], value: float = 0) -> T:
        """`value` put before and after the values of each axis: one `(before, after)` an axis."""
        if len(widths) != self.ndim:
            raise ShapeError(f"pad: {len(widths)} widths were given for the axes of {self.shape}")
        full = tuple((int(w[0]), int(w[1]), int(w[2]) if len(w) > 2 else 0) for w in widths)
        number = float(value) if self.dtype.kind == "f" else value
        return apply(movement.pad, self, widths=full, value=number)

    def windows(
        self,
        axes: Sequence[int],
        sizes: Sequence[int],
        strides: Sequence[int],
        dilations: Sequence[int],
    ) -> T:
        """Sliding windows along `axes`; the window axes stand at the end."""
        params = {"sizes": sizes, "strides": strides, "dilations": dilations}
        counts = {name: tuple(int(n) for n in values) for name, values in params.items()}
        sliding = tuple(normalize_axes(axis, self.ndim, "windows")[0] for axis in axes)
        return apply(windows.windows, self, axes=sliding, **counts)

    def concatenate(self, others: Sequence[Value[T]], axis: int) -> T:
        """The tensor and others of its dtype, one after the other along an axis."""
        axis = normalize_axes(axis, self.ndim, "concatenate")[0]
        return apply(movement.concatenate, self, *others, axis=axis)

    def update_slice(
        self, new: Any, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]
    ) -> T:
        """x with other values at starts, starts + steps... before stops, of each axis."""
        region = {"starts": tuple(starts), "stops": tuple(stops), "steps": tuple(steps)}
        part = tuple(-(-(b - a) // s) for a, b, s in zip(starts, stops, steps, strict=True))
        values = as_tensor(new, like=self).astype(self.dtype).broadcast_to(part)
        return apply(movement.update_slice, self, values, **region)

    @recorded
    def __getitem__(self: T, index: Any) -> T:
        """x[index]: numbers, slices, None, ..., integer arrays or tensors, masks."""
        steps = indexing_plan(index, self.shape)
        part = basic_part(self, steps)
        if not steps.picks:
            return part
        part, picks = _without_single(part, steps)
        x, picked, axis = picked_axis(part, picks, "x[index]")
        return x.gather_rows(picked, axis, clip=True)

    def __iter__(self) -> Iterator[T]:
        """The entries along the first axis."""
        count = len(self)
        if count >= _MANY and recording.current.tape is not None and not self.requires_grad:
            # As calls of a tape each would be another one.
            whole: Any = self
            return (_entry(whole, i) for i in range(count))
        return (self[i] for i in range(count))

    def gather_rows(
        self, index: Any, axis: int = 0, clip: bool = False, name: str = "gather_rows"
    ) -> T:
        """Entries of `axis` picked by an integer tensor, whose axes stand in place of `axis`.

        Negative indices count from the end; with `clip` they are 0, as the primitive has it. Errors
        speak of the function `name`.
        """
        axis = normalize_axes(axis, self.ndim, name)[0]
        picked = as_tensor(index) if clip else checked_index(index, self.shape[axis], name, axis)
        return apply(gather.take, self, picked, axis=axis)

    def scatter_rows(self, index: Any, axis: int, extent: int, clip: bool = False) -> T:
        """Zeros of `extent` along `axis`, the entries added to them at the positions `index`."""
        picked = as_tensor(index) if clip else checked_index(index, extent, "scatter_rows", axis)
        return apply(gather.scatter_add, self, picked, axis=axis, extent=extent)

    @recorded
    @explained
    def index_select(
        self, dim: int | None = None, index: Any = None, *, axis: int | None = None
    ) -> T:
        """The entries of axis `dim` at the positions `index` [K], in that order, none below 0."""
        axes = normalize_axes(required("index_select", dim, axis), self.ndim, "index_select")
        picked = as_tensor(index)
        if picked.ndim > 1:
            raise ShapeError(f"index_select: index must be [K], its shape is {picked.shape}")
        _require_integers("index_select", picked)
        x, axis = (self, axes[0]) if axes else (self.reshape(1), 0)
        require_range(picked, "index_select", "index", 0, x.shape[axis] - 1, axis=axis)
        found = x.gather_rows(picked.reshape(-1), axis, clip=True)
        return found if axes else found.reshape(())

    @recorded
    @explained
    def take(self, index: Any) -> T:
        """The values at the positions `index` of the flattened tensor, in the shape of `index`."""
        return self.reshape(-1).gather_rows(index, name="take")

    def __len__(self) -> int:
        if not self.shape:
            raise LengthError(
                "len: a tensor of shape () has no axes; use x.numel() for its elements"
            )
        return self.shape[0]


def _exchanged(x: T, name: str, dim0: int, dim1: int) -> T:
    if not x.ndim:
        normalize_axes(dim0, 0, name), normalize_axes(dim1, 0, name)
        return x
    order = list(range(x.ndim))
    a, b = (normalize_axes(dim, x.ndim, name)[0] for dim in (dim0, dim1))
    order[a], order[b] = order[b], order[a]
    return x.permute(order)


def basic_part(x: T, steps: Plan) -> T:
    """The view of x that the slices and numbers of an index choose."""
    start = x
    if any(steps.starts) or steps.stops != x.shape or any(n != 1 for n in steps.steps):
        x = apply(movement.slice_, x, starts=steps.starts, stops=steps.stops, steps=steps.steps)
    if steps.flips:
        x = x.flip(steps.flips)
    if x is start or steps.shape != x.shape:
        x = x.reshape(steps.shape)
    return x


def looked_at(x: Any, index: Any) -> Any:
    """x[index] by numbers and slices, called at once: the view itself, without a way to it."""
    value = value_of(x)
    if value is None or tracing.active() is not None:
        return x[index]
    if type(index) is slice and value.ndim:
        start, stop, step = index.indices(len(value))
        if step == 1 and start < stop:
            return _rows(x, value, start, stop)
    plan = indexing_plan(index, value.shape)
    steps: list[Step] = []
    if any(plan.starts) or plan.stops != value.shape or any(n != 1 for n in plan.steps):
        part = {"starts": plan.starts, "stops": plan.stops, "steps": plan.steps}
        steps.append((movement.slice_, part))
    if plan.flips:
        steps.append((movement.flip, {"axes": plan.flips}))
    for primitive, params in steps:
        value = primitive.numpy(value, **params)
    if not steps or plan.shape != value.shape:
        steps.append((movement.reshape, {"shape": plan.shape}))
        value = value.reshape(plan.shape)
    found = x.from_value(value)
    look(found, x, tuple(steps), grad_enabled())
    return found


def _rows(x: Any, value: Array, start: int, stop: int) -> Any:
    """x[start:stop], as `looked_at` gives it: what batches of data are cut with."""
    shape = value.shape
    found = x.from_value(value[start:stop])
    part = {
        "starts": (start,) + (0,) * (len(shape) - 1),
        "stops": (stop, *shape[1:]),
        "steps": (1,) * len(shape),
    }
    look(found, x, ((movement.slice_, part),), grad_enabled())
    return found


def _without_single(x: T, steps: Plan) -> tuple[T, tuple[Pick, ...]]:
    """x at indices without axes, where others stand beside them: as numbers they choose first."""
    single = [pick for pick in steps.picks if not getattr(pick.index, "ndim", 1)]
    if not single or len(single) == len(steps.picks):
        return x, steps.picks
    for pick in reversed(single):
        index = checked_index(pick.index, x.shape[pick.axis], "x[index]", pick.named)
        x = x.gather_rows(index, pick.axis, clip=True)
    gone = [pick.axis for pick in single]
    return x, tuple(
        Pick(pick.axis - sum(axis < pick.axis for axis in gone), pick.index, pick.named)
        for pick in steps.picks
        if pick not in single
    )


def _entry(x: T, number: int) -> T:
    """x[number] of a tensor without gradients, called at once: in half of the time of `looked_at`,
    for who goes over many.
    """
    value = value_of(x)
    if value is None:
        entry: Any = recording.run_at_once(type(x).__getitem__)
        return entry(x, number)
    shape, others = value.shape, len(value.shape) - 1
    part = {
        "starts": (number,) + (0,) * others,
        "stops": (number + 1, *shape[1:]),
        "steps": (1,) * len(shape),
    }
    found = x.from_value(value[number, ...])
    steps = (movement.slice_, part), (movement.reshape, {"shape": shape[1:]})
    look(found, x, steps, grad_enabled())
    return found


def picked_axis(x: T, picks: Sequence[Pick], name: str) -> tuple[T, Any, int]:
    """x with the axes that arrays pick from as one, the indices into that, and its number."""
    found = []
    for pick in picks:
        require_indices(pick.index, name)
        index = as_tensor(pick.index)
        index = index if index.dtype.kind in "iu" else index.astype(np.int64)
        found.append(checked_index(index, x.shape[pick.axis], name, pick.named))
    if len(found) == 1:
        return x, found[0], picks[0].axis
    one = merged(x.shape, tuple(pick.axis for pick in picks))
    total: Any = 0
    for index, stride in zip(broadcast(*found, name=name), one.strides, strict=True):
        total = index.astype(np.int64) * stride + total
    return x.permute(one.order).reshape(one.shape), total, one.axis


def _require_integers(name: str, index: T) -> None:
    if index.dtype.kind not in "iu":
        raise DTypeError(f"{name}: indices must be integers, they are {index.dtype}")


def checked_index(index: Any, extent: int, name: str, axis: int) -> Any:
    """An integer index that is held to its range; negative ones count from the end."""
    picked = as_tensor(index)
    _require_integers(name, picked)
    require_range(picked, name, "index", -extent, extent - 1, axis=axis)
    if picked.dtype.kind == "u":
        return picked
    return (picked < 0).choose(picked + extent, picked)
