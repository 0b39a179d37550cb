"""Operations in place, as methods: the tensor itself gets other values, which its views see too.

    x += y      x.add_(y)      x.copy_(y)

The operation that is not in-place computes the values; `write.py` gives them to the tensor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from mynn.base import recording
from mynn.core.graph import Node
from mynn.core.types import Array
from mynn.errors import DTypeError, ShapeError, UsageError
from mynn.tensor.gradients.grad_mode import grad_enabled
from mynn.tensor.gradients.history import STOP, array_of, graph_node, set_recorded
from mynn.tensor.methods.selecting import Selecting
from mynn.tensor.promotion import as_tensor
from mynn.tensor.value import AnyTensor, Value
from mynn.tensor.write import put_off_copy, replace, same_value, write
from mynn.trace import tracing

T = TypeVar("T", bound="InPlace[Any]")

# What draws; `mynn.random`, which is made of tensors, enters it.
samplers: dict[str, Callable[..., Any]] = {}


class InPlace(Selecting[T]):
    """Methods that end in `_`, and `x += y`."""

    __slots__ = ()

    # -- arithmetic --------------------------------------------------------------------------------

    def add_(self: T, other: Any, *, alpha: Any = 1) -> T:
        """x += alpha other."""
        return replace(self, self + _scaled(other, alpha), "add_")

    def sub_(self: T, other: Any, *, alpha: Any = 1) -> T:
        """x -= alpha other."""
        return replace(self, self - _scaled(other, alpha), "sub_")

    def mul_(self: T, other: Any) -> T:
        """x *= other."""
        return replace(self, _kept(self, other) * other, "mul_")

    def div_(self: T, other: Any) -> T:
        """x /= other; x must hold floats."""
        return replace(self, _kept(self, other) / other, "div_")

    def remainder_(self: T, other: Any) -> T:
        """x %= other."""
        return replace(self, self % other, "remainder_")

    def pow_(self: T, exponent: Any) -> T:
        """x **= exponent."""
        return replace(self, _kept(self, exponent) ** exponent, "pow_")

    def bitwise_and_(self: T, other: Any) -> T:
        """x &= other."""
        return replace(self, self & other, "bitwise_and_")

    def bitwise_or_(self: T, other: Any) -> T:
        """x |= other."""
        return replace(self, self | other, "bitwise_or_")

    def bitwise_xor_(self: T, other: Any) -> T:
        """x ^= other."""
        return replace(self, self ^ other, "bitwise_xor_")

    def bitwise_right_shift_(self: T, bits: int) -> T:
        """x >>= bits."""
        return replace(self, self >> bits, "bitwise_right_shift_")

    __iadd__, __isub__, __imul__, __itruediv__ = add_, sub_, mul_, div_
    __imod__, __ipow__, __irshift__ = remainder_, pow_, bitwise_right_shift_
    __iand__, __ior__, __ixor__ = bitwise_and_, bitwise_or_, bitwise_xor_

    # -- copies ------------------------------------------------------------------------------------

    def copy_(self: T, source: Any, non_blocking: bool = False) -> T:
        """The values of `source`, broadcast and converted to the dtype of x."""
        values = as_tensor(source, like=self)
        try:
            shape = np.broadcast_shapes(values.shape, self.shape)
        except ValueError:
            shape = ()
        if shape != self.shape:
            raise ShapeError(
                f"copy_: values of shape {values.shape} cannot be broadcast to the shape "
                f"{self.shape} of the tensor that they are copied into"
            )
        new = values.astype(self.dtype).broadcast_to(self.shape)
        if put_off_copy(self, new):
            return self
        return write(self, new, "copy_")

    def fill_(self: T, value: Any) -> T:
        """One number everywhere."""
        if type(value) in (int, float) and not self.requires_grad and tracing.active() is None:
            if self.pending is not None or _is_read(self):
                return replace(self, self.new_full(self.shape, value), "fill_")
            return write(self, _repeated(self, value), "fill_")
        number = as_tensor(value, like=self)
        if number.ndim:
            raise ShapeError(
                f"fill_: takes one number, it was given shape {number.shape}; use copy_"
            )
        return self.copy_(number)

    def zero_(self: T) -> T:
        """Zeros everywhere."""
        return self.fill_(0)

    # -- functions of one tensor -------------------------------------------------------------------

    def neg_(self: T) -> T:
        """x becomes -x."""
        return replace(self, -self, "neg_")

    def abs_(self: T) -> T:
        """x becomes abs(x)."""
        return replace(self, _kept(self).abs(), "abs_")

    def sign_(self: T) -> T:
        """x becomes sign(x)."""
        return replace(self, _kept(self).sign(), "sign_")

    def exp_(self: T) -> T:
        """x becomes exp(x)."""
        return replace(self, self.exp(), "exp_")

    def expm1_(self: T) -> T:
        """x becomes expm1(x)."""
        return replace(self, _kept(self).expm1(), "expm1_")

    def log_(self: T) -> T:
        """x becomes log(x)."""
        return replace(self, _kept(self).log(), "log_")

    def log1p_(self: T) -> T:
        """x becomes log1p(x)."""
        return replace(self, _kept(self).log1p(), "log1p_")

    def sqrt_(self: T) -> T:
        """x becomes sqrt(x)."""
        return replace(self, self.sqrt(), "sqrt_")

    def sin_(self: T) -> T:
        """x becomes sin(x)."""
        return replace(self, _kept(self).sin(), "sin_")

    def cos_(self: T) -> T:
        """x becomes cos(x)."""
        return replace(self, _kept(self).cos(), "cos_")

    def tanh_(self: T) -> T:
        """x becomes tanh(x)."""
        return replace(self, self.tanh(), "tanh_")

    def sigmoid_(self: T) -> T:
        """x becomes sigmoid(x)."""
        return replace(self, self.sigmoid(), "sigmoid_")

    def erf_(self: T) -> T:
        """x becomes erf(x)."""
        return replace(self, _kept(self).erf(), "erf_")

    def relu_(self: T) -> T:
        """x becomes relu(x)."""
        return replace(self, _kept(self).relu(), "relu_")

    def floor_(self: T) -> T:
        """x becomes floor(x)."""
        return replace(self, _kept(self).floor(), "floor_")

    def clip_(self: T, min: Any = None, max: Any = None) -> T:
        """Values below `min` become `min`, values above `max` become `max`."""
        return replace(self, _kept(self, min, max).clip(min, max), "clamp_")

    clamp_ = clip_

    # -- functions of several ----------------------------------------------------------------------

    def lerp_(self: T, end: Any, weight: Any) -> T:
        """x += weight (end - x)."""
        start = _kept(self, weight)
        return replace(self, start + (as_tensor(end, like=self) - start) * weight, "lerp_")

    def addcmul_(self: T, tensor1: Any, tensor2: Any, *, value: Any = 1) -> T:
        """x += value tensor1 tensor2."""
        product = as_tensor(tensor1, like=self) * tensor2
        return replace(self, self + _scaled(product, value), "addcmul_")

    def addcdiv_(self: T, tensor1: Any, tensor2: Any, *, value: Any = 1) -> T:
        """x += value tensor1 / tensor2."""
        quotient = as_tensor(tensor1, like=self) / tensor2
        return replace(self, self + _scaled(quotient, value), "addcdiv_")

    # -- values put at indices ---------------------------------------------------------------------

    def masked_fill_(self: T, mask: Any, value: Any) -> T:
        """One number where `mask` is true, which is broadcast to x."""
        return replace(self, _kept(self).masked_fill(mask, value), "masked_fill_")

    def fill_diagonal_(self: T, fill_value: Any, wrap: bool = False) -> T:
        """x[i, i, ..] becomes fill_value; with `wrap` again below each square of a tall matrix."""
        shape = self.shape
        if self.ndim < 2 or (self.ndim > 2 and len(set(shape)) > 1):
            raise ShapeError(
                f"fill_diagonal_: takes matrices, or tensors of equal extents; the shape is {shape}"
            )
        mask = np.zeros(shape, bool)
        if self.ndim == 2 and wrap:
            mask.reshape(-1)[:: shape[1] + 1] = True
        else:
            mask[(np.arange(min(shape)),) * self.ndim] = True
        return self.masked_fill_(mask, fill_value)

    def masked_scatter_(self: T, mask: Any, source: Any) -> T:
        """The values of `source`, in order, where `mask` is true, which is broadcast to x."""
        return replace(self, self.masked_scatter(mask, source), "masked_scatter_")

    def scatter_(
        self: T,
        dim: int,
        index: Any,
        src: Any = None,
        *,
        value: Any = None,
        reduce: str | None = None,
    ) -> T:
        """`src` put along `dim` at the positions `index`: see `scatter`."""
        result = _kept(self, src).scatter(dim, index, src, value=value, reduce=reduce)
        return replace(self, result, "scatter_")

    def scatter_add_(self: T, dim: int, index: Any, src: Any) -> T:
        """`src` added along `dim` at the positions `index`: see `scatter_add`."""
        return replace(self, self.scatter_add(dim, index, src), "scatter_add_")

    def scatter_reduce_(
        self: T, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True
    ) -> T:
        """`src` combined along `dim` at the positions `index`: see `scatter_reduce`."""
        x = _kept(self, src)
        result = x.scatter_reduce(dim, index, src, reduce, include_self=include_self)
        return replace(self, result, "scatter_reduce_")

    def index_copy_(self: T, dim: int, index: Any, source: Any) -> T:
        """The entries of `source` along `dim` at the positions `index` [K]."""
        return replace(self, self.index_copy(dim, index, source), "index_copy_")

    def index_fill_(self: T, dim: int, index: Any, value: Any) -> T:
        """One number at the positions `index` [K] along `dim`."""
        return replace(self, self.index_fill(dim, index, value), "index_fill_")

    def index_add_(self: T, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> T:
        """The entries of `source` along `dim`, times `alpha`, added at positions `index` [K]."""
        return replace(self, self.index_add(dim, index, source, alpha=alpha), "index_add_")

    def index_reduce_(
        self: T, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True
    ) -> T:
        """The entries of `source` along `dim` combined at positions `index` [K]."""
        x = _kept(self, source)
        result = x.index_reduce(dim, index, source, reduce, include_self=include_self)
        return replace(self, result, "index_reduce_")

    # -- random numbers ----------------------------------------------------------------------------

    def uniform_(self: T, low: float = 0.0, high: float = 1.0, *, generator: Any = None) -> T:
        """Numbers spread evenly over [low, high)."""
        _require_float(self, "uniform_")
        return _draw(self, "uniform", low, high, generator=generator)

    def normal_(self: T, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> T:
        """Numbers from the normal distribution N(mean, std^2)."""
        _require_float(self, "normal_")
        return _draw(self, "normal", mean, std, generator=generator)

    def bernoulli_(self: T, p: Any = 0.5, *, generator: Any = None) -> T:
        """1 with probability p, otherwise 0."""
        numbers = samplers["bernoulli"](p, self.shape, generator)
        return write(self, _as(numbers, self.dtype), "bernoulli_")

    # -- history -----------------------------------------------------------------------------------

    def requires_grad_(self: T, requires_grad: bool = True) -> T:
        """Ask for a gradient of a leaf, or for none."""
        tape, pending = recording.current.tape, self.pending
        waits = tape is not None and pending is not None and pending.tape is tape
        if waits and requires_grad and self.dtype.kind == "f" and not self.requires_grad:
            if tape.let_ask(self):
                return self
            asking: T = tape.call(asks, (self,), {})
            return asking
        if requires_grad and self.dtype.kind != "f":
            raise DTypeError(
                f"requires_grad_: only floats have gradients, this tensor is {self.dtype}"
            )
        if not requires_grad and not self.is_leaf:
            raise UsageError(
                "requires_grad_(False): the tensor was computed from others that require a "
                "gradient; use .detach()"
            )
        self.requires_grad = requires_grad
        return self

    def detach_(self: T) -> T:
        """Forget what x was computed from: it is a leaf without a gradient."""
        if self._view is not None:
            raise UsageError("detach_: a view cannot be cut from its base in place; use .detach()")
        if self.is_leaf:
            self.requires_grad = False
        elif self._value is None:
            self.node, self._requires_grad = Node(STOP, (graph_node(self),), {}, self.spec), False
        else:
            recording.before_write(self, values=False)
            assert self.node is not None
            # What was recorded keeps the values of today.
            set_recorded(self.node, np.array(array_of(self), order="C"))
            self.node, self._requires_grad = None, False
        return self


def _is_read(x: AnyTensor) -> bool:
    """Whether what this thread has recorded reads the memory of a tensor."""
    tape = recording.current.tape
    waits = tape is not None and tape in recording.waiting
    return waits and tape.reads(x if x._view is None else x._view.base)


def _repeated(x: T, number: float) -> T:
    """One number in the shape and dtype of x."""
    return x.from_value(np.broadcast_to(array_of(as_tensor(number, like=x)), x.shape))


def asks(x: T) -> T:
    """Ask for a gradient of a tensor, as a call that a tape records."""
    x.requires_grad = True
    return x


def _kept(x: T, *others: Any) -> T:
    """x with memory of its own: for operations whose gradient, by x or by one of the others, needs
    what is overwritten.
    """
    if not grad_enabled() or not any(
        isinstance(one, Value) and one.requires_grad for one in (x, *others)
    ):
        return x
    trace = tracing.active()
    if trace is not None:
        return x if trace.overwritten is None else kept(x)
    tape = recording.current.tape
    if x.pending is not None and tape is not None and tape.can_renew(x):
        return x  # as the tape runs the call it gives it what is kept (`Call.overwrites`)
    return _with(x, np.array(array_of(x), order="C"))


def kept(x: T) -> T:
    """x as what it is now, for a gradient that is asked for when it is another one.

    Its memory stays as it is: `x` is traced, or a result of a tape that another one takes the place
    of.
    """
    if tracing.active() is not None:
        return x.from_node(same_value(graph_node(x), None), x.requires_grad)
    return _with(x, array_of(x))


def _with(x: T, value: Array) -> T:
    """x with its value in other memory."""
    return x.from_value(value, same_value(graph_node(x), value) if x.requires_grad else None)


def _scaled(other: Any, alpha: Any) -> Any:
    return other if isinstance(alpha, int | float) and alpha == 1 else other * alpha


def _draw(x: T, name: str, *arguments: Any, generator: Any) -> T:
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    numbers = samplers[name](x.shape, *arguments, generator, dtype)
    return write(x, _as(numbers, x.dtype), f"{name}_")


def _as(numbers: Any, dtype: Any) -> Any:
    """They mostly have the dtype, and a tape does not wait for a conversion to it."""
    return numbers if numbers.dtype == dtype else numbers.astype(dtype)


def _require_float(x: T, name: str) -> None:
    if x.dtype.kind != "f":
        raise DTypeError(f"{name}: fills tensors of floats, this one is {x.dtype}")
