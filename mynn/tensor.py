"""`Tensor`: a value with operators, computed at once on NumPy or recorded by a trace.

An eager tensor has a `value`. If it needs a gradient it also has a `node`, so that `backward` can
walk from it to the tensors it came from. A traced tensor has a `node` alone.
"""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, Union, overload

import numpy as np

from mynn import autodiff, interpreter, tracing
from mynn.errors import DTypeError, ShapeError, UsageError
from mynn.graph import CONSTANT, INPUT, Array, Node, Primitive, Shape, Type, constant, supported
from mynn.indexing import plan as indexing_plan
from mynn.ops import contraction, convolution, elementwise, indexing, movement, reduce
from mynn.ops.rules import normalize_axes
from mynn.runtime.buffers import allocate, axis_order

# What stands beside a tensor in an operation.
Operand: TypeAlias = Union["Tensor", Array, float]


class _GradMode(threading.local):
    """Whether results remember where they came from, for each nested block of a thread."""

    def __init__(self) -> None:
        self.enabled = [True]


_mode = _GradMode()


@contextmanager
def no_grad() -> Iterator[None]:
    """Within the block, eager results do not remember where they came from.

    Example:
        >>> from mynn import Tensor, no_grad
        >>> x = Tensor([1.0], requires_grad=True)
        >>> with no_grad():
        ...     y = x * 2
        >>> y.requires_grad
        False
    """
    _mode.enabled.append(False)
    try:
        yield
    finally:
        _mode.enabled.pop()


@contextmanager
def enable_grad() -> Iterator[None]:
    """Within the block, eager results remember where they came from, even inside `no_grad`."""
    _mode.enabled.append(True)
    try:
        yield
    finally:
        _mode.enabled.pop()


def grad_enabled() -> bool:
    """Whether results remember where they came from at present."""
    return _mode.enabled[-1]


def as_array(data: Any, dtype: Any = None) -> Array:
    """`data` as an array of a supported dtype; Python floats and lists of them become float32."""
    if isinstance(data, Tensor):
        data = data.data
    is_array = isinstance(data, np.ndarray | np.generic)
    array = np.asarray(data)
    if dtype is not None:
        array = array.astype(supported(np.dtype(dtype)), copy=False)
    elif not is_array and array.dtype == np.float64:
        array = array.astype(np.float32)
    return array.astype(supported(array.dtype), copy=False)


