"""`Tensor`: a value with operators, computed at once on NumPy or recorded by a trace.

An eager tensor has a `value`. If it needs a gradient it also has a `node`, so that `backward` can
walk from it to the tensors it came from. A traced tensor has a `node` alone.
"""

from __future__ import annotations

import copy
import functools
import importlib
from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np

from mynn.base import recording
from mynn.core.graph import Node, constant
from mynn.core.types import Array
from mynn.errors import DTypeError, ShapeError, UsageError
from mynn.ops import elementwise
from mynn.target.storage import allocate, axis_order
from mynn.tensor import promotion, write
from mynn.tensor.gradients import backward, branches, control, history
from mynn.tensor.gradients.grad_mode import no_grad
from mynn.tensor.gradients.hooks import Hooked
from mynn.tensor.methods import products
from mynn.tensor.methods.forwarded import Forwarded
from mynn.tensor.methods.inplace_functions import InPlaceFunctions
from mynn.tensor.methods.products import Products
from mynn.tensor.methods.setitem import SetItem
from mynn.tensor.methods.statistics import Statistics
from mynn.tensor.printing import text_of
from mynn.tensor.promotion import apply, as_array
from mynn.tensor.value import Value
from mynn.tensor.view import look, value_of
from mynn.trace import tracing


class Tensor(
    Products["Tensor"],
    Statistics["Tensor"],
    SetItem["Tensor"],
    InPlaceFunctions["Tensor"],
    Hooked["Tensor"],
    Forwarded,
):
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

    __slots__ = ()
    __array_priority__ = 1000
    # Whether one that is made in a trace lasts longer.
    _is_state: ClassVar[bool] = False
    scan_cotangents = control.scan_cotangents
    cond_cotangents = branches.cond_cotangents
    while_cotangents = branches.while_cotangents
    while_tangents = branches.while_tangents

    def __init__(
        self,
        data: Any,
        dtype: Any = None,
        requires_grad: bool = False,
        name: str | None = None,
    ) -> None:
        if isinstance(data, Tensor) and data._value is None:
            raise UsageError("a traced tensor has no value to copy; use it directly, or .detach()")
        array = np.array(as_array(data, dtype))
        traced = tracing.active() is not None and not self._is_state
        self._setup(array, None, requires_grad and not traced, name)
        if traced:
            self.node, self._value = constant(array), None
        if requires_grad and array.dtype.kind != "f":
            raise DTypeError(
                f"requires_grad: only floats have gradients, this tensor is {array.dtype}; give "
                "dtype=numpy.float32"
            )
        if traced and requires_grad:
            self.requires_grad = True

    # -- what it is --------------------------------------------------------------------------------

    def __repr__(self) -> str:
        value = value_of(self)
        return f"tensor(traced {self.spec})" if value is None else text_of(self, value)

    def __format__(self, specification: str) -> str:
        """The value of a tensor without axes, as in `f"{loss:.4f}"`; otherwise as it is printed."""
        if specification or (not self.ndim and value_of(self) is not None):
            return format(self.item(), specification)
        return str(self)

    # -- values ------------------------------------------------------------------------------------

    @property
    def value(self) -> Array | None:
        """The value itself, an array that can be changed in place, or None in a trace.

        Assigning copies into it.
        """
        value = value_of(self)
        if value is None:
            return None
        # A view: its shape may be changed, that of the tensor may not.
        return recording.expose(self if self._view is None else self._view.base, value)

    @value.setter
    def value(self, value: Any) -> None:
        self.data = value

    @property
    def data(self) -> Tensor:
        """The same memory as a tensor of its own, through which no gradient flows.

        Assigning copies into it.
        """
        return self.detach()

    @data.setter
    def data(self, value: Any) -> None:
        if tracing.active() is not None and history.is_users_call():
            with no_grad():
                self.assign(as_tensor(value, like=self).detach())
            return
        if isinstance(value, Tensor) and self._has_data(value):
            return
        array = as_array(value)
        if array.shape != self.shape:
            raise ShapeError(
                f"{self.name or 'tensor'}: new data has shape {array.shape}, "
                f"it must be {self.shape}"
            )
        write.set_value(self, array)

    def _has_data(self, value: Tensor) -> bool:
        """Whether the memory has these values, as in `x.data -= y`, or a tape gives them to it."""
        if value.pending is None:
            return value._view is not None and value._view.base is self and write.is_same(value)
        if value.shape != self.shape or value.dtype != self.dtype:
            return False
        return write.put_off_copy(self.detach(), value)

    def numpy(self) -> Array:
        """A copy of the value, contiguous."""
        return history.array_of(self).copy()

    def item(self) -> float | int | bool:
        """The value of a tensor of one element, as a Python number."""
        pending = self.pending
        data = history.array_of(self) if pending is None else pending.peek(self)
        if data.size != 1:
            raise ShapeError(
                f"item: a tensor of shape {data.shape} is not one value; reduce it first, for "
                "example with .sum() or .mean(), or use .tolist()"
            )
        result: float | int | bool = data.item()
        return result

    def tolist(self) -> Any:
        """The value as nested lists."""
        return history.array_of(self).tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if value_of(self) is None:
            raise UsageError(
                "functions of NumPy cannot take a tensor inside a traced function, it has no value "
                "yet; use its methods or mynn's functions: x.exp() instead of np.exp(x)"
            )
        value = history.array_of(self) if copy else self.value  # which others may change
        return np.array(value, dtype=dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        """The memory for other libraries: `torch.from_dlpack(x)`, `np.from_dlpack(x)`."""
        return np.asarray(self.detach()).__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return np.empty(0).__dlpack_device__()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """NumPy's universal functions: `np.exp(x)` is `x.exp()`, an array + x a tensor."""
        return _numpy_protocol().ufunc(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """NumPy's other functions: `np.concatenate([x, y])` is a tensor."""
        return _numpy_protocol().function(function, args, kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles hold the value and its memory order, but no gradient and no history."""
        value = history.array_of(self)
        order = axis_order(value) if self.is_native else None
        fields = (self.requires_grad, self.name, order)
        return _restored, (type(self), np.array(value, order="C"), *fields)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The same, with the gradient: but parameters are copied without."""
        make, fields = self.__reduce__()
        made: Self = make(*fields)
        memo[id(self)] = made
        if self._grad is not None and not self._is_state:
            made._grad = copy.deepcopy(self._grad, memo)
        return made

    @classmethod
    def __torch_function__(cls, function: Any, *arguments: Any) -> Any:
        """Functions of PyTorch ask here what to do with a tensor of mynn."""
        name = getattr(function, "__name__", str(function))
        raise UsageError(
            f"torch's {name} was given a tensor of mynn; use mynn's functions: import "
            "mynn.nn.functional as F instead of torch.nn.functional, or give it x.numpy()"
        )

    def __index__(self) -> int:
        """An integer of one element where Python wants one, as in `range(n)`."""
        value = value_of(self)
        if value is None:
            raise UsageError(
                "the value of a traced tensor is not known while tracing, so that it cannot count "
                "rounds or name a place; use a Python int or x.shape"
            )
        if value.size != 1 or value.dtype.kind not in "iu":
            raise DTypeError(
                f"only integer tensors of one element are an index, this one is {self.spec}; use "
                "int(x)"
            )
        return int(value.item())

    def __float__(self) -> float:
        self._known("float")
        return float(self.item())

    def _known(self, name: str) -> None:
        """Raise where the value is not known yet."""
        if value_of(self) is None:
            raise UsageError(
                f"{name} of a traced tensor: its value is not known while tracing; return it from "
                "the function, or use methods instead of math's functions: x.exp(), not math.exp(x)"
            )

    def __int__(self) -> int:
        self._known("int")
        return int(self.item())

    def __bool__(self) -> bool:
        value = value_of(self)
        if value is None:
            raise history.without_value(
                self,
                "the truth of a traced tensor is not known while tracing; use mynn.where instead "
                "of if",
            )
        if value.size != 1:
            raise ShapeError(
                f"the truth of a tensor of shape {value.shape} is ambiguous; reduce it first, with "
                ".any() or .all() of x.numpy(), or compare one value"
            )
        return bool(value)

    def to_native(self, order: tuple[int, ...] | None = None) -> Array:
        """Move the value for good to padded storage that native code can use; returns its view.

        Views find it there; a program works on their bases.
        """
        if self.is_native and self.pending is None:
            assert self._value is not None
            return self._value
        assert self._view is None
        value = history.array_of(self)
        if not self.is_native:
            if order is None:
                order = axis_order(value)
            storage = allocate(value.shape, value.dtype, order)
            storage[...] = value
            self._value = storage
            self.is_native = True
            self._version += 1
            if self.node is not None and not self.node.inputs:
                # The node keeps the array that was: results of it can still be differentiated.
                self.node = None
        assert self._value is not None
        return self._value

    def assign(self, value: Any) -> None:
        """Give the tensor a new value of the same shape; in a trace this writes program state."""
        write.assign(self, value)

    # -- gradients ---------------------------------------------------------------------------------

    @property
    def grad(self) -> Tensor | None:
        """The gradient accumulated by `backward`, or None."""
        gradient: Tensor | None = history.gradient_of(self)
        return gradient

    @grad.setter
    def grad(self, value: Any) -> None:
        history.set_gradient(self, None if value is None else as_tensor(value, like=self))

    def detach(self) -> Tensor:
        """The same value, through which no gradient flows."""
        pending, tape = self.pending, recording.current.tape
        if pending is not None and tape is not None and pending.tape is tape:
            recorded: Tensor = tape.call(Tensor.detach, (self,), {})
            return recorded
        value = value_of(self)
        if value is None or tracing.active() is not None:
            return apply(elementwise.stop_gradient, self)
        tensor = Tensor.from_value(value)
        look(tensor, self, ((elementwise.stop_gradient, {}),), False)
        return tensor

    def backward(
        self,
        gradient: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Add d self / d p to `p.grad` for each p with `requires_grad` that self was computed from.

        `gradient` is the cotangent to start from; it can be left out for a tensor of one element
        (it is 1 then). `retain_graph` has no effect: what was recorded lasts as long as results.
        """
        if create_graph or inputs is not None:
            given = "create_graph" if create_graph else "inputs"
            raise UsageError(
                f"backward: {given} is not there; mynn.autograd.grad(outputs, inputs, "
                "create_graph=True) gives the gradients of some inputs, with their history"
            )
        if recording.current.tape is not None:
            recording.current.tape.backward(self, gradient)
        else:
            self._backward(gradient)

    def _backward(self, gradient: Any = None) -> None:
        if gradient is None and self.numel() != 1:
            raise UsageError(
                f"backward of a tensor of shape {self.shape} needs a gradient of that shape; "
                "reduce it to one value first, for example with .sum() or .mean()"
            )
        if not self.requires_grad:
            raise UsageError(
                "backward: nothing that this tensor was computed from requires a gradient; set "
                "requires_grad=True on what is trained"
            )
        if gradient is None and tracing.active() is None:
            backward.backward(self, Tensor.from_value(np.ones(self.shape, self.dtype)))
            return
        seed = as_tensor(np.ones((), self.dtype) if gradient is None else gradient, like=self)
        if gradient is not None and seed.shape != self.shape:
            raise ShapeError(
                f"backward: the gradient has shape {seed.shape}, it must be {self.shape}"
            )
        seed = seed.astype(self.dtype).broadcast_to(self.shape)
        backward.backward(self, seed)

    @property
    def T(self) -> Tensor:
        """Axes reversed."""
        return self.permute(*reversed(range(self.ndim)))


# From here on operations can make tensors.
Value._made = Tensor

# What stands beside a tensor in an operation.
Operand: TypeAlias = Tensor | Array | float

# Functions of the files below, which know no `Tensor`, with the type of what they make.
as_tensor: Callable[..., Tensor] = promotion.as_tensor
same_dtype: Callable[..., tuple[Tensor, Tensor]] = promotion.same_dtype
broadcast: Callable[..., tuple[Tensor, ...]] = promotion.broadcast
binary: Callable[..., Tensor] = promotion.binary
matmul: Callable[[Any, Any], Tensor] = products.matmul
contract: Callable[[Any, Any, int, int], Tensor] = products.contract
wrap: Callable[[Node], Tensor] = history.wrap


@functools.cache
def _numpy_protocol() -> Any:
    """What answers NumPy; it knows functions of tensors, and comes when it is asked for."""
    return importlib.import_module("mynn.functional.numpy_protocol")


def _restored(
    kind: type[Tensor],
    value: Array,
    requires_grad: bool,
    name: str | None,
    order: tuple[int, ...] | None,
) -> Tensor:
    """A tensor from the parts that `Tensor.__reduce__` gives."""
    tensor = kind.__new__(kind)
    tensor._setup(value, None, requires_grad, name)
    if order is not None:
        tensor.to_native(order)
    return tensor
