"""Tensors from data, extents and ranges, under PyTorch's names.

Extents are given one by one or as a tuple. `dtype` is float32 where left out (or what
`set_default_dtype` was given), but for whole numbers and bools; `device` can only be "cpu";
`layout`, `pin_memory` and `memory_format` mean nothing here.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from mynn.base import recording
from mynn.base.arguments import as_index, explained, one_by_one, shown
from mynn.base.devices import require_cpu
from mynn.core.types import Array, as_dtype, default_float
from mynn.errors import ArgumentError, DTypeError, ShapeError
from mynn.ops import elementwise
from mynn.tensor.promotion import apply, as_array
from mynn.tensor.tensor import Tensor, as_tensor
from mynn.trace import tracing

# Up to so many elements a value of a trace is a constant of the program.
_CONSTANT = 4096


def tensor(
    data: Any,
    dtype: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """A tensor that holds a copy of `data`; Python floats become float32.

    Args:
        data: array, number or nested list.
        dtype: as for `Tensor`; that of the data where left out.
        device: None or "cpu", which is where all tensors are.
        requires_grad: whether `backward` fills `grad`.

    Raises:
        ArgumentError: another device. DTypeError, DataError: as for `Tensor`.

    Example:
        >>> import mynn
        >>> mynn.tensor([1.0, 2.0]).tolist()
        [1.0, 2.0]
    """
    require_cpu("tensor", device)
    if isinstance(data, list | tuple):
        data = _plain(data)
    return Tensor(data, dtype, requires_grad)


def _plain(data: Any) -> Any:
    """Nested lists with numbers in place of tensors of one value."""
    if isinstance(data, list | tuple):
        return [_plain(one) for one in data]
    if isinstance(data, Tensor) and data.value is not None:
        return data.item() if not data.ndim else data.numpy()
    return data


def as_tensor_(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor: itself where it is one of that dtype; an array shares its memory."""
    require_cpu("as_tensor", device)
    if isinstance(data, Tensor):
        return data if dtype is None else data.astype(dtype)
    if isinstance(data, np.ndarray) and dtype is None:
        return from_numpy(data)
    return tensor(data, dtype)


def asarray(
    obj: Any,
    *,
    dtype: Any = None,
    device: Any = None,
    copy: Any = None,
    requires_grad: bool = False,
) -> Tensor:
    """`obj` as a tensor, which shares its memory unless `copy` is True."""
    made = tensor(obj, dtype, device) if copy else as_tensor_(obj, dtype, device)
    if requires_grad:
        made.requires_grad = True
    return made


def from_numpy(ndarray: Array) -> Tensor:
    """A tensor that shares the memory of an array: a change of the one is seen in the other.

    Example:
        >>> import numpy as np
        >>> x = np.zeros(2, np.float32)
        >>> t = from_numpy(x)
        >>> x[0] = 1
        >>> t.tolist()
        [1.0, 0.0]
    """
    if not isinstance(ndarray, np.ndarray):
        raise DTypeError(f"from_numpy: takes an array of NumPy, it was given {shown(ndarray)}")
    array = as_array(ndarray)
    if tracing.active() is not None or not np.shares_memory(array, ndarray):
        return Tensor(array)
    shared: Tensor = Tensor.from_value(array)
    recording.share(shared)
    return shared


def from_dlpack(ext_tensor: Any) -> Tensor:
    """A tensor that shares the memory of another library's, which has `__dlpack__`, on a CPU.

    Raises:
        DTypeError: it has no such method, or a dtype that tensors have not.

    Example:
        >>> import numpy as np
        >>> from_dlpack(np.arange(3)).tolist()
        [0, 1, 2]
    """
    if isinstance(ext_tensor, Tensor):
        return ext_tensor.detach()
    try:
        array = np.from_dlpack(ext_tensor)
    except (AttributeError, TypeError, BufferError, RuntimeError) as error:
        raise DTypeError(
            f"from_dlpack: takes a tensor with __dlpack__ in the memory of a CPU, it was given "
            f"{shown(ext_tensor)} ({error})"
        ) from None
    return from_numpy(array if array.flags.writeable else array.copy())


def scalar_tensor(s: Any, *, dtype: Any = None, device: Any = None, **more: Any) -> Tensor:
    """A number as a tensor without axes."""
    return full((), s, dtype=default_float() if dtype is None else dtype, device=device, **more)