def promote(*dtypes: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype in common: float before int before bool, then the wider (as in PyTorch)."""
    rank = {"b": 0, "u": 1, "i": 1, "f": 2}
    best = max(rank[dtype.kind] for dtype in dtypes)
    return np.result_type(*(dtype for dtype in dtypes if rank[dtype.kind] == best))


class Tensor:
    """A multi-dimensional value.

    Args:
        data: array, number or nested list. Python floats become float32; NumPy arrays keep their
            dtype and are copied.
        dtype: float32, float64, int32, int64, uint32, uint8 or bool.
        requires_grad: whether `backward` fills `grad`.
        name: shown in printed graphs and in error messages.

    Example:
        >>> from mynn import Tensor
        >>> x = Tensor([1.0, 2.0], requires_grad=True)
        >>> (x * x).sum().backward()
        >>> x.grad.numpy()
        array([2., 4.], dtype=float32)
    """

    __slots__ = ("__weakref__", "_grad", "homed", "name", "node", "requires_grad", "value")
    __array_priority__ = 1000

    value: Array | None
    node: Node | None

    def __init__(
        self,
        data: Any,
        dtype: Any = None,
        requires_grad: bool = False,
        name: str | None = None,
    ) -> None:
        if isinstance(data, Tensor) and data.value is None:
            raise UsageError("a traced tensor has no value to copy; use it directly, or .detach()")
        array = np.array(as_array(data, dtype))
        self._setup(array, None, requires_grad, name)
        if tracing.active() is not None and not requires_grad:
            self.node, self.value = constant(array), None
        if requires_grad and array.dtype.kind != "f":
            raise DTypeError(f"only floats have gradients, this tensor is {array.dtype}")

    def _setup(
        self, value: Array | None, node: Node | None, requires_grad: bool, name: str | None
    ) -> None:
        self.value = value
        self.node = node
        self.requires_grad = requires_grad
        self.name = name
        self.homed = False
        self._grad: Tensor | None = None

    @classmethod
    def from_node(cls, node: Node, requires_grad: bool = False) -> Tensor:
        """A traced tensor (or an eager one, where the node has a value)."""
        tensor = Tensor.__new__(Tensor)
        tensor._setup(None, node, requires_grad, node.name)
        return tensor

    @classmethod
    def from_value(cls, value: Array, node: Node | None = None) -> Tensor:
        """An eager tensor that shares `value` instead of copying it."""
        tensor = Tensor.__new__(Tensor)
        tensor._setup(value, node, node is not None, None)
        return tensor

    # -- what it is --------------------------------------------------------------------------------

    @property
    def type(self) -> Type:
        """Shape and dtype together."""
        if self.value is not None:
            return Type(self.value.shape, self.value.dtype)
        assert self.node is not None
        return self.node.type

    @property
    def shape(self) -> Shape:
        """Extents of the axes."""
        return self.type.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy dtype of the elements."""
        return self.type.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.type.size

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a tensor without axes has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        if self.value is None:
            return f"Tensor(traced {self.type})"
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"Tensor({np.array2string(self.value, separator=', ', prefix='Tensor(')}{grad})"

    # -- values ------------------------------------------------------------------------------------

    @property
    def data(self) -> Array:
        """The value itself, an array that can be changed in place. Assigning copies into it."""
        if self.value is None:
            raise UsageError(
                "a tensor inside a traced function has no value yet; "
                "return it from the function, or record it"
            )
        return self.value

    @data.setter
    def data(self, value: Any) -> None:
        array = as_array(value)
        if array.shape != self.shape:
            raise ShapeError(
                f"{self.name or 'tensor'}: new data has shape {array.shape}, "
                f"it must be {self.shape}"
            )
        self.forget()
        self.data[...] = array

    def numpy(self) -> Array:
        """A copy of the value, contiguous."""
        return np.array(self.data, order="C")

    def item(self) -> float | int | bool:
        """The value of a tensor of one element, as a Python number."""
        result: float | int | bool = self.data.item()
        return result

    def tolist(self) -> Any:
        """The value as nested lists."""
        return self.data.tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.data, dtype=dtype, copy=copy)

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles hold the value, its memory order and the gradient, but no history."""
        value = self.data
        order = axis_order(value) if self.homed else None
        fields = (self.requires_grad, self.name, order, self._grad)
        return _restored, (type(self), np.array(value, order="C"), *fields)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        if self.value is None:
            raise UsageError(
                "the truth of a traced tensor is not known while tracing; "
                "use mynn.where instead of if"
            )
        return bool(self.value)

    __hash__ = object.__hash__

    def home(self, order: tuple[int, ...] | None = None) -> Array:
        """Move the value for good to padded storage that native code can use; returns its view."""
        value = self.data
        if not self.homed:
            if order is None:
                order = axis_order(value)
            self.value = allocate(value.shape, value.dtype, order)
            self.value[...] = value
            self.homed = True
            self.forget()
        assert self.value is not None
        return self.value

    def forget(self) -> None:
        """Called when the value changes: results of the old one can no longer be differentiated."""
        if self.node is not None and self.value is not None and not self.node.inputs:
            self.node.value = None
            self.node = None

    def assign(self, value: Any) -> None:
        """Give the tensor a new value of the same shape; in a trace this writes program state."""
        new = as_tensor(value, like=self)
        if new.shape != self.shape:
            raise ShapeError(
                f"{self.name or 'tensor'}: cannot assign shape {new.shape} to shape {self.shape}"
            )
        tracer = tracing.active()
        if tracer is not None and self.value is not None:
            tracer.write(self, graph_node(new.astype(self.dtype)))
        elif self.value is None:
            raise UsageError("only tensors made before the traced function can be assigned to")
        else:
            self.forget()
            self.value[...] = new.data

    # -- gradients ---------------------------------------------------------------------------------

    @property
    def grad(self) -> Tensor | None:
        """The gradient accumulated by `backward`, or None."""
        tracer = tracing.active()
        if tracer is not None and self.value is not None:
            return tracer.gradients.get(self)
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        tracer = tracing.active()
        new = None if value is None else as_tensor(value, like=self)
        if tracer is None or self.value is None:
            self._grad = new
        elif new is None:
            tracer.gradients.pop(self, None)
        else:
            tracer.gradients[self] = new

    def detach(self) -> Tensor:
        """The same value, through which no gradient flows."""
        if self.value is not None and tracing.active() is None:
            return Tensor.from_value(self.value)
        return apply(elementwise.stop_gradient, self)

    def backward(self, gradient: Any = None) -> None:
        """Add d self / d p to `p.grad` for each p with `requires_grad` that self was computed from.

        `gradient` is the cotangent to start from; it can be left out for a tensor of one element
        (it is 1 then).
        """
        if gradient is None and self.size != 1:
            raise UsageError(
                f"backward of a tensor of shape {self.shape} needs a gradient of that shape; "
                "reduce it to one value first, for example with .sum() or .mean()"
            )
        if not self.requires_grad:
            raise UsageError(
                "backward: nothing that this tensor was computed from requires a gradient"
            )
        seed = as_tensor(np.ones((), self.dtype) if gradient is None else gradient, like=self)
        if gradient is not None and seed.shape != self.shape:
            raise ShapeError(
                f"backward: the gradient has shape {seed.shape}, it must be {self.shape}"
            )
        seed = seed.astype(self.dtype).broadcast_to(self.shape)
        if tracing.active() is not None:
            _backward_traced(self, seed)
        else:
            _backward_eager(self, seed)

    # -- arithmetic --------------------------------------------------------------------------------

    def __neg__(self) -> Tensor:
        return apply(elementwise.neg, self)

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return self.abs()

    def __add__(self, other: Any) -> Tensor:
        return binary(elementwise.add, self, other)

    def __sub__(self, other: Any) -> Tensor:
        return binary(elementwise.sub, self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return binary(elementwise.sub, other, self)

    def __mul__(self, other: Any) -> Tensor:
        return binary(elementwise.mul, self, other)

    def __truediv__(self, other: Any) -> Tensor:
        return binary(elementwise.div, self, other, floating=True)

    def __rtruediv__(self, other: Any) -> Tensor:
        return binary(elementwise.div, other, self, floating=True)

    def __mod__(self, other: Any) -> Tensor:
        return binary(elementwise.mod, self, other)

    def __pow__(self, other: Any) -> Tensor:
        if isinstance(other, int | float) and other in (1, 2, 3, 0.5, -1):
            return _small_power(self, other)
        return binary(elementwise.pow, self, other, floating=True)

    def __rpow__(self, other: Any) -> Tensor:
        return binary(elementwise.pow, other, self, floating=True)

    def __matmul__(self, other: Any) -> Tensor:
        return matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return matmul(as_tensor(other, like=self), self)

    def contract(self, other: Any, batch: int, summed: int) -> Tensor:
        """The product summed over several axes; see the function `contract`."""
        return contract(self, other, batch, summed)

    def conv(
        self,
        weight: Any,
        strides: tuple[int, ...],
        padding: tuple[tuple[int, int], ...],
        dilations: tuple[int, ...],
        groups: int = 1,
    ) -> Tensor:
        """Convolution [N, C, spatial..] * [O, C / groups, kernel..] -> [N, O, spatial..].

        `padding` is one (before, after) a spatial axis.
        """
        x, w = same_dtype(self, weight, floating=True)
        params = {"strides": strides, "padding": padding, "dilations": dilations}
        return apply(convolution.conv, x, w, **params, groups=groups)

    __radd__ = __add__
    __rmul__ = __mul__

    def __lt__(self, other: Any) -> Tensor:
        return binary(elementwise.less, self, other)

    def __le__(self, other: Any) -> Tensor:
        return binary(elementwise.less_equal, self, other)

    def __gt__(self, other: Any) -> Tensor:
        return binary(elementwise.less, other, self)

    def __ge__(self, other: Any) -> Tensor:
        return binary(elementwise.less_equal, other, self)

    # Comparing anything with == promises a bool; tensors and numbers compare by element.
    @overload
    def __eq__(self, other: Operand) -> Tensor: ...

    @overload
    def __eq__(self, other: object) -> Any: ...

    def __eq__(self, other: object) -> Any:
        return binary(elementwise.equal, self, other)

    @overload
    def __ne__(self, other: Operand) -> Tensor: ...

    @overload
    def __ne__(self, other: object) -> Any: ...

    def __ne__(self, other: object) -> Any:
        return binary(elementwise.not_equal, self, other)

    def __and__(self, other: Any) -> Tensor:
        return binary(elementwise.bitwise_and, self, other)

    def __or__(self, other: Any) -> Tensor:
        return binary(elementwise.bitwise_or, self, other)

    def __xor__(self, other: Any) -> Tensor:
        return binary(elementwise.bitwise_xor, self, other)

    def __invert__(self) -> Tensor:
        return apply(elementwise.logical_not, self)

    def __rshift__(self, bits: int) -> Tensor:
        return apply(elementwise.shift_right, self, bits=bits)

    # -- elementwise functions ---------------------------------------------------------------------

    def abs(self) -> Tensor:
        """|x|; the gradient at 0 is 0."""
        return apply(elementwise.abs, self)

    def sign(self) -> Tensor:
        """-1, 0 or 1; its gradient is 0."""
        return apply(elementwise.sign, self)

    def exp(self) -> Tensor:
        """e^x."""
        return apply(elementwise.exp, self.floating())

    def expm1(self) -> Tensor:
        """e^x - 1, exact for small x."""
        return apply(elementwise.expm1, self.floating())

    def log(self) -> Tensor:
        """Natural logarithm."""
        return apply(elementwise.log, self.floating())

    def log1p(self) -> Tensor:
        """log(1 + x), exact for small x."""
        return apply(elementwise.log1p, self.floating())

    def sqrt(self) -> Tensor:
        """Square root."""
        return apply(elementwise.sqrt, self.floating())

    def sin(self) -> Tensor:
        """Sine of x in radians."""
        return apply(elementwise.sin, self.floating())

    def cos(self) -> Tensor:
        """Cosine of x in radians."""
        return apply(elementwise.cos, self.floating())

    def tanh(self) -> Tensor:
        """Hyperbolic tangent."""
        return apply(elementwise.tanh, self.floating())

    def sigmoid(self) -> Tensor:
        """The logistic function 1 / (1 + e^-x)."""
        return apply(elementwise.logistic, self.floating())

    def erf(self) -> Tensor:
        """The error function."""
        return apply(elementwise.erf, self.floating())

    def relu(self) -> Tensor:
        """max(x, 0); the gradient at 0 is 0."""
        return apply(elementwise.relu, self.floating())

    def floor(self) -> Tensor:
        """The largest whole number not above x; its gradient is 0."""
        return apply(elementwise.floor, self.floating())

    def maximum(self, other: Any) -> Tensor:
        """The larger of two values, elementwise; where they tie each gets half of the gradient."""
        return binary(elementwise.maximum, self, other)

    def minimum(self, other: Any) -> Tensor:
        """The smaller of two values, elementwise."""
        return binary(elementwise.minimum, self, other)

    def clip(self, low: Any = None, high: Any = None) -> Tensor:
        """Values below `low` become `low`, values above `high` become `high`."""
        result = self if low is None else self.maximum(low)
        return result if high is None else result.minimum(high)

    def where(self, x: Any, y: Any) -> Tensor:
        """With a bool tensor: `x` where it is true, `y` where it is false."""
        x, y = same_dtype(x, y)
        condition, x, y = broadcast(self, x, y)
        return apply(elementwise.where, condition, x, y)

    def astype(self, dtype: Any) -> Tensor:
        """The values converted to another dtype; float to int drops the fraction."""
        dtype = supported(np.dtype(dtype))
        return self if dtype == self.dtype else apply(elementwise.cast, self, dtype=dtype)

    def floating(self) -> Tensor:
        """Itself, or as float32 where it holds integers or bools."""
        return self if self.dtype.kind == "f" else self.astype(np.float32)

    # -- reductions --------------------------------------------------------------------------------

    def _reduce(self, primitive: Primitive, axis: Any, keepdims: bool) -> Tensor:
        axes = normalize_axes(axis, self.ndim, primitive.name)
        result = apply(primitive, self, axes=axes)
        return result.reshape(_kept(self.shape, axes)) if keepdims else result

    def sum(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Sum over `axis` (a number, a tuple, or all)."""
        x = self.astype(np.int64) if self.dtype == np.bool_ else self
        return x._reduce(reduce.sum, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Mean over `axis`."""
        axes = normalize_axes(axis, self.ndim, "mean")
        count = math.prod(self.shape[one] for one in axes)
        if count == 0:
            raise ShapeError(f"mean: the reduced axes {axes} of {self.shape} hold no values")
        return self.floating().sum(axes, keepdims) * (1.0 / count)

    def var(self, axis: Any = None, keepdims: bool = False, correction: int = 0) -> Tensor:
        """Variance over `axis`; divided by n - correction."""
        axes = normalize_axes(axis, self.ndim, "var")
        count = math.prod(self.shape[one] for one in axes)
        centred = self - self.mean(axes, keepdims=True)
        return (centred * centred).sum(axes, keepdims) * (1.0 / (count - correction))

    def max(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Largest value over `axis`; values that tie share the gradient."""
        return self._reduce(reduce.max, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Tensor:
        """Smallest value over `axis`."""
        return self._reduce(reduce.min, axis, keepdims)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Index of the first largest value along `axis`, or in the flattened tensor."""
        if axis is None:
            flat = apply(reduce.argmax, self.reshape(-1), axis=0)
            return flat.reshape((1,) * self.ndim) if keepdims else flat
        axes = normalize_axes(axis, self.ndim, "argmax")
        result = apply(reduce.argmax, self, axis=axes[0])
        return result.reshape(_kept(self.shape, axes)) if keepdims else result

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Index of the first smallest value along `axis`."""
        return (-self).argmax(axis, keepdims)

    # -- movement ----------------------------------------------------------------------------------

    def reshape(self, *shape: Any) -> Tensor:
        """The same values in row-major order under another shape; one extent may be -1."""
        target = list(shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape)
        if target.count(-1) == 1:
            rest = math.prod(n for n in target if n != -1)
            if rest == 0 or self.size % rest:
                raise ShapeError(f"reshape: {self.shape} does not divide into {tuple(target)}")
            target[target.index(-1)] = self.size // rest
        if tuple(target) == self.shape:
            return self
        return apply(movement.reshape, self, shape=tuple(int(n) for n in target))

    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """Axes `start_dim`..`end_dim` merged into one."""
        if not self.shape:
            return self.reshape(1)
        start, end = (
            normalize_axes(axis, self.ndim, "flatten")[0] for axis in (start_dim, end_dim)
        )
        if start > end:
            raise ShapeError(f"flatten: start_dim {start_dim} lies after end_dim {end_dim}")
        middle = math.prod(self.shape[start : end + 1])
        return self.reshape((*self.shape[:start], middle, *self.shape[end + 1 :]))

    def transpose(self, *axes: Any) -> Tensor:
        """Axes in another order; without arguments, reversed."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
        order = tuple(order) or tuple(reversed(range(self.ndim)))
        order = tuple(normalize_axes(axis, self.ndim, "transpose")[0] for axis in order)
        return apply(movement.transpose, self, axes=order)

    permute = transpose

    @property
    def T(self) -> Tensor:
        """Axes reversed."""
        return self.transpose()

    def swapaxes(self, a: int, b: int) -> Tensor:
        """Two axes exchanged."""
        order = list(range(self.ndim))
        a, b = (normalize_axes(axis, self.ndim, "swapaxes")[0] for axis in (a, b))
        order[a], order[b] = order[b], order[a]
        return self.transpose(order)

    def broadcast_to(self, shape: Sequence[int]) -> Tensor:
        """Repeated along axes of extent 1, and along new leading axes, up to `shape`."""
        target = tuple(int(n) for n in shape)
        if target == self.shape:
            return self
        if len(target) < self.ndim:
            raise ShapeError(f"broadcast_to: {self.shape} cannot be repeated to {target}")
        x = self.reshape((1,) * (len(target) - self.ndim) + self.shape)
        return x if x.shape == target else apply(movement.broadcast_to, x, shape=target)

    def unsqueeze(self, axis: int) -> Tensor:
        """A new axis of extent 1 at `axis`."""
        place = normalize_axes(axis, self.ndim + 1, "unsqueeze")[0]
        return self.reshape((*self.shape[:place], 1, *self.shape[place:]))

    def squeeze(self, axis: Any = None) -> Tensor:
        """Axes of extent 1 removed: all of them, or those named."""
        axes = normalize_axes(axis, self.ndim, "squeeze")
        kept = tuple(n for i, n in enumerate(self.shape) if not (n == 1 and i in axes))
        return self.reshape(kept)

    def flip(self, axes: Any) -> Tensor:
        """Order reversed along `axes`."""
        return apply(movement.flip, self, axes=normalize_axes(axes, self.ndim, "flip"))

    def pad(self, widths: Sequence[Sequence[int]], value: float = 0) -> Tensor:
        """`value` put before and after the values of each axis: one `(before, after)` an axis."""
        if len(widths) != self.ndim:
            raise ShapeError(f"pad: {len(widths)} widths were given for the axes of {self.shape}")
        full = tuple((int(w[0]), int(w[1]), int(w[2]) if len(w) > 2 else 0) for w in widths)
        return apply(movement.pad, self, widths=full, value=value)

    def windows(
        self,
        axes: Sequence[int],
        sizes: Sequence[int],
        strides: Sequence[int],
        dilations: Sequence[int],
    ) -> Tensor:
        """Sliding windows along `axes`; the window axes stand at the end."""
        params = {"sizes": sizes, "strides": strides, "dilations": dilations}
        counts = {name: tuple(int(n) for n in values) for name, values in params.items()}
        places = tuple(normalize_axes(axis, self.ndim, "windows")[0] for axis in axes)
        return apply(movement.windows, self, axes=places, **counts)

    def __getitem__(self, index: Any) -> Tensor:
        steps = indexing_plan(index, self.shape)
        x = self
        if any(steps.starts) or steps.stops != self.shape or any(n != 1 for n in steps.steps):
            x = apply(movement.slice_, x, starts=steps.starts, stops=steps.stops, steps=steps.steps)
        if steps.flips:
            x = x.flip(steps.flips)
        x = x.reshape(steps.shape)
        return x if steps.take_axis is None else x.take(steps.take_index, steps.take_axis)

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def take(self, index: Any, axis: int = 0, clip: bool = False) -> Tensor:
        """Entries of `axis` picked by an integer tensor, whose axes stand in place of `axis`.

        Negative indices count from the end; with `clip` they are 0, as the primitive has it.
        """
        axis = normalize_axes(axis, self.ndim, "take")[0]
        picked = as_tensor(index) if clip else _checked_index(index, self.shape[axis])
        return apply(indexing.take, self, picked, axis=axis)

    def scatter_add(self, index: Any, axis: int, extent: int, clip: bool = False) -> Tensor:
        """Zeros of `extent` along `axis`, to which the entries are added at the places `index`."""
        picked = as_tensor(index) if clip else _checked_index(index, extent)
        return apply(indexing.scatter_add, self, picked, axis=axis, extent=extent)


class Parameter(Tensor):
    """A tensor that training changes: `requires_grad` is set.

    `order` lists the axes from the slowest to the fastest in memory; layers choose the order that
    suits the compiler. The value lies in padded storage, which native code uses as it is.

    Example:
        >>> import numpy as np
        >>> from mynn import Parameter
        >>> weight = Parameter(np.zeros((3, 2), np.float32), order=(1, 0))
        >>> weight.shape, weight.data.strides
        ((3, 2), (4, 16))
    """

    __slots__ = ()

    def __init__(
        self,
        data: Any,
        dtype: Any = None,
        requires_grad: bool = True,
        name: str | None = None,
        order: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(data, dtype, requires_grad, name)
        self.home(order)


def _restored(
    kind: type[Tensor],
    value: Array,
    requires_grad: bool,
    name: str | None,
    order: tuple[int, ...] | None,
    gradient: Tensor | None,
) -> Tensor:
    """A tensor from the parts that `Tensor.__reduce__` gives."""
    tensor = kind.__new__(kind)
    tensor._setup(value, None, requires_grad, name)
    if order is not None:
        tensor.home(order)
    tensor._grad = gradient
    return tensor


# The tensor that an eager leaf node stands for. The tensor owns the node, so the values are weak.
_leaves: weakref.WeakValueDictionary[Node, Tensor] = weakref.WeakValueDictionary()


def leaf_requires_grad(node: Node) -> bool:
    """Whether an eager node stands for a tensor that asked for a gradient."""
    tensor = _leaves.get(node)
    return tensor is not None and tensor.requires_grad


def graph_node(tensor: Tensor) -> Node:
    """The node of a tensor: in a trace its present value, otherwise its eager history or a leaf."""
    tracer = tracing.active()
    if tracer is not None and tensor.value is not None:
        return tracer.read(tensor)
    if tensor.node is None:
        tensor.node = Node(INPUT, (), {}, tensor.type, value=tensor.data, name=tensor.name)
        _leaves[tensor.node] = tensor
    return tensor.node


def apply(primitive: Primitive, *inputs: Tensor, **params: Any) -> Tensor:
    """Run one primitive: at once on the values, or as a new node of the trace."""
    needs_grad = any(x.requires_grad for x in inputs)
    result = primitive.infer(*(x.type for x in inputs), **params)
    differentiable = needs_grad and _mode.enabled[-1] and result.dtype.kind == "f"
    if tracing.active() is not None:
        nodes = tuple(graph_node(x) for x in inputs)
        node = Node(primitive, nodes, params, result, source=tracing.user_source())
        if needs_grad and not differentiable and result.dtype.kind == "f":
            node = Node(elementwise.stop_gradient, (node,), {}, result)
        return Tensor.from_node(node, differentiable)
    history = tuple(graph_node(x) for x in inputs) if differentiable else ()
    node = Node(primitive, history, params, result)
    value = interpreter.compute(node, [x.data for x in inputs])
    if not differentiable:
        return Tensor.from_value(value)
    node.value = value
    return Tensor.from_value(value, node)


def wrap(node: Node) -> Tensor:
    """A node as a tensor that knows operators; an eager node has kept its value."""
    if tracing.active() is not None:
        return Tensor.from_node(node, requires_grad=True)
    value = node.value
    if value is None or _is_stale(node):
        raise UsageError(
            f"a value that backward needs ({node.name or node!r}) was changed after the forward "
            "pass; run the forward pass again"
        )
    tensor = _leaves.get(node)
    if tensor is not None:
        return tensor
    return Tensor.from_value(value, None if node.primitive is CONSTANT else node)


def _is_stale(node: Node) -> bool:
    """Whether the value is a view (a transpose, a slice...) of one that was changed since."""
    while node.primitive in _VIEWS and node.value is not None:
        node = node.inputs[0]
    return node.value is None


_VIEWS = {
    elementwise.stop_gradient,
    movement.reshape,
    movement.transpose,
    movement.broadcast_to,
    movement.slice_,
    movement.flip,
    movement.windows,
}


def _accumulate(tensor: Tensor, gradient: Tensor) -> None:
    tensor.grad = gradient if tensor.grad is None else tensor.grad + gradient


def _backward_traced(output: Tensor, seed: Tensor) -> None:
    tracer = tracing.active()
    assert tracer is not None
    wanted = {node: t for t, node in tracer.current.items() if t.requires_grad}
    reached = autodiff.reverse({graph_node(output): seed}, wanted.__contains__, wrap)
    tracer.cotangents.update(reached)
    with no_grad():
        for node, tensor in wanted.items():
            if node in reached:
                _accumulate(tensor, reached[node])


def _backward_eager(output: Tensor, seed: Tensor) -> None:
    with no_grad():
        reached = autodiff.reverse({graph_node(output): seed}, leaf_requires_grad, wrap)
        for node, gradient in reached.items():
            tensor = _leaves.get(node)
            if tensor is not None and tensor.requires_grad:
                _accumulate(tensor, gradient.detach())


# -- operands --------------------------------------------------------------------------------------


def as_tensor(value: Any, like: Tensor | None = None) -> Tensor:
    """`value` as a tensor. A number takes the dtype of `like`, but a float stays a float."""
    if isinstance(value, Tensor):
        return value
    dtype = None
    number = isinstance(value, bool | int | float) and not isinstance(value, np.generic)
    if like is not None and number:
        rank = {bool: 0, int: 1, float: 2}[type(value)]
        if rank <= {"b": 0, "u": 1, "i": 1, "f": 2}[like.dtype.kind]:
            dtype = like.dtype
    array = as_array(value, dtype)
    if tracing.active() is not None:
        return Tensor.from_node(constant(array))
    return Tensor.from_value(array)


def same_dtype(x: Any, y: Any, floating: bool = False) -> tuple[Tensor, Tensor]:
    """Two operands as tensors of their common dtype."""
    a = as_tensor(x, like=y if isinstance(y, Tensor) else None)
    b = as_tensor(y, like=a if isinstance(x, Tensor) else None)
    dtype = promote(a.dtype, b.dtype)
    if floating and dtype.kind != "f":
        dtype = np.dtype(np.float32)
    return a.astype(dtype), b.astype(dtype)


def broadcast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors repeated to their common shape, as NumPy would."""
    shapes = [x.shape for x in tensors]
    if all(shape == shapes[0] for shape in shapes):
        return tensors
    try:
        target = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(f"shapes {' and '.join(map(str, shapes))} do not fit together") from None
    return tuple(x.broadcast_to(target) for x in tensors)


def binary(primitive: Primitive, x: Any, y: Any, floating: bool = False) -> Tensor:
    """A primitive of two operands, after promotion and broadcasting."""
    return apply(primitive, *broadcast(*same_dtype(x, y, floating)))


def matmul(x: Any, y: Any) -> Tensor:
    """Matrix product as in NumPy: vectors are a row or a column, leading axes broadcast."""
    a, b = same_dtype(x, y, floating=True)
    if not a.ndim or not b.ndim:
        raise ShapeError("matmul: both operands need at least one axis")
    row, column = a.ndim == 1, b.ndim == 1
    a = a.unsqueeze(0) if row else a
    b = b.unsqueeze(1) if column else b
    if a.shape[-1] != b.shape[-2]:
        raise ShapeError(
            f"matmul: {a.shape} @ {b.shape}: the inner extents {a.shape[-1]} and "
            f"{b.shape[-2]} differ"
        )
    try:
        leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ShapeError(
            f"matmul: the leading axes of {a.shape} and {b.shape} do not fit"
        ) from None
    a = a.broadcast_to((*leading, *a.shape[-2:]))
    b = b.broadcast_to((*leading, *b.shape[-2:]))
    result = apply(contraction.matmul, a, b)
    result = result.squeeze(-1) if column else result
    return result.squeeze(-1 if column else -2) if row else result


def contract(a: Any, b: Any, batch: int, summed: int) -> Tensor:
    """The product of a [B.. | P.. | K..] and b [B.. | K.. | Q..], summed over K: [B.. | P.. | Q..].

    `batch` and `summed` are the numbers of axes B and K.
    """
    return apply(contraction.contract, *same_dtype(a, b, floating=True), batch=batch, summed=summed)


def _small_power(x: Tensor, exponent: float) -> Tensor:
    x = x.floating() if exponent in (0.5, -1) else x
    if exponent == 1:
        return x
    if exponent == 2:
        return x * x
    if exponent == 3:
        return x * x * x
    return x.sqrt() if exponent == 0.5 else 1 / x


def _kept(shape: Shape, axes: tuple[int, ...]) -> Shape:
    return tuple(1 if axis in axes else n for axis, n in enumerate(shape))


def _checked_index(index: Any, extent: int) -> Tensor:
    """An integer index; negative ones count from the end, and known ones are held to the range."""
    picked = as_tensor(index)
    if picked.dtype.kind not in "iu":
        raise DTypeError(f"indices must be integers, they are {picked.dtype}")
    if picked.value is not None and tracing.active() is None and picked.size:
        low, high = int(picked.value.min()), int(picked.value.max())
        if low < -extent or high >= extent:
            raise IndexError(f"indices from {low} to {high} are out of range for extent {extent}")
    if picked.dtype.kind == "u":
        return picked
    return (picked < 0).where(picked + extent, picked)
