"""Dtypes and devices of tensors, as methods: `x.to(...)`, `x.float()`, `x.cpu()`."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from mynn.base.arguments import explained
from mynn.base.devices import CPU, require_cpu
from mynn.base.devices import device as Device
from mynn.base.recording import recorded
from mynn.core.types import Shape, as_dtype
from mynn.errors import ShapeError, UsageError
from mynn.ops import elementwise
from mynn.ops.rules import normalize_axes
from mynn.tensor.methods.named import Named
from mynn.tensor.promotion import apply, as_array, as_tensor
from mynn.tensor.value import Value
from mynn.tensor.view import is_contiguous, own_memory, strides_of
from mynn.trace import tracing

T = TypeVar("T", bound="Conversion[Any]")


class Conversion(Named[T]):
    """The same values in another dtype; the device, which is the processor."""

    __slots__ = ()

    def to(self: T, *args: Any, **kwargs: Any) -> T:
        """The values in another dtype, or on a device, which can only be "cpu".

        `x.to(dtype)`, `x.to(device)`, `x.to(device, dtype)`, `x.to(other)` for the dtype of another
        tensor; `dtype=`, `device=`. `copy=True` makes a tensor of its own in any case;
        `non_blocking` and `memory_format` mean nothing here. Where nothing is to do, the result is
        the tensor itself.

        Raises:
            ArgumentError: another device. DTypeError: a dtype that is not supported.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([1.7]).to("cpu", int).tolist()
            [1]
        """
        wanted, place = kwargs.pop("dtype", None), kwargs.pop("device", None)
        copy = kwargs.pop("copy", False)
        for name in kwargs.keys() - {"non_blocking", "memory_format", "other"}:
            raise UsageError(f"to: there is no argument {name!r}; give dtype, device or copy")
        for one in (*args, *([kwargs["other"]] if "other" in kwargs else [])):
            if isinstance(one, Value):
                wanted = one.dtype
            elif isinstance(one, bool) or one is None:  # non_blocking, then copy
                continue
            elif (
                isinstance(one, Device)
                or (isinstance(one, str) and _names_device(one))
                or type(one).__name__ == "device"
                or isinstance(one, int)
            ):
                place = one
            else:
                wanted = one
        require_cpu("to", place)
        result = self if wanted is None else self.astype(wanted)
        return result.clone() if copy and result is self else result

    @property
    def device(self) -> Device:
        """Where the tensor is: the processor."""
        return CPU

    @property
    def is_cuda(self) -> Any:
        """False: there is no GPU."""
        return False

    @property
    def is_cpu(self) -> Any:
        """True: tensors are in the memory of the processor."""
        return True

    def cpu(self: T, memory_format: Any = None) -> T:
        """Itself: it is there already."""
        return self

    def cuda(self: T, device: Any = None, non_blocking: Any = False) -> T:
        """There is no GPU: an error, as in PyTorch without one."""
        raise UsageError(
            "cuda: there is no GPU; leave .cuda() out, or write x.to(device) with "
            'device = "cuda" if mynn.cuda.is_available() else "cpu"'
        )

    def float(self: T) -> T:
        """As float32."""
        return self.astype(np.float32)

    def double(self: T) -> T:
        """As float64."""
        return self.astype(np.float64)

    def int(self: T) -> T:
        """As int32; fractions are dropped."""
        return self.astype(np.int32)

    def long(self: T) -> T:
        """As int64; fractions are dropped."""
        return self.astype(np.int64)

    def byte(self: T) -> T:
        """As uint8; fractions are dropped."""
        return self.astype(np.uint8)

    def bool(self: T) -> T:
        """Whether each value is not 0."""
        return self.astype(np.bool_)

    def half(self: T) -> T:
        """There are no float16: an error that says which dtypes there are."""
        return self.astype(np.float16)

    def bfloat16(self: T) -> T:
        """There are no bfloat16: an error that says which dtypes there are."""
        return self.astype("bfloat16")

    def type_as(self: T, other: Any) -> T:
        """In the dtype of another tensor."""
        return self.astype(other.dtype)

    def new_full(
        self: T,
        size: Any,
        fill_value: Any,
        *,
        dtype: Any = None,
        device: Any = None,
        requires_grad: Any = False,
        **more: Any,
    ) -> T:
        """One number everywhere, of the extents `size`, in the dtype of the tensor."""
        require_cpu("new_full", device)
        kind = self.dtype if dtype is None else as_dtype(dtype)
        shape = tuple(size) if isinstance(size, tuple | list) else (size,)
        if requires_grad or type(fill_value) not in (bool, int, float):
            made: Any = as_tensor(np.full(shape, fill_value, kind))
            return made.requires_grad_() if requires_grad else made
        return self._filled(shape, fill_value, kind)

    @recorded
    def _filled(self: T, shape: Shape, number: Any, dtype: np.dtype[Any]) -> T:
        """A number everywhere; a tape records it, so that what it becomes is recorded too."""
        made: Any
        if tracing.active() is None:
            made = as_tensor(np.full(shape, number, dtype))
        else:
            whole: Any = as_tensor(np.array(number, dtype))
            made = apply(elementwise.cast, whole.broadcast_to(shape), dtype=dtype)
        return made

    def new_zeros(self: T, *size: Any, **more: Any) -> T:
        """Zeros of the extents `size`, in the dtype of the tensor."""
        return self.new_full(_extents(size, more), 0, **more)

    def new_ones(self: T, *size: Any, **more: Any) -> T:
        """Ones of the extents `size`, in the dtype of the tensor."""
        return self.new_full(_extents(size, more), 1, **more)

    def new_empty(self: T, *size: Any, **more: Any) -> T:
        """A tensor to be filled, of the extents `size` and the dtype of the tensor; zeros."""
        return self.new_full(_extents(size, more), 0, **more)

    def new_tensor(
        self: T, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: Any = False
    ) -> T:
        """A tensor that holds a copy of `data`, in the dtype of this one."""
        require_cpu("new_tensor", device)
        made: Any = as_tensor(np.array(as_array(data, self.dtype if dtype is None else dtype)))
        return made.requires_grad_() if requires_grad else made

    @recorded
    @explained
    def clone(self: T, *, memory_format: Any = None) -> T:
        """The same values in memory of their own; gradients flow through."""
        y = apply(elementwise.cast, self, dtype=self.dtype)
        own_memory(y, self)
        return y

    def contiguous(self: T, memory_format: Any = None) -> T:
        """Itself where its values follow each other in memory (`is_contiguous`), otherwise a copy
        in which they do.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([[1, 2], [3, 4]]).t().contiguous().view(-1).tolist()
            [1, 3, 2, 4]
        """
        return self if is_contiguous(self) else self.clone()

    def is_contiguous(self, memory_format: Any = None) -> Any:
        """Whether the values follow each other in memory, by PyTorch's rules for views.

        How arrays really lie makes no difference to any operation, so that `memory_format` has
        no meaning.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([[1, 2], [3, 4]]).t().is_contiguous()
            False
        """
        return is_contiguous(self)

    def stride(self, dim: Any = None) -> Any:
        """How many elements the next value along each axis, or along `dim`, is away in memory, by
        PyTorch's rules: a tensor that is no view is contiguous.

        Example:
            >>> from mynn import Tensor
            >>> Tensor([[1, 2, 3], [4, 5, 6]]).t().stride()
            (1, 3)
        """
        strides = strides_of(self)
        if strides is None:
            raise UsageError("stride: windows have none; use x.clone()")
        return strides if dim is None else strides[normalize_axes(dim, self.ndim, "stride")[0]]

    def is_floating_point(self) -> Any:
        """Whether it holds floats."""
        return self.dtype.kind == "f"

    def is_complex(self) -> Any:
        """False: there are no complex numbers."""
        return False

    def new(self: T, *given: Any) -> T:
        """`new_tensor` of a list or an array, `new_empty` of extents."""
        if len(given) == 1 and not isinstance(given[0], int | np.integer):
            return self.new_tensor(given[0])
        return self.new_empty(*given) if given else self.new_empty(0)

    def is_same_size(self, other: Any) -> Any:
        """Whether another tensor has the same shape."""
        return self.shape == tuple(other.shape)

    def is_signed(self) -> Any:
        """Whether its dtype has negative numbers."""
        return self.dtype.kind in "fi"

    def element_size(self) -> Any:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    def itemsize(self) -> Any:
        """Bytes of an element."""
        return self.dtype.itemsize

    @property
    def nbytes(self) -> Any:
        """Bytes of all elements."""
        return self.numel() * self.dtype.itemsize

    def dim(self) -> Any:
        """Number of axes."""
        return self.ndim

    ndimension = dim

    def nelement(self) -> Any:
        """Number of elements."""
        return self.numel()

    def is_nonzero(self) -> Any:
        """Whether the one value is not 0."""
        if self.numel() != 1:
            raise ShapeError(
                f"is_nonzero: asks for one value, the tensor has shape {self.shape}; reduce it "
                "first, with .any() or .all()"
            )
        return bool(self != 0)


def _extents(size: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """Extents given one by one, as one tuple, or as `size=`."""
    if "size" in named:
        return named.pop("size")
    return size[0] if len(size) == 1 else size


def _names_device(text: str) -> Any:
    return text.partition(":")[0] in ("cpu", "cuda", "mps", "xpu", "meta", "xla", "mtia", "hpu")