# -- filled tensors --------------------------------------------------------------------------------


@explained
def full(
    size: Sequence[int],
    fill_value: Any,
    *,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """One number everywhere; its kind is that of the result where `dtype` is left out.

    Example:
        >>> full((2, 2), 7).tolist()
        [[7, 7], [7, 7]]
    """
    return _full("full", (size,), fill_value, dtype, device, requires_grad, out)


@explained
def zeros(
    *given: Any,
    size: Any = None,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Zeros of the extents given, as numbers or one `size`.

    Example:
        >>> zeros(2, 3).shape
        (2, 3)
    """
    shape = _one_of("zeros", given, size)
    return _full("zeros", shape, 0.0, dtype, device, requires_grad, out)


@explained
def ones(
    *given: Any,
    size: Any = None,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Ones of the extents given, as numbers or one `size`."""
    shape = _one_of("ones", given, size)
    return _full("ones", shape, 1.0, dtype, device, requires_grad, out)


@explained
def empty(
    *given: Any,
    size: Any = None,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """A tensor to be filled; it holds zeros."""
    shape = _one_of("empty", given, size)
    return _full("empty", shape, 0.0, dtype, device, requires_grad, out)


def full_like(
    input: Any,
    fill_value: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """One number everywhere, in the shape and dtype of `input`."""
    like: Tensor = as_tensor(input)
    if not requires_grad and dtype is None and type(fill_value) is int and fill_value in (0, 1):
        require_cpu("full_like", device)
        return like.new_full(like.shape, fill_value)
    kind = like.dtype if dtype is None else dtype
    return _full("full_like", (like.shape,), fill_value, kind, device, requires_grad)


def zeros_like(
    input: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Zeros in the shape and dtype of `input`."""
    return full_like(input, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def ones_like(
    input: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Ones in the shape and dtype of `input`."""
    return full_like(input, 1, dtype=dtype, device=device, requires_grad=requires_grad)


def empty_like(
    input: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """A tensor to be filled, in the shape and dtype of `input`; it holds zeros."""
    return full_like(input, 0, dtype=dtype, device=device, requires_grad=requires_grad)


def extents(name: str, size: tuple[Any, ...]) -> tuple[int, ...]:
    """Extents given one by one, or as one tuple."""
    try:
        found = tuple(map(operator.index, one_by_one(size)))
    except (TypeError, AttributeError):
        raise ShapeError(
            f"{name}: extents must be whole numbers, they are {shown(size)}; write {name}(2, 3)"
        ) from None
    if min(found, default=0) < 0:
        raise ShapeError(f"{name}: extents must be at least 0, they are {found}; give others")
    return found


def _one_of(name: str, given: tuple[Any, ...], size: Any) -> tuple[Any, ...]:
    """The extents, which are given one by one or as `size`."""
    if size is None:
        return given
    if given:
        raise ArgumentError(
            f"{name}: the extents are given twice, as {shown(given)} and as size={shown(size)}; "
            "leave one of them out"
        )
    return (size,)


def _full(
    name: str,
    size: tuple[Any, ...],
    number: Any,
    dtype: Any,
    device: Any,
    requires_grad: bool,
    out: Any = None,
) -> Tensor:
    require_cpu(name, device)
    shape = extents(name, size)
    if isinstance(number, Tensor):
        number = number.item()
    if dtype is None:
        kind = np.asarray(number).dtype
        chosen = default_float() if kind.kind == "f" else as_dtype(kind)
    else:
        chosen = as_dtype(dtype)
    scalar = elementwise.convert(np.asarray(number), chosen)
    return finished(name, _spread(scalar, shape), requires_grad, out)


def _spread(scalar: Array, shape: tuple[int, ...]) -> Tensor:
    if tracing.active() is None or math.prod(shape) <= _CONSTANT:
        return Tensor(np.full(shape, scalar))
    whole = as_tensor(scalar).broadcast_to(shape)
    return apply(elementwise.cast, whole, dtype=scalar.dtype)


def finished(name: str, made: Tensor, requires_grad: bool, out: Any = None) -> Tensor:
    """The tensor, which asks for a gradient if wanted, or whose values go into `out`."""
    if out is not None:
        if made.shape != out.shape:
            raise ShapeError(f"{name}: out has shape {out.shape}, the result has {made.shape}")
        result: Tensor = out.copy_(made)
        return result
    if requires_grad:
        if made.dtype.kind != "f":
            raise DTypeError(
                f"{name}: only floats have gradients, this tensor is {made.dtype}; give "
                "dtype=mynn.float32"
            )
        made.requires_grad_()
    return made


# -- ranges ----------------------------------------------------------------------------------------


@explained
def arange(
    start: Any,
    end: Any = None,
    step: Any = 1,
    *,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """start, start + step... before end; with one argument 0, 1... before it.

    int64 where all three are whole numbers, otherwise float32.

    Example:
        >>> arange(1, 4).tolist()
        [1, 2, 3]
    """
    require_cpu("arange", device)
    first, last = (0, start) if end is None else (start, end)
    numbers = [
        one.item() if isinstance(one, Tensor | np.generic) else one for one in (first, last, step)
    ]
    if not all(isinstance(one, int | float) and math.isfinite(one) for one in numbers):
        raise ArgumentError(f"arange: takes finite numbers, it was given {numbers}")
    if dtype is not None and as_dtype(dtype).kind != "f":
        numbers = [int(one) for one in numbers]
    first, last, by = numbers
    if by == 0 or (last - first) * by < 0:
        raise ArgumentError(
            f"arange: from {first} to {last} no step {by} leads; give another step or other ends"
        )
    whole = not any(isinstance(one, float) for one in numbers)
    chosen = as_dtype(dtype) if dtype is not None else np.dtype(int) if whole else default_float()
    count = max(0, -((first - last) // by)) if whole else math.ceil((last - first) / by)
    places: Any = np.arange(int(count), dtype=np.int64 if whole else np.float64)
    values = first + places * by
    return finished("arange", Tensor(values.astype(chosen)), requires_grad, out)


def range_(start: Any = 0, end: Any = None, step: Any = 1, **more: Any) -> Tensor:
    """Like `arange`, with the end; floats. PyTorch's name for it is deprecated."""
    more.setdefault("dtype", default_float())
    first, last = (0, start) if end is None else (start, end)
    return arange(first, last + step / 2, step, **more)


@explained
def linspace(
    start: Any,
    end: Any,
    steps: int,
    *,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """So many numbers at equal distances, from start to end, both among them.

    Example:
        >>> linspace(0, 1, 3).tolist()
        [0.0, 0.5, 1.0]
    """
    require_cpu("linspace", device)
    values = _spaced("linspace", start, end, steps, dtype)
    return finished("linspace", Tensor(_in(values, dtype)), requires_grad, out)


@explained
def logspace(
    start: Any,
    end: Any,
    steps: int,
    base: float = 10.0,
    *,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Powers of `base`, their exponents at equal distances from start to end."""
    require_cpu("logspace", device)
    with np.errstate(all="ignore"):
        values = np.power(float(base), _spaced("logspace", start, end, steps, dtype))
    return finished("logspace", Tensor(_in(values, dtype)), requires_grad, out)


def _spaced(name: str, start: Any, end: Any, steps: int, dtype: Any) -> Array:
    """Floats at equal distances; from and to whole numbers where the dtype has no others."""
    count = as_index(steps)
    if count is None or count < 0:
        raise ArgumentError(f"{name}: steps must be a whole number of at least 0, it is {steps!r}")
    first, last = (float(one.item() if isinstance(one, Tensor) else one) for one in (start, end))
    if dtype is not None and as_dtype(dtype).kind != "f":
        first, last = float(int(first)), float(int(last))
    return np.linspace(first, last, count)


def _in(values: Array, dtype: Any) -> Array:
    return elementwise.convert(values, default_float() if dtype is None else as_dtype(dtype))


@explained
def eye(
    n: int,
    m: int | None = None,
    *,
    out: Any = None,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Ones on the diagonal of a matrix [n, m], zeros elsewhere; square without m."""
    require_cpu("eye", device)
    n, m = extents("eye", (n, n if m is None else m))
    values = np.eye(n, m, dtype=default_float() if dtype is None else as_dtype(dtype))
    return finished("eye", Tensor(values), requires_grad, out)


def frombuffer(
    buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False
) -> Tensor:
    """The bytes of a buffer as a tensor [n], which holds a copy."""
    array = np.frombuffer(buffer, as_dtype(dtype), count, offset)
    return finished("frombuffer", Tensor(array), requires_grad)
